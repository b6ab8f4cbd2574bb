//! Telling invoice-app how payments ended: published together, each confirmed by the stream before its request is done.

use futures_util::FutureExt as _;
use jetstream::publish::{Outgoing, Publisher, Sent};
use payment_contract::{messages::PaymentOutcomeV1, subjects, trace::TraceParent};
use service::{batcher::Batcher, fail_point, telemetry::chain};
use tracing::warn;

use crate::metrics;

/// Published together at most.
const LARGEST_BATCH: usize = 1_024;
/// Batches under way: the next one need not wait for the last ack of the one before.
const BATCHES: usize = 4;

/// Publishes outcomes. Cheap to clone.
#[derive(Clone)]
pub struct Outcomes(Batcher<Outgoing, bool>);

/// The stream did not confirm the outcome. It may have it all the same; the finished row is there to publish it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outcome was not confirmed by the stream")]
pub struct Unconfirmed;

impl Outcomes {
    pub fn new(publisher: Publisher) -> Self {
        let queue = metrics::batcher_queue("outcomes");
        Self(Batcher::new(
            queue,
            LARGEST_BATCH,
            BATCHES,
            publisher,
            |publisher, batch| publish_batch(publisher, batch).boxed(),
        ))
    }

    /// Publishes one outcome and waits until the stream has it. Only ever called with what a finished row says.
    pub async fn publish(
        &self,
        outcome: &PaymentOutcomeV1,
        trace: Option<&TraceParent>,
    ) -> Result<(), Unconfirmed> {
        let outgoing = Outgoing {
            subject: outcome.subject(),
            template: subjects::PAYMENT_OUTCOME_TEMPLATE,
            message_id: outcome.message_id(),
            conversation_id: outcome.payment_id.as_uuid(),
            sent: Sent::Once,
            traceparent: trace.map(TraceParent::to_string),
            body: outcome.encode(),
        };
        match self.0.submit(outgoing).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Unconfirmed),
        }
    }
}

async fn publish_batch(publisher: &Publisher, batch: Vec<Outgoing>) -> Vec<bool> {
    let size = batch.len();
    fail_point!(OutcomesPublishing);
    let results = publisher.send_confirmed(batch).await;
    fail_point!(OutcomesPublished);
    let unconfirmed = results.iter().filter(|result| result.is_err()).count();
    metrics::OUTCOMES.add((size - unconfirmed) as u64);
    if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
        // Once a batch: during an outage there is one of these for every message.
        warn!(
            outcomes = size,
            unconfirmed,
            error = chain(error),
            "outcomes were not confirmed; their requests come again"
        );
    }
    results.iter().map(Result::is_ok).collect()
}
