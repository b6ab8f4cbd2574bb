//! What a bank is asked to do, and what it says to that; how it is asked is the gateway's.

use std::time::Duration;

use payment_contract::{Money, PaymentId, messages::PayRequestV1};

/// Under this key the bank charges at most once, however often it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(PaymentId);

impl From<PaymentId> for IdempotencyKey {
    fn from(payment_id: PaymentId) -> Self {
        Self(payment_id)
    }
}

impl IdempotencyKey {
    pub const fn as_uuid(self) -> uuid::Uuid {
        self.0.as_uuid()
    }
}

impl std::fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the bank is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub amount: Money,
    /// What the bank statement shows.
    pub invoice_number: String,
}

impl Order {
    /// What this request asks for.
    pub fn of(request: &PayRequestV1) -> Self {
        Self {
            amount: request.amount,
            invoice_number: request.invoice_number.clone(),
        }
    }
}

/// What a bank says about a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The money moved.
    Succeeded { reference: Option<String> },
    /// Refused for a documented reason; no money moved or will move under this key.
    Declined {
        reason: String,
        reference: Option<String>,
    },
    /// Not decided yet.
    Pending,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The bank surely did nothing: it refused the call for now, or the connection was never made.
    #[error("the bank took no call: {0}")]
    Retryable(String),
    /// The bank may have acted or not, and perhaps it is not there.
    #[error("what the bank did is unknown: {0}")]
    Unknown(String),
    /// It answers, but nothing documented about this payment: it may have acted or not.
    #[error("what the bank did is unknown: {0}")]
    Undocumented(String),
    /// It may have acted or not, and wants to be left alone for a while.
    #[error("the bank wants no calls for {} s: {why}", pause.as_secs())]
    Busy { pause: Duration, why: String },
}
