//! The messages in flight: taken, and not yet acked, given back or terminated.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::Subject;
use time::OffsetDateTime;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Origin, Token, raw::Writer};
use crate::{locks::lock, metrics, traces::Span};

/// Where a message came from, and its ack goes back. An ack names a sequence; over a later connection, or once the durable
/// was made again, the stream may be another one, in which that sequence is a message nobody has looked at.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) over: Over,
    /// When the durable was made.
    pub(super) made: OffsetDateTime,
}

/// The connection a message came over.
#[derive(Clone, Debug)]
pub(super) enum Over {
    /// The client's, as often connected as this says.
    Client { epoch: u64 },
    /// One of our own.
    Own(Writer),
}

/// One message in flight.
#[derive(Debug)]
pub(super) struct InFlightMessage {
    /// Where acks go.
    pub(super) reply: Subject,
    pub(super) origin: Arc<Origin>,
    pub(super) delivered: i64,
    pub(super) route: Route,
    /// When it was taken.
    pub(super) taken: Instant,
    /// The work on it.
    pub(super) span: Span,
    /// Freed when the message is no longer in flight.
    pub(super) slot: OwnedSemaphorePermit,
    /// On its way to the dead letters: no other decision counts any more.
    pub(super) dead_lettering: bool,
}

pub(super) struct InFlight {
    stream: &'static str,
    messages: Mutex<HashMap<Token, InFlightMessage>>,
}

/// Tokens are unique within the process, so that two consumers' messages never take each other's decisions.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

impl InFlight {
    pub(super) fn new(stream: &'static str) -> Self {
        Self {
            stream,
            messages: Mutex::default(),
        }
    }

    /// Adds messages; their tokens in the same order.
    pub(super) fn take(&self, messages: impl IntoIterator<Item = InFlightMessage>) -> Vec<Token> {
        let mut all = self.lock();
        let mut tokens = Vec::new();
        for message in messages {
            let token = Token(NEXT_TOKEN.fetch_add(1, Ordering::Relaxed));
            all.insert(token, message);
            tokens.push(token);
        }
        metrics::in_flight(self.stream, all.len());
        tokens
    }

    /// Takes a message out, if it is still there; its slot is free when the answer is dropped.
    pub(super) fn remove(&self, token: Token) -> Option<InFlightMessage> {
        let mut all = self.lock();
        let message = all.remove(&token);
        metrics::in_flight(self.stream, all.len());
        message
    }

    /// Whether a decision about this message still counts.
    pub(super) fn is_open(&self, token: Token) -> bool {
        self.lock()
            .get(&token)
            .is_some_and(|message| !message.dead_lettering)
    }

    /// How many times it was delivered.
    pub(super) fn delivered(&self, token: Token) -> Option<i64> {
        self.lock().get(&token).map(|message| message.delivered)
    }

    /// Marks a message as being stored; its origin, unless a decision was made before.
    pub(super) fn begin_dead_lettering(&self, token: Token) -> Option<Arc<Origin>> {
        let mut all = self.lock();
        let message = all.get_mut(&token).filter(|message| !message.dead_lettering)?;
        message.dead_lettering = true;
        Some(Arc::clone(&message.origin))
    }

    /// Where to report progress of what was taken less than `limit` ago.
    pub(super) fn replies(&self, limit: Duration) -> Vec<(Subject, Route)> {
        self.lock()
            .values()
            .filter(|message| message.taken.elapsed() < limit)
            .map(|message| (message.reply.clone(), message.route.clone()))
            .collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Everything that is left.
    pub(super) fn tokens(&self) -> Vec<Token> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Token, InFlightMessage>> {
        // Nothing panics while it holds the lock, so the map is whole.
        lock(&self.messages)
    }
}
