//! Keeps our stream and its durable in NATS as they should be, and notices when NATS has forgotten them or the durable we
//! read: then everything without an outcome is due again.

use std::{sync::Arc, time::Duration};

use jetstream::{connection::Connection, streams};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    metrics,
    store::{Store, nats_incarnation::Remembered},
};

/// How often NATS is looked at while all is well.
const EVERY: Duration = Duration::from_secs(2);
/// The longest pause between attempts while something is wrong.
const SLOWEST: Duration = Duration::from_secs(10);

/// The task's state.
pub struct StreamProvisioner {
    store: Store,
    connection: Connection,
    options: streams::Options,
    sweep: Arc<Notify>,
    /// Creation times as last compared: while NATS shows the same, the database need not be asked.
    known: Option<Seen>,
}

type Seen = [(&'static str, OffsetDateTime); 3];

/// Why a look at NATS came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// NATS did not do as asked.
    #[error("could not keep the streams")]
    Streams(#[from] streams::Error),
    /// Creation times could not be compared.
    #[error("could not compare creation times")]
    Database(#[from] sqlx::Error),
}

/// What a look at NATS found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The durable we read does not exist yet: the other side makes it.
    PeerMissing,
    /// All there, and compared.
    Compared(Remembered),
}

impl StreamProvisioner {
    /// A guard that wakes `sweep` when rows became due.
    #[must_use]
    pub const fn new(
        store: Store,
        connection: Connection,
        options: streams::Options,
        sweep: Arc<Notify>,
    ) -> Self {
        Self {
            store,
            connection,
            options,
            sweep,
            known: None,
        }
    }

    /// Looks until `stop`, at once after every reconnect.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut link = self.connection.link();
        let mut failing: Option<String> = None;
        let mut pause = EVERY;
        while !stop.is_cancelled() {
            if link.borrow_and_update().connected {
                match self.step().await {
                    Ok(_) => {
                        pause = EVERY;
                        if failing.take().is_some() {
                            info!("the streams are as they should be again");
                        }
                    }
                    Err(error) => {
                        pause = (pause * 2).min(SLOWEST);
                        let error = service::telemetry::chain(&error);
                        if failing.as_ref() != Some(&error) {
                            warn!(%error, "the streams are not as they should be; trying again");
                            failing = Some(error);
                        }
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                // An error: the connection is closed for good, and the pause alone bounds this loop.
                Ok(()) = link.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Makes what is missing, and compares creation times once all three are there.
    pub async fn step(&mut self) -> Result<Looked, Error> {
        let own = streams::ensure(
            &self.connection.own_jetstream(),
            streams::PAY_REQUESTS,
            self.options,
        )
        .await?;
        let peer =
            streams::peer_durable_created(&self.connection.peer_jetstream(), streams::PAY_OUTCOMES).await?;
        let Some(peer) = peer else {
            return Ok(Looked::PeerMissing);
        };
        let seen = [
            ("PAY_REQUESTS", own.stream),
            ("PAY_REQUESTS/payment-provider", own.durable),
            ("PAY_OUTCOMES/invoice-app", peer),
        ];
        if self.known == Some(seen) {
            return Ok(Looked::Compared(Remembered::Everything));
        }
        let remembered = self.store.remember_created(&seen).await?;
        self.known = Some(seen);
        match remembered {
            Remembered::Everything => {}
            Remembered::FirstSeen(_) => self.sweep.notify_one(),
            Remembered::Forgot(payments) => {
                metrics::nats_forgot();
                warn!(
                    payments,
                    "NATS has forgotten; every request without an outcome is sent again"
                );
                self.sweep.notify_one();
            }
        }
        Ok(Looked::Compared(remembered))
    }
}
