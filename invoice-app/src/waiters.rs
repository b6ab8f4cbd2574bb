//! Calls that wait for payments to be settled: woken in process, hinted by other replicas, and polling as the fallback.
//! A waiting call holds no database connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use payment_contract::{BatchId, PaymentId, connection::Connection, messages::PaymentOutcomeV1, subjects};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Ids in one hint: keeps it far below the server's largest message.
const HINT_IDS: usize = 500;
/// A hint waits this long at most for room in the connection's queue: settling waits behind it, and a poll is never far.
const HINT_LIMIT: Duration = Duration::from_millis(100);

/// Who waits for what. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Waiters {
    waiting: Arc<Mutex<Waiting>>,
}

/// Whoever waits for a payment is also told its outcome, where this process has settled it.
type Waiting = HashMap<Uuid, watch::Sender<Option<PaymentOutcomeV1>>>;

/// One call's place among the waiters, given up when dropped.
#[derive(Debug)]
pub struct Waiter {
    id: Uuid,
    changes: watch::Receiver<Option<PaymentOutcomeV1>>,
    of: Waiters,
}

/// Payments and batches that changed: told to other replicas over core NATS. A lost hint costs a poll.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Settled payments.
    #[serde(default)]
    pub payments: Vec<PaymentId>,
    /// Batches with a settled payment.
    #[serde(default)]
    pub batches: Vec<BatchId>,
}

impl Changed {
    /// Adds what changed beside.
    pub fn add(&mut self, other: Self) {
        self.payments.extend(other.payments);
        self.batches.extend(other.batches);
    }
}

impl Waiters {
    /// Starts to wait for a payment. What happens from here on is noticed.
    #[must_use]
    pub fn payment(&self, id: PaymentId) -> Waiter {
        self.register(id.as_uuid())
    }

    /// Starts to wait for a batch.
    #[must_use]
    pub fn batch(&self, id: BatchId) -> Waiter {
        self.register(id.as_uuid())
    }

    fn register(&self, id: Uuid) -> Waiter {
        let mut waiting = self.lock();
        let changes = waiting.entry(id).or_default().subscribe();
        Waiter {
            id,
            changes,
            of: self.clone(),
        }
    }

    /// Wakes whoever waits for any of these.
    pub fn wake(&self, changed: &Changed) {
        let waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        let payments = changed.payments.iter().map(|id| id.as_uuid());
        let batches = changed.batches.iter().map(|id| id.as_uuid());
        for change in payments.chain(batches).filter_map(|id| waiting.get(&id)) {
            // What is known already stays.
            change.send_modify(|_| {});
        }
    }

    /// Wakes whoever waits for the payment of an outcome that has just been applied, and tells it.
    pub fn tell(&self, outcome: &PaymentOutcomeV1) {
        if let Some(change) = self.lock().get(&outcome.payment_id.as_uuid()) {
            change.send_replace(Some(outcome.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits until something changed since the last time, or since the waiter was made.
    pub async fn changed(&mut self) {
        // The sender lives in the map as long as this waiter does.
        let _ = self.changes.changed().await;
    }

    /// The payment's outcome, if it was told.
    #[must_use]
    pub fn outcome(&self) -> Option<PaymentOutcomeV1> {
        self.changes.borrow().clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.of.lock();
        // Ours is still counted: nobody else waits for it.
        if waiting
            .get(&self.id)
            .is_some_and(|change| change.receiver_count() == 1)
        {
            waiting.remove(&self.id);
        }
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
pub async fn run(waiters: Waiters, connection: Connection, stop: CancellationToken) {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_waiter_hears_of_its_own_payment_alone_and_leaves_nothing_behind() {
        let waiters = Waiters::default();
        let (mine, other) = (PaymentId::generate(), PaymentId::generate());
        let mut waiter = waiters.payment(mine);
        let second = waiters.payment(mine);
        let wake = |id| {
            waiters.wake(&Changed {
                payments: vec![id],
                batches: vec![],
            });
        };

        wake(other);
        assert!(waiter.changed().now_or_never().is_none());
        wake(mine);
        assert!(waiter.changed().now_or_never().is_some());

        drop(second);
        assert_eq!(waiters.waiting.lock().unwrap().len(), 1);
        drop(waiter);
        assert!(waiters.waiting.lock().unwrap().is_empty());
    }
}
