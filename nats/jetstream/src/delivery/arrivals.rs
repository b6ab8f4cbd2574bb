//! Messages as they arrive: decoded, counted, and handed over.

use std::sync::Arc;

use async_nats::{HeaderValue, header, jetstream};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Decision, Handler, Origin, Received, Verdict,
    consumer_loop::ConsumerLoop,
    decode, headers,
    in_flight::{InFlightMessage, Route},
};
use crate::{
    metrics,
    publish::outgoing::TRACEPARENT,
    traces::messaging::{Arrival, processing, receiving},
};

/// A message of the stream as it arrived.
pub(super) struct Arrived {
    pub(super) message: jetstream::Message,
    /// The header block, if the client cannot read it.
    pub(super) malformed: Option<Bytes>,
}

/// Decodes messages and hands them over, in flight from here on; what cannot be decoded goes to the dead letters.
pub(super) fn receive<H: Handler>(
    consumer_loop: &Arc<ConsumerLoop<H>>,
    slots: &mut OwnedSemaphorePermit,
    messages: Vec<Arrived>,
    route: &Route,
) {
    let mut rest = Vec::with_capacity(messages.len());
    let mut in_flight = Vec::with_capacity(messages.len());
    let mut redelivered = 0;
    let mut waits = Vec::with_capacity(messages.len());
    let (now, mut pending) = (OffsetDateTime::now_utc(), None);
    let mut receiving = receiving(H::TEMPLATE, &consumer_loop.consumer.durable, messages.len());
    for message in messages {
        let Some(taken) = take(consumer_loop, message, slots, route) else {
            tracing::error!(
                nats.stream = consumer_loop.consumer.stream,
                "got something that is no message of a stream"
            );
            continue;
        };
        receiving.link(taken.sent_by.as_deref());
        let delivered = taken.message.delivered;
        redelivered += usize::from(delivered > 1);
        if delivered == 1 {
            // Clocks differ: one that is ahead must not make it negative.
            waits.push((now - taken.joined).try_into().unwrap_or_default());
        }
        pending = Some(taken.behind);
        let traceparent = taken.message.span.traceparent().or(taken.sent_by);
        let origin = Arc::clone(&taken.message.origin);
        rest.push((taken.decoded, origin, delivered, traceparent));
        in_flight.push(taken.message);
    }
    let tokens = consumer_loop.in_flight.take(in_flight);
    metrics::consumed(consumer_loop.consumer.stream, tokens.len(), redelivered);
    metrics::taken_after(consumer_loop.consumer.stream, &waits);
    if let Some(pending) = pending {
        consumer_loop.note_pending(pending);
    }
    let mut batch = Vec::with_capacity(tokens.len());
    for (token, (decoded, origin, delivered, traceparent)) in tokens.into_iter().zip(rest) {
        match decoded {
            Ok(message) => batch.push(Received {
                token,
                message,
                origin,
                delivered,
                traceparent,
            }),
            Err(reason) => consumer_loop.decide(token, Verdict::Decided(Decision::Reject(reason))),
        }
    }
    if !batch.is_empty() {
        metrics::batch(consumer_loop.consumer.stream, batch.len());
        consumer_loop.hand_over(batch);
    }
}

/// A message in flight, and what its delivery tells.
struct Taken<M> {
    message: InFlightMessage,
    /// What it says, or why nobody knows.
    decoded: Result<M, String>,
    /// The span that sent it.
    sent_by: Option<String>,
    /// When it came into its stream.
    joined: OffsetDateTime,
    /// How many were still to be delivered after it.
    behind: u64,
}

fn take<H: Handler>(
    consumer_loop: &ConsumerLoop<H>,
    Arrived { message, malformed }: Arrived,
    slots: &mut OwnedSemaphorePermit,
    route: &Route,
) -> Option<Taken<H::Message>> {
    let info = message.info().ok()?;
    let (stream_sequence, delivered) = (info.stream_sequence, info.delivered);
    let (joined, behind) = (info.published, info.pending);
    let message = message.message;
    let decoded = match &malformed {
        Some(_) => Err("its headers are malformed".to_owned()),
        None => decode(&message.payload),
    };
    let parsed = message.headers.unwrap_or_default();
    let sent_by = parsed.get(TRACEPARENT).map(|value| value.as_str().to_owned());
    let span = processing(&Arrival {
        template: H::TEMPLATE,
        durable: &consumer_loop.consumer.durable,
        subject: &message.subject,
        message_id: parsed.get(header::NATS_MESSAGE_ID).map(HeaderValue::as_str),
        conversation_id: decoded.as_ref().ok().and_then(H::conversation_id),
        traceparent: sent_by.as_deref(),
        delivered,
    });
    let origin = Arc::new(Origin {
        subject: message.subject.into_string(),
        stream_sequence,
        headers: malformed.unwrap_or_else(|| headers::block(&parsed)),
        body: message.payload,
    });
    // The server sends no more than was asked for, and that was one for each slot.
    let slot = slots.split(1)?;
    let message = InFlightMessage {
        reply: message.reply?,
        origin,
        delivered,
        route: route.clone(),
        taken: Instant::now(),
        span,
        slot,
        dead_lettering: false,
    };
    Some(Taken {
        message,
        decoded,
        sent_by,
        joined,
        behind,
    })
}
