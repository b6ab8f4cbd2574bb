//! Paying: asks for payments in one transaction, hands them to the sender, and waits for their outcome.

use std::{sync::Arc, time::Duration};

use payment_contract::{InvoiceId, PaymentId, trace::TraceParent};
use service::{
    batcher::{BatchPanicked, Batcher},
    database::{LONG, SHORT, allow_time_in_tx, retry_conflicts, unless_held},
    fail_point,
};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug};

use crate::{
    batch_id::BatchId,
    idempotency::{Called, KeyedCall, SavedResponse},
    invoice::{self, IfMatch},
    metrics,
    payment::{Batch, Payment, Request, Status},
    sender::{self, Job, ROWS_HANDED_OVER},
    store::{
        Store,
        idempotency::{check_in_tx, keep_in_tx},
        invoices::version_in_tx,
        paying::{
            PaymentParams, RequestedPayments, Selection, insert_batch_in_tx, pay_in_tx, requested_payment,
            skipped_in_tx, status_in_tx,
        },
        totals::totals_of_batch_in_tx,
    },
    waiters::{Waiter, Waiters},
};

mod requested_ids;
mod single_pay_batcher;
mod wanted;

use single_pay_batcher::{BatchOutcome, SingleCall, SinglePayBatcher};
use wanted::Selected;
pub use wanted::{PaidMany, TotalsChanged, Wanted};

/// Calls for more invoices than this take turns: each holds a connection for seconds.
const LARGE: usize = 500;
/// Large calls that run at once; the others wait without a connection.
const LARGE_AT_ONCE: usize = 2;
/// A batch settles in many steps: it is looked at no more often than this.
const BATCH_LOOK: Duration = Duration::from_millis(25);

/// Pays. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Paying {
    store: Store,
    sender: sender::Handle,
    waiters: Waiters,
    lease: Duration,
    large: Arc<Semaphore>,
    single_pay_batcher: Batcher<SingleCall, BatchOutcome>,
}

/// What became of paying one invoice.
#[derive(Debug)]
pub enum PaidOne {
    /// A payment was requested.
    Requested(Payment, Waiter),
    /// It is not unpaid.
    NotPayable(invoice::Status),
    /// It is not as the caller believed.
    Changed,
    Unknown,
}

/// How long to wait for an outcome.
#[derive(Clone, Debug)]
pub struct Deadline {
    /// Until then.
    pub until: Instant,
    /// Or until the process stops.
    pub stop: CancellationToken,
}

impl Paying {
    /// Leases what it asks for to this process for `lease`.
    #[must_use]
    pub fn new(store: Store, sender: sender::Handle, waiters: Waiters, lease: Duration) -> Self {
        let single_pays = SinglePayBatcher {
            store: store.clone(),
            sender: sender.clone(),
            waiters: waiters.clone(),
            lease,
        };
        Self {
            store,
            sender,
            waiters,
            lease,
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            single_pay_batcher: single_pay_batcher::batcher(single_pays),
        }
    }

    /// Requests the payment of one invoice. Runs to its end whatever becomes of the caller.
    pub async fn pay_one(
        &self,
        id: InvoiceId,
        requested_by: Option<Arc<str>>,
        call: Option<KeyedCall>,
        trace: TraceParent,
        if_match: Option<IfMatch>,
    ) -> Result<Called<PaidOne>, sqlx::Error> {
        let single = SingleCall {
            id,
            requested_by,
            call,
            trace,
        };
        if if_match.is_some() {
            return Box::pin(self.pay_alone(single, if_match)).await;
        }
        match self.single_pay_batcher.submit(single.clone()).await {
            Ok(BatchOutcome::Done(called)) => {
                Ok(called.map(|(payment, waiter)| PaidOne::Requested(payment, waiter)))
            }
            // Boxed, since it is rare and large, and every waiting call would have room for it.
            Ok(BatchOutcome::Alone) => Box::pin(self.pay_alone(single, None)).await,
            Ok(BatchOutcome::Failed(error)) => Err(BatchOutcome::error(error)),
            Err(BatchPanicked) => Err(sqlx::Error::WorkerCrashed),
        }
    }

