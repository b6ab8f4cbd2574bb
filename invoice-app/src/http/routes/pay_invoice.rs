//! `POST /invoices/{id}/pay`: pays one invoice.

use std::{sync::Arc, time::Instant};

use axum::{extract::State, response::Response};

use crate::http::{
    Api, Error,
    access::Payer,
    body,
    openapi::{parameters, schemas},
    path_id::PathId,
    post::{Post, ReadPost, no_fields},
    representation::PaymentView,
    responses::{repeated, settled_or_not},
};
use crate::{
    idempotency::{Called, SavedResponse},
    metrics,
    paying::PaidOne,
    payment::{Payment, Status},
    waiters::Waiter,
};

/// Pays one invoice, and waits for the outcome.
#[utoipa::path(
    post, path = "/invoices/{id}/pay", tag = "Payments", security(("token" = ["invoices:pay"])),
    params(parameters::Id, parameters::Keyed, parameters::IfMatch, parameters::Prefer), request_body = Option<schemas::Nothing>,
    responses(
        (status = 200, description = "It is settled", body = PaymentView, links(
            ("get_invoice" = (operation_id = "get_invoice", parameters(("id" = "$response.body#/invoice_id")))),
            ("void_invoice" = (operation_id = "void_invoice", parameters(("id" = "$response.body#/invoice_id")))),
        )),
        (status = 202, description = "It is under way", body = PaymentView, links(
            ("get_invoice" = (operation_id = "get_invoice", parameters(("id" = "$response.body#/invoice_id")))),
        )),
        (status = 404, description = "invoice-not-found"),
        (status = 409, description = "invoice-not-payable"),
    ),
)]
pub async fn pay_invoice(
    State(api): State<Arc<Api>>,
    Payer(caller): Payer,
    id: PathId,
    mut post: Post,
) -> Result<Response, Error> {
    let condition = post.if_match()?;
    let ReadPost {
        body,
        call,
        trace,
        prefer,
        slot,
    } = post.read(&caller, body::PLAIN, &api).await?;
    no_fields(&body)?;
    drop(body);
    let parsed = id.parse(Error::NoInvoice)?;
    let asked = Instant::now();
    let (payment, waiter, is_repeat) = match api
        .paying
        .pay_one(parsed, caller.actor, call, trace, condition)
        .await?
    {
        Called::Ran(PaidOne::Requested(payment, waiter)) => {
            metrics::accepted(metrics::ONE, asked.elapsed());
            (payment, waiter, false)
        }
        Called::Ran(PaidOne::NotPayable(status)) => return Err(Error::NotPayable(status)),
        Called::Ran(PaidOne::Changed) => return Err(Error::PreconditionFailed),
        Called::Ran(PaidOne::Unknown) => return Err(Error::NoInvoice(id.0)),
        Called::NotRun(why) => repeat(&api, repeated(why)?).await?,
    };
    let payment = api
        .paying
        .wait_for_payment(payment, waiter, prefer.deadline(&api, &slot))
        .await;
    let open = payment.status == Status::Requested;
    Ok(settled_or_not(
        PaymentView::from(payment),
        open,
        &prefer,
        is_repeat,
    ))
}

/// The payment a repeated call made.
async fn repeat(api: &Api, answer: SavedResponse) -> Result<(Payment, Waiter, bool), Error> {
    let SavedResponse::Payment(id) = answer else {
        return Err(Error::KeyReused);
    };
    let waiter = api.paying.payment_waiter(id);
    let payment = api
        .store
        .payment(id)
        .await?
        .ok_or(Error::Database(sqlx::Error::RowNotFound))?;
    Ok((payment, waiter, true))
}
