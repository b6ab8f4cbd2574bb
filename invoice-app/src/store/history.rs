//! What is kept of one invoice's past: who did what, and when.

use payment_contract::{InvoiceId, PaymentId, messages::ProviderEffort};
use sqlx::types::Json;

use crate::batch_id::BatchId;
use time::OffsetDateTime;

use super::Store;
use crate::payment;

/// An invoice's past.
#[derive(Debug)]
pub struct History {
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// By whom, where that is known.
    pub created_by: Option<String>,
    /// First attempt first.
    pub attempts: Vec<Attempt>,
    /// When it was voided.
    pub voided_at: Option<OffsetDateTime>,
    /// By whom.
    pub voided_by: Option<String>,
}

/// An attempt to pay it.
#[derive(Debug)]
pub struct Attempt {
    /// The payment.
    pub payment_id: PaymentId,
    /// The call it belongs to, if that paid several.
    pub batch_id: Option<BatchId>,
    /// When it was requested.
    pub requested_at: OffsetDateTime,
    /// By whom.
    pub requested_by: Option<String>,
    /// Where it stands.
    pub status: payment::Status,
    /// Why it was declined.
    pub reason: Option<String>,
    /// When the provider finished it.
    pub settled_at: Option<OffsetDateTime>,
    /// What that took, where it was unusual.
    pub provider: Option<ProviderEffort>,
}

impl Store {
    /// What happened to an invoice.
    pub async fn history(&self, id: InvoiceId) -> Result<Option<History>, sqlx::Error> {
        let invoice = sqlx::query!(
            "select created_at, created_by, voided_at, voided_by, attempts from invoices where id = $1",
            id.as_uuid()
        )
        .fetch_optional(&self.database)
        .await?;
        let Some(invoice) = invoice else { return Ok(None) };
        let attempts = if invoice.attempts == 0 {
            Vec::new()
        } else {
            self.attempts(id).await?
        };
        Ok(Some(History {
            created_at: invoice.created_at,
            created_by: invoice.created_by,
            attempts,
            voided_at: invoice.voided_at,
            voided_by: invoice.voided_by,
        }))
    }

    async fn attempts(&self, id: InvoiceId) -> Result<Vec<Attempt>, sqlx::Error> {
        let rows = sqlx::query!(
            r#"select p.id as "id!", p.batch_id, p.created_at as "created_at!", p.status as "status!: payment::Status",
                      p.reason, p.settled_at, coalesce(p.requested_by, b.requested_by) as requested_by,
                      p.provider as "provider?: Json<ProviderEffort>"
               from (select * from payments where invoice_id = $1 and status in ('requested', 'succeeded')
                     union all
                     select * from payments where invoice_id = $1 and status = 'declined') p
               left join payment_batches b on b.id = p.batch_id
               order by p.attempt"#,
            id.as_uuid()
        )
        .fetch_all(&self.database)
        .await?;
        let attempts = rows.into_iter().map(|row| Attempt {
            payment_id: row.id.into(),
            batch_id: row.batch_id.map(BatchId::from),
            requested_at: row.created_at,
            requested_by: row.requested_by,
            status: row.status,
            reason: row.reason,
            settled_at: row.settled_at,
            provider: row.provider.map(|Json(effort)| effort),
        });
        Ok(attempts.collect())
    }
}
