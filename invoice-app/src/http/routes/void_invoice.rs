//! `POST /invoices/{id}/void`: an invoice that is not to be paid.

use std::{str::FromStr as _, sync::Arc};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use payment_contract::InvoiceId;
use service::database::{SHORT, in_time};

use crate::http::{
    Api, Error,
    access::Writer,
    body,
    openapi::{parameters, schemas},
    post::{Post, no_fields, path_id},
    representation::{InvoiceView, tagged},
};
use crate::store::invoices::Voided;

/// Voids an unpaid invoice. One that is void already stays so, and is answered the same.
#[utoipa::path(
    post, path = "/invoices/{id}/void", tag = "Invoices", security(("token" = ["invoices:write"])),
    params(parameters::Id, parameters::IfMatch), request_body = Option<schemas::Nothing>,
    responses(
        (status = 200, description = "It is void", body = InvoiceView, headers(("ETag"))),
        (status = 404, description = "invoice-not-found"),
        (status = 409, description = "invoice-not-voidable"),
    ),
)]
pub async fn void_invoice(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    path: Result<Path<String>, PathRejection>,
    mut post: Post,
) -> Result<Response, Error> {
    let id = path_id(path)?;
    let condition = post.if_match()?;
    no_fields(&post.read(&caller, body::PLAIN, &api).await?.body)?;
    let parsed = InvoiceId::from_str(&id).map_err(|_| Error::NoInvoice(id.clone()))?;
    let actor = caller.actor.as_deref();
    let voiding = api.store.void_invoice(parsed, actor, condition.as_ref());
    match in_time(SHORT, voiding).await? {
        Voided::Void(invoice) => Ok(tagged(invoice)),
        Voided::Changed => Err(Error::PreconditionFailed),
        Voided::Refused(status) => Err(Error::NotVoidable(status)),
        Voided::Unknown => Err(Error::NoInvoice(id)),
    }
}
