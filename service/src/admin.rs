//! The internal port: `/livez`, `/readyz`, `/metrics`. Nothing outside the process decides about them.

use std::net::SocketAddr;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

/// Readiness: not ready until migrations are done, and not ready any more while stopping.
#[derive(Clone, Debug)]
pub struct Readiness(tokio::sync::watch::Sender<bool>);

impl Readiness {
    /// Starts not ready.
    #[must_use]
    pub fn new() -> Self {
        Self(tokio::sync::watch::Sender::new(false))
    }
    /// Sets it.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }
    /// The present state.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.borrow()
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves the internal port until `stop`. `before_metrics` runs before each `/metrics` rendering to refresh gauges.
pub async fn serve(
    _listen: SocketAddr,
    _readiness: Readiness,
    _metrics: PrometheusHandle,
    _stop: CancellationToken,
) -> std::io::Result<()> {
    todo!()
}
