//! The bank's record: a file that only grows, one JSON object a line, on the disk before anybody hears of it.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::mpsc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::faults::{CallKind, Fault};
use crate::Result;

/// Written to disk together, at most.
const LARGEST_GROUP: usize = 4096;

/// Something the bank did or saw. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A call arrived.
    Call {
        /// When.
        at: u64,
        /// Order or look-up.
        call: CallKind,
        /// Its key.
        key: Uuid,
        /// The invoice it is about; empty for a look-up of a key never seen.
        invoice: String,
        /// Which of these calls about the invoice it is, from 1.
        n: u32,
        /// What went wrong with it.
        fault: Option<Fault>,
    },
    /// An order was taken, to be charged later.
    Pending {
        /// When.
        at: u64,
        /// Its key.
        key: Uuid,
        /// What for.
        invoice: String,
        /// How much, as it was sent.
        value: String,
        /// In which currency.
        currency: String,
        /// When it will be charged.
        due: u64,
    },
    /// An order was ended: charged, or declined.
    Charge {
        /// When.
        at: u64,
        /// Its key.
        key: Uuid,
        /// What for.
        invoice: String,
        /// How much, as it was sent.
        value: String,
        /// In which currency.
        currency: String,
        /// `succeeded` or `declined`.
        status: String,
        /// Why it was declined.
        reason: Option<String>,
        /// The bank's reference.
        reference: String,
    },
    /// A call arrived while another under the same key was in flight.
    Overlap {
        /// When the second arrived.
        at: u64,
        /// When the first had.
        since: u64,
        /// Their key.
        key: Uuid,
        /// What the first was.
        first: CallKind,
        /// What the second is.
        second: CallKind,
    },
    /// A caller broke the protocol.
    Misuse {
        /// When.
        at: u64,
        /// How.
        what: String,
    },
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Line {
    text: String,
    on_disk: Option<oneshot::Sender<()>>,
}

/// Writes events in the order in which they are handed over. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    lines: mpsc::Sender<Line>,
}

impl Journal {
    /// Opens or makes the file; answers with what it holds. A last line that a crash cut off was heard of by nobody, and goes.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Event>)> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let events = parse(text.get(..whole).unwrap_or_default())?;
        file.set_len(u64::try_from(whole)?)?;
        file.seek(SeekFrom::End(0))?;
        let (lines, inbox) = mpsc::channel();
        std::thread::spawn(move || write(file, &inbox));
        Ok((Self { lines }, events))
    }

    /// Hands events over. The receiver hears when they are on the disk.
    pub(super) fn append(&self, events: &[Event]) -> oneshot::Receiver<()> {
        let (on_disk, heard) = oneshot::channel();
        let mut text = String::new();
        for event in events {
            // Nothing in an event can fail to be written.
            text += &serde_json::to_string(event).unwrap_or_default();
            text.push('\n');
        }
        // A writer that is gone has taken the process down with it.
        let _ = self.lines.send(Line {
            text,
            on_disk: Some(on_disk),
        });
        heard
    }
}

/// Reads the events of a journal's whole lines.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Event>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            serde_json::from_slice(line)
                .map_err(|error| format!("{}: {error}", String::from_utf8_lossy(line)).into())
        })
        .collect()
}

/// What is ready is written and brought to the disk together.
fn write(mut file: File, inbox: &mpsc::Receiver<Line>) {
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        group.extend(inbox.try_iter().take(LARGEST_GROUP));
        let text: String = group.iter().map(|line| line.text.as_str()).collect();
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            // A bank that cannot write may not charge.
            eprintln!("bank-simulator: could not write its journal: {error}");
            std::process::exit(1);
        }
        for line in group {
            if let Some(on_disk) = line.on_disk {
                // Its caller may have hung up.
                let _ = on_disk.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misuse(what: &str) -> Event {
        Event::Misuse {
            at: 1,
            what: what.to_owned(),
        }
    }

    #[tokio::test]
    async fn what_was_confirmed_is_there_after_a_crash_and_a_line_cut_off_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (journal, events) = Journal::open(&path).unwrap();
        assert_eq!(events, []);
        journal.append(&[misuse("a"), misuse("b")]).await.unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"event":"misuse","at":1,"wh"#).unwrap();

        let (journal, events) = Journal::open(&path).unwrap();
        assert_eq!(events, [misuse("a"), misuse("b")]);
        journal.append(&[misuse("c")]).await.unwrap();
        let (_, events) = Journal::open(&path).unwrap();
        assert_eq!(events, [misuse("a"), misuse("b"), misuse("c")]);
    }
}
