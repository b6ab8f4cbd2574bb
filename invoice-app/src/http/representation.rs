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

use super::etag::etag;
use crate::{
    batch_id::BatchId,
    invoice::Invoice,
    payment::{Batch, Payment},
};

/// An invoice.
#[derive(Debug, Serialize)]
pub struct InvoiceView {
    id: InvoiceId,
    number: String,
    amount: Money,
    status: &'static str,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    updated_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    paid_at: Option<OffsetDateTime>,
    last_payment: Option<LastPaymentView>,
}

#[derive(Debug, Serialize)]
struct LastPaymentView {
    id: PaymentId,
    status: &'static str,
    reason: Option<String>,
}

/// An invoice with its payments.
#[derive(Debug, Serialize)]
pub struct InvoiceWithPayments {
    /// The invoice.
    #[serde(flatten)]
    pub invoice: InvoiceView,
    /// First attempt first.
    pub payments: Vec<PaymentView>,
}

/// A payment.
#[derive(Debug, Serialize)]
pub struct PaymentView {
    id: PaymentId,
    invoice_id: InvoiceId,
    attempt: i32,
    status: &'static str,
    reason: Option<String>,
    provider_reference: Option<String>,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    settled_at: Option<OffsetDateTime>,
}

/// How a batch stands.
#[derive(Debug, Serialize)]
pub struct BatchView {
    batch_id: BatchId,
    requested: i64,
    paid: i64,
    declined: i64,
    pending: i64,
    /// As it was kept, without being read.
    skipped: Box<RawValue>,
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
