//! Spans of messages, as the semantic conventions for messaging name them: version 1.37.0, see docs/operations.md.

use uuid::Uuid;

use super::{KeyValue, Span, SpanBuilder, SpanKind};
use crate::publish::outgoing::{Error, Outgoing, Sent};

/// Messages on their way out together: a span for each, and one for the group where there are several.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    messages: Vec<Span>,
    group: Span,
}

impl Publishing {
    /// Begins the spans, and makes each the parent of whatever becomes of its message.
    pub(crate) fn begin(messages: &mut [Outgoing]) -> Self {
        if !super::are_on() {
            return Self::default();
        }
        let several = messages.len() > 1;
        let mut group = match messages.first() {
            Some(first) if several => Span::begin(None, || {
                let attributes = attributes("publish", "send", first.template);
                named("publish", first.template, SpanKind::Client)
                    .with_attributes(attributes.into_iter().chain([count(messages.len())]))
            }),
            _ => Span::default(),
        };
        let operation = if several { "create" } else { "send" };
        let begun = messages.iter_mut().map(|message| {
            let span = publishing(message, operation);
            message.traceparent = span.traceparent();
            group.link(message.traceparent.as_deref());
            span
        });
        Self {
            messages: begun.collect(),
            group,
        }
    }

    /// Ends them all alike.
    pub(crate) fn end(mut self, result: &Result<(), Error>) {
        if let Err(error) = result {
            self.messages
                .iter_mut()
                .chain([&mut self.group])
                .for_each(|span| span.failed(error.kind()));
        }
    }

    /// Ends each as its message fared.
    pub(crate) fn end_each(mut self, results: &[Result<(), Error>]) {
        for (span, result) in self.messages.iter_mut().zip(results) {
            if let Err(error) = result {
                span.failed(error.kind());
                self.group.failed(error.kind());
            }
        }
    }
}

fn publishing(message: &Outgoing, operation: &'static str) -> Span {
    let parent = message.traceparent.as_deref();
    let describe = || {
        let attributes = attributes("publish", operation, message.template);
        let of_message = [
            KeyValue::new("messaging.destination.name", message.subject.clone()),
            KeyValue::new("messaging.message.id", message.message_id.clone()),
            KeyValue::new(
                "messaging.message.conversation_id",
                message.conversation_id.to_string(),
            ),
        ];
        named("publish", message.template, SpanKind::Producer)
            .with_attributes(attributes.into_iter().chain(of_message))
    };
    match &message.sent {
        Sent::Once => Span::begin(parent, describe),
        Sent::First => Span::begin_named(parent, &message.message_id, describe),
        Sent::Again { first } => {
            let mut span = Span::begin_named(parent, &message.message_id, describe);
            span.link_named(first);
            span
        }
    }
}

/// Messages that arrived together, if there are several: their handling has a span for each.
pub(crate) fn receiving(template: &'static str, durable: &str, messages: usize) -> Span {
    if messages < 2 {
        return Span::default();
    }
    Span::begin(None, || {
        let of_group = [
            count(messages),
            KeyValue::new("messaging.consumer.group.name", durable.to_owned()),
        ];
        named("receive", template, SpanKind::Client).with_attributes(
            attributes("receive", "receive", template)
                .into_iter()
                .chain(of_group),
        )
    })
}

/// A message as it arrived.
pub(crate) struct Arrival<'a> {
    pub(crate) template: &'static str,
    pub(crate) durable: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) message_id: Option<&'a str>,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) delivered: i64,
}

/// From taking a message to its ack.
pub(crate) fn processing(arrival: &Arrival<'_>) -> Span {
    Span::begin(arrival.traceparent, || {
        let attributes = attributes("process", "process", arrival.template);
        let id = |id: &str| KeyValue::new("messaging.message.id", id.to_owned());
        let conversation = |id: Uuid| KeyValue::new("messaging.message.conversation_id", id.to_string());
        let of_message = [
            KeyValue::new("messaging.destination.name", arrival.subject.to_owned()),
            KeyValue::new("messaging.consumer.group.name", arrival.durable.to_owned()),
            // The conventions have no name for it.
            KeyValue::new("delivery.attempt", arrival.delivered),
        ];
        named("process", arrival.template, SpanKind::Consumer).with_attributes(
            attributes
                .into_iter()
                .chain(of_message)
                .chain(arrival.message_id.map(id))
                .chain(arrival.conversation_id.map(conversation)),
        )
    })
}

fn named(operation: &str, template: &str, kind: SpanKind) -> SpanBuilder {
    SpanBuilder::from_name(format!("{operation} {template}")).with_kind(kind)
}

fn attributes(name: &'static str, kind: &'static str, template: &'static str) -> [KeyValue; 4] {
    [
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.operation.type", kind),
        KeyValue::new("messaging.destination.template", template),
    ]
}

fn count(messages: usize) -> KeyValue {
    KeyValue::new(
        "messaging.batch.message_count",
        i64::try_from(messages).unwrap_or(i64::MAX),
    )
}
