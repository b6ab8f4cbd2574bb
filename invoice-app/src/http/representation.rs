//! What invoices, payments and batches look like in answers.

use axum::{
    Json,
    http::header,
    response::{IntoResponse as _, Response},
};
use payment_contract::{InvoiceId, Money, PaymentId};
use serde::Serialize;
use serde_json::value::RawValue;
use time::{OffsetDateTime, serde::rfc3339};
use utoipa::ToSchema;

use super::etag::etag;
use crate::{
    batch_id::BatchId,
    invoice::Invoice,
    payment::{Batch, Payment},
};

/// An invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invoice)]
pub struct InvoiceView {
    #[schema(value_type = uuid::Uuid)]
    id: InvoiceId,
    number: String,
    #[schema(value_type = MoneyView)]
    amount: Money,
    status: &'static str,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime, required)]
    paid_at: Option<OffsetDateTime>,
    #[schema(required)]
    last_payment: Option<LastPaymentView>,
}

/// The latest attempt to pay an invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastPayment)]
struct LastPaymentView {
    #[schema(value_type = uuid::Uuid)]
    id: PaymentId,
    status: &'static str,
    #[schema(required)]
    reason: Option<String>,
}

/// An invoice with its payments.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceWithPayments {
    /// The invoice.
    #[serde(flatten)]
    pub invoice: InvoiceView,
    /// First attempt first.
    pub payments: Vec<PaymentView>,
}

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub struct PaymentView {
    #[schema(value_type = uuid::Uuid)]
    id: PaymentId,
    #[schema(value_type = uuid::Uuid)]
    invoice_id: InvoiceId,
    attempt: i32,
    status: &'static str,
    #[schema(required)]
    reason: Option<String>,
    #[schema(required)]
    provider_reference: Option<String>,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime, required)]
    settled_at: Option<OffsetDateTime>,
}

/// How a batch stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchView {
    #[schema(value_type = uuid::Uuid)]
    batch_id: BatchId,
    requested: i64,
    paid: i64,
    declined: i64,
    pending: i64,
    /// As it was kept, without being read.
    #[schema(value_type = Vec<SkippedView>)]
    skipped: Box<RawValue>,
}

/// Money as [`Money`] is answered.
#[derive(ToSchema)]
#[schema(as = Money)]
#[expect(dead_code, reason = "describes a type of a crate that knows no HTTP")]
struct MoneyView {
    /// With all of the currency's decimals.
    value: String,
    /// ISO 4217.
    currency: String,
}

/// What was asked for and is not paid. Such a row is written in SQL.
#[derive(ToSchema)]
#[schema(as = Skipped)]
#[expect(dead_code, reason = "describes what is only passed on")]
struct SkippedView {
    id: String,
    reason: String,
}

impl From<Invoice> for InvoiceView {
    fn from(invoice: Invoice) -> Self {
        Self {
            id: invoice.id,
            number: invoice.number,
            amount: invoice.amount,
            status: invoice.status.as_str(),
            created_at: invoice.created_at,
            updated_at: invoice.updated_at,
            paid_at: invoice.paid_at,
            last_payment: invoice.last_payment.map(|last| LastPaymentView {
                id: last.id,
                status: last.status.as_str(),
                reason: last.reason,
            }),
        }
    }
}

/// An answer with an invoice, and its tag.
pub fn tagged(invoice: Invoice) -> Response {
    let tag = etag(&invoice);
    let mut response = Json(InvoiceView::from(invoice)).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            invoice_id: payment.invoice_id,
            attempt: payment.attempt,
            status: payment.status.as_str(),
            reason: payment.reason,
            provider_reference: payment.provider_reference,
            created_at: payment.created_at,
            settled_at: payment.settled_at,
        }
    }
}

impl From<Batch> for BatchView {
    fn from(batch: Batch) -> Self {
        Self {
            batch_id: batch.id,
            requested: batch.requested,
            paid: batch.paid,
            declined: batch.declined,
            pending: batch.pending,
            // It was written by us.
            skipped: RawValue::from_string(batch.skipped).unwrap_or_default(),
        }
    }
}
