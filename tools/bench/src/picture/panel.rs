//! What the panels have in common.

use charts::Picture;
use serde_json::Value;

use crate::numbers::rounded;

/// Narrow enough for a phone, and for words that can be read there.
pub(super) const WIDTH: f64 = 480.0;
/// On all sides.
pub(super) const MARGIN: f64 = 16.0;
/// The heading of a panel, and what its numbers are.
pub(super) fn heading(picture: &mut Picture, top: f64, words: &str, note: &str) {
    picture.text((MARGIN, top), "heading", words);
    picture.text((MARGIN, top + 18.0), "muted", note);
}

/// A figure's value: `median`, `min` or `max`.
pub(super) fn value(told: &Value, figure: &str, which: &str) -> Option<f64> {
    told.get("figures")?.get(figure)?.get(which)?.as_f64()
}

/// A round value, as it stands beside an axis.
pub(super) fn tick(value: f64) -> String {
    if value < 1000.0 {
        value.to_string()
    } else {
        rounded(value)
    }
}
