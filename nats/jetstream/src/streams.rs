//! The two streams and the durable on each, every setting with its reason, and the one function that makes them.

use std::time::Duration;

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{self, AckPolicy, DeliverPolicy, PullConsumer, ReplayPolicy},
    context::GetStreamErrorKind,
    stream::{self, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType},
};
use time::OffsetDateTime;

/// How long the server waits for an ack or a sign of progress. Progress is reported every third of it, so a slow gateway
/// call is not delivered twice, while the messages of a killed process are with another one after a quarter of a minute.
pub const ACK_WAIT: Duration = Duration::from_secs(15);
/// Far longer than any payment takes, and short enough to keep the stream small: what is forgotten is sent again.
pub const MAX_AGE: Duration = Duration::from_hours(1);
/// Two million messages. Beyond it the oldest go, and are sent again if nobody took them.
pub const MAX_BYTES: i64 = 1 << 30;
/// Catches a publish repeated by the client or a replica at the same moment. Sending again on purpose has a new id, so a
/// longer window would only cost memory.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(30);

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
    subject: payment_contract::subjects::PAY_REQUESTS,
    durable: "payment-provider",
};
/// payment-provider's stream of outcomes, read by invoice-app.
pub const PAY_OUTCOMES: Definition = Definition {
    stream: "PAY_OUTCOMES",
    subject: payment_contract::subjects::PAYMENT_OUTCOMES,
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

/// Why the stream and durable could not be made or looked up. None of these says that they do not exist.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// About the stream.
    #[error("could not {action} stream {stream}")]
    Stream {
        /// `look up`, `create` or `update`.
        action: &'static str,
        /// Its name.
        stream: &'static str,
        /// What the server or the connection said.
        #[source]
        source: Cause,
    },
    /// About the durable.
    #[error("could not {action} durable {durable} of stream {stream}")]
    Durable {
        /// `look up`, `create` or `update`.
        action: &'static str,
        /// The stream's name.
        stream: &'static str,
        /// The durable's name.
        durable: &'static str,
        /// What the server or the connection said.
        #[source]
        source: Cause,
    },
}

/// What stands behind an error.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Makes the stream and its durable, or brings them back to this definition. Safe to call at any time, by any replica.
/// Only the account's own service calls it.
pub async fn ensure(
    own: &jetstream::Context,
    definition: Definition,
    options: Options,
) -> Result<Created, Error> {
    Ok(Created {
        stream: ensure_stream(own, definition, options).await?,
        durable: ensure_durable(own, definition, options).await?,
    })
}

/// When the durable that this service reads, in the other side's account, was made. `None` while it does not exist;
/// an error when nobody could say (a timeout or a missing leader is not "forgotten").
pub async fn peer_durable_created(
    peer: &jetstream::Context,
    definition: Definition,
) -> Result<Option<OffsetDateTime>, Error> {
    Ok(durable(peer, definition)
        .await?
        .map(|durable| durable.cached_info().created))
}

/// The durable, by its info alone; `None` when it, or its stream, does not exist.
pub(crate) async fn durable(
    context: &jetstream::Context,
    definition: Definition,
) -> Result<Option<PullConsumer>, Error> {
    match context
        .get_consumer_from_stream(definition.durable, definition.stream)
        .await
    {
        Ok(durable) => Ok(Some(durable)),
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(answer) if is_missing(&answer) => Ok(None),
            _ => Err(definition.durable_error("look up", error)),
        },
    }
}

/// The server answered, and the answer is that there is none. Everything else means that nobody could say.
fn is_missing(answer: &jetstream::Error) -> bool {
    matches!(
        answer.error_code(),
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND
    )
}

async fn ensure_stream(
    own: &jetstream::Context,
    definition: Definition,
    options: Options,
) -> Result<OffsetDateTime, Error> {
    let present = match own.get_stream(definition.stream).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if is_missing(&answer) => {
                let config = stream_config(stream::Config::default(), definition, options);
                let made = own.create_stream(config).await;
                let made = made.map_err(|error| definition.stream_error("create", error))?;
                tracing::info!(nats.stream = definition.stream, "made the stream");
                return Ok(made.cached_info().created);
            }
            _ => return Err(definition.stream_error("look up", error)),
        },
    };
    let info = present.cached_info();
    let wanted = stream_config(info.config.clone(), definition, options);
    if wanted != info.config {
        let updated = own.update_stream(&wanted).await;
        updated.map_err(|error| definition.stream_error("update", error))?;
        tracing::warn!(
            nats.stream = definition.stream,
            "the stream's settings were others; set them right"
        );
    }
    Ok(info.created)
}

async fn ensure_durable(
    own: &jetstream::Context,
    definition: Definition,
    options: Options,
) -> Result<OffsetDateTime, Error> {
    let (wanted, action) = match durable(own, definition).await? {
        Some(present) => {
            let info = present.cached_info();
            let wanted = durable_config(info.config.clone(), definition, options);
            if wanted == info.config {
                return Ok(info.created);
            }
            (wanted, "update")
        }
        None => (
            durable_config(consumer::Config::default(), definition, options),
            "create",
        ),
    };
    let made: Result<consumer::Consumer<consumer::Config>, _> =
        own.create_consumer_on_stream(wanted, definition.stream).await;
    let made = made.map_err(|error| definition.durable_error(action, error))?;
    tracing::info!(
        nats.stream = definition.stream,
        nats.durable = definition.durable,
        action,
        "made the durable"
    );
    Ok(made.cached_info().created)
}

/// The stream's settings, over what the server holds and we have no opinion about (its own metadata).
fn stream_config(base: stream::Config, definition: Definition, options: Options) -> stream::Config {
    stream::Config {
        name: definition.stream.to_owned(),
        subjects: vec![definition.subject.to_owned()],
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
        max_message_size: -1,
        max_consumers: -1,
        num_replicas: options.replicas,
        duplicate_window: DUPLICATE_WINDOW,
        // Publishers that ask for an ack get one; those that do not, send no reply subject.
        no_ack: false,
        // Nobody but the server reads messages back or rolls them up.
        allow_direct: false,
        allow_rollup: false,
        description: Some(format!(
            "read by {}; forgets after an hour, and what is missing is sent again",
            definition.durable
        )),
        ..base
    }
}

/// The durable's settings, over what the server holds and we have no opinion about.
fn durable_config(base: consumer::Config, definition: Definition, options: Options) -> consumer::Config {
    consumer::Config {
        durable_name: Some(definition.durable.to_owned()),
        name: Some(definition.durable.to_owned()),
        // A pull consumer: who takes messages says how many.
        deliver_subject: None,
        deliver_group: None,
        // A durable made again takes everything there is: twice is harmless, never is not.
        deliver_policy: DeliverPolicy::All,
        replay_policy: ReplayPolicy::Instant,
        // A message is done when its effect is committed, not when it was sent.
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.ack_wait,
        // Delays between deliveries are the handler's decision.
        backoff: Vec::new(),
        // A limit would park a payment where nobody sees it; a bad message ends as a dead letter instead.
        max_deliver: -1,
        // A delayed nak keeps its place among the pending: any limit here is one that waiting messages can use up. The
        // puller's slots bound the work in hand.
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

impl Definition {
    fn stream_error(self, action: &'static str, source: impl Into<Cause>) -> Error {
        Error::Stream {
            action,
            stream: self.stream,
            source: source.into(),
        }
    }

    fn durable_error(self, action: &'static str, source: impl Into<Cause>) -> Error {
        Error::Durable {
            action,
            stream: self.stream,
            durable: self.durable,
            source: source.into(),
        }
    }
}
