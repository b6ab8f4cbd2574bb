//! What the parts of one consumer's loop share: its slots, the messages in flight, and how an ack is sent.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream::AckKind;
use bytes::Bytes;
use futures_util::FutureExt as _;
use time::OffsetDateTime;
use tokio::{
    sync::{Semaphore, mpsc::UnboundedSender},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Decisions, Handler, Received, Settings, Token, Verdict,
    in_flight::{InFlight, Over, Route},
};
use crate::{
    connection::Connection,
    locks::lock,
    metrics,
    steps::Step,
    streams::Consumer,
    trouble::{Trouble, backoff},
};

/// Longest an ack may wait for room in the connection's queue. It is never worth more: the message just comes again.
const ACK_LIMIT: Duration = Duration::from_secs(1);
/// Longest the last acks may take to leave the process.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Given back on shutdown, messages come again this soon: late enough for the pull that brought them to be gone, so that
/// they are not delivered into it once more.
pub(super) const GIVEN_BACK: Duration = Duration::from_millis(250);
/// A message that fails again and again is tried this often in the end.
const MAX_RETRY_DELAY: Duration = Duration::from_mins(1);
/// How long the queue is as long as the server last said: it says so with each message, and each time a pull finds none.
const PENDING_KNOWN_FOR: Duration = Duration::from_secs(30);

/// For so many ack waits progress is reported. Work that takes longer makes none: somebody else may get the message.
const ACK_WAITS_IN_PROGRESS: u32 = 4;

pub(super) struct ConsumerLoop<H> {
    pub(super) connection: Connection,
    pub(super) consumer: Consumer,
    pub(super) settings: Settings,
    pub(super) handler: Arc<H>,
    pub(super) slots: Arc<Semaphore>,
    pub(super) in_flight: InFlight,
    verdicts: UnboundedSender<(Token, Verdict)>,
    /// Handlers and dead letters under way.
    pub(super) under_way: TaskTracker,
    /// Cancelled when shutdown has waited long enough.
    pub(super) give_up: CancellationToken,
    /// When the durable was made: acks of messages from before another one are not sent.
    made: Mutex<OffsetDateTime>,
    /// Until when to pull over a raw connection.
    raw_until: Mutex<Option<Instant>>,
    /// When the server last said how many messages wait.
    pending_said: Mutex<Instant>,
    /// Why no messages can be taken.
    trouble: Mutex<Trouble>,
}

impl<H: Handler> ConsumerLoop<H> {
    pub(super) fn new(
        connection: Connection,
        consumer: Consumer,
        settings: Settings,
        handler: Arc<H>,
        verdicts: UnboundedSender<(Token, Verdict)>,
    ) -> Self {
        metrics::init_stream(consumer.stream);
        Self {
            connection,
            in_flight: InFlight::new(consumer.stream),
            consumer,
            settings,
            handler,
            slots: Arc::new(Semaphore::new(settings.slots.max(1))),
            verdicts,
            under_way: TaskTracker::new(),
            give_up: CancellationToken::new(),
            made: Mutex::new(OffsetDateTime::UNIX_EPOCH),
            raw_until: Mutex::default(),
            pending_said: Mutex::new(Instant::now()),
            trouble: Mutex::new(Trouble::not_begun()),
        }
    }

    /// When the durable was made, as last seen.
    pub(super) fn made(&self) -> OffsetDateTime {
        *lock(&self.made)
    }

    pub(super) fn note_made(&self, made: OffsetDateTime) {
        *lock(&self.made) = made;
    }

    /// Until when messages are to be pulled over a raw connection; `None` when the client may.
    pub(super) fn raw_until(&self) -> Option<Instant> {
        let until = *lock(&self.raw_until);
        until.filter(|until| *until > Instant::now())
    }

    pub(super) fn pull_raw_until(&self, until: Instant) {
        *lock(&self.raw_until) = Some(until);
    }

    pub(super) fn end_raw_pulling(&self) {
        *lock(&self.raw_until) = None;
    }

    /// The server said how many messages wait.
    pub(super) fn note_pending(&self, messages: u64) {
        metrics::pending(self.consumer.stream, Some(messages));
        *lock(&self.pending_said) = Instant::now();
    }

    /// Tells no number that is old: with everything in flight, nobody asks.
    fn forget_old_pending(&self) {
        let said = *lock(&self.pending_said);
        if said.elapsed() > PENDING_KNOWN_FOR {
            metrics::pending(self.consumer.stream, None);
        }
    }

    /// Starts handling a batch. Whatever is undecided at its end, however it ends, becomes a verdict of its own.
    pub(super) fn hand_over(self: &Arc<Self>, batch: Vec<Received<H::Message>>) {
        let undecided = Undecided {
            tokens: batch.iter().map(|received| received.token).collect(),
            verdicts: self.verdicts.clone(),
        };
        let consumer_loop = Arc::clone(self);
        self.under_way.spawn(async move {
            Step::MessagesTaken.reached();
            let handling = consumer_loop
                .handler
                .handle(batch, Decisions(consumer_loop.verdicts.clone()));
            tokio::select! {
                ended = AssertUnwindSafe(handling).catch_unwind() => if ended.is_err() {
                    tracing::error!(nats.stream = consumer_loop.consumer.stream,
                        "handling a batch panicked; its messages are delivered again");
                },
                () = consumer_loop.give_up.cancelled() => {}
            }
            drop(undecided);
        });
    }

