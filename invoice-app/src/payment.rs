//! What a payment is, one attempt to pay an invoice, and what an outcome does to it. No I/O.

use jetstream::publish::{Outgoing, Sent};
use payment_contract::{
    Currency, InvoiceId, Money, PaymentId,
    messages::{OutcomeStatus, PayRequestV1, PaymentOutcomeV1},
    money, subjects,
    trace::TraceParent,
    words,
};

use crate::batch_id::BatchId;
use time::OffsetDateTime;

words! {
    /// `requested → succeeded | declined`, once. Words of the API and of the database.
    #[derive(sqlx::Type)]
    #[sqlx(type_name = "text", rename_all = "lowercase")]
    pub enum Status {
        /// Asked for; no outcome yet.
        Requested = "requested",
        /// The money moved. Final.
        Succeeded = "succeeded",
        /// The bank refused. Final; the invoice can be paid again.
        Declined = "declined",
    }
}

impl From<OutcomeStatus> for Status {
    fn from(status: OutcomeStatus) -> Self {
        match status {
            OutcomeStatus::Succeeded => Self::Succeeded,
            OutcomeStatus::Declined => Self::Declined,
        }
    }
}

/// A payment as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub id: PaymentId,
    pub invoice_id: InvoiceId,
    /// Counts the payments of the invoice from 1.
    pub attempt: i32,
    pub status: Status,
    pub reason: Option<String>,
    pub provider_reference: Option<String>,
    pub created_at: OffsetDateTime,
    pub settled_at: Option<OffsetDateTime>,
}

impl Payment {
    /// The payment once this outcome of it is applied.
    #[must_use]
    pub fn settled_with(self, outcome: PaymentOutcomeV1) -> Self {
        Self {
            status: outcome.status.into(),
            reason: outcome.reason,
            provider_reference: outcome.provider_reference,
            settled_at: Some(outcome.settled_at),
            ..self
        }
    }
}

/// How the payments of one batch stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    pub requested: i64,
    pub paid: i64,
    pub declined: i64,
    pub pending: i64,
    /// What the call asked for and did not get: a JSON array, as it was answered.
    pub skipped: String,
}

words! {
    /// Why an invoice asked for was not paid, in the API's words.
    pub enum Skipped {
        Unknown = "unknown",
        Duplicate = "duplicate",
        /// A payment of it is under way.
        Pending = "pending",
        Paid = "paid",
        Void = "void",
    }
}

/// A payment to be asked for: one row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRequest {
    pub payment_id: PaymentId,
    pub invoice_id: InvoiceId,
    pub invoice_number: String,
    pub amount_minor: i64,
    pub currency: String,
    /// Counts the payments of the invoice from 1.
    pub attempt: i32,
    /// Counts the sends of this payment from 1.
    pub send: i32,
    pub traceparent: Option<String>,
    pub requested_at: OffsetDateTime,
}

impl OutboxRequest {
    /// The payment as it was made, without asking for it again.
    pub fn payment(&self) -> Payment {
        Payment {
            id: self.payment_id,
            invoice_id: self.invoice_id,
            attempt: self.attempt,
            status: Status::Requested,
            reason: None,
            provider_reference: None,
            created_at: self.requested_at,
            settled_at: None,
        }
    }

    /// The message that asks for it.
    pub fn outgoing(self) -> Result<Outgoing, money::Error> {
        let amount = Money::try_from_minor_units(self.amount_minor, Currency::try_new(&self.currency)?)?;
        let trace = self.traceparent.as_deref().and_then(TraceParent::parse);
        let message = PayRequestV1 {
            payment_id: self.payment_id,
            invoice_id: self.invoice_id,
            invoice_number: self.invoice_number,
            amount,
            attempt: self.attempt.unsigned_abs(),
            requested_at: self.requested_at,
        };
        Ok(Outgoing {
            subject: message.subject(),
            template: subjects::PAY_REQUEST_TEMPLATE,
            message_id: message.message_id(self.send.unsigned_abs()),
            conversation_id: message.payment_id.as_uuid(),
            sent: match self.send {
                1 => Sent::First,
                _ => Sent::Again {
                    first: message.message_id(1),
                },
            },
            traceparent: trace.map(String::from),
            body: message.encode(),
        })
    }
}

