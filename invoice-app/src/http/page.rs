//! `GET /`: the page for people. Three files, which ask the same API as everybody else.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::Api;

/// Nothing from elsewhere, nothing inline, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The page and what it is made of. They need no token, and no database.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route(
            "/",
            get(async || file("text/html; charset=utf-8", POLICY, include_str!("page/page.html"))),
        )
        .route(
            "/page.css",
            get(async || file("text/css; charset=utf-8", POLICY, include_str!("page/page.css"))),
        )
        .route(
            "/page.js",
            get(async || {
                file(
                    "text/javascript; charset=utf-8",
                    POLICY,
                    include_str!("page/page.js"),
                )
            }),
        )
}

/// A file for a browser, which may load and do what the policy says.
pub(super) fn file(content_type: &str, policy: &'static str, body: impl Into<Body>) -> Response {
    let content_type =
        HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // Asked for again each time: another release may serve it.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body.into()).into_response()
}
