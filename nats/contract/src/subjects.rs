//! Subjects. No subject literal stands anywhere else.

use crate::{Currency, outcome_status::OutcomeStatus};

/// Every pay request.
pub const PAY_REQUESTS: &str = "pay.v1.request.*";
/// Every outcome.
pub const PAYMENT_OUTCOMES: &str = "pay.v1.outcome.*";

/// A pay request's, for whoever tells of many at once.
pub const PAY_REQUEST_TEMPLATE: &str = "pay.v1.request.{currency}";
/// An outcome's.
pub const PAYMENT_OUTCOME_TEMPLATE: &str = "pay.v1.outcome.{status}";

/// `pay.v1.request.eur`
pub fn pay_request(currency: Currency) -> String {
    format!("pay.v1.request.{}", currency.code().to_ascii_lowercase())
}

/// `pay.v1.outcome.succeeded`
pub fn payment_outcome(status: OutcomeStatus) -> String {
    format!("pay.v1.outcome.{}", status.as_str())
}
