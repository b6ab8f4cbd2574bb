//! Rates as bars, by who they are of.

use charts::{Picture, Scale};
use serde_json::Value;

use super::panel::{MARGIN, heading, value};
use crate::numbers::rounded;

/// Where bars begin, and where the longest ends: its number stands behind it.
const BARS: (f64, f64) = (192.0, 350.0);
const BAR: f64 = 12.0;
const ROW: f64 = 22.0;

/// Rows that belong together: what they are, their role, and each one's figure and words.
type Group = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const GROUPS: &[Group] = &[
    (
        "This system",
        "ours",
        &[
            ("pay_all", "one call pays all"),
            ("replicas", "two replicas of each"),
            ("growth.large", "in a large table"),
            ("backlog", "a very large call"),
            ("mixed.call", "beside single payments"),
            ("pay_each", "single calls"),
            ("pay_each.bank", "single calls, 50 ms bank"),
        ],
    ),
    (
        "What the challenge does",
        "other",
        &[("original", "in memory, one by one")],
    ),
    (
        "What its parts alone allow",
        "other",
        &[
            ("limit.postgres", "Postgres"),
            ("limit.nats", "NATS"),
            ("limit", "both, in turn"),
        ],
    ),
    (
        "What a team would pick instead",
        "peer",
        &[
            ("peer.skip_locked", "skip locked, one a time"),
            ("peer.skip_locked.100", "skip locked, 100 a time"),
            ("peer.pgmq", "pgmq's statements"),
            ("peer.graphile_worker", "graphile-worker (Node)"),
            ("peer.graphile_worker.rust", "graphile_worker (Rust)"),
        ],
    ),
];

pub(super) fn draw(picture: &mut Picture, told: &Value, top: f64) -> Option<f64> {
    let figures = GROUPS
        .iter()
        .flat_map(|(_, _, rows)| rows.iter().map(|(figure, _)| *figure));
    let most = figures
        .filter_map(|figure| value(told, figure, "max"))
        .reduce(f64::max)?;
    let scale = Scale::linear(most, BARS);
    let ours = value(told, "pay_all", "median");
    heading(
        picture,
        top,
        "Invoices paid a second",
        "with ×: how many times as much one call pays",
    );
    let mut y = top + 22.0;
    for (words, role, rows) in GROUPS {
        let measured: Vec<_> = rows
            .iter()
            .filter_map(|(figure, label)| Some((*figure, *label, value(told, figure, "median")?)))
            .collect();
        if measured.is_empty() {
            continue;
        }
        y += 24.0;
        picture.text((MARGIN, y), "muted strong", words);
        for (figure, label, median) in measured {
            y += ROW;
            row(picture, told, (y, &scale), (figure, label, role, median));
            let compared = ours.filter(|_| *role != "ours");
            if let Some(ours) = compared {
                let times = format!("{:.2}×", ours / median);
                picture.text((picture.width() - MARGIN, y), "muted number end", &times);
            }
        }
    }
    Some(y + 6.0)
}

fn row(
    picture: &mut Picture,
    told: &Value,
    (y, scale): (f64, &Scale),
    (figure, label, role, median): (&str, &str, &str, f64),
) {
    let emphasis = if figure == "pay_all" { "strong" } else { "" };
    picture.text((MARGIN, y), emphasis, label);
    let (begin, end) = (BARS.0, scale.place(median));
    picture.rect((begin, y - BAR + 1.0), (end - begin, BAR), role);
    let mut after = end;
    if let (Some(least), Some(most)) = (value(told, figure, "min"), value(told, figure, "max"))
        && least < most
    {
        let middle = y - BAR / 2.0 + 1.0;
        after = scale.place(most);
        picture.line((scale.place(least), middle), (after, middle), "spread");
    }
    picture.text((after + 6.0, y), &format!("number {emphasis}"), &rounded(median));
}
