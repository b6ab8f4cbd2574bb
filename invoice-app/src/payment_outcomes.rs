//! The consumer of payment outcomes: settles payments and their invoices, then wakes whoever waits for them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, TryFutureExt as _};
use jetstream::{
    connection::Connection,
    delivery::{DeadLetter, Decision, Decisions, Handler, Received, Token},
};
use payment_contract::{
    PaymentId,
    messages::{OutcomeStatus, PaymentOutcomeV1},
    subjects,
    trace::TraceParent,
};
use service::{
    BoxError,
    batcher::{Batcher, isolate_each},
    database::{ErrorKind, LONG, SHORT, error_kind, is_lock_timeout, retry_conflicts},
    fail_point, lock,
};
use tracing::{debug, error, info, warn};
use uuid::Uuid;

mod outcome_latency;

use self::outcome_latency::OutcomeLatency;
use crate::{
    change_events::{ChangeEvent, ChangeEvents},
    event_feed::Feed,
    metrics,
    payment::{OutcomeEffect, settle},
    store::{Store, settling::Found},
    waiters::Waiters,
};

/// While the database is away, messages come back after this long.
const RETRY: Duration = Duration::from_secs(2);
/// After rows were held for too long, only those are settled that nobody holds, for this long.
const HINDERED_FOR: Duration = Duration::from_secs(30);

/// Batches that are settled together: what arrives while a transaction commits is part of the next one. More at a time
/// would only wait for each other, at the count of the payment batch they belong to.
const BATCHES_TOGETHER: usize = 16;
const TRANSACTIONS: usize = 1;

pub struct PaymentOutcomes {
    settling: Arc<Settling>,
    together: Batcher<Vec<PaymentOutcomeV1>, Settled>,
}

/// What a batch came to, outcome by outcome. An error is shared by all that were to be settled together.
type Settled = Vec<Result<OutcomeEffect, Arc<sqlx::Error>>>;

/// What settling needs.
struct Settling {
    store: Store,
    waiters: Waiters,
    feed: Feed,
    /// For other replicas; none when a dead letter is replayed by hand.
    change_events: Option<ChangeEvents>,
    latency: Mutex<OutcomeLatency>,
    /// When rows were last found held by somebody else for too long.
    hindered: Mutex<Option<Instant>>,
}

impl PaymentOutcomes {
    /// A handler that wakes `waiters` and `feed`, and those of other replicas over `connection`.
    pub fn new(store: Store, waiters: Waiters, feed: Feed, connection: Option<Connection>) -> Self {
        let settling = Arc::new(Settling {
            store,
            waiters,
            feed,
            change_events: connection.map(ChangeEvents::new),
            latency: Mutex::default(),
            hindered: Mutex::default(),
        });
        let together = Batcher::new(
            metrics::batcher_queue("settling"),
            BATCHES_TOGETHER,
            TRANSACTIONS,
            Arc::clone(&settling),
            |settling, batches| settling.settle_batches(batches).boxed(),
        );
        Self { settling, together }
    }

    /// Settles outcomes and says what each came to, in order.
    pub async fn settle_all(&self, outcomes: &[PaymentOutcomeV1]) -> Result<Vec<OutcomeEffect>, sqlx::Error> {
        self.settling.settle_all(outcomes).await
    }
}

impl Settling {
    /// Settles batches together and tells each its own part.
    async fn settle_batches(&self, batches: Vec<Vec<PaymentOutcomeV1>>) -> Vec<Settled> {
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        let outcomes: Vec<PaymentOutcomeV1> = batches.into_iter().flatten().collect();
        let settle = |part| self.settle_all(part).map_err(Arc::new);
        let mut effects = isolate_each(&outcomes, settle).await.into_iter();
        let parts = sizes
            .into_iter()
            .map(|size| effects.by_ref().take(size).collect());
        parts.collect()
    }

