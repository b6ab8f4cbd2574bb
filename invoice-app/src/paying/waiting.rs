//! Waiting for the outcome of what was requested, for as long as the caller wants to.

use std::time::Duration;

use payment_contract::PaymentId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Paying;
use crate::{
    batch_id::BatchId,
    payment::{Batch, Payment, Status},
    waiters::Waiter,
};

/// A batch settles in many steps: it is looked at no more often than this.
const BATCH_LOOK: Duration = Duration::from_millis(25);

/// How long to wait for an outcome.
#[derive(Clone, Debug)]
pub struct Deadline {
    /// Until then.
    pub until: Instant,
    /// Or until the process stops.
    pub stop: CancellationToken,
}

impl Paying {
    /// A waiter for a payment made before.
    pub fn payment_waiter(&self, id: PaymentId) -> Waiter {
        self.waiters.payment(id)
    }

    /// A waiter for a batch made before.
    pub fn batch_waiter(&self, id: BatchId) -> Waiter {
        self.waiters.batch(id)
    }

    /// Waits until the payment is settled or the deadline has come; the payment as it is then, as far as the waiter heard: at the
    /// deadline nobody asks the database, since of thousands who began to wait together all would. The request is committed:
    /// should the database go away meanwhile, the last known state is still a true answer.
    pub async fn wait_for_payment(
        &self,
        mut payment: Payment,
        mut waiter: Waiter,
        deadline: Deadline,
    ) -> Payment {
        while payment.status == Status::Requested && deadline.lasts() {
            if !deadline.pause(waiter.changed()).await {
                break;
            }
            if let Some(outcome) = waiter.outcome() {
                return payment.settled_with(outcome);
            }
            match self.store.payment(payment.id).await {
                Ok(Some(now)) => payment = now,
                Ok(None) => {}
                Err(error) => {
                    debug!(error = %service::telemetry::chain(&error), "could not look at a payment");
                }
            }
        }
        payment
    }

    /// The same for a batch.
    pub async fn wait_for_batch(&self, batch: Batch, mut waiter: Waiter, deadline: Deadline) -> Batch {
        let mut open = batch.pending > 0;
        if open && !deadline.lasts() {
            // Not to be waited for: answered as it was committed, however fast it is settled.
            return batch;
        }
        while open && deadline.lasts() {
            let changed = async { tokio::join!(waiter.changed(), tokio::time::sleep(BATCH_LOOK)) };
            deadline.pause(changed).await;
            open = self.store.batch_is_open(batch.id).await.unwrap_or(true);
        }
        match self.store.batch(batch.id).await {
            Ok(Some(now)) => now,
            Ok(None) | Err(_) => batch,
        }
    }
}

impl Deadline {
    fn lasts(&self) -> bool {
        !self.stop.is_cancelled() && Instant::now() < self.until
    }

    /// Until something changed, or until it is time to give up; whether something changed.
    async fn pause<T>(&self, changed: impl Future<Output = T>) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep_until(self.until) => false,
            _ = changed => true,
        }
    }
}
