//! `GET /invoices/{id}/events`: what happened to one invoice, oldest first, and who asked for it.

use std::sync::Arc;

use axum::{Json, extract::State};
use payment_contract::{PaymentId, messages::ProviderEffort};
use serde::Serialize;
use time::{OffsetDateTime, serde::rfc3339};
use utoipa::ToSchema;

use crate::http::{
    Api, Error,
    access::Reader,
    openapi::parameters,
    path_id::PathId,
    query::{Parameters, RawQuery},
};
use crate::{
    batch_id::BatchId,
    event::Kind,
    payment::Status,
    store::history::{Attempt, History},
};

/// What happened to an invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub struct HistoryView {
    events: Vec<HistoryEvent>,
}

#[derive(Debug, Serialize, ToSchema)]
struct HistoryEvent {
    r#type: &'static str,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    time: OffsetDateTime,
    /// The name of the token that asked for it. Null where there was none, and for what the provider did.
    #[schema(required)]
    actor: Option<String>,
    #[schema(value_type = Option<uuid::Uuid>, required)]
    payment_id: Option<PaymentId>,
    #[schema(value_type = Option<uuid::Uuid>, required)]
    batch_id: Option<BatchId>,
    #[schema(required)]
    reason: Option<String>,
    /// What the payment took at the provider, where that was unusual.
    #[schema(value_type = Option<ProviderView>, required)]
    provider: Option<ProviderEffort>,
}

#[derive(ToSchema)]
#[schema(as = ProviderEffort)]
#[expect(dead_code, reason = "describes a type of a crate that knows no HTTP")]
struct ProviderView {
    /// Calls and look-ups that left the result unknown.
    tries: u32,
    /// Whether the bank was asked what it knew of the payment.
    looked_up: bool,
    /// How often the request had been delivered by then.
    deliveries: u32,
    /// How long the bank took to answer at last, in milliseconds.
    bank_ms: u64,
}

/// Tells what happened to one invoice.
#[utoipa::path(
    get, path = "/invoices/{id}/events", tag = "Invoices", security(("token" = ["invoices:read"])),
    params(parameters::Id),
    responses(
        (status = 200, description = "Its history", body = HistoryView),
        (status = 404, description = "invoice-not-found"),
    ),
)]
pub async fn list_invoice_events(
    State(api): State<Arc<Api>>,
    _: Reader,
    id: PathId,
    query: RawQuery,
) -> Result<Json<HistoryView>, Error> {
    Parameters::none(query)?;
    let parsed = id.parse(Error::NoInvoice)?;
    let history = api.store.history(parsed).await?.ok_or(Error::NoInvoice(id.0))?;
    Ok(Json(history.into()))
}

/// In the order in which it must have happened. Not by the times: an outcome has the provider's clock.
impl From<History> for HistoryView {
    fn from(history: History) -> Self {
        let created = of_invoice(Kind::Created, history.created_at, history.created_by);
        // Nothing happens to an invoice after that.
        let voided = history
            .voided_at
            .map(|at| of_invoice(Kind::Voided, at, history.voided_by));
        let events = std::iter::once(created)
            .chain(history.attempts.into_iter().flat_map(of_attempt))
            .chain(voided);
        Self {
            events: events.collect(),
        }
    }
}

fn of_invoice(kind: Kind, time: OffsetDateTime, actor: Option<String>) -> HistoryEvent {
    HistoryEvent {
        r#type: kind.as_str(),
        time,
        actor,
        payment_id: None,
        batch_id: None,
        reason: None,
        provider: None,
    }
}

fn of_attempt(attempt: Attempt) -> impl Iterator<Item = HistoryEvent> {
    let event = |kind: Kind, time, actor, reason, provider: Option<ProviderEffort>| HistoryEvent {
        r#type: kind.as_str(),
        time,
        actor,
        payment_id: Some(attempt.payment_id),
        batch_id: attempt.batch_id,
        reason,
        provider,
    };
    let requested = event(
        Kind::Pending,
        attempt.requested_at,
        attempt.requested_by,
        None,
        None,
    );
    let outcome = match attempt.status {
        Status::Requested => None,
        Status::Succeeded => Some(Kind::Paid),
        Status::Declined => Some(Kind::Declined),
    };
    let settled = outcome
        .zip(attempt.settled_at)
        .map(|(kind, at)| event(kind, at, None, attempt.reason, attempt.provider));
    std::iter::once(requested).chain(settled)
}