/// A payment as an outcome found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    pub invoice_id: InvoiceId,
    pub status: Status,
}

/// What an outcome does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeEffect {
    /// It settles the payment.
    Applied,
    /// It says what was known.
    AlreadyApplied,
    /// Somebody else holds its rows: it is to come again.
    Held,
    /// It cannot be true together with what is known: an operator must look.
    Conflict(Conflict),
}

words! {
    /// Why an outcome cannot be applied, as kept with the dead letter.
    pub enum Conflict {
        /// No such payment was ever requested here.
        UnknownPayment = "conflict: this payment was never requested",
        /// The payment is of another invoice.
        OtherInvoice = "conflict: this payment is of another invoice",
        /// The payment had succeeded, and is now said to be declined.
        DeclinedAfterSuccess = "conflict: declined, but the payment had succeeded",
        /// The payment had been declined, and is now said to have succeeded.
        SucceededAfterDecline = "conflict: succeeded, but the payment had been declined",
    }
}

/// Decides what an outcome does to a payment found in `former` state, or not found. The statement that applies outcomes
/// follows the same rule; this says it in words the rest can act on.
pub fn settle(outcome: &PaymentOutcomeV1, former: Option<&Former>) -> OutcomeEffect {
    let Some(former) = former else {
        return OutcomeEffect::Conflict(Conflict::UnknownPayment);
    };
    if former.invoice_id != outcome.invoice_id {
        return OutcomeEffect::Conflict(Conflict::OtherInvoice);
    }
    match (former.status, outcome.status) {
        (Status::Requested, OutcomeStatus::Succeeded | OutcomeStatus::Declined) => OutcomeEffect::Applied,
        (Status::Succeeded, OutcomeStatus::Succeeded) | (Status::Declined, OutcomeStatus::Declined) => {
            OutcomeEffect::AlreadyApplied
        }
        (Status::Succeeded, OutcomeStatus::Declined) => {
            OutcomeEffect::Conflict(Conflict::DeclinedAfterSuccess)
        }
        (Status::Declined, OutcomeStatus::Succeeded) => {
            OutcomeEffect::Conflict(Conflict::SucceededAfterDecline)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: OutcomeStatus) -> PaymentOutcomeV1 {
        PaymentOutcomeV1 {
            payment_id: PaymentId::generate(),
            invoice_id: InvoiceId::generate(),
            status,
            reason: None,
            provider_reference: None,
            settled_at: OffsetDateTime::UNIX_EPOCH,
            provider: None,
        }
    }

    #[test]
    fn an_outcome_applies_once_repeats_quietly_and_never_contradicts() {
        use OutcomeStatus::{Declined, Succeeded};
        for (was, says, then) in [
            (Status::Requested, Succeeded, OutcomeEffect::Applied),
            (Status::Requested, Declined, OutcomeEffect::Applied),
            (Status::Succeeded, Succeeded, OutcomeEffect::AlreadyApplied),
            (Status::Declined, Declined, OutcomeEffect::AlreadyApplied),
            (
                Status::Succeeded,
                Declined,
                OutcomeEffect::Conflict(Conflict::DeclinedAfterSuccess),
            ),
            (
                Status::Declined,
                Succeeded,
                OutcomeEffect::Conflict(Conflict::SucceededAfterDecline),
            ),
        ] {
            let outcome = outcome(says);
            let former = Former {
                invoice_id: outcome.invoice_id,
                status: was,
            };
            assert_eq!(settle(&outcome, Some(&former)), then, "{was:?} {says:?}");
        }
    }

    #[test]
    fn an_outcome_for_an_unknown_payment_or_another_invoice_is_a_conflict() {
        let outcome = outcome(OutcomeStatus::Succeeded);
        assert_eq!(
            settle(&outcome, None),
            OutcomeEffect::Conflict(Conflict::UnknownPayment)
        );
        let former = Former {
            invoice_id: InvoiceId::generate(),
            status: Status::Requested,
        };
        assert_eq!(
            settle(&outcome, Some(&former)),
            OutcomeEffect::Conflict(Conflict::OtherInvoice)
        );
    }
}
