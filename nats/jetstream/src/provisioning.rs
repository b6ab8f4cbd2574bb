//! Making a stream and the consumers of it: at every connect, whenever they are gone, and where somebody changed them.

use std::{borrow::Cow, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{self, PullConsumer},
    context::GetStreamErrorKind,
    stream::{self, ConsumerErrorKind},
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::{
    BoxError,
    connection::Connection,
    error_chain::chain,
    streams::{Consumer, Stream, consumer_config, stream_config},
    trouble::{Trouble, backoff},
};

/// How soon what was deleted is there again, about. Two small calls of the server's API each time.
const PERIOD: Duration = Duration::from_secs(2);
/// The first pause after a failure; doubled up to [`PERIOD`].
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// Keeps one service's stream, and everybody's consumers of it, as they should be. Safe to run in any number of replicas.
#[derive(Clone, Debug)]
pub struct StreamProvisioner {
    /// Connected as the stream's owner.
    pub connection: Connection,
    /// The stream.
    pub stream: Stream,
    /// Who reads it.
    pub consumers: Vec<Consumer>,
    /// 1 locally, 3 in production.
    pub replicas: usize,
}

/// When the server made a stream and its consumers. Other times than last seen mean: NATS has forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationTimes {
    /// The stream's creation time.
    pub stream: OffsetDateTime,
    /// Each consumer's, in the provisioner's order.
    pub consumers: Vec<OffsetDateTime>,
}

/// Why the stream and its consumers could not be made or looked up. None of these says that they do not exist.
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
        source: BoxError,
    },
    /// About a consumer.
    #[error("could not {action} consumer {durable} of stream {stream}")]
    Consumer {
        /// `look up`, `create` or `update`.
        action: &'static str,
        /// The stream's name.
        stream: &'static str,
        /// The consumer's name.
        durable: Cow<'static, str>,
        /// What the server or the connection said.
        #[source]
        source: BoxError,
    },
}

/// What a service does each time that NATS is looked at.
pub trait Provision: Send {
    /// What can go wrong.
    type Error: std::error::Error + Send;

    /// Looks once, and sets right what is wrong.
    fn step(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl Provision for StreamProvisioner {
    type Error = Error;

    async fn step(&mut self) -> Result<(), Error> {
        self.ensure().await.map(drop)
    }
}

/// Looks until `stop`: at once after every connect, every other second otherwise, and sooner while something is wrong.
pub async fn run(mut provision: impl Provision, connection: Connection, stop: CancellationToken) {
    let mut link = connection.link();
    let mut failures = Failures::default();
    loop {
        let mut pause = PERIOD;
        if link.borrow_and_update().connected {
            match stop.run_until_cancelled(provision.step()).await {
                None => return,
                Some(looked) => pause = failures.note(looked),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            // An error: the connection is closed for good, and the pause alone bounds this loop.
            Ok(()) = link.changed() => {}
        }
    }
}

/// Remembers what was logged, so that each change is logged once.
#[derive(Default)]
struct Failures {
    in_a_row: u32,
    trouble: Trouble,
}

impl Failures {
    /// Logs what changed; how long to wait now.
    fn note<E: std::error::Error>(&mut self, looked: Result<(), E>) -> Duration {
        let Err(error) = looked else {
            if self.trouble.is_over() {
                tracing::info!("the streams are as they should be again");
            }
            self.in_a_row = 0;
            return PERIOD;
        };
        let error = chain(&error);
        if self.trouble.is_news(&error) {
            tracing::warn!(error, "the streams are not as they should be; trying again");
        }
        let pause = backoff(FIRST_RETRY, self.in_a_row, PERIOD);
        self.in_a_row = self.in_a_row.saturating_add(1);
        pause
    }
}

impl StreamProvisioner {
    /// Makes the stream and its consumers, or sets them right.
    pub async fn ensure(&self) -> Result<CreationTimes, Error> {
        let own = self.connection.own_jetstream();
        let stream = self.ensure_stream(&own).await?;
        let mut consumers = Vec::with_capacity(self.consumers.len());
        for consumer in &self.consumers {
            consumers.push(ensure_consumer(&own, consumer).await?);
        }
        Ok(CreationTimes { stream, consumers })
    }

    async fn ensure_stream(&self, own: &jetstream::Context) -> Result<OffsetDateTime, Error> {
        let stream = self.stream;
        let present = match own.get_stream(stream.name).await {
            Ok(present) => present,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer) if is_missing(&answer) => {
                    let config = stream_config(stream::Config::default(), stream, self.replicas);
                    let made = own.create_stream(config).await;
                    let made = made.map_err(|error| stream.error("create", error))?;
                    tracing::info!(nats.stream = stream.name, "made the stream");
                    return Ok(made.cached_info().created);
                }
                _ => return Err(stream.error("look up", error)),
            },
        };
        let info = present.cached_info();
        let wanted = stream_config(info.config.clone(), stream, self.replicas);
        if wanted != info.config {
            let updated = own.update_stream(&wanted).await;
            updated.map_err(|error| stream.error("update", error))?;
            tracing::warn!(
                nats.stream = stream.name,
                "the stream's settings were others; set them right"
            );
        }
        Ok(info.created)
    }
}

/// When the consumer that this service reads by, in the other side's account, was made. `None` while it does not exist;
/// an error when nobody could say (a timeout or a missing leader is not "forgotten").
pub async fn peer_consumer_created(
    connection: &Connection,
    consumer: &Consumer,
) -> Result<Option<OffsetDateTime>, Error> {
    let found = look_up(&connection.peer_jetstream(), consumer).await?;
    Ok(found.map(|found| found.cached_info().created))
}

/// How far a consumer is with this service's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Messages it has not been given yet.
    pub pending: u64,
    /// Those it was given and has not acknowledged: being worked on, or put off.
    pub unacked: u64,
    /// How many it was given since it was made, those that came again included.
    pub delivered: u64,
}

