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
    pub created_at: OffsetDateTime,
    pub created_by: Option<String>,
    /// First attempt first.
    pub attempts: Vec<Attempt>,
    pub voided_at: Option<OffsetDateTime>,
    pub voided_by: Option<String>,
}

/// An attempt to pay it.
#[derive(Debug)]
pub struct Attempt {
    pub payment_id: PaymentId,
    /// The call it belongs to, if that paid several.
    pub batch_id: Option<BatchId>,
    pub requested_at: OffsetDateTime,
    pub requested_by: Option<String>,
    pub status: payment::Status,
    pub reason: Option<String>,
    pub settled_at: Option<OffsetDateTime>,
    /// What that took, where it was unusual.
    pub provider: Option<ProviderEffort>,
}

impl Store {
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
