//! Logs and metrics.

use crate::config::LogFormat;

/// Starts logging. `RUST_LOG` is not read: the filter is configuration like everything else.
pub fn init_logs(_format: LogFormat, _filter: &str) {
    todo!()
}

/// An error with its whole chain of sources, for one log line at the boundary.
pub fn chain(_error: &dyn std::error::Error) -> String {
    todo!()
}

/// Installs the metrics recorder; its handle renders `/metrics`.
pub fn init_metrics() -> metrics_exporter_prometheus::PrometheusHandle {
    todo!()
}
