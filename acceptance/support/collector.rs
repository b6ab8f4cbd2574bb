//! A collector of traces: takes what both services send by OTLP, and keeps it to be looked at.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as Status},
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Result, eventually};

/// A running collector. Ends when dropped.
#[derive(Debug)]
pub struct Collector {
    spans: Spans,
    port: u16,
    serving: JoinHandle<()>,
}

type Spans = Arc<Mutex<Vec<CollectedSpan>>>;

/// A span as it arrived. Ids are in hex; an absent parent's is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedSpan {
    /// Who made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// Its trace.
    pub trace_id: String,
    /// Its own id.
    pub id: String,
    /// The span above it.
    pub parent_id: String,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// The ids of the spans that it points to, with their traces'.
    pub links: Vec<(String, String)>,
    /// Whether it says that it failed.
    pub failed: bool,
}

impl CollectedSpan {
    /// An attribute; empty where there is none.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// Whether `other` is the span above it.
    pub fn is_below(&self, other: &Self) -> bool {
        (&self.trace_id, &self.parent_id) == (&other.trace_id, &other.id)
    }

    /// Whether it points to `other`.
    pub fn points_to(&self, other: &Self) -> bool {
        let to = (other.trace_id.clone(), other.id.clone());
        self.links.contains(&to)
    }
}

impl Collector {
    /// Opens.
    pub async fn start() -> Result<Self> {
        let spans = Spans::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&spans));
        let serving = tokio::spawn(async move {
            // Ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { spans, port, serving })
    }

    /// What makes a service send its spans here, after `delay_ms` at the latest.
    pub fn env(&self, delay_ms: u32) -> BTreeMap<String, String> {
        env(self.port, delay_ms)
    }

    /// What has arrived of a trace.
    pub fn trace(&self, trace_id: &str) -> Vec<CollectedSpan> {
        let mut spans = self.all();
        spans.retain(|span| span.trace_id == trace_id);
        spans
    }

    /// All that has arrived.
    pub fn all(&self) -> Vec<CollectedSpan> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many of a trace have arrived, or more; answers with all of them.
    pub async fn trace_of(&self, trace_id: &str, spans: usize) -> Result<Vec<CollectedSpan>> {
        let arrived = eventually("the trace has arrived", || async {
            Ok(Some(self.trace(trace_id)).filter(|trace| trace.len() >= spans))
        });
        arrived.await.map_err(|error| {
            let names: Vec<String> = self.trace(trace_id).into_iter().map(|span| span.name).collect();
            crate::Error::new(format!("{error}; of {spans} there are {names:?}"))
        })
    }
}

/// What makes a service send its spans to a port of this machine.
pub fn env(port: u16, delay_ms: u32) -> BTreeMap<String, String> {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}")),
        ("OTEL_BSP_SCHEDULE_DELAY", delay_ms.to_string()),
        // A proxy that somebody uses for other things would not find this machine.
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(all): State<Spans>, body: Bytes) -> StatusCode {
    let Ok(sent) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    for resource in sent.resource_spans {
        let attributes = attributes(resource.resource.map(|resource| resource.attributes));
        let service = attributes.get("service.name").cloned().unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.extend(spans.map(|span| collected(service.clone(), span)));
    }
    StatusCode::OK
}

fn collected(service: String, span: Span) -> CollectedSpan {
    CollectedSpan {
        service,
        kind: span.kind(),
        failed: span
            .status
            .as_ref()
            .is_some_and(|status| status.code() == Status::Error),
        name: span.name,
        trace_id: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent_id: hex::encode(&span.parent_span_id),
        attributes: attributes(Some(span.attributes)),
        links: span
            .links
            .into_iter()
            .map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)))
            .collect(),
    }
}

fn attributes(attributes: Option<Vec<KeyValue>>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = attributes.unwrap_or_default();
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, text(attribute.value)))
        .collect()
}
