//! Pulling: asks for as many messages as there are free slots, and hands them over as they come.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{self, AckKind, consumer::PullConsumer, consumer::pull::Batch};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Handler,
    arrivals::{Arrived, receive},
    consumer_loop::{ConsumerLoop, GIVEN_BACK},
    in_flight::{Over, Route},
    pull::{End, LAST_ARRIVALS, PULL_EXPIRES, PULL_OVERDUE, ends_replies, free_slots},
    raw_puller,
};
use crate::{connection::Link, error_chain::chain, provisioning::look_up, trouble::backoff};

/// Longest to ask: the question waits for room in the connection's queue.
const ASK_LIMIT: Duration = Duration::from_secs(3);
/// While the server has many more to send, a batch waits this long for them, all in all.
const BATCH_WAIT: Duration = Duration::from_millis(10);
/// So many are surely on their way here. A few may be on their way to somebody else, or may have been sent already.
const MANY: u64 = 64;
/// After the connection was lost, messages are pulled over a raw one for the ack wait and this long: what the client broke on
/// comes again then.
const RAW_PULLING: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Takes messages until `stop`, whatever happens in between.
pub(super) async fn run<H: Handler>(consumer_loop: &Arc<ConsumerLoop<H>>, stop: &CancellationToken) {
    let (mut link, peer) = (
        consumer_loop.connection.link(),
        consumer_loop.connection.peer_jetstream(),
    );
    let mut failures = 0;
    loop {
        let epoch = match stop.run_until_cancelled(connected(&mut link)).await {
            None => return,
            Some(Some(epoch)) => epoch,
            Some(None) => {
                // The client ended by itself, most likely over a message: without this it would do so again and again.
                raw_puller::pull(consumer_loop, raw_pulling_ends(consumer_loop), stop).await;
                return;
            }
        };
        let looking_up = look_up(&peer, &consumer_loop.consumer);
        let end = match stop.run_until_cancelled(looking_up).await {
            None => return,
            Some(Ok(Some(durable))) => {
                let began = Instant::now();
                consumer_loop.note_made(durable.cached_info().created);
                let end = match consumer_loop.raw_until() {
                    Some(until) => raw_puller::pull(consumer_loop, until, stop).await,
                    None => pull(consumer_loop, &durable, epoch, stop).await,
                };
                if began.elapsed() > MAX_PAUSE {
                    failures = 0;
                }
                end
            }
            Some(Ok(None)) => End::Trouble("the durable does not exist".to_owned()),
            Some(Err(error)) => End::Trouble(chain(&error)),
        };
        match end {
            End::Stopped => return,
            End::Checked => {}
            End::Reconnected => {
                failures = 0;
                // A message may have been why.
                consumer_loop.pull_raw_until(raw_pulling_ends(consumer_loop));
            }
            End::Trouble(why) => {
                consumer_loop.in_trouble(&why);
                let pause = backoff(FIRST_PAUSE, failures, MAX_PAUSE);
                let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                failures += 1;
            }
        }
    }
}

fn raw_pulling_ends<H: Handler>(consumer_loop: &ConsumerLoop<H>) -> Instant {
    Instant::now() + consumer_loop.consumer.ack_wait + RAW_PULLING
}

/// Waits for the link; its epoch. `None` when the connection is closed for good.
async fn connected(link: &mut watch::Receiver<Link>) -> Option<u64> {
    link.wait_for(|link| link.connected)
        .await
        .ok()
        .map(|link| link.epoch)
}

/// Waits until the connection of this epoch is over.
async fn ended(link: &mut watch::Receiver<Link>, epoch: u64) {
    let _ = link.wait_for(|now| !now.connected || now.epoch != epoch).await;
}

