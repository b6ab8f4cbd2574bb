//! Taking messages: one loop that pulls, decodes, hands batches to a handler, and turns its decisions into acks.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{BoxError, connection::Connection, publish::outgoing::TRACEPARENT, streams::Consumer};

mod acks;
mod arrivals;
mod consumer_loop;
mod headers;
mod in_flight;
mod pull;
mod puller;
mod raw;
mod raw_puller;

use consumer_loop::ConsumerLoop;

/// While few messages are in flight, decisions are carried out this much later, with others: the server is then woken for many
/// acks at once. A crash meanwhile brings those messages once more, as it does anyway.
pub const GATHER_ACKS: Duration = Duration::from_millis(25);

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
    /// The `traceparent` of the work on it, until its ack; while traces are off, its sender's as it came.
    pub traceparent: Option<String>,
}

/// A message as it came off the wire.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The subject.
    pub subject: String,
    /// The sequence in the stream.
    pub stream_sequence: u64,
    /// The header block, `NATS/1.0` line included; empty when there were none. Put together again from the headers as the
    /// client parsed them, sorted by name, so that the same message always has the same bytes; as received where the
    /// client could not parse them.
    pub headers: Bytes,
    /// The body as received.
    pub body: Bytes,
}

/// Names one message in flight.
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

impl DeadLetter {
    /// What kind of reason it is: all that a log may have of it, since what follows may quote the message.
    pub fn kind(&self) -> &str {
        self.reason.split(": ").next().unwrap_or_default()
    }
}

/// Where a handler puts its decisions, one per message, in any order and as soon as each is known.
#[derive(Clone, Debug)]
pub struct Decisions(UnboundedSender<(Token, Verdict)>);

/// What became of a message in the handler's hands.
#[derive(Debug)]
enum Verdict {
    Decided(Decision),
    /// The handler returned, panicked or was given up without a word about it.
    Undecided,
}

impl Decisions {
    /// Decides one message; the first decision about it counts. Bounded by the number of messages in flight.
    pub fn decide(&self, token: Token, decision: Decision) {
        // The other end is gone only when the loop has given the message back already.
        let _ = self.0.send((token, Verdict::Decided(decision)));
    }
}

/// What a service does with the messages of one consumer.
///
/// Both futures may be dropped before their end, when shutdown takes longer than it may.
pub trait Handler: Send + Sync + 'static {
    /// The message type.
    type Message: DeserializeOwned + Send + 'static;

    /// Its subject, with what differs from message to message left open.
    const TEMPLATE: &'static str;

    /// What a message and the answers to it have in common, for those who follow traces.
    fn conversation_id(_: &Self::Message) -> Option<Uuid> {
        None
    }

    /// Handles a batch. Whatever is undecided when this returns is delivered again after a delay.
    fn handle(
        &self,
        batch: Vec<Received<Self::Message>>,
        decisions: Decisions,
    ) -> impl Future<Output = ()> + Send;

    /// Keeps dead letters, committed when this returns `Ok`. Twice the same letter is kept once.
    fn dead_letter(&self, letters: Vec<DeadLetter>) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// How a consumer takes messages.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Messages in flight at once, pulled ones included.
    pub slots: usize,
    /// Messages handed over together, at most.
    pub max_batch: usize,
    /// How long to wait after a failure before trying again, at first; grows and has jitter.
    pub retry_delay: Duration,
    /// How long messages in flight may take to be finished on shutdown.
    pub drain: Duration,
}

/// Takes the consumer's messages from the peer's account until `stop` is cancelled, then finishes what is in
/// hand. Survives anything NATS does: lost connections, missing responders, a deleted consumer or stream, elections.
pub async fn run<H: Handler>(
    connection: Connection,
    consumer: Consumer,
    settings: Settings,
    handler: Arc<H>,
    stop: CancellationToken,
) {
    let (verdicts, decided) = mpsc::unbounded_channel();
    let consumer_loop = Arc::new(ConsumerLoop::new(
        connection, consumer, settings, handler, verdicts,
    ));
    let finish = CancellationToken::new();
    let acking = consumer_loop.send_acks(decided, finish.clone());
    let pulling = async {
        // Two, so that one pull is under way while the messages of the other are handed over.
        tokio::join!(
            puller::run(&consumer_loop, &stop),
            puller::run(&consumer_loop, &stop)
        );
        consumer_loop.drain(settings.drain).await;
        finish.cancel();
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(pulling, acking) } => {}
        () = consumer_loop.keep_alive() => {}
    }
    consumer_loop.finish().await;
}

/// The longest that is told about a body that cannot be decoded: the decoder quotes it, and it may be any size.
const LONGEST_REASON: usize = 300;

/// Decodes a body as the loop does; for replaying dead letters. The error says what is wrong with it.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, String> {
    serde_json::from_slice(body).map_err(|error| {
        let reason = format!("not a valid message: {error}");
        match reason.char_indices().nth(LONGEST_REASON) {
            Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
            None => reason,
        }
    })
}

/// Runs one stored message through the handler and returns its decision; for replaying dead letters. What cannot be
/// decoded is rejected; what the handler leaves undecided is to be retried. Nothing is stored.
pub async fn handle_one<H: Handler>(handler: &Arc<H>, origin: Origin) -> Decision {
    let message = match decode(&origin.body) {
        Ok(message) => message,
        Err(reason) => return Decision::Reject(reason),
    };
    let (sender, mut decided) = mpsc::unbounded_channel();
    let traceparent = header_of(&origin.headers, TRACEPARENT).map(str::to_owned);
    let received = Received {
        token: Token(0),
        message,
        origin: Arc::new(origin),
        delivered: 1,
        traceparent,
    };
    handler.handle(vec![received], Decisions(sender)).await;
    match decided.recv().await {
        Some((_, Verdict::Decided(decision))) => decision,
        _ => Decision::Retry(Duration::ZERO),
    }
}

/// A header's value out of a header block.
fn header_of<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = std::str::from_utf8(block).ok()?.lines().skip(1);
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields
        .find(|(field, _)| *field == name)
        .map(|(_, value)| value.trim())
}
