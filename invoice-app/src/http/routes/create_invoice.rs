//! `POST /invoices`: creates one invoice.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};

use crate::http::{
    Api, Error,
    access::Writer,
    body,
    fields::Fields,
    openapi::{parameters, schemas},
    post::Post,
    representation::InvoiceView,
    responses::{repeated, saved},
};
use crate::{
    creating::{self, Created},
    idempotency::{Called, SavedResponse},
    invoice::Invoice,
};

/// Creates one invoice.
#[utoipa::path(
    post, path = "/invoices", tag = "Invoices", security(("token" = ["invoices:write"])),
    params(parameters::Keyed), request_body = schemas::NewInvoice,
    responses(
        (status = 201, description = "It was created", body = InvoiceView, headers(("Location")), links(
            ("get_invoice" = (operation_id = "get_invoice", parameters(("id" = "$response.body#/id")))),
            ("pay_invoice" = (operation_id = "pay_invoice", parameters(("id" = "$response.body#/id")))),
            ("void_invoice" = (operation_id = "void_invoice", parameters(("id" = "$response.body#/id")))),
        )),
        (status = 409, description = "number-taken"),
    ),
)]
pub async fn create_invoice(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    post: Post,
) -> Result<Response, Error> {
    let read = post.read(&caller, body::PLAIN, &api).await?;
    let new = Fields::parse(&read.body)?
        .into_invoice()
        .map_err(Error::Invalid)?;
    let actor = caller.actor.as_deref();
    match creating::create(&api.store, &new, actor, read.call.as_ref(), answer).await? {
        Called::Ran(Created::Invoice(invoice)) => Ok(saved(answer(&invoice), false)),
        Called::Ran(Created::NumberTaken(number)) => Err(Error::NumberTaken(number)),
        Called::NotRun(why) => Ok(saved(repeated(why)?, true)),
    }
}

fn answer(invoice: &Invoice) -> SavedResponse {
    let view = InvoiceView::from(invoice.clone());
    SavedResponse::Whole {
        status: StatusCode::CREATED.as_u16(),
        location: Some(format!("/invoices/{}", invoice.id)),
        // Strings, numbers and times of this age always serialize.
        body: serde_json::to_string(&view).unwrap_or_default(),
    }
}
