//! Where spans go: to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, in batches, from a thread of their own. Nothing here is ever
//! waited for but at the end, and then not for long: a span that cannot be kept or sent is dropped.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

pub use jetstream::traces::{KeyValue, Span, SpanBuilder, SpanKind, are_on, within};
use opentelemetry::{
    InstrumentationScope, global,
    trace::{SpanId, TraceId},
};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, SpanExporter,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{self, IdGenerator, RandomIdGenerator, SdkTracerProvider, SpanData},
};
use tracing::{info, warn};

/// The semantic conventions that names and attributes of spans follow.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.37.0";
/// What `OTEL_TRACES_SAMPLER` may say.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
/// The one protocol that is spoken.
const PROTOCOL: &str = "http/protobuf";

/// Traces of this process, to be closed at its end.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

/// Starts traces, if the environment says where they go. Mistakes in it are told and cost the traces, never the service. After
/// [`install_crypto`](crate::telemetry::install_crypto).
pub fn init(name: &'static str, version: &'static str) -> Traces {
    let Some(_) = endpoint() else {
        return Traces(None);
    };
    tell_mistakes();
    let exporter = match SpanExporter::builder().with_http().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            warn!(error = %error, "traces cannot be sent, and none are made");
            return Traces(None);
        }
    };
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", version));
    if set("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(name);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Reported {
            exporter,
            failing: AtomicBool::new(false),
        })
        .with_id_generator(Ids(RandomIdGenerator::default()))
        .with_resource(resource.build())
        .build();
    global::set_tracer_provider(provider.clone());
    let scope = InstrumentationScope::builder(name)
        .with_version(version)
        .with_schema_url(CONVENTIONS);
    jetstream::traces::install(global::tracer_with_scope(scope.build()));
    // Where to is in the environment, perhaps with a password.
    info!("traces are on");
    Traces(Some(provider))
}

impl Traces {
    /// Sends what is left, for as long as `limit`.
    pub async fn close(self, limit: Duration) {
        let Some(provider) = self.0 else { return };
        let closing = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
        if !matches!(closing.await, Ok(Ok(()))) {
            warn!("the last spans could not be sent in time");
        }
    }
}

/// The address in the words of whoever set it; none where traces are off.
fn endpoint() -> Option<String> {
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true"));
    let elsewhere = set("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
    if disabled || elsewhere {
        return None;
    }
    set(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT).or_else(|| set(OTEL_EXPORTER_OTLP_ENDPOINT))
}

/// A variable's value; an empty one is none, as the specification says.
fn set(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

/// The SDK goes on with its defaults in silence.
fn tell_mistakes() {
    if let Some(sampler) = set("OTEL_TRACES_SAMPLER").filter(|sampler| !SAMPLERS.contains(&sampler.as_str()))
    {
        warn!(
            sampler,
            "OTEL_TRACES_SAMPLER is not known; it is taken for parentbased_always_on"
        );
    }
    let protocol = set(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL).or_else(|| set(OTEL_EXPORTER_OTLP_PROTOCOL));
    if let Some(protocol) = protocol.filter(|protocol| protocol != PROTOCOL) {
        warn!(
            protocol,
            "traces are sent as {PROTOCOL}, whatever OTEL_EXPORTER_OTLP_PROTOCOL says"
        );
    }
}

/// Random ids, but for spans that others must be able to name.
#[derive(Debug)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        self.0.new_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        jetstream::traces::chosen_span_id().unwrap_or_else(|| self.0.new_span_id())
    }
}

/// An exporter that says once when it begins to fail, and once when it works again.
#[derive(Debug)]
struct Reported {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl trace::SpanExporter for Reported {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(spans).await;
        let failed_before = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Ok(()) if failed_before => info!("spans reach the collector again"),
            Err(error) if !failed_before => {
                warn!(error = %error, "spans do not reach the collector and are dropped; everything else goes on");
            }
            _ => {}
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
