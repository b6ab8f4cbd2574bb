//! Calls that wait for payments to be settled: woken in process, by events of other replicas (see [`crate::change_events`]), and looked
//! after by one poller as the fallback. A waiting call holds no database connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use payment_contract::{PaymentId, messages::PaymentOutcomeV1};
use service::{
    database::{SHORT, in_time},
    lock, repeat,
    telemetry::chain,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use crate::{batch_id::BatchId, store::Store};

/// An event may get lost: what is waited for is looked at this often, give or take a fifth.
const POLL: Duration = Duration::from_millis(500);

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

impl Waiters {
    /// Starts to wait for a payment. What happens from here on is noticed.
    pub fn payment(&self, id: PaymentId) -> Waiter {
        self.register(id.as_uuid())
    }

    /// Starts to wait for a batch.
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
    pub fn wake(&self, payments: &[PaymentId], batches: &[BatchId]) {
        let payments = payments.iter().map(|id| id.as_uuid());
        let batches = batches.iter().map(|id| id.as_uuid());
        self.wake_ids(payments.chain(batches));
    }

    fn wake_ids(&self, ids: impl Iterator<Item = Uuid>) {
        let waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        for change in ids.filter_map(|id| waiting.get(&id)) {
            // What is known already stays.
            change.send_modify(|_| {});
        }
    }

    /// Wakes those whose event got lost, until `stop`: one query every now and then, however many wait.
    pub async fn poll(self, store: Store, stop: CancellationToken) {
        let polling = || async {
            let ids: Vec<Uuid> = self.lock().keys().copied().collect();
            if ids.is_empty() {
                return;
            }
            match in_time(SHORT, store.settled_among(&ids)).await {
                Ok(settled) => self.wake_ids(settled.into_iter()),
                Err(error) => debug!(error = %chain(&error), "could not look at what is waited for"),
            }
        };
        // Replicas do not ask in step.
        repeat::every(POLL.mul_f64(rand::random_range(0.8..1.2)), stop, polling).await;
    }

    /// Wakes whoever waits for the payment of an outcome that has just been applied, and tells it. Whether anybody does.
    #[must_use]
    pub fn tell(&self, outcome: &PaymentOutcomeV1) -> bool {
        let waiting = self.lock();
        let Some(change) = waiting.get(&outcome.payment_id.as_uuid()) else {
            return false;
        };
        change.send_replace(Some(outcome.clone()));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

impl Waiter {
    /// Waits until something changed since the last time, or since the waiter was made.
    pub async fn changed(&mut self) {
        // The sender lives in the map as long as this waiter does.
        let _ = self.changes.changed().await;
    }

    /// The payment's outcome, if it was told.
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

        waiters.wake(&[other], &[]);
        assert!(waiter.changed().now_or_never().is_none());
        waiters.wake(&[mine], &[]);
        assert!(waiter.changed().now_or_never().is_some());

        drop(second);
        assert_eq!(waiters.waiting.lock().unwrap().len(), 1);
        drop(waiter);
        assert!(waiters.waiting.lock().unwrap().is_empty());
    }
}
