//! The internal port: `/livez`, `/readyz`, `/metrics`, `PUT /log-filter`. Nothing outside the process decides about them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, put},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::{log_filter, log_writer};

/// Histograms collect samples until they are read; without a scraper this keeps them small.
const UPKEEP: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted. When thousands come at once, those for which there is no room are reset. The kernel has a
/// limit of its own, which is 4,096 as well (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// Readiness: not ready until migrations are done, and not ready any more while stopping.
#[derive(Clone, Debug)]
pub struct Readiness(tokio::sync::watch::Sender<bool>);

impl Readiness {
    /// Starts not ready.
    pub fn new() -> Self {
        Self(tokio::sync::watch::Sender::new(false))
    }
    /// Sets it.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }
    /// The present state.
    pub fn is_ready(&self) -> bool {
        *self.0.borrow()
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves the internal port until `stop`.
pub async fn serve(
    listen: SocketAddr,
    readiness: Readiness,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = bind(listen, "admin.listen")?;
    serve_on(listener, readiness, metrics, stop).await
}

/// Binds a listener; the error names the key that says where. `[::]` takes IPv4 as well, and only that on a kernel without IPv6.
pub fn bind(listen: SocketAddr, key: &str) -> io::Result<TcpListener> {
    let both_families = listen.is_ipv6() && listen.ip().is_unspecified();
    let listener = match listen_on(listen) {
        Err(error) if both_families && error.kind() != io::ErrorKind::AddrInUse => {
            listen_on((Ipv4Addr::UNSPECIFIED, listen.port()).into())
        }
        bound => bound,
    };
    listener
        .map_err(|error| io::Error::new(error.kind(), format!("{key}: cannot listen on {listen}: {error}")))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()
    } else {
        TcpSocket::new_v4()
    }?;
    // As what binds by itself does: a port of a process that has just ended can be had.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// [`serve`] on a listener that is bound already.
pub async fn serve_on(
    listener: TcpListener,
    readiness: Readiness,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> io::Result<()> {
    let upkeep = async {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    };
    let router = router(readiness, metrics.clone());
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    // A scraper that keeps its connection open must not hold up the end.
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    tokio::select! {
        result = serving.into_future() => result,
        () = stopped => Ok(()),
        () = upkeep => Ok(()),
    }
}

/// Changes which log lines are written, for a quarter of an hour: the body is a filter, such as `debug` or `info,sqlx=debug`.
async fn change_log_filter(filter: String) -> Response {
    let filter = filter.trim();
    if filter.is_empty() {
        return (
            StatusCode::BAD_REQUEST,
            "send the filter as the body, such as debug\n",
        )
            .into_response();
    }
    match log_filter::change(filter, log_filter::LASTS) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error @ log_filter::Error::Filter(_)) => {
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
        Err(error @ log_filter::Error::NoLogs) => {
            (StatusCode::CONFLICT, format!("{error}\n")).into_response()
        }
    }
}

/// What is known. A gauge whose value is not is NaN in the recorder, which cannot take one back, and is left out here with all that is said
/// about it: its last value would be taken for the present one.
fn known(rendered: &str) -> String {
    let mut known = String::with_capacity(rendered.len());
    for metric in rendered.split_terminator("\n\n") {
        let is_known = |line: &&str| !line.ends_with(" NaN");
        let lines = metric.lines().filter(is_known);
        if lines.clone().all(|line| line.starts_with('#')) {
            continue;
        }
        for line in lines {
            known.push_str(line);
            known.push('\n');
        }
        known.push('\n');
    }
    known
}

fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let readyz = async |State(readiness): State<Readiness>| {
        if readiness.is_ready() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    };
    let render = async move || {
        log_writer::count_dropped();
        (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            known(&metrics.render()),
        )
            .into_response()
    };
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .route("/log-filter", put(change_log_filter))
        .with_state(readiness)
}
