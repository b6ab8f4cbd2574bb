//! The life of a process: tasks that must not end, one signal, and an ordered end within a time limit.

use std::{future::Future, process::ExitCode, time::Duration};

use tokio_util::sync::CancellationToken;

/// Bad configuration or bad usage (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// The running process: groups of tasks, stopped in the order they were added.
pub struct Process {}

impl Process {
    /// `grace` bounds the whole shutdown.
    #[must_use]
    pub fn new(_grace: Duration) -> Self {
        todo!()
    }

    /// Adds a group: all tasks spawned with its handle stop together, after those of earlier groups have finished.
    pub fn group(&mut self, _name: &'static str) -> Group {
        todo!()
    }

    /// Runs until SIGTERM, SIGINT, or a task that ends by itself (an error, exit 1, even when it returns `Ok`). Then calls
    /// `on_stop` (unready), stops the groups in order, and ends: 0 when all finished in time after a signal, 1 otherwise.
    /// A second signal ends at once.
    pub async fn run(self, _on_stop: impl FnOnce()) -> ExitCode {
        todo!()
    }
}

/// Spawns tasks of one group.
#[derive(Clone)]
pub struct Group {}

impl Group {
    /// Cancelled when this group is to stop: tasks take no new work, finish what they hold, and return.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        todo!()
    }

    /// Spawns a task that is to run until the group's stop. Ending earlier takes the process down; so does a panic.
    pub fn spawn<F, T, E>(&self, _name: &'static str, _task: F)
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        todo!()
    }

    /// Spawns a short piece of work that may end by itself (it is waited for on shutdown); a panic in it is logged.
    pub fn spawn_work<F>(&self, _work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        todo!()
    }
}
