//! Starts again what dies, as a cluster would, and keeps `env` true meanwhile.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::{Stack, process::Program};

/// A process that ends this soon after its start has not really started: `env` does not name it.
const SETTLING: Duration = Duration::from_millis(200);
/// Between two starts; also under a crash loop the next try comes within two seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Watches a stack until it is stopped or dropped.
#[derive(Debug)]
pub struct Supervisor {
    stack: Arc<Stack>,
    watches: JoinSet<()>,
}

impl Supervisor {
    /// Starts watching. Must run inside a tokio runtime.
    pub fn new(stack: Arc<Stack>) -> Self {
        let mut watches = JoinSet::new();
        for index in 0..stack.programs().len() {
            let stack = Arc::clone(&stack);
            watches.spawn(async move {
                if let Some(program) = stack.programs().get(index) {
                    keep_running(&stack, program).await;
                }
            });
        }
        Self { stack, watches }
    }

    /// Stops watching, then stops the stack in good order.
    pub async fn stop(mut self) {
        self.watches.shutdown().await;
        self.stack.stop().await;
    }
}

async fn keep_running(stack: &Stack, program: &Program) {
    let name = &program.spec().name;
    let mut pause = Duration::ZERO;
    while let Some(process) = program.process() {
        // Returns once the process is gone; when it cannot be waited for, it is gone as well.
        let status = process.wait().await;
        let status = status.map_or_else(|| "an unknown status".to_owned(), |status| status.to_string());
        eprintln!(
            "{name} (pid {}) ended with {status}; starting it again",
            process.pid()
        );
        drop(process);
        program.released().await;
        tokio::time::sleep(pause).await;
        pause = if start_again(stack, program).await {
            Duration::ZERO
        } else {
            LONGEST_PAUSE.min(pause * 2 + Duration::from_millis(50))
        };
    }
}

/// Whether the new process runs longer than a moment.
async fn start_again(stack: &Stack, program: &Program) -> bool {
    let name = &program.spec().name;
    let process = match program.start().await {
        Ok(process) => process,
        Err(error) => {
            eprintln!("{name}: {error}");
            return false;
        }
    };
    if tokio::time::timeout(SETTLING, process.wait()).await.is_ok() {
        return false;
    }
    if let Err(error) = stack.write_env() {
        eprintln!("{error}");
    }
    true
}
