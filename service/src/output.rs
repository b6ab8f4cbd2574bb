//! What operators' commands print: tables and fields for people, JSON for programs. What is shown may be somebody else's text: no
//! control character of it gets through.

use std::{fmt::Write as _, io::Write as _};

use payment_contract::{Currency, Money, timestamp};
use serde_json::Value;
use time::OffsetDateTime;

/// To standard output. Nothing is left to be done about a reader that has had enough, as `head` does.
pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Aligned columns under a heading.
pub fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// One name and value a line.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for (name, value) in fields {
        let _ = writeln!(text, "{name:width$}  {value}");
    }
    text
}

/// Prints what a command shows: JSON for programs, or text for people.
pub fn show(json: bool, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
    print(&if json { format!("{:#}\n", value()) } else { text() });
}

/// A time.
pub fn time(at: OffsetDateTime) -> String {
    timestamp::Display(at).to_string()
}

/// A value in its currency's decimals; nothing for what is no money.
pub fn value(minor_units: i64, currency: &str) -> Option<String> {
    let currency = Currency::try_new(currency).ok()?;
    let money = Money::try_from_minor_units(minor_units, currency).ok()?;
    Some(money.value())
}

/// The same with its currency, whatever it is.
pub fn amount(minor_units: i64, currency: &str) -> String {
    let value = value(minor_units, currency).unwrap_or_else(|| format!("{minor_units} minor units of"));
    format!("{value} {currency}")
}

/// One line: control characters escaped, and those that reorder text on screen.
pub fn line(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Zero-width and bidirectional controls, line and paragraph separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// A text that may be missing.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}
