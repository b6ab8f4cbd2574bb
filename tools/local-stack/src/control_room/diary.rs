//! What is happening, in lines: what the switches did, and the ends of all logs.

use std::{
    collections::{HashMap, VecDeque},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::Serialize;
use time::OffsetDateTime;

use super::{Room, lock};

/// Enough to see what has just happened; the files have it all.
const KEPT: usize = 60;
/// Of one file at a time: a service that is busy must not push everybody else out.
const AT_ONCE: usize = 8;
/// What is longer is read from its end.
const READ_AT_ONCE: u64 = 16 * 1024;
const EVERY: Duration = Duration::from_millis(500);
const LONGEST_LINE: usize = 300;

#[derive(Clone, Serialize)]
pub(super) struct Line {
    at: String,
    from: String,
    text: String,
}

#[derive(Default)]
pub(super) struct Diary(Mutex<VecDeque<Line>>);

impl Diary {
    /// Writes down what the control room did.
    pub(super) fn say(&self, text: &str) {
        self.add("control room", text);
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        lock(&self.0).iter().cloned().collect()
    }

    fn add(&self, from: &str, text: &str) {
        let mut lines = lock(&self.0);
        while lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(Line {
            at: clock(OffsetDateTime::now_utc()),
            from: from.to_owned(),
            text: text
                .chars()
                .filter(|c| !c.is_control())
                .take(LONGEST_LINE)
                .collect(),
        });
    }
}

/// What goes well is a line for each payment, and is seen to move anyway.
fn is_routine(line: &str) -> bool {
    line.trim().is_empty() || (line.contains(" INFO ") && line.contains("payment.id="))
}

/// Reads what is appended to the logs, for ever.
pub(super) async fn follow_logs(room: Arc<Room>) {
    let logs = room.stack.directory().join("logs");
    let mut read: HashMap<String, u64> = HashMap::new();
    let mut first = true;
    loop {
        for (name, size) in sizes(&logs) {
            // What is there already is of the start.
            let from = read.entry(name.clone()).or_insert(if first { size } else { 0 });
            if size > *from {
                let start = (*from).max(size.saturating_sub(READ_AT_ONCE));
                let text = appended(&logs.join(&name), start, size).unwrap_or_default();
                *from = size;
                let lines: Vec<&str> = text.lines().filter(|line| !is_routine(line)).collect();
                let kept = lines
                    .get(lines.len().saturating_sub(AT_ONCE)..)
                    .unwrap_or_default();
                for line in kept {
                    room.diary.add(name.trim_end_matches(".log"), line);
                }
            }
        }
        first = false;
        tokio::time::sleep(EVERY).await;
    }
}

fn sizes(logs: &Path) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(logs).into_iter().flatten().flatten();
    files
        .filter_map(|file| Some((file.file_name().into_string().ok()?, file.metadata().ok()?.len())))
        .collect()
}

fn appended(log: &Path, from: u64, to: u64) -> std::io::Result<String> {
    let mut file = std::fs::File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(to - from).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `14:03:59`, UTC.
pub(super) fn clock(time: OffsetDateTime) -> String {
    format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
}
