//! One trace, one span and one measurement for each request.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, Uri},
    middleware::Next,
    response::Response,
};
use payment_contract::trace::TraceParent;
use service::traces::{KeyValue, Span, SpanBuilder, SpanKind};
use tracing::{Instrument as _, debug, info_span};

use crate::metrics;

/// Follows a request: within the caller's trace if it sent one, else within a new one.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let sent = request
        .headers()
        .get("traceparent")
        .and_then(|value| TraceParent::parse(value.to_str().ok()?));
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let mut server = Span::begin(sent.as_ref().map(TraceParent::as_str), || {
        described(method, route, request.uri())
    });
    let own = server.traceparent().as_deref().and_then(TraceParent::parse);
    let trace = own.or(sent).unwrap_or_else(TraceParent::generate);
    let route = route.unwrap_or("none").to_owned();
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
        server.set("http.response.status_code", i64::from(status));
        if response.status().is_server_error() {
            server.failed(status.to_string());
        }
        metrics::request(method, route, status, took);
        response
    }
    .instrument(span)
    .await
}

/// By the semantic conventions for HTTP. The query stays out: it may say who is looked for.
fn described(method: &'static str, route: Option<&str>, uri: &Uri) -> SpanBuilder {
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let attributes = [
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("url.path", uri.path().to_owned()),
    ];
    let route = route.map(|route| KeyValue::new("http.route", route.to_owned()));
    SpanBuilder::from_name(name)
        .with_kind(SpanKind::Server)
        .with_attributes(attributes.into_iter().chain(route))
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
