//! A stream, a durable consumer of it, and every setting of both with its reason.

use std::{borrow::Cow, time::Duration};

use async_nats::jetstream::{
    consumer::{self, AckPolicy, DeliverPolicy, ReplayPolicy},
    stream::{self, DiscardPolicy, RetentionPolicy, StorageType},
};

/// How long the server waits for an ack or a sign of progress. Progress is reported every third of it, so a slow gateway
/// call is not delivered twice, while the messages of a killed process are with another one after a quarter of a minute.
pub const ACK_WAIT: Duration = Duration::from_secs(15);
/// Far longer than any payment takes, and short enough to keep the stream small: what is forgotten is sent again.
pub const MAX_AGE: Duration = Duration::from_hours(1);
/// Two million messages. Beyond it the oldest go, and are sent again if nobody took them.
pub const MAX_BYTES: i64 = 1 << 30;
/// Headers included. Ours are below one; whatever is larger is refused when it is published, and never reaches a reader.
pub const MAX_MESSAGE_SIZE: i32 = 8 * 1024;
/// Catches a publish repeated by the client or a replica at the same moment. Sending again on purpose has a new id, so a
/// longer window would only cost memory.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(30);

/// A stream of the service that makes it. Anybody with a [`Consumer`] of it reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: &'static str,
    /// What it keeps.
    pub subject: &'static str,
}

/// A durable pull consumer: how far one service has read a stream. The stream's owner makes it, its reader pulls from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The stream's name.
    pub stream: &'static str,
    /// Named after the service that reads.
    pub durable: Cow<'static, str>,
    /// How long the server waits for an ack or a progress ack before it delivers again.
    pub ack_wait: Duration,
}

impl Consumer {
    /// The consumer of a stream by this name, with the usual ack wait.
    pub const fn new(stream: &'static str, durable: &'static str) -> Self {
        Self {
            stream,
            durable: Cow::Borrowed(durable),
            ack_wait: ACK_WAIT,
        }
    }

    /// This one, and others of its kind by these names.
    pub fn and(self, others: &[String]) -> Vec<Self> {
        let others = others.iter().map(|name| Self {
            durable: Cow::Owned(name.clone()),
            ..self.clone()
        });
        std::iter::once(self.clone()).chain(others).collect()
    }
}

/// The stream's settings, over what the server holds and we have no opinion about (its own metadata).
pub(crate) fn stream_config(base: stream::Config, stream: Stream, replicas: usize) -> stream::Config {
    stream::Config {
        name: stream.name.to_owned(),
        subjects: vec![stream.subject.to_owned()],
        // Not a work queue: acks stay cheap, and the last hour can be looked at.
        retention: RetentionPolicy::Limits,
        // Survives a restart of the server; memory would be forgotten with every rollout.
        storage: StorageType::File,
        // Refusing new messages at the limit would stop payments though every old one is done.
        discard: DiscardPolicy::Old,
        discard_new_per_subject: false,
        max_age: MAX_AGE,
        max_bytes: MAX_BYTES,
        // Bytes and age are the limits; these would be further ones (-1 is how the server writes "none").
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: MAX_MESSAGE_SIZE,
        num_replicas: replicas,
        duplicate_window: DUPLICATE_WINDOW,
        // Publishers that ask for an ack get one; those that do not, send no reply subject.
        no_ack: false,
        // Nobody but the server reads messages back or rolls them up.
        allow_direct: false,
        allow_rollup: false,
        description: Some("forgets after an hour; what is missing is sent again".to_owned()),
        ..base
    }
}

/// The consumer's settings, over what the server holds and we have no opinion about.
pub(crate) fn consumer_config(base: consumer::Config, consumer: &Consumer) -> consumer::Config {
    consumer::Config {
        durable_name: Some(consumer.durable.clone().into_owned()),
        name: Some(consumer.durable.clone().into_owned()),
        // A pull consumer: who takes messages says how many.
        deliver_subject: None,
        deliver_group: None,
        // A durable made again takes everything there is: twice is harmless, never is not.
        deliver_policy: DeliverPolicy::All,
        replay_policy: ReplayPolicy::Instant,
        // A message is done when its effect is committed, not when it was sent.
        ack_policy: AckPolicy::Explicit,
        ack_wait: consumer.ack_wait,
        // Delays between deliveries are the handler's decision.
        backoff: Vec::new(),
        // A limit would park a payment where nobody sees it; a bad message ends as a dead letter instead.
        max_deliver: -1,
        // A delayed nak keeps its place among the pending: any limit here is one that waiting messages can use up. The
        // puller's slots bound the work in flight.
        max_ack_pending: -1,
        // All of the stream. A filter would also change the subject on which the durable is made.
        filter_subject: String::new(),
        filter_subjects: Vec::new(),
        headers_only: false,
        // It must not vanish while its service is away.
        inactive_threshold: Duration::ZERO,
        // As many, and as durable, as the stream.
        num_replicas: 0,
        memory_storage: false,
        ..base
    }
}
