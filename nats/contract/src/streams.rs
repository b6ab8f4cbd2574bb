//! The two streams and the durable on each, every setting with its reason, and the one function that makes them.

use std::time::Duration;

use async_nats::jetstream;
use time::OffsetDateTime;

/// A stream, and the one durable that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The stream's name.
    pub stream: &'static str,
    /// What it keeps.
    pub subject: &'static str,
    /// The durable, named after the service that pulls from it.
    pub durable: &'static str,
}

/// invoice-app's stream of pay requests, read by payment-provider.
pub const PAY_REQUESTS: Definition = Definition {
    stream: "PAY_REQUESTS",
    subject: crate::subjects::PAY_REQUESTS,
    durable: "payment-provider",
};
/// payment-provider's stream of outcomes, read by invoice-app.
pub const PAY_OUTCOMES: Definition = Definition {
    stream: "PAY_OUTCOMES",
    subject: crate::subjects::PAYMENT_OUTCOMES,
    durable: "invoice-app",
};

/// What a deployment chooses about a stream and its durable.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// 1 locally, 3 in production.
    pub replicas: usize,
    /// How long the server waits for an ack or a progress ack before it delivers again.
    pub ack_wait: Duration,
}

/// When the server made the stream and its durable. Other times than last seen mean: NATS has forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The stream's creation time.
    pub stream: OffsetDateTime,
    /// The durable's creation time.
    pub durable: OffsetDateTime,
}

/// Why the stream and durable could not be made or looked up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// placeholder
    #[error("could not make {0}")]
    Make(&'static str),
}

/// Makes the stream and its durable, or brings them back to this definition. Safe to call at any time, by any replica.
/// Only the account's own service calls it.
pub async fn ensure(
    _own: &jetstream::Context,
    _definition: Definition,
    _options: Options,
) -> Result<Created, Error> {
    todo!()
}

/// When the durable that this service reads, in the other side's account, was made. `None` while it does not exist;
/// an error when nobody could say (a time-out or a missing leader is not "forgotten").
pub async fn peer_durable_created(
    _peer: &jetstream::Context,
    _definition: Definition,
) -> Result<Option<OffsetDateTime>, Error> {
    todo!()
}
