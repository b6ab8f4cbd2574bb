//! `GET /invoices/{id}`: one invoice with its payments.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::http::{
    Api, Error,
    access::Reader,
    etag::{etag, is_known},
    openapi::parameters,
    path_id::PathId,
    query::{Parameters, RawQuery},
    representation::{InvoiceWithPayments, PaymentView},
};

/// Gets one invoice with its payments.
#[utoipa::path(
    get, path = "/invoices/{id}", tag = "Invoices", security(("token" = ["invoices:read"])),
    params(parameters::Id, parameters::IfNoneMatch),
    responses(
        (status = 200, description = "The invoice", body = InvoiceWithPayments, headers(("ETag")), links(
            ("pay_invoice" = (operation_id = "pay_invoice", parameters(("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")))),
            ("void_invoice" = (operation_id = "void_invoice", parameters(("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")))),
            ("list_invoice_events" = (operation_id = "list_invoice_events", parameters(("id" = "$response.body#/id")))),
        )),
        (status = 304, description = "You have it already", headers(("ETag"))),
        (status = 404, description = "invoice-not-found"),
    ),
)]
pub async fn get_invoice(
    State(api): State<Arc<Api>>,
    _: Reader,
    headers: HeaderMap,
    id: PathId,
    query: RawQuery,
) -> Result<Response, Error> {
    Parameters::none(query)?;
    let parsed = id.parse(Error::NoInvoice)?;
    let invoice = api.store.invoice(parsed).await?.ok_or(Error::NoInvoice(id.0))?;
    let tag = etag(&invoice).map(|tag| [(header::ETAG, tag)]);
    if is_known(&headers, &invoice.version())? {
        return Ok((
            StatusCode::NOT_MODIFIED,
            tag.into_iter().flatten().collect::<HeaderMap>(),
        )
            .into_response());
    }
    let payments = match invoice.last_payment {
        None => Vec::new(),
        Some(_) => api.store.payments_of(parsed).await?,
    };
    let payments = payments.into_iter().map(PaymentView::from).collect();
    let view = InvoiceWithPayments {
        invoice: invoice.into(),
        payments,
    };
    Ok((tag.into_iter().flatten().collect::<HeaderMap>(), Json(view)).into_response())
}
