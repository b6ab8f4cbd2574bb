//! Dead letters as text for a terminal. Their content is a stranger's: no control character of it gets through.

use std::fmt::Write as _;

use payment_contract::timestamp;

use super::Letter;

/// Longest reason in a table; `show` has all of it.
const REASON_WIDTH: usize = 100;

pub(super) fn time(at: ::time::OffsetDateTime) -> String {
    timestamp::Display(at).to_string()
}

/// Aligned columns under a heading.
pub(super) fn table(letters: &[Letter]) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut rows = vec![["ID", "RECEIVED", "SUBJECT", "SEQUENCE", "STATE", "REASON"].map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| {
        [
            letter.id.to_string(),
            time(letter.received_at),
            line(&letter.subject),
            letter.stream_sequence.to_string(),
            letter.resolution.as_deref().unwrap_or("open").to_owned(),
            shortened(&line(&letter.reason)),
        ]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect::<Vec<_>>();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// Everything about one.
pub(super) fn letter(letter: &Letter) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "id        {}", letter.id);
    let _ = writeln!(text, "received  {}", time(letter.received_at));
    if let (Some(resolution), Some(at)) = (&letter.resolution, letter.resolved_at) {
        let _ = writeln!(text, "{resolution:9} {}", time(at));
    }
    let _ = writeln!(text, "subject   {}", line(&letter.subject));
    let _ = writeln!(text, "sequence  {}", letter.stream_sequence);
    let _ = writeln!(text, "reason    {}", line(&letter.reason));
    let _ = writeln!(
        text,
        "\nheaders ({} bytes)\n{}",
        letter.headers.len(),
        block(&letter.headers)
    );
    let _ = writeln!(
        text,
        "\nbody ({} bytes)\n{}",
        letter.body.len(),
        block(&letter.body)
    );
    text
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= REASON_WIDTH {
        return text.to_owned();
    }
    text.chars().take(REASON_WIDTH - 1).chain(['…']).collect()
}

/// One line: control characters escaped, and those that reorder text on screen.
pub(super) fn line(text: &str) -> String {
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

/// Bytes as lines of text, what is not UTF-8 replaced.
fn block(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .split('\n')
        .map(|text| line(text.strip_suffix('\r').unwrap_or(text)));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::time::macros::datetime;

    fn letter_of(body: &[u8], reason: &str) -> Letter {
        Letter {
            id: 7,
            subject: "pay.v1.request.eur".to_owned(),
            reason: reason.to_owned(),
            stream_sequence: 42,
            headers: b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n".to_vec(),
            body: body.to_vec(),
            received_at: datetime!(2026-01-02 03:04:05 UTC),
            resolved_at: None,
            resolution: None,
        }
    }

    #[test]
    fn nothing_in_a_letter_can_steer_the_terminal() {
        let hostile = letter_of(
            b"\x1b[2J\xff\0{\"a\":\x07\"\xe2\x80\xae\"}\rx\nnext",
            "bad\u{1b}]0;x\u{7}\r\nreason",
        );
        for text in [letter(&hostile), table(&[hostile])] {
            assert!(
                text.chars()
                    .all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')),
                "{text:?}"
            );
            assert!(text.contains(r"bad\u{1b}]0;x\u{7}\r\nreason"), "{text}");
        }
    }

    #[test]
    fn a_table_is_aligned() {
        let text = table(&[letter_of(b"", "short"), letter_of(b"", &"é".repeat(500))]);
        let columns = text
            .lines()
            .map(|line| line.find("pay.v1").or(line.find("SUBJECT")));
        assert!(
            columns
                .clone()
                .all(|column| column.is_some() && column == columns.clone().next().unwrap())
        );
        assert!(text.lines().all(|line| line.chars().count() < 200));
        assert_eq!(table(&[]), "no dead letters\n");
    }

    #[test]
    fn a_letter_shows_its_headers_and_body() {
        let text = letter(&letter_of(b"{\"x\":1}", "bad"));
        assert!(text.contains("NATS/1.0\nNats-Msg-Id: x\n"), "{text}");
        assert!(text.contains("body (7 bytes)\n{\"x\":1}\n"), "{text}");
    }
}
