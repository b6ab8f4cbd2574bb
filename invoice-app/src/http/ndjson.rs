//! Splits a stream of bytes into lines, holding at most one line.

use bytes::Bytes;

/// The longest line, in bytes. Longer ones are told and skipped.
pub const MAX_LINE: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// That line is longer than it may be, and only its end is waited for.
    too_long: bool,
    any: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes, without the line end.
    Whole(&'a [u8]),
    /// It was longer than [`MAX_LINE`].
    TooLong,
}

impl Line<'_> {
    /// What is told of a line that is too long.
    pub fn too_long(&self) -> String {
        format!("the line is longer than {MAX_LINE} bytes")
    }
}

impl Lines {
    /// Splits the next piece at its first line end: the piece's rest, and whether a line is complete now and can be had
    /// with [`Lines::line`].
    pub fn feed(&mut self, piece: &mut Bytes) -> bool {
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = piece.split_to(end.map_or(piece.len(), |end| end + 1));
        let text = taken.strip_suffix(b"\n").unwrap_or(&taken);
        self.any |= !taken.is_empty();
        if self.begun.len() + text.len() > MAX_LINE {
            self.too_long = true;
            self.begun.clear();
        }
        if !self.too_long {
            self.begun.extend_from_slice(text);
        }
        end.is_some()
    }

    /// Gives the line that is complete to `f`, and begins the next.
    pub fn line<T>(&mut self, f: impl FnOnce(Line<'_>) -> T) -> T {
        let line = if self.too_long {
            Line::TooLong
        } else {
            Line::Whole(self.begun.strip_suffix(b"\r").unwrap_or(&self.begun))
        };
        let value = f(line);
        self.begun.clear();
        (self.too_long, self.any) = (false, false);
        value
    }

    /// Whether a last line without an end is left.
    pub const fn has_rest(&self) -> bool {
        self.any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let mut show = |lines: &mut Lines| {
            all.push(lines.line(|line| match line {
                Line::Whole(text) => String::from_utf8_lossy(text).into_owned(),
                Line::TooLong => "too long".to_owned(),
            }));
        };
        for piece in pieces {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                if lines.feed(&mut piece) {
                    show(&mut lines);
                }
            }
        }
        if lines.has_rest() {
            show(&mut lines);
        }
        all
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let whole = b"one\r\ntwo\n\nfour";
        let expected = ["one", "two", "", "four"];
        assert_eq!(split(&[whole]), expected);
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(split(&bytes), expected);
        assert_eq!(split(&[b"one\n"]), ["one"]);
        assert!(split(&[]).is_empty());
    }

    #[test]
    fn a_line_too_long_is_told_without_being_held() {
        let long = vec![b'x'; MAX_LINE];
        assert_eq!(
            split(&[&long, b"\nnext\n"]),
            [String::from_utf8(long.clone()).unwrap(), "next".to_owned()]
        );
        assert_eq!(split(&[&long, b"y", b"z\nnext\n"]), ["too long", "next"]);
        assert_eq!(split(&[&long, b"y"]), ["too long"]);
    }
}