    /// Tells why it cannot be paid. What somebody else holds is being paid.
    async fn pay_alone(
        &self,
        single: SingleCall,
        if_match: Option<IfMatch>,
    ) -> Result<Called<PaidOne>, sqlx::Error> {
        let this = self.clone();
        finish(async move {
            let pay = || retry_conflicts(SHORT, || this.pay_one_in_tx(&single, if_match.as_ref()));
            let Some(called) = unless_held(pay).await? else {
                return Ok(Called::Ran(PaidOne::NotPayable(invoice::Status::Pending)));
            };
            Ok(match called {
                Called::Ran(Ok(requested)) => Called::Ran(this.hand_over_one(requested).await),
                Called::Ran(Err(refused)) => Called::Ran(refused),
                Called::Repeated(answer) => Called::Repeated(answer),
                Called::InUse => Called::InUse,
                Called::OtherCall => Called::OtherCall,
            })
        })
        .await
    }

    /// The payment asked for, or why there is none.
    async fn pay_one_in_tx(
        &self,
        single: &SingleCall,
        if_match: Option<&IfMatch>,
    ) -> Result<Called<Result<Request, PaidOne>>, sqlx::Error> {
        let call = single.call.as_ref();
        let mut tx = self.store.begin().await?;
        if let Some(called) = check_in_tx(&mut tx, call).await? {
            // Not left to the drop: that would hold the key for a moment longer than the answer takes.
            tx.rollback().await?;
            return Ok(called);
        }
        // Locks it, so that below it is not passed over while somebody holds it.
        let version = version_in_tx(&mut tx, single.id).await?;
        if let (Some(if_match), Some(version)) = (if_match, version)
            && !if_match.is_met(&version)
        {
            tx.rollback().await?;
            return Ok(Called::Ran(Err(PaidOne::Changed)));
        }
        let params = PaymentParams {
            batch_id: None,
            traceparent: Some(single.trace.as_str()),
            requested_by: single.requested_by.as_deref(),
            lease: self.lease,
            most: 1,
        };
        let requested = pay_in_tx(&mut tx, &Selection::These(vec![single.id.as_uuid()]), &params).await?;
        let Some(request) = requested.requests.into_iter().next() else {
            let status = status_in_tx(&mut tx, single.id).await?;
            tx.rollback().await?;
            return Ok(Called::Ran(Err(match status {
                None => PaidOne::Unknown,
                Some(invoice::Status::Unpaid) => PaidOne::NotPayable(invoice::Status::Pending),
                Some(other) => PaidOne::NotPayable(other),
            })));
        };
        keep_in_tx(&mut tx, call, &SavedResponse::Payment(request.payment_id)).await?;
        fail_point!(PaymentCommitting);
        tx.commit().await?;
        fail_point!(PaymentCommitted);
        Ok(Called::Ran(Ok(request)))
    }

    async fn hand_over_one(&self, request: Request) -> PaidOne {
        metrics::requested(1);
        let payment = requested_payment(&request);
        // Before the request goes out, so that its outcome cannot be missed.
        let waiter = self.waiters.payment(payment.id);
        self.sender.hand_over(Job::Requests(vec![request])).await;
        fail_point!(PaymentHandedOver);
        PaidOne::Requested(payment, waiter)
    }

    /// Requests the payment of every unpaid invoice, or of those of `ids` that are unpaid. Runs to its end whatever becomes
    /// of the caller.
    pub async fn pay_many(
        &self,
        wanted: Wanted,
        requested_by: Option<Arc<str>>,
        call: Option<KeyedCall>,
        trace: TraceParent,
    ) -> Result<Called<Result<PaidMany, TotalsChanged>>, sqlx::Error> {
        let this = self.clone();
        finish(async move {
            let _turn = match &wanted.ids {
                Some(ids) if !is_large(ids.len()) => None,
                _ => this.large.acquire().await.ok(),
            };
            let selected = Selected::from(wanted);
            let called = retry_conflicts(LONG, || {
                this.pay_many_in_tx(&selected, requested_by.as_deref(), call.as_ref(), trace.as_str())
            })
            .await?;
            Ok(match called {
                Called::Ran(Ok((requested, batch))) => {
                    Called::Ran(Ok(this.hand_over_many(requested, batch).await))
                }
                Called::Ran(Err(changed)) => Called::Ran(Err(changed)),
                Called::Repeated(answer) => Called::Repeated(answer),
                Called::InUse => Called::InUse,
                Called::OtherCall => Called::OtherCall,
            })
        })
        .await
    }

