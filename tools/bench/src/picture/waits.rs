//! How long a single payment takes beside what.

use charts::{Picture, Scale};
use serde_json::Value;

use super::panel::{MARGIN, heading, tick, value};
use crate::{numbers::rounded, targets};

/// Of the plot; words stand to its left and numbers to its right.
const PLOT: (f64, f64) = (150.0, 310.0);
const ROW: f64 = 26.0;

const ROWS: [(&str, &str); 3] = [
    ("mixed.alone", "alone"),
    ("mixed.call", "beside a large call"),
    ("mixed.slow_bank", "beside a slow bank"),
];
const PERCENTILES: [&str; 3] = ["p50", "p95", "p99"];

pub(super) fn draw(picture: &mut Picture, told: &Value, top: f64) -> Option<f64> {
    let rows: Vec<_> = ROWS
        .iter()
        .filter_map(|(figure, words)| Some((*words, waits(told, figure)?)))
        .collect();
    let least = rows.iter().map(|(_, [p50, ..])| *p50).reduce(f64::min)?;
    let most = rows.iter().map(|(_, [.., p99])| *p99).reduce(f64::max)?;
    let aim = targets::bound("mixed.call.p95");
    let most = aim.map_or(most, |aim| most.max(aim));
    let scale = Scale::logarithmic((least / 1.3, most * 1.3), PLOT);
    heading(
        picture,
        top,
        "How long it takes beside other payments",
        "milliseconds at p50, p95 and p99; dashed: the aim for p95",
    );
    let (upper, lower) = (
        top + 32.0,
        top + 44.0 + ROW * f64::from(u32::try_from(rows.len()).unwrap_or_default()),
    );
    for value in scale.ticks() {
        let x = scale.place(value);
        picture.line((x, upper), (x, lower), "grid");
        picture.text((x, lower + 18.0), "muted number middle", &tick(value));
    }
    if let Some(aim) = aim {
        let x = scale.place(aim);
        picture.line((x, upper), (x, lower), "aim");
    }
    let mut y = upper + 2.0;
    for (words, waits) in rows {
        y += ROW;
        picture.text((MARGIN, y), "", words);
        let places = waits.map(|wait| scale.place(wait));
        let [p50, p95, p99] = places;
        let middle = y - 5.0;
        picture.line((p50, middle), (p99, middle), "ours thin");
        picture.dot((p99, middle), 4.0, "ours hollow");
        picture.dot((p95, middle), 4.0, "ours");
        picture.dot((p50, middle), 6.0, "ours");
        let numbers = waits.map(rounded).join(" · ");
        picture.text((picture.width() - MARGIN, y), "number end", &numbers);
    }
    Some(lower + 20.0)
}

fn waits(told: &Value, figure: &str) -> Option<[f64; 3]> {
    let [p50, p95, p99] =
        PERCENTILES.map(|percentile| value(told, &format!("{figure}.{percentile}"), "median"));
    Some([p50?, p95?, p99?])
}
