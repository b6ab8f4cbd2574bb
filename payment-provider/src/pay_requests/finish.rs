//! The last step: writes the result, publishes the outcome of the finished row, and decides about the request.

use std::time::Duration;

use jetstream::delivery::Decision;
use payment_contract::{
    messages::{OutcomeStatus, PaymentOutcomeV1},
    trace::TraceParent,
};
use tracing::{error, info};

use super::{
    PayRequests,
    admission::Admitted,
    bank_call::{BankCall, Conclusion},
    lease::{jitter, spread, until_it_is_back},
};
use crate::{
    ledger::{Ending, OPERATOR_DELAY, Settlement, retry_delay},
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
            Admitted::Call(call) => self.call(*call).await,
            Admitted::Earlier(call) => match self.call(*call).await {
                Decision::Retry(after) => Decision::Retry(after),
                _ => Decision::Retry(spread(SOON)),
            },
        }
    }

    /// Asks the bank, to the decision about the payment's request.
    async fn call(&self, mut call: BankCall) -> Decision {
        let conclusion = self.ask(&mut call).await;
        self.conclude(&call, conclusion).await
    }

    /// Does what a conclusion asks for.
    pub(super) async fn conclude(&self, call: &BankCall, conclusion: Conclusion) -> Decision {
        match conclusion {
            Conclusion::Settled(settlement) => self.settle(call, settlement).await,
            Conclusion::Unknown => {
                self.release(&call.lease, true).await;
                Decision::Retry(retry_delay(call.tries.saturating_add(1), jitter()))
            }
            Conclusion::Away(away) => {
                self.release(&call.lease, false).await;
                Decision::Retry(until_it_is_back(away, call.tries))
            }
            Conclusion::LeftToOperator => {
                self.release(&call.lease, false).await;
                Decision::Retry(OPERATOR_DELAY)
            }
            Conclusion::LeaseLost => Decision::Retry(spread(SOON)),
        }
    }

    async fn settle(&self, call: &BankCall, settlement: Settlement) -> Decision {
        let (payment_id, invoice_id) = (call.lease.payment_id, call.invoice_id);
        let status = settlement.status;
        match self
            .results
            .submit(ResultToRecord {
                payment_id,
                settlement,
            })
            .await
        {
            Ok(Ok(Recorded::Finished(ending))) => {
                metrics::settled(status.as_str());
                log_settled(call, &ending);
                let mut outcome = ending.outcome(payment_id, invoice_id);
                outcome.provider = call.effort();
                self.publish(&outcome, call.trace.as_ref()).await
            }
            Ok(Ok(Recorded::Contradicted { stored })) => self.contradicted(call, status, &stored).await,
            Ok(Ok(Recorded::Missing)) => {
                error!(payment.id = %payment_id, invoice.id = %invoice_id, "the ledger row is gone; its result is not written");
                Decision::Retry(spread(UNWRITTEN))
            }
            // Logged once for the batch. The lease ends by itself, and then the result is looked up.
            Ok(Err(_)) => Decision::Retry(spread(UNWRITTEN)),
            Err(lost) => {
                error!(payment.id = %payment_id, error = %lost, "whether a result was written is unknown; it will be looked up");
                Decision::Retry(spread(UNWRITTEN))
            }
        }
    }

    async fn contradicted(&self, call: &BankCall, bank: OutcomeStatus, stored: &Ending) -> Decision {
        let (bank, ledger) = (bank.as_str(), stored.settlement.status.as_str());
        metrics::CONFLICTS.add(1);
        error!(
            payment.id = %call.lease.payment_id,
            invoice.id = %call.invoice_id,
            trace_id = call.trace.as_ref().map(TraceParent::trace_id),
            bank,
            ledger,
            "the bank contradicts a finished ledger row; the row stays as it is"
        );
        let reason = format!("{CONFLICT}: the bank says {bank}, the finished ledger row {ledger}");
        let outcome = stored.outcome(call.lease.payment_id, call.invoice_id);
        self.publish_then_reject(Some(&outcome), call.trace.as_ref(), reason)
            .await
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

/// One line for each payment, in the words of its ledger row.
fn log_settled(call: &BankCall, ending: &Ending) {
    let (payment_id, invoice_id) = (call.lease.payment_id, call.invoice_id);
    let trace_id = call.trace.as_ref().map(TraceParent::trace_id);
    let duration_ms = u64::try_from(call.began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &ending.settlement.reason {
        Some(reason) => {
            info!(payment.id = %payment_id, invoice.id = %invoice_id, trace_id, duration_ms, reason, "a payment was declined");
        }
        None => {
            info!(payment.id = %payment_id, invoice.id = %invoice_id, trace_id, duration_ms, "a payment succeeded");
        }
    }
}
