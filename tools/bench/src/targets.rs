//! What the figures ought to be, as ratios within one run.

use std::fmt;

use serde::Serialize;

use super::numbers::rounded;

/// On which side of the bound a figure ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// At least the bound.
    AtLeast,
    /// At most the bound.
    AtMost,
}

/// A target, and whether it is met.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// In words.
    pub what: &'static str,
    /// What it is.
    pub value: f64,
    /// What it ought to be.
    pub bound: f64,
    /// On which side.
    pub side: Side,
    /// Whether it is there.
    pub met: bool,
}

/// In words; the figure; the one it is compared with, if any; and the bound.
type Row = (&'static str, &'static str, Option<&'static str>, Side, f64);

const ROWS: &[Row] = &[
    ("pay_all / limit", "pay_all", Some("limit"), Side::AtLeast, 0.6),
    (
        "pay_all / original",
        "pay_all",
        Some("original"),
        Side::AtLeast,
        0.3,
    ),
    (
        "pay_all / original, the aim",
        "pay_all",
        Some("original"),
        Side::AtLeast,
        1.0,
    ),
    (
        "pay_each / pay_all",
        "pay_each",
        Some("pay_all"),
        Side::AtLeast,
        0.25,
    ),
    (
        "pay_each: p50 at a tenth / a commit",
        "pay_each.tenth.p50",
        Some("commit"),
        Side::AtMost,
        8.0,
    ),
    (
        "pay_each: p50 at a tenth / its parts alone",
        "pay_each.tenth.p50",
        Some("limit.single"),
        Side::AtMost,
        1.5,
    ),
    (
        "a single beside a large call: p95, ms",
        "mixed.call.p95",
        None,
        Side::AtMost,
        250.0,
    ),
    (
        "growth: 1,000,000 rows / 10,000",
        "growth.large",
        Some("growth.small"),
        Side::AtLeast,
        0.9,
    ),
    (
        "two replicas of each / one",
        "replicas",
        Some("pay_all"),
        Side::AtLeast,
        0.9,
    ),
    (
        "deep page / first page",
        "list.deep",
        Some("list.first"),
        Side::AtMost,
        2.0,
    ),
    (
        "backlog: last third / first third",
        "backlog.last_third",
        None,
        Side::AtLeast,
        0.9,
    ),
    (
        "backlog: sent twice",
        "backlog.sent_twice",
        None,
        Side::AtMost,
        0.0,
    ),
    (
        "invoice-app idle, MiB",
        "idle.invoice-app",
        None,
        Side::AtMost,
        40.0,
    ),
    (
        "payment-provider idle, MiB",
        "idle.payment-provider",
        None,
        Side::AtMost,
        40.0,
    ),
    (
        "invoice-app at most, MiB",
        "peak.invoice-app",
        None,
        Side::AtMost,
        150.0,
    ),
    (
        "payment-provider at most, MiB",
        "peak.payment-provider",
        None,
        Side::AtMost,
        150.0,
    ),
    (
        "invoice-app in the crowd, MiB",
        "crowd.invoice-app",
        None,
        Side::AtMost,
        200.0,
    ),
    (
        "payment-provider in the crowd, MiB",
        "crowd.payment-provider",
        None,
        Side::AtMost,
        100.0,
    ),
    (
        "invoice-app start to ready, s",
        "start.invoice-app",
        None,
        Side::AtMost,
        1.0,
    ),
    (
        "payment-provider start to ready, s",
        "start.payment-provider",
        None,
        Side::AtMost,
        1.0,
    ),
];

/// Judges what was measured, given each figure's median; targets about other figures are left out.
pub fn judge(median: impl Fn(&str) -> Option<f64>) -> Vec<Target> {
    let judged = ROWS.iter().filter_map(|(what, figure, base, side, bound)| {
        let value = median(figure)?;
        let value = match base {
            Some(base) => value / median(base)?,
            None => value,
        };
        Some(Target::new(what, value, *side, *bound))
    });
    judged.collect()
}

/// What a figure ought to be that is judged by itself.
pub fn bound(figure: &str) -> Option<f64> {
    let row = ROWS
        .iter()
        .find(|(_, known, base, ..)| *known == figure && base.is_none());
    row.map(|(.., bound)| *bound)
}

impl Target {
    fn new(what: &'static str, value: f64, side: Side, bound: f64) -> Self {
        let met = match side {
            Side::AtLeast => value >= bound,
            Side::AtMost => value <= bound,
        };
        Self {
            what,
            value,
            bound,
            side,
            met,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::AtLeast => "at least",
            Side::AtMost => "at most",
        };
        write!(
            f,
            "{:<8} {:<60} {:>8}, {side} {}",
            if self.met { "met" } else { "NOT MET" },
            self.what,
            rounded(self.value),
            rounded(self.bound)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_judged_only_when_both_its_figures_were_measured() {
        let pay_all = |figure: &str| (figure == "pay_all").then_some(5000.0);
        assert!(judge(pay_all).is_empty());
        let all = |figure: &str| match figure {
            "limit" => Some(8000.0),
            "original" => Some(20_000.0),
            figure => pay_all(figure),
        };
        let met: Vec<bool> = judge(all).iter().map(|target| target.met).collect();
        assert_eq!(met, [true, false, false]);
    }

    #[test]
    fn the_bound_itself_is_good_enough() {
        assert!(Target::new("x", 0.6, Side::AtLeast, 0.6).met);
        assert!(!Target::new("x", 0.59, Side::AtLeast, 0.6).met);
        assert!(Target::new("x", 2.0, Side::AtMost, 2.0).met);
        assert!(!Target::new("x", 2.1, Side::AtMost, 2.0).met);
    }
}