    /// Settles outcomes and says what each came to, in order. Usually one statement; several outcomes for one payment go
    /// one after the other, since each is judged by what the one before it left.
    async fn settle_all(&self, outcomes: &[PaymentOutcomeV1]) -> Result<Vec<OutcomeEffect>, sqlx::Error> {
        let mut effects = vec![OutcomeEffect::AlreadyApplied; outcomes.len()];
        let mut left: Vec<(usize, &PaymentOutcomeV1)> = outcomes.iter().enumerate().collect();
        while !left.is_empty() {
            let mut seen = HashSet::with_capacity(left.len());
            let (round, later): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|(_, outcome)| seen.insert(outcome.payment_id));
            let (places, round): (Vec<usize>, Vec<&PaymentOutcomeV1>) = round.into_iter().unzip();
            for (place, effect) in places.into_iter().zip(self.settle_round(&round).await?) {
                if let Some(slot) = effects.get_mut(place) {
                    *slot = effect;
                }
            }
            left = later;
        }
        Ok(effects)
    }

    async fn settle_round(&self, outcomes: &[&PaymentOutcomeV1]) -> Result<Vec<OutcomeEffect>, sqlx::Error> {
        fail_point!(OutcomesSettling);
        let found = self.settle_in_store(outcomes).await?;
        fail_point!(OutcomesSettled);
        let found: HashMap<PaymentId, Found> = found.into_iter().map(|found| (found.id, found)).collect();
        let (mut changed, mut answered) = (ChangeEvent::default(), Vec::new());
        let mut waits_ms = Vec::with_capacity(outcomes.len());
        let mut effects = Vec::with_capacity(outcomes.len());
        let mut applied = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let found = found.get(&outcome.payment_id);
            let effect = if found.is_some_and(|found| found.held) {
                OutcomeEffect::Held
            } else {
                settle(outcome, found.map(|found| &found.former))
            };
            metrics::not_applied(effect);
            if effect == OutcomeEffect::Applied {
                applied.extend(found.map(|found| (*outcome, found)));
                let batch = found.and_then(|found| found.batch_id);
                let payments = if self.waiters.tell(outcome) && batch.is_none() {
                    &mut answered
                } else {
                    &mut changed.payments
                };
                payments.push(outcome.payment_id);
                changed.batches.extend(batch);
                waits_ms.extend(found.and_then(|found| found.since_send_ms));
            }
            effects.push(effect);
        }
        metrics::applied(&applied);
        changed.batches.sort_unstable();
        changed.batches.dedup();
        self.waiters.wake(&changed.payments, &changed.batches);
        self.feed.wake();
        if let Some(events) = &self.change_events {
            events.publish_later(answered);
            events.publish(changed).await;
        }
        self.note_waits(waits_ms);
        Ok(effects)
    }

    /// Settles, and waits for nobody's rows longer than once: whoever holds some may have died on a host that is gone, and
    /// hold them for as long as Postgres believes in it.
    async fn settle_in_store(&self, outcomes: &[&PaymentOutcomeV1]) -> Result<Vec<Found>, sqlx::Error> {
        if !self.is_hindered() {
            // Each statement has its limit.
            match retry_conflicts(LONG, || self.store.settle(outcomes)).await {
                Err(error) if is_lock_timeout(&error) => {
                    warn!("rows of payments are held by somebody else; settling the others");
                    *lock(&self.hindered) = Some(Instant::now());
                }
                settled => return settled,
            }
        }
        retry_conflicts(SHORT, || self.store.settle_free(outcomes)).await
    }

    fn is_hindered(&self) -> bool {
        let since = *lock(&self.hindered);
        since.is_some_and(|since| since.elapsed() < HINDERED_FOR)
    }

    /// Remembers how long outcomes take, and writes the median down now and then.
    fn note_waits(&self, waits_ms: Vec<f64>) {
        let median = {
            let mut latency = lock(&self.latency);
            latency.note(waits_ms.into_iter(), Instant::now())
        };
        let Some(median_ms) = median else { return };
        let store = self.store.clone();
        // No part of settling: nothing waits for a statistic.
        tokio::spawn(async move {
            if let Err(error) = store.set_outcome_latency(median_ms).await {
                debug!(error = %service::telemetry::chain(&error), "could not write down how long outcomes take");
            }
        });
    }
}

