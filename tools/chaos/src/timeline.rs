//! A run as a picture: what was broken when, and what became of the payments meanwhile.

use std::{
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use acceptance::Result;
use charts::{Picture, Scale};
use sqlx::{Connection as _, PgConnection};

use super::{
    plan::{Damage, Fault, Link, Replica},
    strikes::{Strikes, Struck},
    world::World,
};

/// Narrow enough for a phone, and for words that can be read there.
const WIDTH: f64 = 480.0;
const MARGIN: f64 = 16.0;
/// Of what is drawn over time; its words stand to its left.
const LEFT: f64 = 132.0;
const ROW: f64 = 20.0;
const BAR: f64 = 12.0;
/// What is over at once is seen all the same.
const THINNEST: f64 = 2.0;
const PLOT: f64 = 76.0;
/// A curve of more points than this is a blur.
const POINTS: f64 = 170.0;
/// What is hurt, from the callers' side to the bank.
const ROWS: [&str; 8] = [
    "invoice-app",
    "payment-provider",
    "links to Postgres",
    "links to NATS",
    "links to the bank",
    "Postgres",
    "NATS",
    "the bank",
];

/// Each point's minute, and what is drawn over it.
type Curve = Vec<(f64, f64)>;

impl Struck {
    /// In which of the [`ROWS`].
    const fn row(&self) -> usize {
        match self.fault {
            Fault::Kill(Replica::App(_)) | Fault::Freeze(Replica::App(_)) => 0,
            Fault::Kill(Replica::Provider(_)) | Fault::Freeze(Replica::Provider(_)) => 1,
            Fault::Break(Link::Postgres(_), _) => 2,
            Fault::Break(Link::Nats(_), _) => 3,
            Fault::Break(Link::Bank(_), _) => 4,
            Fault::KillPostgres | Fault::RestartPostgres | Fault::Restore(_) => 5,
            Fault::KillNats
            | Fault::WipeNats
            | Fault::FreezeNats
            | Fault::DeleteDurable(_)
            | Fault::DeleteStream(_) => 6,
            Fault::KillBank | Fault::FreezeBank | Fault::BankFails => 7,
        }
    }

    /// What is gone is told from what is there and of no use.
    const fn role(&self) -> &'static str {
        match self.fault {
            Fault::Freeze(_)
            | Fault::FreezeNats
            | Fault::FreezeBank
            | Fault::BankFails
            | Fault::Break(_, Damage::Delay(_) | Damage::Silent | Damage::Deaf) => "other",
            _ => "peer",
        }
    }
}

/// How long the faults took, and everything until it was at rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) faults: Duration,
    pub(super) rest: Duration,
}

/// What was when.
#[derive(Debug, Default)]
pub struct Timeline {
    struck: Vec<Struck>,
    /// When each was asked for, and settled; in seconds from the start.
    payments: Vec<(f64, Option<f64>)>,
    faults: Duration,
    rest: Duration,
}

impl Timeline {
    pub(super) async fn of(
        world: &World,
        strikes: &Strikes,
        began: SystemTime,
        ended: Ended,
    ) -> Result<Self> {
        let began = began.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let mut invoices = PgConnection::connect(&world.system.stack().invoice_database_url()).await?;
        let payments = sqlx::query_as(
            "select extract(epoch from created_at)::float8 - $1, extract(epoch from settled_at)::float8 - $1
             from payments",
        )
        .bind(began)
        .fetch_all(&mut invoices)
        .await?;
        Ok(Self {
            struck: strikes.struck(),
            payments,
            faults: ended.faults,
            rest: ended.rest,
        })
    }

    /// How many there were.
    pub fn payments(&self) -> usize {
        self.payments.len()
    }

    /// Draws it under these lines.
    pub fn draw(&self, lines: &[String]) -> String {
        let mut picture = Picture::new(
            WIDTH,
            "Faults and payments of a chaos run",
            "Above, when each part was dead, frozen, cut off or failing; below, how many payments were settled each second, and \
             how many were open: they wait while something is broken, and none is left at the end.",
        );
        picture.text((MARGIN, 30.0), "title", "Faults and payments");
        let mut top = 30.0;
        for line in lines {
            top += 20.0;
            picture.text((MARGIN, top), "muted", line);
        }
        let across = Scale::linear(self.rest.as_secs_f64() / 60.0, (LEFT, WIDTH - MARGIN));
        let upper = top + 16.0;
        let mut lower = self.draw_faults(&mut picture, &across, upper);
        lower = draw_legend(&mut picture, lower);
        let (settled, open) = self.curves();
        lower = draw_plot(
            &mut picture,
            &across,
            lower + 30.0,
            "payments settled a second",
            &settled,
        );
        lower = draw_plot(&mut picture, &across, lower + 32.0, "payments open", &open);
        for minute in across.ticks() {
            picture.text(
                (across.place(minute), lower + 18.0),
                "muted number middle",
                &rounded(minute),
            );
        }
        picture.text((LEFT - 8.0, lower + 18.0), "muted end", "minutes");
        let end = across.place(minutes(self.faults));
        picture.line((end, upper), (end, lower), "aim");
        picture.text((end, lower + 36.0), "muted end", "the faults are over");
        picture.finish(lower + 36.0 + MARGIN)
    }

