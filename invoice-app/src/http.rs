//! The API: one file per endpoint, and what all of them share.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{config::Limits, paying::Paying, store::Store};

pub mod access;
pub mod answer;
pub mod body;
pub mod call;
pub mod create_invoice;
pub mod drain_body;
pub mod fields;
pub mod get_invoice;
pub mod get_payment_batch;
pub mod import_invoices;
pub mod limits;
pub mod list_invoice_events;
pub mod list_invoices;
pub mod ndjson;
pub mod observe;
pub mod pay_invoice;
pub mod pay_invoices;
pub mod prefer;
pub mod problem;
pub mod representation;
pub mod server;
pub mod void_invoice;

pub use problem::Error;

/// What handlers work with.
pub struct Api {
    store: Store,
    paying: Paying,
    access: access::Access,
    limits: Limits,
    in_flight: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    imports: Arc<Semaphore>,
    /// Cancelled when the process stops: whoever waits is answered at once.
    stop: CancellationToken,
    /// Cancelled once there is a schema to work on.
    open: CancellationToken,
}

impl Api {
    /// From ready parts. Answers 503 until `open` is cancelled, and waits for nothing any more once `stop` is.
    #[must_use]
    pub fn new(
        store: Store,
        paying: Paying,
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
            store,
            paying,
            access,
            limits,
            stop,
            open,
        }
    }
}

/// Every route. The outermost layer stands last.
pub fn router(api: Arc<Api>) -> Router {
    let limits = &api.limits;
    let within = |limit: Duration| from_fn_with_state(limit, limits::within);
    let (plain, import) = (within(limits.request), within(limits.import));
    let pay = within(limits.request + prefer::LONGEST_WAIT);
    Router::new()
        .route(
            "/invoices",
            get(list_invoices::list_invoices)
                .post(create_invoice::create_invoice)
                .layer(plain.clone()),
        )
        .route(
            "/invoices/import",
            post(import_invoices::import_invoices).layer(import),
        )
        .route(
            "/invoices/pay",
            post(pay_invoices::pay_invoices).layer(pay.clone()),
        )
        .route(
            "/invoices/{id}",
            get(get_invoice::get_invoice).layer(plain.clone()),
        )
        .route(
            "/invoices/{id}/events",
            get(list_invoice_events::list_invoice_events).layer(plain.clone()),
        )
        .route("/invoices/{id}/pay", post(pay_invoice::pay_invoice).layer(pay))
        .route(
            "/invoices/{id}/void",
            post(void_invoice::void_invoice).layer(plain.clone()),
        )
        .route(
            "/payment-batches/{id}",
            get(get_payment_batch::get_payment_batch).layer(plain),
        )
        .fallback(async || Error::NoRoute)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&api), limits::in_flight))
        .layer(from_fn_with_state(Arc::clone(&api), limits::when_open))
        .layer(from_fn(drain_body::drain_body))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(observe::observe))
        .with_state(api)
}
