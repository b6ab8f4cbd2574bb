//! `POST /invoices/{id}/void`: an invoice that is not to be paid.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use payment_contract::InvoiceId;

use crate::http::{
    Api, Error,
    access::Writer,
    body,
    call::{Post, no_fields, path_id},
    representation::InvoiceView,
};
use crate::store::invoices::Voided;

/// Voids an unpaid invoice. One that is void already stays so, and is answered the same.
pub async fn void_invoice(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    path: Result<Path<String>, PathRejection>,
    post: Post,
) -> Result<Json<InvoiceView>, Error> {
    let id = path_id(path)?;
    no_fields(&post.read(&caller, body::PLAIN, &api).await?.body)?;
    let Ok(parsed) = id.parse::<InvoiceId>() else {
        return Err(Error::NoInvoice(id));
    };
    match api.store.void_invoice(parsed, caller.actor.as_deref()).await? {
        Voided::Void(invoice) => Ok(Json(invoice.into())),
        Voided::Refused(status) => Err(Error::NotVoidable(status)),
        Voided::Unknown => Err(Error::NoInvoice(id)),
    }
}