    /// A row for each part; where it ends.
    fn draw_faults(&self, picture: &mut Picture, across: &Scale, top: f64) -> f64 {
        let mut middles = Vec::new();
        let mut bottom = top;
        for name in ROWS {
            let middle = bottom + ROW / 2.0;
            picture.text((LEFT - 8.0, middle + 4.5), "muted end", name);
            picture.line((LEFT, middle), (WIDTH - MARGIN, middle), "grid");
            middles.push(middle);
            bottom += ROW;
        }
        for struck in &self.struck {
            let Some(middle) = middles.get(struck.row()) else {
                continue;
            };
            let Range { start, end } =
                across.place(minutes(struck.since))..across.place(minutes(struck.until));
            let size = ((end - start).max(THINNEST), BAR);
            picture.rect((start, middle - BAR / 2.0), size, struck.role());
        }
        bottom
    }

    /// Settled a second, and open.
    fn curves(&self) -> (Curve, Curve) {
        let all = self.rest.as_secs_f64();
        let step = (all / POINTS).ceil().max(1.0);
        let mut moments: Vec<(f64, f64, f64)> = Vec::new();
        for (asked, settled) in &self.payments {
            moments.push((*asked, 1.0, 0.0));
            moments.extend(settled.map(|settled| (settled, -1.0, 1.0)));
        }
        moments.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        let mut moments = moments.into_iter().peekable();
        let (mut rates, mut levels, mut open, mut until) = (Vec::new(), Vec::new(), 0.0, 0.0);
        while until < all {
            until += step;
            let mut settled = 0.0;
            while let Some((_, more, done)) = moments.next_if(|(at, ..)| *at < until) {
                open += more;
                settled += done;
            }
            rates.push(((until - step / 2.0) / 60.0, settled / step));
            levels.push((until / 60.0, open));
        }
        (rates, levels)
    }
}

fn minutes(duration: Duration) -> f64 {
    duration.as_secs_f64() / 60.0
}

/// To a tenth, and no tenth of a whole.
fn rounded(value: f64) -> String {
    ((value * 10.0).round() / 10.0).to_string()
}

fn draw_legend(picture: &mut Picture, top: f64) -> f64 {
    let middle = top + 16.0;
    let mut from = MARGIN;
    for (role, words, width) in [
        ("peer", "dead, cut, deleted or restored", 236.0),
        ("other", "frozen, silent, late", 0.0),
    ] {
        picture.rect((from, middle - BAR / 2.0), (BAR, BAR), role);
        picture.text((from + BAR + 6.0, middle + 4.5), "muted", words);
        from += width;
    }
    middle + BAR
}

/// A curve over its own scale; where it ends.
fn draw_plot(picture: &mut Picture, across: &Scale, top: f64, words: &str, points: &[(f64, f64)]) -> f64 {
    let lower = top + PLOT;
    let most = points.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let upwards = Scale::linear(most, (lower, top));
    for tick in upwards.ticks() {
        let y = upwards.place(tick);
        picture.line((LEFT, y), (WIDTH - MARGIN, y), "grid");
        picture.text((LEFT - 8.0, y + 4.5), "muted number end", &tick.to_string());
    }
    picture.text((LEFT, top - 8.0), "muted", words);
    let points: Vec<_> = points
        .iter()
        .map(|(minute, value)| (across.place(*minute), upwards.place(*value)))
        .collect();
    picture.curve(&points, "ours thin");
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        let struck = |fault, since, until| Struck {
            fault,
            since: Duration::from_secs(since),
            until: Duration::from_secs(until),
        };
        Timeline {
            struck: vec![
                struck(Fault::KillNats, 10, 10),
                struck(Fault::Freeze(Replica::App(0)), 20, 40),
            ],
            payments: vec![
                (0.5, Some(1.5)),
                (10.5, Some(12.5)),
                (10.6, Some(12.6)),
                (30.0, None),
            ],
            faults: Duration::from_secs(40),
            rest: Duration::from_mins(1),
        }
    }

    #[test]
    fn every_payment_is_open_until_it_is_settled() {
        let (rates, levels) = timeline().curves();
        let value = |curve: &[(f64, f64)], second: usize| curve[second].1;
        assert!((value(&rates, 1) - 1.0).abs() < f64::EPSILON);
        assert!((value(&rates, 12) - 2.0).abs() < f64::EPSILON);
        assert!((value(&levels, 11) - 2.0).abs() < f64::EPSILON);
        assert!((value(&levels, 29)).abs() < f64::EPSILON);
        assert!((value(&levels, 59) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_over_at_once_is_seen_and_what_stands_still_looks_otherwise() {
        let svg = timeline().draw(&["seed 7".to_owned()]);
        assert!(svg.contains(r#"<rect class="peer" x="187.3""#), "{svg}");
        assert!(svg.contains(r#"width="2.0" height="12.0""#), "{svg}");
        assert!(svg.contains(r#"<rect class="other" x="242.7""#), "{svg}");
        for words in [
            "seed 7",
            "the faults are over",
            "links to NATS",
            "payments settled a second",
        ] {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn each_kind_of_fault_has_a_row() {
        for link in [
            Link::Nats(Replica::App(0)),
            Link::Postgres(Replica::Provider(1)),
            Link::Bank(0),
        ] {
            let fault = Fault::Break(link, Damage::Cut);
            let struck = Struck {
                fault,
                since: Duration::ZERO,
                until: Duration::ZERO,
            };
            assert!(ROWS.get(struck.row()).is_some_and(|row| row.starts_with("links")));
        }
    }
}
