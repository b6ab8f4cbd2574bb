//! Dead letters as text for a terminal. Their content is somebody else's: no control character of it gets through.

use std::fmt::Write as _;

use super::Letter;
use crate::output::{self, line, time};

/// Longest reason in a table; `show` has all of it.
const REASON_WIDTH: usize = 100;

/// Aligned columns under a heading.
pub(super) fn table(letters: &[Letter]) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let heading = [
        "ID", "RECEIVED", "TIMES", "SUBJECT", "SEQUENCE", "STATE", "REASON",
    ];
    let rows = letters.iter().map(|letter| {
        [
            letter.id.to_string(),
            time(letter.received_at),
            letter.times.to_string(),
            line(&letter.subject),
            letter.stream_sequence.to_string(),
            letter.state().to_owned(),
            shortened(&line(&letter.reason)),
        ]
    });
    output::table(heading, rows)
}

/// Everything about one.
pub(super) fn letter(letter: &Letter) -> String {
    let mut fields = vec![
        ("id", letter.id.to_string()),
        ("received", time(letter.received_at)),
    ];
    if letter.times > 1 {
        fields.push(("again", time(letter.last_received_at)));
        fields.push(("times", letter.times.to_string()));
    }
    if let (Some(resolution), Some(at)) = (&letter.resolution, letter.resolved_at) {
        fields.push((resolution, time(at)));
    }
    fields.push(("subject", line(&letter.subject)));
    fields.push(("sequence", letter.stream_sequence.to_string()));
    fields.push(("reason", line(&letter.reason)));
    let mut text = output::fields(&fields);
    for (name, bytes) in [("headers", &letter.headers), ("body", &letter.body)] {
        let _ = writeln!(text, "\n{name} ({} bytes)\n{}", bytes.len(), block(bytes));
    }
    text
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= REASON_WIDTH {
        return text.to_owned();
    }
    text.chars().take(REASON_WIDTH - 1).chain(['…']).collect()
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
            last_received_at: datetime!(2026-01-02 03:04:05 UTC),
            times: 1,
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
