//! Sending messages: id for deduplication, trace header, content type, and a bound on what is under way.

use bytes::Bytes;

use crate::{
    connection::Connection,
    messages::{PayRequestV1, PaymentOutcomeV1},
    trace::TraceParent,
};

/// A message ready to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub subject: String,
    /// `Nats-Msg-Id`.
    pub message_id: String,
    /// `traceparent`.
    pub trace: Option<TraceParent>,
    /// The JSON body.
    pub body: Bytes,
}

/// Why a message is not known to be stored. It may be all the same: send it again, never assume.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not connected; nothing was sent.
    #[error("not connected to NATS")]
    Disconnected,
    /// The server did not confirm.
    #[error("the message was not confirmed by the stream")]
    Unconfirmed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Outgoing {
    /// A pay request; `send` counts the sends of this payment from 1 and makes the id `<payment_id>.<send>`.
    #[must_use]
    pub fn pay_request(_request: &PayRequestV1, _send: u32, _trace: Option<TraceParent>) -> Self {
        todo!()
    }
    /// An outcome; its id is the payment's.
    #[must_use]
    pub fn payment_outcome(_outcome: &PaymentOutcomeV1, _trace: Option<TraceParent>) -> Self {
        todo!()
    }
}

/// Publishes in the own account.
#[derive(Clone, Debug)]
pub struct Publisher {
    #[expect(dead_code, reason = "placeholder")]
    connection: Connection,
}

impl Publisher {
    /// A publisher over the connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Hands the messages to the connection in order and flushes, without waiting for the stream to confirm: for requests,
    /// whose loss is repaired by sending again. Fails at once, having sent nothing or a prefix, when disconnected.
    /// Never blocks longer than a bounded time, even with a half-open connection.
    pub async fn send(&self, _messages: Vec<Outgoing>) -> Result<(), Error> {
        todo!()
    }

    /// Publishes all, a bounded number in flight, and waits for the stream's ack of each. Results in order.
    pub async fn send_confirmed(&self, _messages: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        todo!()
    }
}