    /// A verdict that is known without the handler.
    pub(super) fn decide(&self, token: Token, verdict: Verdict) {
        let _ = self.verdicts.send((token, verdict));
    }

    /// Sends an ack, with which the message is no longer in flight. `decision` is its name in the metrics.
    pub(super) async fn acknowledge(&self, token: Token, ack: AckKind, decision: &'static str) {
        let Some(mut message) = self.in_flight.remove(token) else {
            return;
        };
        Step::before_ack(decision).reached();
        let sent = self.send(message.reply, ack.into(), &message.route).await;
        Step::after_ack(decision).reached();
        let decision = if sent { decision } else { "stale" };
        metrics::processed(self.consumer.stream, decision, message.taken.elapsed());
        if decision != "done" {
            message.span.failed(decision);
        }
        // Only now may another message be asked for.
        drop(message.slot);
    }

    /// Sends an ack over the connection its message came over; false when that is gone.
    async fn send(&self, reply: async_nats::Subject, ack: Bytes, route: &Route) -> bool {
        if route.made != self.made() {
            return false;
        }
        match &route.over {
            Over::Client { epoch } => {
                let link = *self.connection.link().borrow();
                let there = link.connected && link.epoch == *epoch;
                if there {
                    self.publish(reply, ack).await;
                }
                there
            }
            Over::Own(writer) => writer.publish(&reply, "", &ack),
        }
    }

    pub(super) async fn publish(&self, reply: async_nats::Subject, ack: Bytes) {
        let sending = self.connection.client().publish(reply, ack);
        if !matches!(tokio::time::timeout(ACK_LIMIT, sending).await, Ok(Ok(()))) {
            tracing::debug!(
                nats.stream = self.consumer.stream,
                "an ack could not be sent; the message comes again"
            );
        }
    }

    /// Reports progress of what is in flight, so that the server does not deliver it a second time meanwhile.
    pub(super) async fn keep_alive(&self) {
        let mut ticks = tokio::time::interval(self.consumer.ack_wait / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.forget_old_pending();
            for (reply, route) in self
                .in_flight
                .replies(self.consumer.ack_wait * ACK_WAITS_IN_PROGRESS)
            {
                self.send(reply, AckKind::Progress.into(), &route).await;
            }
        }
    }

    /// Waits for what is under way, and gives it up when that takes longer than `limit`.
    pub(super) async fn drain(&self, limit: Duration) {
        self.under_way.close();
        if tokio::time::timeout(limit, self.under_way.wait()).await.is_err() {
            tracing::warn!(
                nats.stream = self.consumer.stream,
                messages = self.in_flight.tokens().len(),
                "not finished in time; giving messages back"
            );
            self.give_up.cancel();
            self.under_way.wait().await;
        }
    }

    /// Gives back whatever is left and sees the last acks off.
    pub(super) async fn finish(&self) {
        for token in self.in_flight.tokens() {
            self.acknowledge(token, AckKind::Nak(Some(GIVEN_BACK)), "undecided")
                .await;
        }
        if self.connection.is_connected() {
            let _ = tokio::time::timeout(FLUSH_LIMIT, self.connection.client().flush()).await;
        }
        metrics::consuming(self.consumer.stream, false);
    }

    /// How long a message waits after a failure: doubles with each delivery, and differs between messages.
    pub(super) fn retry_delay(&self, delivered: i64) -> Duration {
        if self.give_up.is_cancelled() {
            return GIVEN_BACK;
        }
        let doublings = u32::try_from(delivered.saturating_sub(1)).unwrap_or_default();
        backoff(self.settings.retry_delay, doublings, MAX_RETRY_DELAY)
    }

    /// One line when taking messages stops working, or stops working for another reason.
    pub(super) fn in_trouble(&self, why: &str) {
        if lock(&self.trouble).is_news(why) {
            metrics::consuming(self.consumer.stream, false);
            tracing::warn!(
                nats.stream = self.consumer.stream,
                nats.consumer = %self.consumer.durable,
                error = why,
                "cannot take messages; trying again until it works"
            );
        }
    }

    /// One line when it works (again).
    pub(super) fn well(&self) {
        if lock(&self.trouble).is_over() {
            metrics::consuming(self.consumer.stream, true);
            tracing::info!(
                nats.stream = self.consumer.stream,
                nats.consumer = %self.consumer.durable,
                "taking messages"
            );
        }
    }
}

/// Says so, on every way out of handling, about each message of the batch; decisions made before count.
struct Undecided {
    tokens: Vec<Token>,
    verdicts: UnboundedSender<(Token, Verdict)>,
}

impl Drop for Undecided {
    fn drop(&mut self) {
        for token in self.tokens.drain(..) {
            let _ = self.verdicts.send((token, Verdict::Undecided));
        }
    }
}
