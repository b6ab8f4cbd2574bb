//! `GET /`: the page for people. Three files, which ask the same API as everybody else.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::IntoResponse,
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
            get(async || file("text/html; charset=utf-8", include_str!("page/page.html"))),
        )
        .route(
            "/page.css",
            get(async || file("text/css; charset=utf-8", include_str!("page/page.css"))),
        )
        .route(
            "/page.js",
            get(async || file("text/javascript; charset=utf-8", include_str!("page/page.js"))),
        )
}

fn file(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let header = |name, value| (name, HeaderValue::from_static(value));
    let headers: [(HeaderName, HeaderValue); 5] = [
        header(header::CONTENT_TYPE, content_type),
        header(header::CONTENT_SECURITY_POLICY, POLICY),
        header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        header(header::REFERRER_POLICY, "no-referrer"),
        // Asked for again each time: another release may serve it.
        header(header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
