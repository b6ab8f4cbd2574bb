//! Statements that look at payments and batches.

use payment_contract::{InvoiceId, PaymentId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Store;
use crate::batch_id::BatchId;
use crate::payment::{Batch, Payment, Status};

struct Row {
    id: Uuid,
    invoice_id: Uuid,
    attempt: i32,
    status: Status,
    reason: Option<String>,
    provider_reference: Option<String>,
    created_at: OffsetDateTime,
    settled_at: Option<OffsetDateTime>,
}

impl From<Row> for Payment {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            invoice_id: row.invoice_id.into(),
            attempt: row.attempt,
            status: row.status,
            reason: row.reason,
            provider_reference: row.provider_reference,
            created_at: row.created_at,
            settled_at: row.settled_at,
        }
    }
}

pub(super) struct BatchRow {
    pub(super) id: Uuid,
    pub(super) requested: i64,
    pub(super) paid: i64,
    pub(super) declined: i64,
    pub(super) skipped: String,
}

impl From<BatchRow> for Batch {
    fn from(row: BatchRow) -> Self {
        Self {
            id: row.id.into(),
            requested: row.requested,
            paid: row.paid,
            declined: row.declined,
            pending: row.requested - row.paid - row.declined,
            skipped: row.skipped,
        }
    }
}

/// What is open, for the gauges.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Payments without an outcome.
    pub count: i64,
    /// How long the oldest of them has been waiting, in seconds.
    pub oldest_s: f64,
    /// Dead letters nobody has ended.
    pub dead_letters: i64,
}

impl Store {
    pub async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, sqlx::Error> {
        sqlx::query_as!(
            Row,
            r#"select id, invoice_id, attempt, status as "status: _", reason, provider_reference, created_at, settled_at
               from payments where id = $1"#,
            id.as_uuid()
        )
        .fetch_optional(&self.database)
        .await
        .map(|row| row.map(Payment::from))
    }

    /// The payments of an invoice, first attempt first.
    pub async fn payments_of(&self, invoice: InvoiceId) -> Result<Vec<Payment>, sqlx::Error> {
        sqlx::query_as!(
            Row,
            r#"select id as "id!", invoice_id as "invoice_id!", attempt as "attempt!", status as "status!: _", reason,
                      provider_reference, created_at as "created_at!", settled_at
               from (select * from payments where invoice_id = $1 and status in ('requested', 'succeeded')
                     union all
                     select * from payments where invoice_id = $1 and status = 'declined') of_invoice
               order by attempt"#,
            invoice.as_uuid()
        )
        .fetch_all(&self.database)
        .await
        .map(|rows| rows.into_iter().map(Payment::from).collect())
    }

    /// How a batch stands.
    pub async fn batch(&self, id: BatchId) -> Result<Option<Batch>, sqlx::Error> {
        sqlx::query_as!(
            BatchRow,
            "select id, requested, paid, declined, skipped from payment_batches where id = $1",
            id.as_uuid()
        )
        .fetch_optional(&self.database)
        .await
        .map(|row| row.map(Batch::from))
    }

    /// Whether some payment of the batch has no outcome yet.
    pub async fn batch_is_open(&self, id: BatchId) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select paid + declined < requested as "open!" from payment_batches where id = $1"#,
            id.as_uuid()
        )
        .fetch_one(&self.database)
        .await
    }

    /// Those of these payments and batches of which everything has its outcome.
    pub async fn settled_among(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select id as "id!" from payments where id = any($1) and settled_at is not null
               union all
               select id from payment_batches where id = any($1) and paid + declined >= requested"#,
            ids
        )
        .fetch_all(&self.database)
        .await
    }

    pub async fn open(&self) -> Result<Open, sqlx::Error> {
        let row = sqlx::query!(
            r#"select count(*) as "count!",
                      coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as "oldest_s!",
                      (select count(*) from dead_letters where resolved_at is null) as "dead_letters!"
               from payments where status = 'requested'"#
        )
        .fetch_one(&self.database)
        .await?;
        Ok(Open {
            count: row.count,
            oldest_s: row.oldest_s,
            dead_letters: row.dead_letters,
        })
    }
}
