//! Ending a row by hand: the decision and its record are one transaction.

use payment_contract::PaymentId;
use service::database::{SHORT, in_time};
use sqlx::{Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Intent, Store};
use crate::ledger::Settlement;

/// An operator's decision.
#[derive(Clone, Debug)]
pub struct Resolution {
    pub payment_id: PaymentId,
    pub settlement: Settlement,
    /// The operator's words.
    pub reason: String,
    /// The operator; the database user when unknown.
    pub resolved_by: Option<String>,
    /// What the bank said just before.
    pub bank_said: String,
}

/// A decision as recorded.
#[derive(Clone, Debug)]
pub struct RecordedResolution {
    pub status: String,
    /// The operator's words.
    pub reason: String,
    pub resolved_by: String,
    /// What the bank said just before.
    pub bank_said: String,
    pub resolved_at: OffsetDateTime,
}

impl Store {
    /// Finishes the row whose lease is `token`'s and records who decided so. `None`, and nothing changed, when the lease was
    /// lost or the row is finished. Commits.
    pub async fn resolve(
        &self,
        resolution: &Resolution,
        token: Uuid,
    ) -> Result<Option<OffsetDateTime>, Error> {
        in_time(SHORT, async {
            let mut tx = self.database.pool().begin().await?;
            let settled_at = sqlx::query_scalar!(
                r#"update ledger
                   set status = $3, reason = $4, gateway_reference = $5, lease_token = null, lease_until = null,
                       updated_at = clock_timestamp(), settled_at = clock_timestamp()
                   where payment_id = $1 and lease_token = $2 and lease_until > clock_timestamp() and status = 'started'
                   returning settled_at as "settled_at!""#,
                resolution.payment_id.as_uuid(),
                token,
                resolution.settlement.status.as_str(),
                resolution.settlement.reason,
                resolution.settlement.reference,
            )
            .fetch_optional(&mut *tx)
            .await?;
            Ok(record(tx, resolution, settled_at).await?)
        })
        .await
    }

    /// Writes the finished row of a payment that the ledger never had, and who decided so. `None`, and nothing changed, when it
    /// has one by now. Commits.
    pub async fn insert_lost(
        &self,
        intent: &Intent,
        resolution: &Resolution,
    ) -> Result<Option<OffsetDateTime>, Error> {
        in_time(SHORT, async {
            let mut tx = self.database.pool().begin().await?;
            let settled_at = sqlx::query_scalar!(
                r#"insert into ledger (payment_id, invoice_id, request_hash, amount_minor, currency, invoice_number, attempt,
                                       requested_at, status, reason, gateway_reference, settled_at)
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp())
                   on conflict do nothing
                   returning settled_at as "settled_at!""#,
                intent.payment_id.as_uuid(),
                intent.invoice_id.as_uuid(),
                intent.request_hash.as_bytes(),
                intent.order.amount.minor_units(),
                intent.order.amount.currency().code(),
                intent.order.invoice_number,
                i64::from(intent.attempt),
                intent.requested_at,
                resolution.settlement.status.as_str(),
                resolution.settlement.reason,
                resolution.settlement.reference,
            )
            .fetch_optional(&mut *tx)
            .await?;
            Ok(record(tx, resolution, settled_at).await?)
        })
        .await
    }

    /// What operators decided about a payment.
    pub async fn resolutions(&self, payment_id: PaymentId) -> Result<Vec<RecordedResolution>, Error> {
        let resolved = sqlx::query_as!(
            RecordedResolution,
            "select status, reason, resolved_by, bank_said, resolved_at
             from ledger_resolutions where payment_id = $1 order by id",
            payment_id.as_uuid(),
        )
        .fetch_all(&self.database)
        .await?;
        Ok(resolved)
    }
}

/// Records the decision, if it finished a row: when that was. Commits.
async fn record(
    mut tx: Transaction<'_, Postgres>,
    resolution: &Resolution,
    settled_at: Option<OffsetDateTime>,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    if settled_at.is_none() {
        return Ok(None);
    }
    sqlx::query!(
        "insert into ledger_resolutions (payment_id, status, reason, resolved_by, bank_said)
         values ($1, $2, $3, coalesce($4, session_user::text), $5)",
        resolution.payment_id.as_uuid(),
        resolution.settlement.status.as_str(),
        resolution.reason,
        resolution.resolved_by.as_deref(),
        resolution.bank_said,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(settled_at)
}
