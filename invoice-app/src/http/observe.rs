//! One trace, one span and one measurement for each request.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use payment_contract::trace::TraceParent;
use tracing::{Instrument as _, debug, info_span};

use crate::metrics;

/// Follows a request: with the caller's trace if it sent one, else with a new one.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let sent = request
        .headers()
        .get("traceparent")
        .and_then(|value| TraceParent::parse(value.to_str().ok()?));
    let trace = sent.map_or_else(TraceParent::generate, |trace| trace.child());
    let method = known(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", |path| path.as_str())
        .to_owned();
    let span = info_span!(
        "request",
        trace_id = trace.trace_id(),
        http.method = method,
        http.route = route
    );
    let trace_id = trace.trace_id().to_owned();
    request.extensions_mut().insert(trace);
    async move {
        let start = Instant::now();
        let mut response = next.run(request).await;
        if let Ok(id) = HeaderValue::from_str(&trace_id) {
            response.headers_mut().insert("request-id", id);
        }
        let (took, status) = (start.elapsed(), response.status().as_u16());
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        debug!(
            http.status = status,
            duration_ms, "answered {method} {route} with {status}"
        );
        metrics::request(method, route, status, took);
        response
    }
    .instrument(span)
    .await
}

/// The method, out of a few: callers can invent others, and a metric must not grow by that.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
