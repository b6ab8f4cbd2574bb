//! Log lines on their way to standard error. A thread of its own writes them, many at a time, so that a pipe nobody reads from holds
//! up no payment: what there is no room for is dropped and counted.

use std::{
    io::{self, BufWriter, Write},
    sync::{Mutex, OnceLock, mpsc},
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::lock;

/// Lines that may wait: some seconds of a busy service, and a few MiB.
const WAITING_LINES: usize = 16_384;
/// Longest that the end of a process waits for its last lines.
const FLUSH_LIMIT: Duration = Duration::from_millis(1500);
const DROPPED: &str = "log_lines_dropped_total";

static WRITING: Mutex<Option<WorkerGuard>> = Mutex::new(None);
static COUNTER: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that come while it has just written wait this long for company: waking the thread costs more than a line does.
const GATHER: Duration = Duration::from_millis(20);

/// Is flushed whenever there are no more lines for now.
struct Gathering<W>(W);

impl<W: Write> Write for Gathering<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        std::thread::sleep(GATHER);
        flushed
    }
}

/// A writer of lines, and the thread behind it. Used once.
pub(crate) fn start() -> NonBlocking {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("logs")
        .finish(Gathering(BufWriter::new(io::stderr())));
    // A second start is not installed either, and ends here.
    if COUNTER.set(writer.error_counter()).is_ok() {
        *lock(&WRITING) = Some(guard);
    }
    writer
}

/// Writes what still waits, within `FLUSH_LIMIT`, and ends logging. To be called before the process ends by itself.
pub fn flush() {
    let Some(guard) = lock(&WRITING).take() else {
        return;
    };
    // The guard's own limits do not hold where standard output leads to the same pipe.
    let (done, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        drop(guard);
        drop(done);
    });
    let _ = ended.recv_timeout(FLUSH_LIMIT);
}

pub(crate) fn describe() {
    metrics::describe_counter!(
        DROPPED,
        "log lines that nobody took from the process in time, and that are lost"
    );
    count_dropped();
}

/// Brings the metric up to date.
pub(crate) fn count_dropped() {
    let dropped = COUNTER.get().map_or(0, ErrorCounter::dropped_lines);
    metrics::counter!(DROPPED).absolute(u64::try_from(dropped).unwrap_or(u64::MAX));
}
