//! Telling other replicas what was settled, over core NATS: they wake their own waiting calls. A lost hint costs a poll.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use payment_contract::{BatchId, PaymentId, connection::Connection, subjects};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::waiters::Waiters;

/// Ids in one hint: keeps it far below the server's largest message.
const HINT_IDS: usize = 500;
/// A hint waits this long at most for room in the connection's queue: acks wait behind it, and a poll is never far.
const HINT_LIMIT: Duration = Duration::from_millis(100);
/// What nobody is known to wait for is told this much later, with whatever else there is by then. As long as acks are
/// gathered, so that both leave in one write.
const GATHER: Duration = payment_contract::delivery::GATHER_ACKS;

/// Payments and batches that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Settled payments.
    #[serde(default)]
    pub payments: Vec<PaymentId>,
    /// Batches with a settled payment.
    #[serde(default)]
    pub batches: Vec<BatchId>,
}

/// Hints on their way out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hints {
    connection: Connection,
    pending: Arc<Mutex<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    changed: Changed,
    /// Somebody may wait for it at another replica.
    urgent: bool,
    /// A task is about to send it.
    awaited: bool,
}

impl Hints {
    /// Over this connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            pending: Arc::default(),
        }
    }

    /// Adds what changed, to be told at the next [`Hints::send`].
    pub fn add(&self, changed: &Changed) {
        let mut pending = self.pending();
        pending.urgent |= !changed.payments.is_empty() || !changed.batches.is_empty();
        pending.changed.payments.extend(&changed.payments);
        pending.changed.batches.extend(&changed.batches);
    }

    /// Adds payments whose callers waited here, and have their answer: another replica hardly has somebody who waits too.
    pub fn add_answered(&self, payments: Vec<PaymentId>) {
        self.pending().changed.payments.extend(payments);
    }

    /// Sends what was added: at once, or a little later if all of it is answered.
    pub async fn send(&self) {
        let urgent = {
            let mut pending = self.pending();
            if !pending.urgent && (pending.awaited || pending.changed.payments.is_empty()) {
                return;
            }
            pending.awaited |= !pending.urgent;
            pending.urgent
        };
        if urgent {
            self.send_now().await;
        } else {
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(GATHER).await;
                this.pending().awaited = false;
                this.send_now().await;
            });
        }
    }

    async fn send_now(&self) {
        let changed = {
            let mut pending = self.pending();
            pending.urgent = false;
            std::mem::take(&mut pending.changed)
        };
        hint(&self.connection, &changed).await;
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the other replicas, if NATS is there to tell them.
pub async fn hint(connection: &Connection, changed: &Changed) {
    if !connection.is_connected() {
        return;
    }
    let batches = std::iter::once(&changed.batches[..]).chain(std::iter::repeat(&[][..]));
    for (payments, batches) in changed.payments.chunks(HINT_IDS).zip(batches) {
        let part = Changed {
            payments: payments.to_vec(),
            batches: batches.to_vec(),
        };
        let Ok(body) = serde_json::to_vec(&part) else {
            return;
        };
        let sending = connection
            .client()
            .publish(subjects::INVOICE_CHANGED, body.into());
        if !matches!(tokio::time::timeout(HINT_LIMIT, sending).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Wakes local waiters on hints of other replicas, until `stop`.
pub async fn listen(waiters: Waiters, connection: Connection, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let subscribed = tokio::select! {
            () = stop.cancelled() => return,
            subscribed = connection.client().subscribe(subjects::INVOICE_CHANGED) => subscribed,
        };
        if let Ok(mut hints) = subscribed {
            while let Some(Some(hint)) = stop.run_until_cancelled(hints.next()).await {
                if let Ok(changed) = serde_json::from_slice(&hint.payload) {
                    waiters.wake(&changed);
                }
            }
        }
        // A subscription outlives reconnects; one that could not be made or ended is worth another try.
        stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1)))
            .await;
    }
}
