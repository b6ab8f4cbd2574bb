//! Keeps `PAY_OUTCOMES` and invoice-app's durable on it there: makes them at every connect and whenever they are gone.

use std::time::Duration;

use jetstream::{
    connection::Connection,
    streams::{self, Created, Options, PAY_OUTCOMES},
};
use service::telemetry::chain;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How soon a deleted stream is there again, about. Two small calls of the server's API each time.
const PERIOD: Duration = Duration::from_secs(2);
/// The first pause after a failure; doubled up to [`PERIOD`].
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// Runs until `stop`.
pub async fn run(connection: Connection, options: Options, stop: CancellationToken) {
    let jetstream = connection.own_jetstream();
    let mut link = connection.link();
    let mut guard = Guard::default();
    loop {
        let pause = if link.borrow_and_update().connected {
            let ensured = tokio::select! {
                () = stop.cancelled() => return,
                ensured = streams::ensure(&jetstream, PAY_OUTCOMES, options) => ensured,
            };
            guard.observe(ensured)
        } else {
            PERIOD
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            // An error means that the connection's own end is gone; the pause still bounds this loop.
            Ok(()) = link.changed() => {}
        }
    }
}

/// Remembers what was told, so that each change is told once.
#[derive(Default)]
struct Guard {
    trouble: Option<String>,
    failures: u32,
}

impl Guard {
    /// Tells what changed; how long to wait now.
    fn observe(&mut self, ensured: Result<Created, streams::Error>) -> Duration {
        match ensured {
            Ok(_) => {
                if self.trouble.is_some() {
                    info!(
                        nats.stream = PAY_OUTCOMES.stream,
                        "the stream of outcomes and its durable are there again"
                    );
                }
                *self = Self::default();
                PERIOD
            }
            Err(error) => {
                let trouble = chain(&error);
                if self.trouble.as_ref() != Some(&trouble) {
                    warn!(
                        nats.stream = PAY_OUTCOMES.stream,
                        error = trouble,
                        "the stream of outcomes could not be made sure of; trying on"
                    );
                }
                self.trouble = Some(trouble);
                let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(8)).min(PERIOD);
                self.failures = self.failures.saturating_add(1);
                pause
            }
        }
    }
}
