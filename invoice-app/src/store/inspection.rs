//! Looking at payments: for operators.

use payment_contract::PaymentId;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Store;

/// A payment as `payments list` and `payments show` tell it.
#[derive(Clone, Debug)]
pub struct Inspected {
    pub id: Uuid,
    pub invoice_id: Uuid,
    pub invoice_number: String,
    pub amount_minor: i64,
    pub currency: String,
    /// Counts the payments of the invoice from 1.
    pub attempt: i32,
    /// `requested`, `succeeded` or `declined`.
    pub status: String,
    pub reason: Option<String>,
    pub provider_reference: Option<String>,
    /// The call it belongs to, if that paid several.
    pub batch_id: Option<Uuid>,
    /// The name of the token it was asked for with.
    pub requested_by: Option<String>,
    pub sends: i32,
    /// When that was last.
    pub last_sent_at: Option<OffsetDateTime>,
    /// When it is sent again, unless its outcome arrives.
    pub next_send_at: OffsetDateTime,
    pub created_at: OffsetDateTime,
    pub settled_at: Option<OffsetDateTime>,
    pub traceparent: Option<String>,
}

/// Payments with their invoices, by what follows `from`; and whose trace each has.
macro_rules! inspect {
    ($traceparent:tt, $rest:tt, $value:expr) => {
        sqlx::query_as!(
            Inspected,
            "select p.id, p.invoice_id, i.number as invoice_number, i.amount_minor, i.currency, p.attempt, p.status,
                    p.reason, p.provider_reference, p.batch_id, p.requested_by, p.sends, p.last_sent_at,
                    p.next_send_at, p.created_at, p.settled_at, " + $traceparent + " as traceparent
             from payments p join invoices i on i.id = p.invoice_id " + $rest,
            $value
        )
    };
}

impl Store {
    /// Payments without an outcome, oldest first; or those of the newest invoices, newest first. At most `limit`.
    pub async fn inspect_payments(&self, open: bool, limit: i64) -> Result<Vec<Inspected>, sqlx::Error> {
        if open {
            inspect!(
                "p.traceparent",
                "where p.status = 'requested' order by p.created_at limit $1",
                limit
            )
            .fetch_all(&self.database)
            .await
        } else {
            inspect!("p.traceparent", "order by p.id desc limit $1", limit)
                .fetch_all(&self.database)
                .await
        }
    }

    /// One payment; the call that paid several has their trace.
    pub async fn inspect_payment(&self, id: PaymentId) -> Result<Option<Inspected>, sqlx::Error> {
        inspect!(
            "coalesce(p.traceparent, b.traceparent)",
            "left join payment_batches b on b.id = p.batch_id where p.id = $1",
            id.as_uuid()
        )
        .fetch_optional(&self.database)
        .await
    }
}
