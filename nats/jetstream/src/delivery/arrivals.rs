//! Taking messages in hand as they arrive: decoded, counted and handed over.

use std::sync::Arc;

use async_nats::jetstream;
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Decision, Handler, Origin, Received, Verdict,
    consumer_loop::ConsumerLoop,
    decode, headers,
    in_flight::{InFlightMessage, Route},
};
use crate::{metrics, publish::TRACEPARENT};

/// A message of the stream as it arrived.
pub(super) struct Arrived {
    pub(super) message: jetstream::Message,
    /// The header block, if the client cannot read it.
    pub(super) malformed: Option<Bytes>,
}

/// Takes messages in hand, decodes them, and hands them over; what cannot be decoded goes to the dead letters.
pub(super) fn receive<H: Handler>(
    work: &Arc<ConsumerLoop<H>>,
    slots: &mut OwnedSemaphorePermit,
    messages: Vec<Arrived>,
    route: &Route,
) {
    let mut rest = Vec::with_capacity(messages.len());
    let mut taken = Vec::with_capacity(messages.len());
    let mut redelivered = 0;
    let mut waits = Vec::with_capacity(messages.len());
    let (now, mut pending) = (OffsetDateTime::now_utc(), None);
    for message in messages {
        let malformed = message.malformed.is_some();
        let Some((held, traceparent, queue)) = take(message, slots, route) else {
            tracing::error!(
                nats.stream = work.consumer.stream,
                "got something that is no message of a stream"
            );
            continue;
        };
        redelivered += usize::from(held.delivered > 1);
        if held.delivered == 1 {
            // Clocks differ: one that is ahead must not make it negative.
            waits.push((now - queue.joined).try_into().unwrap_or_default());
        }
        pending = Some(queue.behind);
        rest.push((Arc::clone(&held.origin), held.delivered, traceparent, malformed));
        taken.push(held);
    }
    let tokens = work.in_flight.take(taken);
    metrics::consumed(work.consumer.stream, tokens.len(), redelivered);
    metrics::taken_after(work.consumer.stream, &waits);
    if let Some(pending) = pending {
        work.note_pending(pending);
    }
    let mut batch = Vec::with_capacity(tokens.len());
    for (token, (origin, delivered, traceparent, malformed)) in tokens.into_iter().zip(rest) {
        let decoded = if malformed {
            Err("its headers are malformed".to_owned())
        } else {
            decode(&origin.body)
        };
        match decoded {
            Ok(message) => batch.push(Received {
                token,
                message,
                origin,
                delivered,
                traceparent,
            }),
            Err(reason) => work.decide(token, Verdict::Decided(Decision::Reject(reason))),
        }
    }
    if !batch.is_empty() {
        metrics::batch(work.consumer.stream, batch.len());
        work.hand_over(batch);
    }
}

/// What a delivery tells about its stream.
struct Queue {
    /// When the message came into it.
    joined: OffsetDateTime,
    /// How many were still to be delivered after it.
    behind: u64,
}

fn take(
    Arrived { message, malformed }: Arrived,
    slots: &mut OwnedSemaphorePermit,
    route: &Route,
) -> Option<(InFlightMessage, Option<String>, Queue)> {
    let info = message.info().ok()?;
    let (stream_sequence, delivered) = (info.stream_sequence, info.delivered);
    let queue = Queue {
        joined: info.published,
        behind: info.pending,
    };
    let message = message.message;
    let parsed = message.headers.unwrap_or_default();
    let traceparent = parsed.get(TRACEPARENT).map(|value| value.as_str().to_owned());
    let origin = Arc::new(Origin {
        subject: message.subject.into_string(),
        stream_sequence,
        headers: malformed.unwrap_or_else(|| headers::block(&parsed)),
        body: message.payload,
    });
    // The server sends no more than was asked for, and that was one for each slot.
    let slot = slots.split(1)?;
    Some((
        InFlightMessage {
            reply: message.reply?,
            origin,
            delivered,
            route: route.clone(),
            taken: Instant::now(),
            slot,
            dead_lettering: false,
        },
        traceparent,
        queue,
    ))
}
