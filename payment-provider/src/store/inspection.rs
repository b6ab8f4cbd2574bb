//! Looking at the ledger: for operators and for gauges.

use std::time::Duration;

use payment_contract::PaymentId;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Store};

/// A row as `ledger list` shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The payment.
    pub payment_id: Uuid,
    /// The invoice it pays.
    pub invoice_id: Uuid,
    /// Its human reference.
    pub invoice_number: String,
    /// Minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// `started`, `succeeded` or `declined`.
    pub status: String,
    /// Why it was declined.
    pub reason: Option<String>,
    /// Calls and look-ups without a known result.
    pub tries: i32,
    /// When it was written.
    pub created_at: OffsetDateTime,
}

/// A row as `ledger show` shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What `list` shows too.
    pub listed: Listed,
    /// Which attempt at the invoice.
    pub attempt: i64,
    /// The bank's reference.
    pub gateway_reference: Option<String>,
    /// Until when somebody may call the bank; `None` when nobody may now.
    pub leased_until: Option<OffsetDateTime>,
    /// The first request's trace.
    pub traceparent: Option<String>,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
    /// When it was finished.
    pub settled_at: Option<OffsetDateTime>,
}

impl Store {
    /// Open rows, oldest first, at most `limit`.
    pub async fn list_open(&self, limit: i64) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query_as!(
            Listed,
            "select payment_id, invoice_id, invoice_number, amount_minor, currency, status, reason, tries, created_at
             from ledger where status = 'started' order by created_at limit $1",
            limit,
        )
        .fetch_all(&self.database)
        .await?;
        Ok(rows)
    }

    /// The latest rows, newest first, at most `limit`. By payment id, which is ordered by time and has an index.
    pub async fn list_latest(&self, limit: i64) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query_as!(
            Listed,
            "select payment_id, invoice_id, invoice_number, amount_minor, currency, status, reason, tries, created_at
             from ledger order by payment_id desc limit $1",
            limit,
        )
        .fetch_all(&self.database)
        .await?;
        Ok(rows)
    }

    /// One row, whole.
    pub async fn show(&self, payment_id: PaymentId) -> Result<Option<Shown>, Error> {
        let row = sqlx::query!(
            "select payment_id, invoice_id, invoice_number, amount_minor, currency, status, reason, tries, created_at,
                    attempt, gateway_reference, traceparent, updated_at, settled_at,
                    case when lease_until > clock_timestamp() then lease_until end as leased_until
             from ledger where payment_id = $1",
            payment_id.as_uuid(),
        )
        .fetch_optional(&self.database)
        .await?;
        Ok(row.map(|row| Shown {
            listed: Listed {
                payment_id: row.payment_id,
                invoice_id: row.invoice_id,
                invoice_number: row.invoice_number,
                amount_minor: row.amount_minor,
                currency: row.currency,
                status: row.status,
                reason: row.reason,
                tries: row.tries,
                created_at: row.created_at,
            },
            attempt: row.attempt,
            gateway_reference: row.gateway_reference,
            leased_until: row.leased_until,
            traceparent: row.traceparent,
            updated_at: row.updated_at,
            settled_at: row.settled_at,
        }))
    }

    /// How many rows are open, and the age of the oldest.
    pub async fn open_rows(&self) -> Result<(i64, Duration), Error> {
        let row = sqlx::query!(
            r#"select count(*) as "count!", extract(epoch from clock_timestamp() - min(created_at))::float8 as oldest_s
               from ledger where status = 'started'"#,
        )
        .fetch_one(&self.database)
        .await?;
        Ok((row.count, row.oldest_s.and_then(super::left).unwrap_or_default()))
    }
}