    async fn pay_many_in_tx(
        &self,
        selected: &Selected,
        requested_by: Option<&str>,
        call: Option<&KeyedCall>,
        trace: &str,
    ) -> Result<Called<Result<(RequestedPayments, Batch), TotalsChanged>>, sqlx::Error> {
        let ids = selected.ids.as_ref();
        let mut tx = self.store.begin().await?;
        if let Some(called) = check_in_tx(&mut tx, call).await? {
            // Not left to the drop: that would hold the key for a moment longer than the answer takes.
            tx.rollback().await?;
            return Ok(called);
        }
        if is_large(ids.map_or(usize::MAX, |ids| ids.distinct.len())) {
            allow_time_in_tx(&mut tx).await?;
        }
        let id = BatchId::generate();
        let params = PaymentParams {
            batch_id: Some(id),
            traceparent: Some(trace),
            requested_by,
            lease: self.lease,
            most: i64::try_from(ROWS_HANDED_OVER).unwrap_or(i64::MAX),
        };
        let requested = pay_in_tx(&mut tx, &selected.selection(), &params).await?;
        if let Some(expected) = &selected.expected {
            let totals = totals_of_batch_in_tx(&mut tx, id).await?;
            if !expected.is_met(&totals) {
                tx.rollback().await?;
                return Ok(Called::Ran(Err(TotalsChanged(totals))));
            }
        }
        let skipped = match ids {
            None => "[]".to_owned(),
            Some(ids) => ids.skipped(skipped_in_tx(&mut tx, &ids.distinct, id).await?),
        };
        insert_batch_in_tx(&mut tx, id, &requested, &params, &skipped).await?;
        keep_in_tx(&mut tx, call, &SavedResponse::Batch(id)).await?;
        fail_point!(BatchCommitting);
        tx.commit().await?;
        fail_point!(BatchCommitted);
        let batch = Batch {
            id,
            requested: requested.total,
            paid: 0,
            declined: 0,
            pending: requested.total,
            skipped,
        };
        Ok(Called::Ran(Ok((requested, batch))))
    }

    async fn hand_over_many(&self, requested: RequestedPayments, batch: Batch) -> PaidMany {
        metrics::requested(requested.total);
        let waiter = self.waiters.batch(batch.id);
        if requested.total > 0 {
            let few = usize::try_from(requested.total).is_ok_and(|total| total <= ROWS_HANDED_OVER);
            let job = if few {
                Job::Requests(requested.requests)
            } else {
                Job::Batch(batch.id)
            };
            self.sender.hand_over(job).await;
            fail_point!(BatchHandedOver);
        }
        PaidMany { batch, waiter }
    }

    /// A waiter for a payment made before.
    #[must_use]
    pub fn payment_waiter(&self, id: PaymentId) -> Waiter {
        self.waiters.payment(id)
    }

    /// A waiter for a batch made before.
    #[must_use]
    pub fn batch_waiter(&self, id: BatchId) -> Waiter {
        self.waiters.batch(id)
    }

    /// Waits until the payment is settled or the deadline has come; the payment as it is then. The request is committed: should
    /// the database go away meanwhile, the last known state is still a true answer.
    pub async fn wait_for_payment(
        &self,
        mut payment: Payment,
        mut waiter: Waiter,
        deadline: Deadline,
    ) -> Payment {
        while payment.status == Status::Requested && deadline.lasts() {
            deadline.pause(waiter.changed()).await;
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

const fn is_large(invoices: usize) -> bool {
    invoices > LARGE
}

impl Deadline {
    fn lasts(&self) -> bool {
        !self.stop.is_cancelled() && Instant::now() < self.until
    }

    /// Until something changed, or until it is time to give up.
    async fn pause<T>(&self, changed: impl Future<Output = T>) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep_until(self.until) => {}
            _ = changed => {}
        }
    }
}

/// Runs to the end even if the caller goes away: what is committed is then also handed over.
async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
) -> Result<T, sqlx::Error> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(sqlx::Error::WorkerCrashed),
        },
    }
}
