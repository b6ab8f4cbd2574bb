//! Notices when NATS has forgotten our stream, a consumer of it, or the one that we read by: then everything without an outcome
//! is due again.

use std::sync::Arc;

use jetstream::provisioning::{self, Provision, StreamProvisioner, peer_consumer_created};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tracing::warn;

use crate::{
    metrics,
    store::{Store, nats_incarnation::Incarnation},
    streams::OUTCOMES,
};

/// Compares when NATS made the stream and the consumers with what the database knows.
pub struct NatsIncarnation {
    store: Store,
    provisioner: StreamProvisioner,
    sweep: Arc<Notify>,
    /// Creation times as last compared: while NATS shows the same, the database need not be asked.
    known: Seen,
}

type Seen = Vec<(String, OffsetDateTime)>;

/// Why a look at NATS came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not keep the streams")]
    Streams(#[from] provisioning::Error),
    #[error("could not compare creation times")]
    Database(#[from] sqlx::Error),
}

/// What a look at NATS found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The consumer we read by does not exist yet: the other side makes it.
    PeerMissing,
    /// All there, and compared.
    Compared(Incarnation),
}

impl NatsIncarnation {
    /// Wakes `sweep` when rows became due.
    pub const fn new(store: Store, provisioner: StreamProvisioner, sweep: Arc<Notify>) -> Self {
        Self {
            store,
            provisioner,
            sweep,
            known: Vec::new(),
        }
    }

    /// Makes what is missing, and compares creation times once all are there.
    pub async fn compare(&mut self) -> Result<Looked, Error> {
        let own = self.provisioner.ensure().await?;
        let Some(peer) = peer_consumer_created(&self.provisioner.connection, &OUTCOMES).await? else {
            return Ok(Looked::PeerMissing);
        };
        let mut seen = vec![(self.provisioner.stream.name.to_owned(), own.stream)];
        let consumers = self.provisioner.consumers.iter().zip(own.consumers);
        for (consumer, created) in consumers.chain([(&OUTCOMES, peer)]) {
            seen.push((format!("{}/{}", consumer.stream, consumer.durable), created));
        }
        if self.known == seen {
            return Ok(Looked::Compared(Incarnation::Same));
        }
        let incarnation = self.store.compare_incarnation(&seen).await?;
        self.known = seen;
        match incarnation {
            Incarnation::Same => {}
            Incarnation::FirstSeen => self.sweep.notify_one(),
            Incarnation::Forgot(payments) => {
                metrics::FORGOT.add(1);
                warn!(
                    payments,
                    "NATS has forgotten; every request without an outcome is sent again"
                );
                self.sweep.notify_one();
            }
        }
        Ok(Looked::Compared(incarnation))
    }
}

impl Provision for NatsIncarnation {
    type Error = Error;

    async fn step(&mut self) -> Result<(), Error> {
        self.compare().await.map(drop)
    }
}
