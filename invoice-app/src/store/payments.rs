//! Statements that look at payments and batches.

use payment_contract::{InvoiceId, PaymentId};
use uuid::Uuid;

use super::Store;
use crate::{
    batch_id::BatchId,
    payment::{Batch, Payment},
};

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
            Payment,
            r#"select id, invoice_id, attempt, status as "status: _", reason, provider_reference, created_at, settled_at
               from payments where id = $1"#,
            id.as_uuid()
        )
        .fetch_optional(&self.database)
        .await
    }

    /// The payments of an invoice, first attempt first.
    pub async fn payments_of(&self, invoice: InvoiceId) -> Result<Vec<Payment>, sqlx::Error> {
        sqlx::query_as!(
            Payment,
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
    }

    /// How a batch stands.
    pub async fn batch(&self, id: BatchId) -> Result<Option<Batch>, sqlx::Error> {
        Ok(self.batches([id]).await?.pop())
    }

    /// How these batches stand.
    pub async fn batches(&self, ids: impl IntoIterator<Item = BatchId>) -> Result<Vec<Batch>, sqlx::Error> {
        let ids: Vec<Uuid> = ids.into_iter().map(BatchId::as_uuid).collect();
        sqlx::query_as!(
            Batch,
            r#"select id, requested, paid, declined, requested - paid - declined as "pending!", skipped
               from payment_batches where id = any($1) order by id"#,
            &ids
        )
        .fetch_all(&self.database)
        .await
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
        sqlx::query_as!(
            Open,
            r#"select count(*) as "count!",
                      coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as "oldest_s!",
                      (select count(*) from dead_letters where resolved_at is null) as "dead_letters!"
               from payments where status = 'requested'"#
        )
        .fetch_one(&self.database)
        .await
    }
}
