//! Names of the streams. A consumer of one is named after the service that reads it.

/// invoice-app's stream of pay requests, read by payment-provider.
pub const PAY_REQUESTS: &str = "PAY_REQUESTS";
/// payment-provider's stream of outcomes, read by invoice-app.
pub const PAY_OUTCOMES: &str = "PAY_OUTCOMES";
