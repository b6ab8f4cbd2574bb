//! The consumer of pay requests. One request, in order: intent written, bank called, result written, outcome published
//! and confirmed, request acknowledged. A crash between any two of these is repaired by the request coming again.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use jetstream::delivery::{DeadLetter, Decision, Decisions, Handler, Received};
use payment_contract::{Currency, messages::PayRequestV1, subjects, trace::TraceParent};
use service::{
    BoxError,
    batcher::{Batcher, isolate_each},
    fail_point,
    telemetry::chain,
};
use tracing::warn;
use uuid::Uuid;

use crate::{
    gateway::Bank,
    metrics,
    outcomes::Outcomes,
    store::{self, Recorded, ResultToRecord, Store},
};

mod admission;
mod bank_call;
mod finish;
mod intents;
mod lease;
mod numbers;
mod unasked;

use intents::Intents;
use lease::Lease;
pub use unasked::More;

/// One statement finishes this many rows at most.
const LARGEST_BATCH: usize = 512;
/// One batch of results is written while the next is collected.
const BATCHES: usize = 2;

/// How long what was taken rests while the bank is away; what is finished already is answered thereafter.
const REST: Duration = Duration::from_secs(2);

/// What an operator may want to change.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long the bank surely remembers a key, less a margin.
    pub key_retention: Duration,
    /// A call starts only if its lease lasts longer than the bank's timeout by this much.
    pub lease_margin: Duration,
    /// The currencies the bank takes; empty: all.
    pub currencies: Vec<Currency>,
    /// New payments are held until an operator releases them.
    pub hold_new_payments: bool,
}

/// A request that is being handled, however it came.
#[derive(Clone, Debug)]
pub struct DeliveredRequest {
    /// What is asked.
    pub message: PayRequestV1,
    /// The work on it; while traces are off, its sender's.
    pub trace: Option<TraceParent>,
    /// How often it was delivered, this time included.
    pub deliveries: u32,
}

/// Handles pay requests. Cheap to clone.
#[derive(Clone)]
pub struct PayRequests {
    store: Store,
    bank: Bank,
    outcomes: Outcomes,
    policy: Arc<Policy>,
    intents: Intents,
    results: Batcher<ResultToRecord, Result<Recorded, store::Error>>,
    renewals: Batcher<Lease, bool>,
    releases: Batcher<(Lease, bool), ()>,
}

impl PayRequests {
    /// Over a ledger, a bank and a way to answer.
    pub fn new(store: Store, bank: Bank, outcomes: Outcomes, policy: Policy) -> Self {
        let results = Batcher::new(
            metrics::batcher_queue("results"),
            LARGEST_BATCH,
            BATCHES,
            store.clone(),
            |store, results| record(store, results).boxed(),
        );
        let intents = intents::intents(store.clone());
        let renewals = lease::renewals(store.clone());
        let releases = lease::releases(store.clone());
        Self {
            store,
            bank,
            outcomes,
            policy: Arc::new(policy),
            intents,
            results,
            renewals,
            releases,
        }
    }

    /// Handles requests and reports the decision about each, by its position, as soon as it is known.
    pub async fn process(
        &self,
        requests: Vec<DeliveredRequest>,
        decide: impl Fn(usize, Decision) + Send + Sync,
    ) {
        let mut work: FuturesUnordered<_> = self
            .admit(requests)
            .await
            .into_iter()
            .map(|(position, admitted)| async move { (position, self.finish(admitted).await) })
            .collect();
        while let Some((position, decision)) = work.next().await {
            decide(position, decision);
        }
    }
}

async fn record(store: &Store, results: Vec<ResultToRecord>) -> Vec<Result<Recorded, store::Error>> {
    fail_point!(ResultsWriting);
    let recorded = isolate_each(&results, |part| store.record(part)).await;
    fail_point!(ResultsWritten);
    if let Some(error) = recorded.iter().find_map(|recorded| recorded.as_ref().err()) {
        warn!(
            results = results.len(),
            error = chain(error),
            "results could not be written; they will be looked up"
        );
    }
    recorded
}

impl Handler for PayRequests {
    type Message = PayRequestV1;

    const TEMPLATE: &'static str = subjects::PAY_REQUEST_TEMPLATE;

    fn conversation_id(message: &PayRequestV1) -> Option<Uuid> {
        Some(message.payment_id.as_uuid())
    }

    async fn handle(&self, batch: Vec<Received<PayRequestV1>>, decisions: Decisions) {
        if let Err(away) = self.bank.is_there() {
            // What is in hand keeps more from being taken, and thousands from coming again every few seconds.
            tokio::time::sleep(away.next_call.min(REST)).await;
        }
        let mut tokens = Vec::with_capacity(batch.len());
        let mut requests = Vec::with_capacity(batch.len());
        for received in batch {
            tokens.push(received.token);
            requests.push(DeliveredRequest {
                message: received.message,
                trace: received.traceparent.as_deref().and_then(TraceParent::parse),
                deliveries: u32::try_from(received.delivered).unwrap_or(u32::MAX),
            });
        }
        self.process(requests, |position, decision| {
            if let Some(token) = tokens.get(position) {
                decisions.decide(*token, decision);
            }
        })
        .await;
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
        let new = service::dead_letters::keep(self.store.pool(), &letters).await?;
        metrics::DEAD_LETTERS.add(new as u64);
        Ok(())
    }
}
