//! Spans of OpenTelemetry. While no tracer is installed there are none, and asking for one costs a look at a flag.

use std::{cell::Cell, sync::OnceLock};

use opentelemetry::{
    Context, Value,
    context::FutureExt as _,
    global::{BoxedSpan, BoxedTracer},
    trace::{
        Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        Tracer as _,
    },
};
pub use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanKind},
};
use sha2::{Digest as _, Sha256};

pub(crate) mod messaging;

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

thread_local! {
    /// The id of the span that is being begun, where it is not to be random.
    static CHOSEN: Cell<Option<SpanId>> = const { Cell::new(None) };
}

/// From now on there are spans. The first call counts.
pub fn install(tracer: BoxedTracer) {
    let _ = TRACER.set(tracer);
}

/// Whether there are spans.
pub fn are_on() -> bool {
    TRACER.get().is_some()
}

/// For the tracer's generator of ids: the id that the next span of this thread is to have, if it is not to be random.
pub fn chosen_span_id() -> Option<SpanId> {
    CHOSEN.take()
}

/// Work under way. It ends, and so does its span, when this is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<BoxedSpan>);

impl Span {
    /// Begins one below the span that `traceparent` names, or a trace of its own.
    pub fn begin(traceparent: Option<&str>, describe: impl FnOnce() -> SpanBuilder) -> Self {
        let begun = TRACER
            .get()
            .map(|tracer| tracer.build_with_context(describe(), &context(traceparent)));
        Self(begun)
    }

    /// Begins one below the work that is being done [`within`] another.
    pub fn begin_here(describe: impl FnOnce() -> SpanBuilder) -> Self {
        let begun = TRACER
            .get()
            .map(|tracer| tracer.build_with_context(describe(), &Context::current()));
        Self(begun)
    }

    /// The same as [`Self::begin`], with an id that is made of `name`: whoever knows the name can link to the span, wherever and
    /// whenever it was begun. No other span of its trace may be given the same name.
    pub fn begin_named(
        traceparent: Option<&str>,
        name: &str,
        describe: impl FnOnce() -> SpanBuilder,
    ) -> Self {
        if are_on() {
            CHOSEN.set(Some(id_of(name)));
        }
        let span = Self::begin(traceparent, describe);
        // Left there by a tracer that has ended.
        CHOSEN.take();
        span
    }

    /// What names it to others, on whatever way; `None` while there are no spans.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?.span_context();
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        context
            .is_valid()
            .then(|| format!("00-{trace}-{span}-{:02x}", flags.to_u8()))
    }

    /// Adds what was not known when it began.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value.into()));
        }
    }

    /// Says that it failed, and by what kind of error, out of a few.
    pub fn failed(&mut self, kind: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", kind.into()));
            span.set_status(Status::error(""));
        }
    }

    /// Points to another span.
    pub fn link(&mut self, traceparent: Option<&str>) {
        if let Some(span) = &mut self.0
            && let Some(other) = traceparent.and_then(parse)
        {
            span.add_link(other, Vec::new());
        }
    }

    /// Points to the span of the same trace that was [begun with this name](Self::begin_named).
    pub fn link_named(&mut self, name: &str) {
        if let Some(span) = &mut self.0 {
            let this = span.span_context();
            let (trace, flags) = (this.trace_id(), this.trace_flags());
            let other = SpanContext::new(trace, id_of(name), flags, true, TraceState::NONE);
            span.add_link(other, Vec::new());
        }
    }
}

/// Does `work` below the span that `traceparent` names: [`Span::begin_here`] finds it.
pub fn within<T>(traceparent: Option<&str>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let context = if are_on() {
        context(traceparent)
    } else {
        Context::new()
    };
    work.with_context(context)
}

fn context(traceparent: Option<&str>) -> Context {
    traceparent.and_then(parse).map_or_else(Context::new, |parent| {
        Context::new().with_remote_span_context(parent)
    })
}

/// Reads version 00 of the W3C's trace context, the one that is written here.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let as_written = version == "00" && parts.next().is_none() && traceparent.len() == 55 && span.len() == 16;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    (as_written && context.is_valid()).then_some(context)
}

fn id_of(name: &str) -> SpanId {
    let digest = Sha256::digest(name);
    let first = digest.first_chunk::<8>().copied().unwrap_or_default();
    SpanId::from_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_as_it_is_written_or_not_at_all() {
        let parent = parse(VALID).unwrap();
        assert!(parent.is_sampled() && parent.is_remote());
        assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id().to_string(), "00f067aa0ba902b7");
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_make_ids_that_never_change() {
        assert_eq!(id_of("a.1").to_string(), "4a5f06ec672e3c23");
        assert_ne!(id_of("a.1"), id_of("a.2"));
    }

    #[tokio::test]
    async fn without_a_tracer_nothing_is_described() {
        let describe = || unreachable!("there is no tracer");
        assert_eq!(Span::begin(Some(VALID), describe).traceparent(), None);
        let inner = within(Some(VALID), async { Span::begin_here(describe).traceparent() });
        assert_eq!(inner.await, None);
    }
}
