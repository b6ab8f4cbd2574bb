//! Everything the page shows, put together once for all who look.

use serde::Serialize;
use time::OffsetDateTime;

use super::{
    Room,
    books::Verdict,
    diary::{Line, clock},
    faults::{Health, Target},
    lock,
    numbers::Numbers,
    overheard::Message,
    work::Many,
};

#[derive(Serialize)]
struct Snapshot {
    at: String,
    invoices_page: String,
    verdict: Verdict,
    health: Vec<(&'static str, Health)>,
    /// Links, by the names of their switches.
    cut: Vec<&'static str>,
    numbers: Numbers,
    p50_ms: Option<u64>,
    p99_ms: Option<u64>,
    many: Option<Many>,
    switches: Switches,
    messages: Vec<Message>,
    lines: Vec<Line>,
}

/// Which of those are on that can be on.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
struct Switches {
    trickle: bool,
    bank_away: bool,
    bank_slow: bool,
    bank_silent: bool,
    charge_twice: bool,
    bank_is_known: bool,
}

pub(super) fn publish(room: &Room) {
    let percentiles = room.overheard.percentiles();
    let snapshot = Snapshot {
        at: clock(OffsetDateTime::now_utc()),
        invoices_page: room.stack.invoice_app().url(),
        verdict: lock(&room.verdict).clone(),
        health: Target::ALL
            .map(|target| (target.as_str(), room.faults.health(&room.stack, target)))
            .into(),
        cut: room.cuts.names(),
        numbers: lock(&room.numbers).clone(),
        p50_ms: percentiles.map(|(p50, _)| p50),
        p99_ms: percentiles.map(|(_, p99)| p99),
        many: room.work.many(),
        switches: Switches {
            trickle: room.work.trickles(),
            bank_away: room.bank.is_away(),
            bank_slow: room.bank.is_slow(),
            bank_silent: room.bank.is_silent(),
            charge_twice: room.bank.has_charged_twice(),
            bank_is_known: room.bank.is_known(),
        },
        messages: room.overheard.messages(),
        lines: room.diary.lines(),
    };
    match serde_json::to_string(&snapshot) {
        Ok(text) => drop(room.state.send_replace(text.into())),
        Err(error) => eprintln!("control room: {error}"),
    }
}