impl Handler for PaymentOutcomes {
    type Message = PaymentOutcomeV1;

    const TEMPLATE: &'static str = subjects::PAYMENT_OUTCOME_TEMPLATE;

    fn conversation_id(message: &PaymentOutcomeV1) -> Option<Uuid> {
        Some(message.payment_id.as_uuid())
    }

    async fn handle(&self, batch: Vec<Received<PaymentOutcomeV1>>, decisions: Decisions) {
        let (delivered, outcomes): (Vec<Delivered>, Vec<PaymentOutcomeV1>) = batch
            .into_iter()
            .map(|received| {
                let trace = received.traceparent.as_deref().and_then(TraceParent::parse);
                let token = received.token;
                (Delivered { token, trace }, received.message)
            })
            .unzip();
        let settled = match self.together.submit(outcomes.clone()).await {
            Ok(settled) => settled,
            // The batch panicked: whether it was settled shows when the messages come again.
            Err(lost) => {
                error!(messages = outcomes.len(), error = %lost, "outcomes were not settled; they come again");
                return;
            }
        };
        for ((delivered, outcome), effect) in delivered.iter().zip(&outcomes).zip(&settled) {
            let decision = match effect {
                Ok(effect) => decide(delivered, outcome, *effect),
                Err(error) => not_settled(error),
            };
            decisions.decide(delivered.token, decision);
        }
        let errors = settled.iter().filter_map(|effect| effect.as_ref().err());
        let mut errors = errors
            .filter(|error| error_kind(error) != ErrorKind::Data)
            .peekable();
        if let Some(&error) = errors.peek() {
            let messages = errors.count();
            warn!(messages, error = %service::telemetry::chain(error), "could not settle payments; trying again");
        }
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
        let new = service::dead_letters::keep(self.settling.store.pool(), &letters).await?;
        metrics::DEAD_LETTERS.add(new as u64);
        Ok(())
    }
}

fn decide(delivered: &Delivered, outcome: &PaymentOutcomeV1, effect: OutcomeEffect) -> Decision {
    match effect {
        OutcomeEffect::Applied => {
            delivered.log_applied(outcome);
            Decision::Done
        }
        OutcomeEffect::AlreadyApplied => Decision::Done,
        OutcomeEffect::Held => Decision::Retry(RETRY),
        OutcomeEffect::Conflict(conflict) => {
            error!(
                payment.id = %outcome.payment_id, invoice.id = %outcome.invoice_id, trace_id = delivered.trace_id(),
                outcome = outcome.status.as_str(), "an outcome contradicts what is known: {}", conflict.as_str()
            );
            Decision::Reject(conflict.as_str().to_owned())
        }
    }
}

/// One whose data the database refuses is never tried again.
fn not_settled(error: &sqlx::Error) -> Decision {
    match error_kind(error) {
        ErrorKind::Data => Decision::Reject(format!(
            "refused by the database: {}",
            service::telemetry::chain(error)
        )),
        ErrorKind::Conflict | ErrorKind::Away | ErrorKind::Schema | ErrorKind::Other => {
            Decision::Retry(RETRY)
        }
    }
}

/// What is to be decided about, and whose work it is part of.
struct Delivered {
    token: Token,
    trace: Option<TraceParent>,
}

impl Delivered {
    fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref().map(TraceParent::trace_id)
    }

    /// One line for each payment.
    fn log_applied(&self, outcome: &PaymentOutcomeV1) {
        let (payment, invoice, trace_id) = (outcome.payment_id, outcome.invoice_id, self.trace_id());
        match outcome.status {
            OutcomeStatus::Succeeded => {
                info!(payment.id = %payment, invoice.id = %invoice, trace_id, "an invoice is paid");
            }
            OutcomeStatus::Declined => warn!(
                payment.id = %payment, invoice.id = %invoice, trace_id,
                reason = outcome.reason.as_deref().unwrap_or("none"),
                "a payment was declined; the invoice is unpaid again"
            ),
        }
    }
}
