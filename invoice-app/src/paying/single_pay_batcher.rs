//! Calls that each pay one invoice, done in batches: whoever comes while a batch commits is part of the next, so many of them
//! cost little more than one, and a lone one waits for nobody.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use payment_contract::{InvoiceId, trace::TraceParent};
use service::{
    batcher::Batcher,
    database::{ErrorKind, SHORT, error_kind, retry_conflicts},
    fail_point,
};
use sqlx::{Connection as _, PgConnection};
use tracing::debug;

use crate::{
    idempotency::{Called, Key, KeyedCall, NotRun, SavedResponse},
    metrics,
    payment::{OutboxRequest, Payment},
    sender::{self, Job},
    store::{
        Store,
        idempotency::{claim_all_in_tx, keep_all_in_tx},
        paying::{Single, pay_free_in_tx},
    },
    waiters::{Waiter, Waiters},
};

/// Calls in one transaction, at most.
const LARGEST_BATCH: usize = 128;
/// One batch commits while the next is on its way.
const BATCHES: usize = 2;
/// Handing requests over takes no time, unless the sender is full and their rows are made due in the database instead.
const LIMIT: Duration = Duration::from_secs(10);

/// A call that pays one invoice.
#[derive(Clone, Debug)]
pub(super) struct SingleCall {
    pub(super) id: InvoiceId,
    pub(super) requested_by: Option<Arc<str>>,
    pub(super) call: Option<KeyedCall>,
    pub(super) trace: TraceParent,
}

/// What became of it in its batch.
#[derive(Debug)]
pub(super) enum BatchOutcome {
    /// It is done.
    Done(Called<(Payment, Waiter)>),
    /// Its invoice is not there to be paid, or not just now: to be done alone, which tells why.
    Alone,
    /// The batch failed, and nobody knows whether it was committed.
    Failed(Arc<sqlx::Error>),
}

impl BatchOutcome {
    /// The error of a batch is the error of each of its calls.
    pub(super) fn error(error: Arc<sqlx::Error>) -> sqlx::Error {
        Arc::try_unwrap(error).unwrap_or_else(|shared| sqlx::Error::Io(io::Error::other(shared)))
    }
}

/// What paying single invoices needs.
#[derive(Clone, Debug)]
pub(super) struct SinglePays {
    pub(super) store: Store,
    pub(super) sender: sender::Handle,
    pub(super) waiters: Waiters,
    pub(super) lease: Duration,
}

/// Does calls in batches.
pub(super) type SinglePayBatcher = Batcher<SingleCall, BatchOutcome>;

pub(super) fn batcher(single_pays: SinglePays) -> SinglePayBatcher {
    let queue = metrics::batcher_queue("single_pays");
    Batcher::new(
        queue,
        LARGEST_BATCH,
        BATCHES,
        single_pays,
        |single_pays, calls| single_pays.pay(calls).boxed(),
    )
}

impl SinglePays {
    async fn pay(&self, calls: Vec<SingleCall>) -> Vec<BatchOutcome> {
        let paid = match retry_conflicts(SHORT, || self.pay_in_tx(&calls)).await {
            Ok(paid) => paid,
            // It may have been committed all the same: nothing that may be done twice.
            Err(error) if matches!(error_kind(&error), ErrorKind::Away | ErrorKind::Schema) => {
                let error = Arc::new(error);
                return calls
                    .iter()
                    .map(|_| BatchOutcome::Failed(Arc::clone(&error)))
                    .collect();
            }
            // Refused, so not committed. One of them is why, and alone it fails alone.
            Err(error) => {
                debug!(calls = calls.len(), error = %service::telemetry::chain(&error), "paying one by one");
                return calls.iter().map(|_| BatchOutcome::Alone).collect();
            }
        };
        let mut requests = Vec::with_capacity(paid.len());
        let mut outcomes = Vec::with_capacity(paid.len());
        for called in paid {
            outcomes.push(match called {
                None => BatchOutcome::Alone,
                Some(called) => BatchOutcome::Done(called.map(|request| {
                    let requested = self.requested(&request);
                    requests.push(request);
                    requested
                })),
            });
        }
        if !requests.is_empty() {
            self.hand_over(requests).await;
        }
        outcomes
    }

    pub(super) async fn hand_over(&self, requests: Vec<OutboxRequest>) {
        metrics::REQUESTED.add(requests.len() as u64);
        // What it may have to do in the database is worth no longer wait: the rows' lease ends by itself.
        let _ = tokio::time::timeout(LIMIT, self.sender.hand_over(Job::Requests(requests))).await;
        fail_point!(PaymentHandedOver);
    }