/// Pulls from one durable as long as that works.
async fn pull<H: Handler>(
    consumer_loop: &Arc<ConsumerLoop<H>>,
    durable: &PullConsumer,
    epoch: u64,
    stop: &CancellationToken,
) -> End {
    let mut link = consumer_loop.connection.link();
    let route = Route {
        over: Over::Client { epoch },
        made: durable.cached_info().created,
    };
    loop {
        if consumer_loop.raw_until().is_some() || consumer_loop.made() != route.made {
            // The other puller has noticed something: look again.
            return End::Checked;
        }
        let asking = async {
            let slots = free_slots(consumer_loop).await?;
            Some(Pull::ask(durable, slots).await)
        };
        let mut pull = match stop.run_until_cancelled(asking).await {
            None | Some(None) => return End::Stopped,
            Some(Some(Err(why))) => return End::Trouble(why),
            Some(Some(Ok(pull))) => pull,
        };
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    pull.give_back(consumer_loop).await;
                    return End::Stopped;
                }
                () = ended(&mut link, epoch) => return End::Reconnected,
                batch = pull.next_batch() => batch,
            };
            match batch {
                Ok(Some(messages)) => {
                    consumer_loop.well();
                    let readable = |message| Arrived {
                        message,
                        malformed: None,
                    };
                    let messages = messages.into_iter().map(readable).collect();
                    receive(consumer_loop, &mut pull.slots, messages, &route);
                }
                Ok(None) => {
                    if pull.slots.num_permits() > 0 && !pull.ended {
                        consumer_loop.note_pending(0);
                    }
                    break;
                }
                Err(why) => return End::Trouble(why),
            }
        }
        consumer_loop.well();
    }
}

/// One question to the server, and the slots kept for its answers.
struct Pull {
    messages: Batch,
    slots: OwnedSemaphorePermit,
    /// Arrived and not yet handed over: survives a reading that is interrupted.
    arrived: Vec<jetstream::Message>,
    /// Reported once what arrived before it is handed over.
    failure: Option<String>,
    /// See [`ends_replies`].
    ended: bool,
    asked: Instant,
}

impl Pull {
    async fn ask(durable: &PullConsumer, slots: OwnedSemaphorePermit) -> Result<Self, String> {
        // Without idle heartbeats: async-nats 0.51 does not wake the reader again after one.
        let asking = durable
            .batch()
            .max_messages(slots.num_permits())
            .expires(PULL_EXPIRES)
            .messages();
        match timeout(ASK_LIMIT, asking).await {
            Ok(Ok(messages)) => Ok(Self {
                messages,
                slots,
                arrived: Vec::new(),
                failure: None,
                ended: false,
                asked: Instant::now(),
            }),
            Ok(Err(error)) => Err(format!("could not ask for messages: {error}")),
            Err(_) => Err("could not ask for messages in time".to_owned()),
        }
    }

    /// Waits for a message and takes all that come with it: alone at rest, many together under load. `None` at the end.
    async fn next_batch(&mut self) -> Result<Option<Vec<jetstream::Message>>, String> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.arrived.is_empty() && !self.arrive().await {
            return match self.failure.take() {
                Some(failure) => Err(failure),
                None if !self.ended && self.asked.elapsed() > PULL_EXPIRES + PULL_OVERDUE => {
                    Err("a request for messages was not answered".to_owned())
                }
                None => Ok(None),
            };
        }
        let deadline = Instant::now() + BATCH_WAIT;
        while self.arrived.len() < self.slots.num_permits() {
            let more = match self.arrive().now_or_never() {
                Some(more) => more,
                None if self.more_is_coming() => {
                    matches!(timeout_at(deadline, self.arrive()).await, Ok(true))
                }
                None => false,
            };
            if !more {
                break;
            }
        }
        Ok(Some(std::mem::take(&mut self.arrived)))
    }

    /// Takes one message off the wire; false at the end.
    async fn arrive(&mut self) -> bool {
        if self.ended {
            return false;
        }
        match self.messages.next().await {
            Some(Ok(message)) => {
                self.ended = ends_replies(&message.message);
                self.arrived.push(message);
                true
            }
            Some(Err(error)) => {
                self.failure = Some(error.to_string());
                false
            }
            None => false,
        }
    }

    /// Whether the server had many more in the stream when it sent the last one.
    fn more_is_coming(&self) -> bool {
        let last = self.arrived.last().and_then(|message| message.info().ok());
        last.is_some_and(|info| info.pending >= MANY)
    }

    /// Shutdown: what arrives now is somebody else's.
    async fn give_back<H: Handler>(mut self, consumer_loop: &Arc<ConsumerLoop<H>>) {
        let deadline = Instant::now() + LAST_ARRIVALS;
        while matches!(timeout_at(deadline, self.arrive()).await, Ok(true)) {}
        drop(self.messages);
        for message in self.arrived {
            if let Some(reply) = message.message.reply {
                consumer_loop
                    .publish(reply, AckKind::Nak(Some(GIVEN_BACK)).into())
                    .await;
            }
        }
    }
}
