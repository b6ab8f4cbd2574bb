//! The life of a process: tasks that must not end, one signal, and an ordered end within a time limit.

use std::{
    convert::Infallible,
    future::Future,
    io,
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::log_writer;

/// Of the whole time for shutdown, every group that stops later keeps this part.
const PARTS: u32 = 4;

/// Bad configuration or bad usage (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// The running process: groups of tasks, stopped in the order they were added.
pub struct Process {
    grace: Duration,
    groups: Vec<Group>,
    failure: Arc<Failure>,
    signals: io::Result<Signals>,
}

/// Set as soon as any task ended that should not have.
#[derive(Default)]
struct Failure {
    happened: AtomicBool,
    told: Notify,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Process {
    /// `grace` bounds the whole shutdown; see [`share`] for each group's part. From here on signals do not end the process by themselves. Must run inside a
    /// tokio runtime.
    pub fn new(grace: Duration) -> Self {
        #[cfg(debug_assertions)]
        jetstream::steps::hook(crate::fail_points::pass);
        Self {
            grace,
            groups: Vec::new(),
            failure: Arc::default(),
            signals: Signals::try_new(),
        }
    }

    /// Adds a group: all tasks spawned with its handle stop together, after those of earlier groups have finished.
    pub fn group(&mut self, name: &'static str) -> Group {
        let group = Group {
            name,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            failure: Arc::clone(&self.failure),
        };
        self.groups.push(group.clone());
        group
    }

    /// Runs until SIGTERM, SIGINT, or a task that ends by itself (an error, exit 1, even when it returns `Ok`). Then calls
    /// `on_stop` (unready), stops the groups in order, and ends: 0 when all finished in time after a signal, 1 otherwise.
    /// A second signal ends at once.
    pub async fn run(self, on_stop: impl FnOnce()) -> ExitCode {
        let Self {
            grace,
            groups,
            failure,
            signals,
        } = self;
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(error = %error, "could not listen for signals");
                return ExitCode::FAILURE;
            }
        };
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "stopping: finishing what is in hand"),
            () = failure.wait() => tracing::error!("stopping, since a task ended that must not"),
        }
        on_stop();
        let began = Instant::now();
        tokio::select! {
            in_time = stop_all(&groups, began, grace) => {
                let clean = in_time && !failure.happened.load(Ordering::SeqCst);
                tracing::info!(duration_ms = milliseconds(began), clean, "stopped");
                if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            name = signals.next() => {
                tracing::error!(signal = name, "asked twice: ending at once, with work in hand");
                // Returning would wait for blocking work (a name look-up may take half a minute).
                log_writer::flush();
                std::process::exit(1)
            }
        }
    }
}

/// How long after the beginning of the shutdown a group must have finished, when so many stop after it: a quarter of the time is
/// kept for each of those.
pub fn share(grace: Duration, later: usize) -> Duration {
    let later = u32::try_from(later).unwrap_or(u32::MAX);
    grace.saturating_sub((grace / PARTS).saturating_mul(later))
}

/// Stops group after group; false when one had not finished within its share of the time.
async fn stop_all(groups: &[Group], began: Instant, grace: Duration) -> bool {
    let mut in_time = true;
    for (later, group) in (0..groups.len()).rev().zip(groups) {
        group.stop.cancel();
        group.tasks.close();
        if timeout_at(began + share(grace, later), group.tasks.wait())
            .await
            .is_err()
        {
            in_time = false;
            tracing::error!(
                group = group.name,
                tasks = group.tasks.len(),
                "tasks did not finish in time"
            );
        }
    }
    in_time
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Signals {
    fn try_new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Failure {
    fn tell(&self) {
        self.happened.store(true, Ordering::SeqCst);
        self.told.notify_one();
    }

    async fn wait(&self) {
        while !self.happened.load(Ordering::SeqCst) {
            self.told.notified().await;
        }
    }
}

/// Spawns tasks of one group.
#[derive(Clone)]
pub struct Group {
    name: &'static str,
    stop: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<Failure>,
}

impl Group {
    /// Cancelled when this group is to stop: tasks take no new work, finish what they hold, and return.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// [`spawn`](Self::spawn) for a task that cannot fail.
    pub fn spawn_infallible(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, task.map(Ok::<(), Infallible>));
    }

    /// Spawns a task that is to run until the group's stop. Ending earlier takes the process down; so does a panic.
    pub fn spawn<F, T, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let (stop, failure, group) = (self.stop.clone(), Arc::clone(&self.failure), self.name);
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            let stopping = stop.is_cancelled();
            match ended {
                Ok(Ok(_)) if stopping => return,
                Ok(Ok(_)) => tracing::error!(group, task = name, "task {name} ended by itself"),
                Ok(Err(error)) => tracing::error!(group, task = name, error = %error, "task {name} failed"),
                Err(_) => tracing::error!(group, task = name, "task {name} panicked"),
            }
            failure.tell();
        });
    }
}
