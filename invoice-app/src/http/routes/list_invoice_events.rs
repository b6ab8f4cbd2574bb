//! `GET /invoices/{id}/events`: what happened to one invoice, oldest first.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use payment_contract::{InvoiceId, PaymentId};
use serde::Serialize;
use time::{OffsetDateTime, serde::rfc3339};

use crate::http::{Api, Error, access::Reader, call::path_id};
use crate::{
    invoice::{Invoice, Status},
    payment::{self, Payment},
};

/// What happened to an invoice.
#[derive(Debug, Serialize)]
pub struct History {
    events: Vec<HistoryEvent>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct HistoryEvent {
    r#type: &'static str,
    #[serde(with = "rfc3339")]
    time: OffsetDateTime,
    /// Who asked for it. Always null: it is not kept.
    actor: Option<String>,
    payment_id: Option<PaymentId>,
    reason: Option<String>,
}

/// Tells what happened to one invoice.
pub async fn list_invoice_events(
    State(api): State<Arc<Api>>,
    _: Reader,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<History>, Error> {
    let id = path_id(path)?;
    let Ok(parsed) = id.parse::<InvoiceId>() else {
        return Err(Error::NoInvoice(id));
    };
    let invoice = api.store.invoice(parsed).await?.ok_or(Error::NoInvoice(id))?;
    let payments = match invoice.last_payment {
        None => Vec::new(),
        Some(_) => api.store.payments_of(parsed).await?,
    };
    Ok(Json(History {
        events: history(&invoice, payments),
    }))
}

/// In the order in which it must have happened. Not by the times: an outcome has the provider's clock.
fn history(invoice: &Invoice, payments: Vec<Payment>) -> Vec<HistoryEvent> {
    let mut events = vec![event("invoice.created", invoice.created_at, None, None)];
    for payment in payments {
        let id = Some(payment.id);
        events.push(event("invoice.pending", payment.created_at, id, None));
        let outcome = match payment.status {
            payment::Status::Requested => None,
            payment::Status::Succeeded => Some("invoice.paid"),
            payment::Status::Declined => Some("invoice.declined"),
        };
        if let Some((outcome, settled_at)) = outcome.zip(payment.settled_at) {
            events.push(event(outcome, settled_at, id, payment.reason));
        }
    }
    if invoice.status == Status::Void {
        // Nothing happens to an invoice after that.
        events.push(event("invoice.voided", invoice.updated_at, None, None));
    }
    events
}

const fn event(
    r#type: &'static str,
    time: OffsetDateTime,
    payment_id: Option<PaymentId>,
    reason: Option<String>,
) -> HistoryEvent {
    HistoryEvent {
        r#type,
        time,
        actor: None,
        payment_id,
        reason,
    }
}
