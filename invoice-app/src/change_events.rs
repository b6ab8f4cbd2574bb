//! Telling other replicas what was settled, over core NATS: they wake their own waiting calls. A lost hint costs a poll.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use jetstream::connection::Connection;
use payment_contract::PaymentId;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{batch_id::BatchId, event_feed::Feed, waiters::Waiters};

/// Where replicas tell each other.
pub const SUBJECT: &str = "invoice.v1.changed";
/// Ids in one hint: keeps it far below the server's largest message.
const HINT_IDS: usize = 500;
/// A hint waits this long at most for room in the connection's queue: settling waits behind it, and a poll is never far.
const HINT_LIMIT: Duration = Duration::from_millis(100);
/// What nobody is known to wait for is told this much later, with whatever else there is by then: often in one write with
/// the acks of the same outcomes.
const GATHER: Duration = jetstream::delivery::GATHER_ACKS;

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
    put_off: Arc<Mutex<PutOff>>,
}

#[derive(Debug, Default)]
struct PutOff {
    payments: Vec<PaymentId>,
    /// A task is about to tell them. When the process ends before it does, nothing is lost but a hint.
    under_way: bool,
}

impl Hints {
    /// Over this connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            put_off: Arc::default(),
        }
    }

    /// Tells what changed, and what was put off.
    pub async fn tell(&self, mut changed: Changed) {
        if changed == Changed::default() {
            return;
        }
        changed.payments.append(&mut self.put_off().payments);
        hint(&self.connection, &changed).await;
    }

    /// Tells, soon, of payments whose callers waited here and have their answer: that somebody waits elsewhere too is rare.
    pub fn tell_later(&self, payments: Vec<PaymentId>) {
        if payments.is_empty() {
            return;
        }
        let mut put_off = self.put_off();
        put_off.payments.extend(payments);
        if !put_off.under_way {
            put_off.under_way = true;
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(GATHER).await;
                let PutOff { payments, .. } = std::mem::take(&mut *this.put_off());
                let changed = Changed {
                    payments,
                    ..Changed::default()
                };
                hint(&this.connection, &changed).await;
            });
        }
    }

    fn put_off(&self) -> MutexGuard<'_, PutOff> {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner)
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
        let sending = connection.client().publish(SUBJECT, body.into());
        if !matches!(tokio::time::timeout(HINT_LIMIT, sending).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Wakes local waiters, and the feed, on hints of all replicas, until `stop`.
pub async fn listen(waiters: Waiters, feed: Feed, connection: Connection, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let subscribed = tokio::select! {
            () = stop.cancelled() => return,
            subscribed = connection.client().subscribe(SUBJECT) => subscribed,
        };
        if let Ok(mut hints) = subscribed {
            while let Some(Some(hint)) = stop.run_until_cancelled(hints.next()).await {
                feed.wake();
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
