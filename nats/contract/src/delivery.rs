//! Taking messages: one loop that pulls, decodes, hands batches to a handler, and turns its decisions into acks.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{connection::Connection, streams::Definition, trace::TraceParent};

/// A decoded message in the handler's hands.
#[derive(Debug)]
pub struct Received<M> {
    /// Names the message when its decision is made; unique within the process.
    pub token: Token,
    /// The body.
    pub message: M,
    /// Where it came from, whole: kept so that a message can be put among the dead letters as it was.
    pub origin: Arc<Origin>,
    /// 1 on first delivery.
    pub delivered: i64,
    /// The sender's trace, if it sent a valid one.
    pub trace: Option<TraceParent>,
}

/// A message as it came off the wire.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The subject.
    pub subject: String,
    /// The sequence in the stream.
    pub stream_sequence: u64,
    /// Header block as received, `NATS/1.0` line included; empty when there were none.
    pub headers: Bytes,
    /// The body as received.
    pub body: Bytes,
}

/// Names one message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// What is to become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Done and durable: ack.
    Done,
    /// Not now: deliver again after this long.
    Retry(Duration),
    /// Never: keep it as a dead letter with this reason, then terminate it.
    Reject(String),
}

/// A message that could not be handled, on its way into the service's `dead_letters` table.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Why.
    pub reason: String,
    /// The message as it came.
    pub origin: Arc<Origin>,
}

/// Where a handler puts its decisions, one per message, in any order and as soon as each is known.
#[derive(Clone, Debug)]
pub struct Decisions(tokio::sync::mpsc::UnboundedSender<(Token, Decision)>);

impl Decisions {
    /// Decides one message. Bounded by the number of messages in hand.
    pub fn decide(&self, _token: Token, _decision: Decision) {
        todo!()
    }
}

/// What a service does with the messages of one consumer.
pub trait Handler: Send + Sync + 'static {
    /// The message type.
    type Message: DeserializeOwned + Send + 'static;

    /// Handles a batch. Whatever is undecided when this returns is delivered again after a delay.
    fn handle(
        &self,
        batch: Vec<Received<Self::Message>>,
        decisions: Decisions,
    ) -> impl Future<Output = ()> + Send;

    /// Keeps dead letters, committed when this returns `Ok`. Twice the same letter is kept once.
    fn bury(
        &self,
        letters: Vec<DeadLetter>,
    ) -> impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send;
}

/// How a consumer takes messages.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Messages in hand at once, pulled ones included.
    pub slots: usize,
    /// Messages handed over together, at most.
    pub max_batch: usize,
    /// The durable's ack wait; progress acks go out well before it ends.
    pub ack_wait: Duration,
    /// How long to wait after a failure before trying again, at first; grows and has jitter.
    pub retry_delay: Duration,
    /// How long to let work in hand finish on shutdown.
    pub drain: Duration,
}

/// Takes messages of `definition`'s durable from the peer's account until `stop` is cancelled, then finishes what is in
/// hand. Survives anything NATS does: lost connections, missing responders, a deleted consumer or stream, elections.
pub async fn run<H: Handler>(
    _connection: Connection,
    _definition: Definition,
    _settings: Settings,
    _handler: Arc<H>,
    _stop: CancellationToken,
) {
    todo!()
}

/// Decodes a body as the loop does; for replaying dead letters. The error says what is wrong with it.
pub fn decode<M: DeserializeOwned>(_body: &[u8]) -> Result<M, String> {
    todo!()
}