    /// The payment, and who hears of its outcome. To be called before the request goes out, so that none is missed.
    pub(super) fn requested(&self, request: &OutboxRequest) -> (Payment, Waiter) {
        let payment = request.payment();
        let waiter = self.waiters.payment(payment.id);
        (payment, waiter)
    }

    /// What became of each call, in order; nothing for those to be done alone. Commits.
    async fn pay_in_tx(
        &self,
        calls: &[SingleCall],
    ) -> Result<Vec<Option<Called<OutboxRequest>>>, sqlx::Error> {
        let mut connection = self.store.warm().acquire().await?;
        if calls.iter().all(|single| single.call.is_none()) {
            let checked = vec![None; calls.len()];
            fail_point!(PaymentCommitting);
            // One statement: it commits by itself.
            let called = pay_checked_in_tx(&mut connection, calls, checked, self.lease).await?;
            connection.release();
            fail_point!(PaymentCommitted);
            return Ok(called);
        }
        let mut tx = connection.begin().await?;
        let checked = check_keys_in_tx(&mut tx, calls).await?;
        let called = pay_checked_in_tx(&mut tx, calls, checked, self.lease).await?;
        fail_point!(PaymentCommitting);
        tx.commit().await?;
        connection.release();
        fail_point!(PaymentCommitted);
        Ok(called)
    }
}

/// Pays the invoices of those calls that are to run, and keeps which keys made which payments. What became of each call, in order;
/// nothing for those to be done alone. Does not commit.
pub(super) async fn pay_checked_in_tx(
    connection: &mut PgConnection,
    calls: &[SingleCall],
    checked: Vec<Option<NotRun>>,
    lease: Duration,
) -> Result<Vec<Option<Called<OutboxRequest>>>, sqlx::Error> {
    let paid = pay_free_in_tx(connection, &wanted(calls, &checked), lease).await?;
    let called = assigned(calls, checked, paid);
    let kept = calls
        .iter()
        .zip(&called)
        .filter_map(|(single, called)| match called {
            Some(Called::Ran(request)) => {
                Some((single.call.as_ref()?, SavedResponse::Payment(request.payment_id)))
            }
            _ => None,
        });
    keep_all_in_tx(connection, kept.collect()).await?;
    Ok(called)
}

/// Claims the keys of those calls that have one. What becomes of the calls that are not to run, each in its place.
async fn check_keys_in_tx(
    connection: &mut PgConnection,
    calls: &[SingleCall],
) -> Result<Vec<Option<NotRun>>, sqlx::Error> {
    let mut keys = HashSet::new();
    let mut first = |single: &SingleCall| {
        single
            .call
            .as_ref()
            .is_some_and(|call| keys.insert(call.key.clone()))
    };
    let claiming: Vec<bool> = calls.iter().map(&mut first).collect();
    let claimed: Vec<&Key> = calls
        .iter()
        .zip(&claiming)
        .filter(|(_, claiming)| **claiming)
        .filter_map(|(single, _)| single.call.as_ref().map(|call| &call.key))
        .collect();
    let mut claims = claim_all_in_tx(connection, &claimed).await?.into_iter();
    let checked = calls.iter().zip(claiming).map(|(single, claiming)| {
        let call = single.call.as_ref()?;
        if claiming {
            claims.next().and_then(|claim| claim.check(&call.fingerprint))
        } else {
            // Another of this batch is running with it.
            Some(NotRun::InUse)
        }
    });
    Ok(checked.collect())
}

/// The invoices of the calls that are to run. Of two for one invoice the first runs, and the other is told why not, alone.
fn wanted<'a>(calls: &'a [SingleCall], checked: &[Option<NotRun>]) -> Vec<Single<'a>> {
    let mut seen = HashSet::new();
    calls
        .iter()
        .zip(checked)
        .filter(|(single, checked)| checked.is_none() && seen.insert(single.id))
        .map(|(single, _)| Single {
            id: single.id,
            trace: &single.trace,
            requested_by: single.requested_by.as_deref(),
        })
        .collect()
}

/// Gives each payment made to the first call for its invoice that was to run.
fn assigned(
    calls: &[SingleCall],
    checked: Vec<Option<NotRun>>,
    paid: Vec<OutboxRequest>,
) -> Vec<Option<Called<OutboxRequest>>> {
    let mut paid: HashMap<InvoiceId, OutboxRequest> = paid
        .into_iter()
        .map(|request| (request.invoice_id, request))
        .collect();
    calls
        .iter()
        .zip(checked)
        .map(|(single, checked)| match checked {
            Some(why) => Some(Called::NotRun(why)),
            None => paid.remove(&single.id).map(Called::Ran),
        })
        .collect()
}
