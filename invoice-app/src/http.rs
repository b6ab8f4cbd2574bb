//! The API: one file per endpoint in `routes`, and what all of them share.

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{config::Limits, event_feed::Feed, paying::Paying, store::Store};

mod accept;
pub mod access;
pub mod body;
pub mod csv_export;
pub mod csv_import;
pub mod cursor;
mod docs;
pub mod drain_body;
pub mod etag;
pub mod event_stream;
pub mod fields;
mod framing;
mod idempotency_key;
mod idle;
pub mod limits;
pub mod ndjson;
pub mod observe;
pub mod openapi;
mod page;
pub mod path_id;
pub mod post;
pub mod prefer;
pub mod problem;
pub mod problem_pages;
pub mod problem_texts;
pub mod query;
mod rate_limit;
pub mod representation;
pub mod responses;
pub mod routes;
pub mod server;
mod write_limit;

pub use problem::Error;

/// What handlers work with.
pub struct Api {
    store: Store,
    paying: Paying,
    feed: Feed,
    access: access::Access,
    limits: Limits,
    rate_limit: Option<rate_limit::RateLimit>,
    in_flight: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    imports: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    /// Cancelled when the process stops: whoever waits is answered at once.
    stop: CancellationToken,
    /// Cancelled once there is a schema to work on.
    open: CancellationToken,
}

impl Api {
    /// From ready parts. Answers 503 until `open` is cancelled, and waits for nothing any more once `stop` is.
    pub fn new(
        store: Store,
        paying: Paying,
        feed: Feed,
        access: access::Access,
        limits: Limits,
        stop: CancellationToken,
        open: CancellationToken,
    ) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            in_flight: semaphore(limits.max_in_flight),
            waiting: semaphore(limits.max_waiting),
            imports: semaphore(limits.max_imports),
            exports: semaphore(limits.max_exports),
            listeners: semaphore(limits.max_listeners),
            rate_limit: limits.rate.map(rate_limit::RateLimit::new),
            store,
            paying,
            feed,
            access,
            limits,
            stop,
            open,
        }
    }
}

/// Every route, within what all share. The outermost layer stands last.
pub fn router(api: Arc<Api>) -> Router {
    let (routes, document) = routes::routes(&api).split_for_parts();
    routes
        .fallback(async || Error::NoRoute)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&api), limits::in_flight))
        .layer(from_fn_with_state(Arc::clone(&api), rate_limit::limit))
        .layer(from_fn_with_state(Arc::clone(&api), limits::when_open))
        .merge(page::routes())
        .merge(docs::routes(&openapi::complete(document)))
        // They tell why there is no database, and so do without one.
        .merge(problem_pages::routes())
        .layer(from_fn(drain_body::drain_body))
        .layer(from_fn(framing::check))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(observe::observe))
        .with_state(api)
}
