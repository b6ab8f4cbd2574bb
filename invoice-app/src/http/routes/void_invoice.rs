//! `POST /invoices/{id}/void`: an invoice that is not to be paid.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use service::database::{SHORT, in_time};

use crate::http::{
    Api, Error,
    access::Writer,
    body,
    openapi::{parameters, schemas},
    path_id::PathId,
    post::{Post, no_fields},
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
    id: PathId,
    mut post: Post,
) -> Result<Response, Error> {
    let condition = post.if_match()?;
    no_fields(&post.read(&caller, body::PLAIN, &api).await?.body)?;
    let parsed = id.parse(Error::NoInvoice)?;
    let actor = caller.actor.as_deref();
    let voiding = api.store.void_invoice(parsed, actor, condition.as_ref());
    match in_time(SHORT, voiding).await? {
        Voided::Void(invoice) => Ok(tagged(invoice)),
        Voided::Changed => Err(Error::PreconditionFailed),
        Voided::Refused(status) => Err(Error::NotVoidable(status)),
        Voided::Unknown => Err(Error::NoInvoice(id.0)),
    }
}
