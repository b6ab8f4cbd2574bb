//! Every route: one file per endpoint, named like its handler.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};

use super::{Api, limits, prefer};

pub mod create_invoice;
pub mod get_invoice;
pub mod get_payment_batch;
pub mod get_totals;
pub mod import_invoices;
pub mod list_events;
pub mod list_invoice_events;
pub mod list_invoices;
pub mod pay_invoice;
pub mod pay_invoices;
pub mod void_invoice;

/// Paths and methods, each with its limit of time.
pub(super) fn routes(api: &Api) -> Router<Arc<Api>> {
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
            "/invoices/totals",
            get(get_totals::get_totals).layer(plain.clone()),
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
            get(get_payment_batch::get_payment_batch).layer(plain.clone()),
        )
        .route("/events", get(list_events::list_events).layer(plain))
}
