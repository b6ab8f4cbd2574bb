//! Pulling over a raw connection: for as long as a message may come again that the client broke on, messages are taken over one
//! of our own, which reads whatever there is. Good ones are handled as ever, malformed ones become dead letters.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, Message, jetstream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    Handler,
    acks::nak,
    arrivals::{Arrived, receive},
    consumer_loop::{ConsumerLoop, GIVEN_BACK},
    headers,
    in_flight::{Over, Route},
    pull::{End, LAST_ARRIVALS, PULL_EXPIRES, PULL_OVERDUE, ends_replies, free_slots},
    raw::{Frame, Raw},
};
use crate::connection::PEER_API;

/// Connecting and logging in.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Pulls until `until`, over a connection of its own.
pub(super) async fn pull<H: Handler>(
    consumer_loop: &Arc<ConsumerLoop<H>>,
    until: Instant,
    stop: &CancellationToken,
) -> End {
    let connecting = timeout(CONNECT_LIMIT, Raw::init(consumer_loop.connection.settings()));
    let mut raw = match stop.run_until_cancelled(connecting).await {
        None => return End::Stopped,
        Some(Ok(Ok(raw))) => raw,
        Some(Ok(Err(error))) => return without(consumer_loop, format!("could not connect: {error}")),
        Some(Err(_)) => return without(consumer_loop, "could not connect in time".to_owned()),
    };
    tracing::debug!(
        nats.stream = consumer_loop.consumer.stream,
        "pulling over a raw connection for a while"
    );
    while Instant::now() < until {
        let asked = tokio::select! {
            biased;
            () = stop.cancelled() => Err(End::Stopped),
            asked = ask(consumer_loop, &mut raw, until) => asked,
        };
        if let Err(end) = asked {
            return match end {
                End::Stopped => {
                    give_back(&mut raw).await;
                    End::Stopped
                }
                End::Trouble(why) => without(consumer_loop, why),
                end => end,
            };
        }
    }
    End::Checked
}

/// In trouble itself: the client must do, until it is in trouble again.
fn without<H: Handler>(consumer_loop: &ConsumerLoop<H>, why: String) -> End {
    consumer_loop.end_raw_pulling();
    End::Trouble(why)
}

/// Asks once for as many messages as there are free slots, and hands them over as they come.
async fn ask<H: Handler>(
    consumer_loop: &Arc<ConsumerLoop<H>>,
    raw: &mut Raw,
    until: Instant,
) -> Result<(), End> {
    let mut slots = free_slots(consumer_loop).await.ok_or(End::Stopped)?;
    let consumer = &consumer_loop.consumer;
    let subject = format!(
        "{PEER_API}.CONSUMER.MSG.NEXT.{}.{}",
        consumer.stream, consumer.durable
    );
    let expires = PULL_EXPIRES.min(until.saturating_duration_since(Instant::now()) + PULL_OVERDUE);
    let nanoseconds = u64::try_from(expires.as_nanos()).unwrap_or(u64::MAX);
    let question = serde_json::json!({"batch": slots.num_permits(), "expires": nanoseconds});
    raw.ask(&subject, &question);
    let deadline = Instant::now() + expires + PULL_OVERDUE;
    let route = Route {
        over: Over::Own(raw.writer()),
        made: consumer_loop.made(),
    };
    let mut left = slots.num_permits();
    while left > 0 {
        let mut next = match timeout_at(deadline, raw.next()).await {
            Ok(frame) => Some(frame.map_err(|error| End::Trouble(error.to_string()))?),
            Err(_) => return Err(End::Trouble("a request for messages was not answered".to_owned())),
        };
        let mut batch = Vec::new();
        let mut end = None;
        while let Some(frame) = next {
            match frame {
                Frame::Message {
                    subject,
                    reply,
                    headers,
                    body,
                } => {
                    let message = arrived(consumer_loop, (subject, reply), headers, body);
                    // Over a new connection, since this one's inbox is where the consumer would go on sending.
                    end = ends_replies(&message.message.message).then_some(Err(End::Checked));
                    batch.push(message);
                }
                Frame::Status(status) => end = Some(ended(&status)),
                frame => end = Some(Err(End::Trouble(format!("{frame:?}")))),
            }
            if end.is_some() || batch.len() >= left {
                break;
            }
            next = raw.arrived().map_err(|error| End::Trouble(error.to_string()))?;
        }
        left -= batch.len();
        if !batch.is_empty() {
            consumer_loop.well();
            receive(consumer_loop, &mut slots, batch, &route);
        }
        if let Some(end) = end {
            if end.is_ok() {
                consumer_loop.note_pending(0);
            }
            return end;
        }
    }
    Ok(())
}

/// What the server's word about a pull means: nothing more for now, or trouble.
fn ended(status: &str) -> Result<(), End> {
    match status.split_ascii_whitespace().nth(1) {
        Some("404" | "408") => Ok(()),
        _ => Err(End::Trouble(status.to_owned())),
    }
}

fn arrived<H: Handler>(
    consumer_loop: &ConsumerLoop<H>,
    (subject, reply): (String, String),
    block: Option<bytes::Bytes>,
    payload: bytes::Bytes,
) -> Arrived {
    let headers = block.as_ref().map(|block| headers::parse(block));
    let malformed = matches!(headers, Some(None)).then(|| block.unwrap_or_default());
    let message = Message {
        length: subject.len() + payload.len(),
        subject: subject.into(),
        reply: Some(reply.into()),
        payload,
        headers: headers
            .flatten()
            .filter(|headers: &HeaderMap| !headers.is_empty()),
        status: None,
        description: None,
    };
    Arrived {
        message: jetstream::Message {
            message,
            context: consumer_loop.connection.peer_jetstream(),
        },
        malformed,
    }
}

/// Shutdown: what arrives now is somebody else's.
async fn give_back(raw: &mut Raw) {
    let writer = raw.writer();
    let deadline = Instant::now() + LAST_ARRIVALS;
    while let Ok(Ok(frame)) = timeout_at(deadline, raw.next()).await {
        if let Frame::Message { reply, .. } = frame {
            let ack: bytes::Bytes = nak(GIVEN_BACK).into();
            writer.publish(&reply, "", &ack);
        }
    }
}
