//! Logs and metrics.

use std::io::IsTerminal as _;

pub use jetstream::error_chain::chain;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{config::LogFormat, log_filter, log_writer};

/// Seconds. From a query on the same machine to the longest wait a caller may ask for.
const DURATIONS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Things handled together: powers of four.
const COUNTS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];
/// How often something is sent: once, if nothing is lost.
const SENDS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0];

/// Starts logging, to standard error: standard output belongs to the commands. `RUST_LOG` is not read: the filter is
/// configuration like everything else. A second call changes nothing. Call [`flush`](crate::log_writer::flush) at the end.
pub fn init_logs(format: LogFormat, filter: &str) {
    let layer = fmt::layer().with_writer(log_writer::start());
    let layer = match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(log_filter::layer(filter))
        .with(filter_fn(|line| !tells_bodies(line)))
        .with(layer)
        .try_init();
    if started.is_ok() {
        log_panics();
    }
}

/// The NATS client's finest lines quote whole messages, and no filter brings those into a log.
fn tells_bodies(line: &Metadata<'_>) -> bool {
    *line.level() == Level::TRACE && line.target().starts_with("async_nats")
}

/// A panic is one log line like any other error, not lines of text between JSON.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic.location = place, "panicked: {text}");
    }));
}

/// Installs the metrics recorder; its handle renders `/metrics`. Histograms named `…_seconds` get buckets for durations, those named
/// `…_sends` a few, all others buckets for counts. `<name>_build_info` says which binary this is, from which revision of the sources (`GIT_REVISION`
/// at build time) where that is known.
pub fn init_metrics(name: &'static str, version: &'static str) -> PrometheusHandle {
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("a metrics recorder is installed already; this one stays empty");
    }
    jetstream::metrics::describe();
    log_writer::describe();
    let build_info = format!("{}_build_info", name.replace('-', "_"));
    let revision = option_env!("GIT_REVISION").unwrap_or("unknown");
    metrics::gauge!(build_info, "version" => version, "revision" => revision).set(1.0);
    handle
}

fn builder() -> PrometheusBuilder {
    let builder = PrometheusBuilder::new();
    // Only an empty list of buckets is an error.
    let with_counts = builder.set_buckets(COUNTS).unwrap_or_default();
    with_counts
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), DURATIONS)
        .unwrap_or_default()
        .set_buckets_for_metric(Matcher::Suffix("_sends".to_owned()), SENDS)
        .unwrap_or_default()
}

/// Makes ring the process's cryptography, for libraries that ask for the default. Call first in `main`.
pub fn install_crypto() {
    // Refused only when there is one already, which is then ring as well: the workspace builds no other.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn a_chain_shows_every_source_once() {
        let error = Link(
            "outer",
            Some(Box::new(Link(
                "middle: inner",
                Some(Box::new(Link("inner", None))),
            ))),
        );
        assert_eq!(chain(&error), "outer: middle: inner");
    }

    #[test]
    fn histograms_get_buckets_that_fit_their_unit() {
        let recorder = builder().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("test_seconds").record(0.2);
            metrics::histogram!("test_messages").record(200.0);
        });
        let text = recorder.handle().render();
        assert!(text.contains(r#"test_seconds_bucket{le="0.25"} 1"#), "{text}");
        assert!(text.contains(r#"test_messages_bucket{le="256"} 1"#), "{text}");
    }
}
