//! The verdict: the independent check of all books, again and again, against the bank's own record.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use local_stack::Stack;
use reconcile::{BankBooks, Finding, Kind, Options, Report, check};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::{Room, diary::clock, lock};

/// What has not ended by then is shown as late: longer than a request takes that was lost and is sent again.
const LATE: Duration = Duration::from_mins(2);
/// Between two looks at least; and twice as long as a look takes, so that looking never takes much of a machine.
const PAUSE: Duration = Duration::from_secs(1);
/// A verdict that is much older than this would say little.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A database that is frozen never answers.
const LIMIT: Duration = Duration::from_secs(30);
/// More ids than this help nobody.
const NAMED: usize = 20;

/// What the check says, in numbers.
#[derive(Clone, Default, Serialize)]
pub(super) struct Verdict {
    /// `agree`, `late`, `differ`, or `unknown` when it cannot look.
    state: &'static str,
    invoices: usize,
    paid: usize,
    charged: usize,
    declined: usize,
    in_flight: usize,
    lost: usize,
    twice: usize,
    late: usize,
    differ: usize,
    /// The findings, with their ids.
    findings: Vec<String>,
    looked_at: String,
    took_ms: u64,
    /// Why it cannot look now; then the numbers are of the last time.
    cannot_look: Option<String>,
}

impl Verdict {
    fn of(report: &Report, charged_again: usize, findings: Vec<String>) -> Self {
        let twice = report.count(Kind::Duplicate) + charged_again;
        // A second charge under a key of its own is in no other book: to the check, that is a book that misses it.
        let lost = report.count(Kind::Missing).saturating_sub(charged_again);
        let (late, differ) = (report.count(Kind::Stuck), report.count(Kind::Mismatch));
        Self {
            state: match (lost + twice + differ, late) {
                (0, 0) => "agree",
                (0, _) => "late",
                _ => "differ",
            },
            invoices: report.invoices,
            paid: report.succeeded,
            charged: report.charged,
            declined: report.matches.saturating_sub(report.succeeded),
            in_flight: report.in_flight,
            lost,
            twice,
            late,
            differ,
            findings,
            ..Self::default()
        }
    }
}

pub(super) async fn keep_checking(room: Arc<Room>) {
    loop {
        let began = Instant::now();
        let looked = tokio::time::timeout(LIMIT, look(&room.stack, room.bank.is_known())).await;
        let took = began.elapsed();
        let cannot_look = match looked {
            Ok(Ok(mut verdict)) => {
                verdict.looked_at = clock(OffsetDateTime::now_utc());
                verdict.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                *lock(&room.verdict) = verdict;
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the databases do not answer".to_owned()),
        };
        if cannot_look.is_some() {
            let mut verdict = lock(&room.verdict);
            verdict.state = "unknown";
            verdict.cannot_look = cannot_look;
        }
        tokio::time::sleep((took * 2).clamp(PAUSE, LONGEST_PAUSE)).await;
    }
}

async fn look(stack: &Stack, bank_is_known: bool) -> reconcile::Result<Verdict> {
    let bank = if bank_is_known {
        BankBooks::Simulated
    } else {
        BankBooks::Unknown
    };
    let mut findings = Vec::new();
    let mut tell = |finding: &Finding| {
        if findings.len() < NAMED {
            findings.push(finding.to_string());
        }
    };
    let (invoices, payments) = (stack.invoice_database_url(), stack.payment_database_url());
    let options = Options { older_than: LATE };
    let report = check(&invoices, &payments, bank, options, &mut tell).await?;
    // Where every charge has its payment, and every invoice one at most, there is nothing to look for.
    let charged_again = if bank_is_known && !report.is_clean() {
        charged_again(&payments).await?
    } else {
        0
    };
    Ok(Verdict::of(&report, charged_again, findings))
}

/// Charges of an invoice beyond its first, by the bank's record alone.
async fn charged_again(payments: &str) -> reconcile::Result<usize> {
    let mut bank = PgConnection::connect(payments).await?;
    // A payment's id without its last four digits is its invoice's: attempts differ in those.
    let again: i64 = sqlx::query_scalar(
        "select coalesce(sum(charges - 1), 0)::bigint
         from (select count(*) as charges from simulated_charges where status = 'succeeded'
               group by left(key::text, 32) having count(*) > 1) as charged_again",
    )
    .fetch_one(&mut bank)
    .await?;
    // Closing is a courtesy to the server.
    let _ = bank.close().await;
    Ok(usize::try_from(again)?)
}
