//! Paying: asks for payments in one transaction, hands them to the sender, and waits for their outcome.

use std::{sync::Arc, time::Duration};

use payment_contract::{InvoiceId, trace::TraceParent};
use service::{
    batcher::BatchPanicked,
    database::{LONG, allow_time_in_tx, retry_conflicts},
    fail_point,
};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::{
    batch_id::BatchId,
    idempotency::{Called, KeyedCall, SavedResponse},
    invoice::{self, IfMatch},
    metrics,
    payment::{Batch, Payment},
    sender::{self, Job, ROWS_HANDED_OVER},
    store::{
        Store,
        idempotency::{check_in_tx, keep_in_tx},
        paying::{PaymentParams, RequestedPayments, insert_batch_in_tx, pay_in_tx, skipped_in_tx},
        totals::totals_of_batch_in_tx,
    },
    waiters::{Waiter, Waiters},
};

mod pay_alone;
mod requested_ids;
mod single_pay_batcher;
mod waiting;
mod wanted;

use single_pay_batcher::{BatchOutcome, SingleCall, SinglePayBatcher, SinglePays};
pub use waiting::Deadline;
use wanted::Selected;
pub use wanted::{PaidMany, TotalsChanged, Wanted};

/// Calls for more invoices than this take turns: each holds a connection for seconds.
const LARGE: usize = 500;
/// Large calls that run at once; the others wait without a connection.
const LARGE_AT_ONCE: usize = 2;

/// Pays. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Paying {
    store: Store,
    sender: sender::Handle,
    waiters: Waiters,
    lease: Duration,
    large: Arc<Semaphore>,
    single_pays: SinglePays,
    single_pay_batcher: SinglePayBatcher,
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

impl Paying {
    /// Leases what it asks for to this process for `lease`.
    pub fn new(store: Store, sender: sender::Handle, waiters: Waiters, lease: Duration) -> Self {
        let single_pays = SinglePays {
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
            single_pay_batcher: single_pay_batcher::batcher(single_pays.clone()),
            single_pays,
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

    async fn pay_alone(
        &self,
        single: SingleCall,
        if_match: Option<IfMatch>,
    ) -> Result<Called<PaidOne>, sqlx::Error> {
        let single_pays = self.single_pays.clone();
        finish(async move { single_pays.pay_alone(&single, if_match.as_ref()).await }).await
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
                Called::NotRun(why) => Called::NotRun(why),
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
        if let Some(why) = check_in_tx(&mut tx, call).await? {
            // Not left to the drop: that would hold the key for a moment longer than the answer takes.
            tx.rollback().await?;
            return Ok(Called::NotRun(why));
        }
        if is_large(ids.map_or(usize::MAX, |ids| ids.distinct.len())) {
            allow_time_in_tx(&mut tx).await?;
        }
        let id = BatchId::generate();
        let params = PaymentParams {
            batch_id: id,
            traceparent: trace,
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
        insert_batch_in_tx(&mut tx, &requested, &params, &skipped).await?;
        keep_in_tx(&mut tx, call, SavedResponse::Batch(id)).await?;
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
        metrics::REQUESTED.add(requested.total.unsigned_abs());
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
}

const fn is_large(invoices: usize) -> bool {
    invoices > LARGE
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
