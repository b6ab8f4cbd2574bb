//! The messages themselves, versioned by subject. `golden/` locks their JSON: a changed golden file is a broken peer.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{InvoiceId, Money, PaymentId};

/// Asks payment-provider to pay an invoice. Sent again, unchanged, until an outcome arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayRequestV1 {
    /// The attempt; the idempotency key everywhere.
    pub payment_id: PaymentId,
    /// The invoice being paid.
    pub invoice_id: InvoiceId,
    /// The human reference, for the bank statement.
    pub invoice_number: String,
    /// What to pay.
    pub amount: Money,
    /// 1 for the invoice's first payment, 2 after one decline, and so on.
    pub attempt: u32,
    /// When the payment was requested.
    #[serde(with = "time::serde::rfc3339")]
    pub requested_at: OffsetDateTime,
}

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeStatus {
    /// The money moved.
    Succeeded,
    /// The bank refused, for a documented reason; no money moved.
    Declined,
}

/// Tells invoice-app how a payment ended. Comes from a finished ledger row only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOutcomeV1 {
    /// The attempt that ended.
    pub payment_id: PaymentId,
    /// Its invoice.
    pub invoice_id: InvoiceId,
    /// How it ended.
    pub status: OutcomeStatus,
    /// Why it was declined (`insufficient_funds`, …); null when it succeeded.
    pub reason: Option<String>,
    /// The bank's reference; null when it gave none.
    pub provider_reference: Option<String>,
    /// When the ledger row was finished.
    #[serde(with = "time::serde::rfc3339")]
    pub settled_at: OffsetDateTime,
}

impl OutcomeStatus {
    /// The word on the wire, in subjects and in both databases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
        }
    }
}
