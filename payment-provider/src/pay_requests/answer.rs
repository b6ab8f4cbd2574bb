//! The last step: writes the result, publishes the outcome of the finished row, and decides about the request.

use std::time::Duration;

use payment_contract::{delivery::Decision, messages::PaymentOutcomeV1, trace::TraceParent};
use service::telemetry::chain;
use tracing::{error, info, warn};

use super::{
    PayRequests,
    admission::{Admitted, Call},
    call::Asked,
    lease::{jitter, spread},
};
use crate::{
    ledger::{OPERATOR_DELAY, Settlement, retry_delay},
    metrics,
    store::{Recorded, ResultToRecord},
};

/// When to come back for what is about to be ready: somebody else holds the row, or an outcome was not confirmed.
const SOON: Duration = Duration::from_secs(1);
/// When to come back after a result that could not be written: the lease is kept, so that nobody calls meanwhile.
const UNWRITTEN: Duration = Duration::from_secs(3);
/// The first word of every dead letter about a contradiction.
const CONFLICT: &str = "conflict";

impl PayRequests {
    /// Does what is left to do about a request, to its decision.
    pub(super) async fn finish(&self, admitted: Admitted) -> Decision {
        match admitted {
            Admitted::Decided(decision) => decision,
            Admitted::Publish(outcome, trace) => self.publish(&outcome, trace.as_ref()).await,
            Admitted::Conflict(outcome, trace) => {
                let reason = format!("{CONFLICT}: another request has this payment id");
                self.publish_then_reject(outcome.as_ref(), trace.as_ref(), reason)
                    .await
            }
            Admitted::Call(mut call) => match self.ask(&mut call).await {
                Asked::Settled(settlement) => self.settle(&call, settlement).await,
                Asked::Unknown => {
                    self.release(&call.lease, true).await;
                    Decision::Retry(retry_delay(call.tries.saturating_add(1), jitter()))
                }
                Asked::LeftToOperator => {
                    self.release(&call.lease, false).await;
                    Decision::Retry(OPERATOR_DELAY)
                }
                Asked::LeaseLost => Decision::Retry(spread(SOON)),
            },
        }
    }

    async fn settle(&self, call: &Call, settlement: Settlement) -> Decision {
        let payment_id = call.lease.payment_id;
        let status = settlement.status.as_str();
        let invoice_id = call.invoice_id;
        match self
            .results
            .submit(ResultToRecord {
                payment_id,
                settlement,
            })
            .await
        {
            Ok(Ok(Recorded::Finished(ending))) => {
                metrics::settled(status);
                if let Some(reason) = &ending.settlement.reason {
                    info!(payment.id = %payment_id, invoice.id = %invoice_id, reason, "the bank declined a payment");
                }
                self.publish(&ending.outcome(payment_id, invoice_id), call.trace.as_ref())
                    .await
            }
            Ok(Ok(Recorded::Contradicted { stored })) => {
                metrics::conflict();
                let stored_status = stored.settlement.status.as_str();
                error!(
                    payment.id = %payment_id,
                    invoice.id = %invoice_id,
                    bank = status,
                    ledger = stored_status,
                    "the bank contradicts a finished ledger row; the row stays as it is"
                );
                let reason =
                    format!("{CONFLICT}: the bank says {status}, the finished ledger row {stored_status}");
                let outcome = stored.outcome(payment_id, invoice_id);
                self.publish_then_reject(Some(&outcome), call.trace.as_ref(), reason)
                    .await
            }
            Ok(Ok(Recorded::Missing)) => {
                error!(payment.id = %payment_id, invoice.id = %invoice_id, "the ledger row is gone; its result is not written");
                Decision::Retry(spread(UNWRITTEN))
            }
            Ok(Err(error)) => {
                warn!(payment.id = %payment_id, error = chain(&error), "a result could not be written; it will be looked up");
                Decision::Retry(spread(UNWRITTEN))
            }
            Err(lost) => {
                error!(payment.id = %payment_id, error = %lost, "whether a result was written is unknown; it will be looked up");
                Decision::Retry(spread(UNWRITTEN))
            }
        }
    }

    async fn publish(&self, outcome: &PaymentOutcomeV1, trace: Option<&TraceParent>) -> Decision {
        match self.outcomes.publish(outcome, trace).await {
            Ok(()) => Decision::Done,
            // The row is finished: when the request comes again its outcome is published again.
            Err(_) => Decision::Retry(spread(SOON)),
        }
    }

    async fn publish_then_reject(
        &self,
        outcome: Option<&PaymentOutcomeV1>,
        trace: Option<&TraceParent>,
        reason: String,
    ) -> Decision {
        match outcome {
            None => Decision::Reject(reason),
            Some(outcome) => match self.publish(outcome, trace).await {
                Decision::Done => Decision::Reject(reason),
                not_yet => not_yet,
            },
        }
    }
}
