//! `GET /invoices/{id}`: one invoice with its payments.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use payment_contract::InvoiceId;

use crate::http::{
    Api, Error,
    access::Reader,
    call::path_id,
    representation::{InvoiceWithPayments, PaymentView},
};

/// Gets one invoice with its payments.
pub async fn get_invoice(
    State(api): State<Arc<Api>>,
    _: Reader,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<InvoiceWithPayments>, Error> {
    let id = path_id(path)?;
    let Ok(parsed) = id.parse::<InvoiceId>() else {
        return Err(Error::NoInvoice(id));
    };
    let invoice = api.store.invoice(parsed).await?.ok_or(Error::NoInvoice(id))?;
    let payments = match invoice.last_payment {
        None => Vec::new(),
        Some(_) => api.store.payments_of(parsed).await?,
    };
    let payments = payments.into_iter().map(PaymentView::from).collect();
    Ok(Json(InvoiceWithPayments {
        invoice: invoice.into(),
        payments,
    }))
}