/// How far the consumer is. `None` while it does not exist.
pub async fn consumer_backlog(
    connection: &Connection,
    consumer: &Consumer,
) -> Result<Option<Backlog>, Error> {
    let found = look_up(&connection.own_jetstream(), consumer).await?;
    Ok(found.map(|found| {
        let info = found.cached_info();
        Backlog {
            pending: info.num_pending,
            unacked: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
            delivered: info.delivered.consumer_sequence,
        }
    }))
}

/// The consumer, by its info alone; `None` when it, or its stream, does not exist.
pub(crate) async fn look_up(
    context: &jetstream::Context,
    consumer: &Consumer,
) -> Result<Option<PullConsumer>, Error> {
    match context
        .get_consumer_from_stream(&*consumer.durable, consumer.stream)
        .await
    {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(answer) if is_missing(&answer) => Ok(None),
            _ => Err(consumer.error("look up", error)),
        },
    }
}

async fn ensure_consumer(own: &jetstream::Context, consumer: &Consumer) -> Result<OffsetDateTime, Error> {
    let (wanted, action) = match look_up(own, consumer).await? {
        Some(present) => {
            let info = present.cached_info();
            let wanted = consumer_config(info.config.clone(), consumer);
            if wanted == info.config {
                return Ok(info.created);
            }
            (wanted, "update")
        }
        None => (consumer_config(consumer::Config::default(), consumer), "create"),
    };
    let made: Result<consumer::Consumer<consumer::Config>, _> =
        own.create_consumer_on_stream(wanted, consumer.stream).await;
    let made = made.map_err(|error| consumer.error(action, error))?;
    tracing::info!(
        nats.stream = consumer.stream,
        nats.consumer = %consumer.durable,
        action,
        "made the consumer"
    );
    Ok(made.cached_info().created)
}

/// The server answered, and the answer is that there is none. Everything else means that nobody could say.
fn is_missing(answer: &jetstream::Error) -> bool {
    matches!(
        answer.error_code(),
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND
    )
}

impl Stream {
    fn error(self, action: &'static str, source: impl Into<BoxError>) -> Error {
        Error::Stream {
            action,
            stream: self.name,
            source: source.into(),
        }
    }
}

impl Consumer {
    fn error(&self, action: &'static str, source: impl Into<BoxError>) -> Error {
        Error::Consumer {
            action,
            stream: self.stream,
            durable: self.durable.clone(),
            source: source.into(),
        }
    }
}
