//! Tells other replicas what was settled, over core NATS: they wake their own waiting calls. A lost event costs a poll.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::StreamExt as _;
use jetstream::connection::Connection;
use payment_contract::PaymentId;
use serde::{Deserialize, Serialize};
use service::lock;
use tokio_util::sync::CancellationToken;

use crate::{batch_id::BatchId, event_feed::Feed, waiters::Waiters};

/// Where replicas tell each other.
pub const SUBJECT: &str = "invoice.v1.changed";
/// Ids in one event: keeps it far below the server's largest message.
const MAX_IDS: usize = 500;
/// An event waits this long at most for room in the connection's queue: settling waits behind it, and a poll is never far.
const PUBLISH_LIMIT: Duration = Duration::from_millis(100);
/// What nobody is known to wait for is told this much later, with whatever else there is by then: often in one write with
/// the acks of the same outcomes.
const GATHER: Duration = jetstream::delivery::GATHER_ACKS;

/// Payments and batches that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// Settled payments.
    #[serde(default)]
    pub payments: Vec<PaymentId>,
    /// Batches with a settled payment.
    #[serde(default)]
    pub batches: Vec<BatchId>,
}

/// Change events on their way out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ChangeEvents {
    connection: Connection,
    delayed: Arc<Mutex<Delayed>>,
}

#[derive(Debug, Default)]
struct Delayed {
    payments: Vec<PaymentId>,
    /// A task is about to tell them. When the process ends before it does, nothing is lost but an event.
    under_way: bool,
}

impl ChangeEvents {
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            delayed: Arc::default(),
        }
    }

    /// Tells what changed, and what was delayed.
    pub async fn publish(&self, mut changed: ChangeEvent) {
        if changed == ChangeEvent::default() {
            return;
        }
        changed.payments.append(&mut self.delayed().payments);
        publish(&self.connection, &changed).await;
    }

    /// Tells, soon, of payments whose callers waited here and have their answer: that somebody waits elsewhere too is rare.
    pub fn publish_later(&self, payments: Vec<PaymentId>) {
        if payments.is_empty() {
            return;
        }
        let mut delayed = self.delayed();
        delayed.payments.extend(payments);
        if !delayed.under_way {
            delayed.under_way = true;
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(GATHER).await;
                let Delayed { payments, .. } = std::mem::take(&mut *this.delayed());
                let changed = ChangeEvent {
                    payments,
                    ..ChangeEvent::default()
                };
                publish(&this.connection, &changed).await;
            });
        }
    }

    fn delayed(&self) -> MutexGuard<'_, Delayed> {
        lock(&self.delayed)
    }
}

/// Tells the other replicas, if NATS is there to tell them.
pub async fn publish(connection: &Connection, changed: &ChangeEvent) {
    if !connection.is_connected() {
        return;
    }
    let batches = std::iter::once(&changed.batches[..]).chain(std::iter::repeat(&[][..]));
    for (payments, batches) in changed.payments.chunks(MAX_IDS).zip(batches) {
        let part = ChangeEvent {
            payments: payments.to_vec(),
            batches: batches.to_vec(),
        };
        let Ok(body) = serde_json::to_vec(&part) else {
            return;
        };
        let sending = connection.client().publish(SUBJECT, body.into());
        if !matches!(tokio::time::timeout(PUBLISH_LIMIT, sending).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Wakes local waiters, and the feed, on events of all replicas, until `stop`.
pub async fn listen(waiters: Waiters, feed: Feed, connection: Connection, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let subscribed = tokio::select! {
            () = stop.cancelled() => return,
            subscribed = connection.client().subscribe(SUBJECT) => subscribed,
        };
        if let Ok(mut events) = subscribed {
            while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
                feed.wake();
                if let Ok(ChangeEvent { payments, batches }) = serde_json::from_slice(&event.payload) {
                    waiters.wake(&payments, &batches);
                }
            }
        }
        // A subscription outlives reconnects; one that could not be made or ended is worth another try.
        stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1)))
            .await;
    }
}
