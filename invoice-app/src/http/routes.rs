//! Every route: one file per endpoint, named like its handler.

use std::{sync::Arc, time::Duration};

use axum::middleware::from_fn_with_state;
use utoipa::OpenApi as _;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt as _},
    routes,
};

use super::{Api, limits, openapi::Document, prefer};

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

/// Paths and methods, as each handler says, each with its limit of time; and the document about them.
pub(super) fn routes(api: &Api) -> OpenApiRouter<Arc<Api>> {
    let limits = &api.limits;
    let within = |limit: Duration| from_fn_with_state(limit, limits::within);
    let (plain, import) = (within(limits.request), within(limits.import));
    let pay = within(limits.request + prefer::LONGEST_WAIT);
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(list_invoices::list_invoices, create_invoice::create_invoice).layer(plain.clone()))
        .routes(routes!(get_totals::get_totals).layer(plain.clone()))
        .routes(routes!(import_invoices::import_invoices).layer(import))
        .routes(routes!(pay_invoices::pay_invoices).layer(pay.clone()))
        .routes(routes!(get_invoice::get_invoice).layer(plain.clone()))
        .routes(routes!(list_invoice_events::list_invoice_events).layer(plain.clone()))
        .routes(routes!(pay_invoice::pay_invoice).layer(pay))
        .routes(routes!(void_invoice::void_invoice).layer(plain.clone()))
        .routes(routes!(get_payment_batch::get_payment_batch).layer(plain.clone()))
        .routes(routes!(list_events::list_events).layer(plain))
}
