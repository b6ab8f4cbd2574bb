//! Calls that took effect, by their Idempotency-Key, kept in the transaction of the effect.

use payment_contract::{BatchId, PaymentId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Store;
use crate::idempotency::{Answer, Call, Called, Claim, Key};

/// How long a key is kept, in hours. A client that tries again later than this is a new call.
const KEPT_HOURS: i32 = 24;

struct Row {
    fingerprint: Vec<u8>,
    status: Option<i16>,
    location: Option<String>,
    body: Option<String>,
    payment_id: Option<Uuid>,
    batch_id: Option<Uuid>,
}

impl Row {
    fn answer(self) -> Answer {
        match (self.payment_id, self.batch_id) {
            (Some(payment), _) => Answer::Payment(PaymentId::from(payment)),
            (None, Some(batch)) => Answer::Batch(BatchId::from(batch)),
            (None, None) => Answer::Stored {
                status: self.status.map_or(200, i16::unsigned_abs),
                location: self.location,
                body: self.body.unwrap_or_default(),
            },
        }
    }
}

/// Takes the key for the rest of the transaction, so that only one call with it runs at a time. Two statements: the
/// second must see what the last holder of the lock committed.
pub async fn claim_in_tx(connection: &mut PgConnection, key: &Key) -> Result<Claim, sqlx::Error> {
    let mine = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "mine!""#, key.lock())
        .fetch_one(&mut *connection)
        .await?;
    if !mine {
        return Ok(Claim::InUse);
    }
    let row = sqlx::query_as!(
        Row,
        "select fingerprint, status, location, body, payment_id, batch_id from idempotency_keys
         where principal = $1 and key = $2 and created_at > clock_timestamp() - make_interval(hours => $3)",
        key.principal(),
        key.text(),
        KEPT_HOURS
    )
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        None => Claim::Fresh,
        Some(row) => {
            let fingerprint = row.fingerprint.clone();
            Claim::Known {
                fingerprint,
                answer: row.answer(),
            }
        }
    })
}

/// Claims the key of a call that has one. `None`: run it.
pub async fn check_in_tx<T>(
    connection: &mut PgConnection,
    call: Option<&Call>,
) -> Result<Option<Called<T>>, sqlx::Error> {
    let Some(call) = call else { return Ok(None) };
    Ok(claim_in_tx(connection, &call.key).await?.check(&call.fingerprint))
}

/// Keeps the answer of a call that has a key. Does not commit.
pub async fn keep_in_tx(
    connection: &mut PgConnection,
    call: Option<&Call>,
    answer: &Answer,
) -> Result<(), sqlx::Error> {
    let Some(Call { key, fingerprint }) = call else {
        return Ok(());
    };
    let (mut status, mut location, mut body, mut payment, mut batch) = (None, None, None, None, None);
    match answer {
        Answer::Stored {
            status: s,
            location: l,
            body: b,
        } => {
            status = i16::try_from(*s).ok();
            location = l.as_deref();
            body = Some(b.as_str());
        }
        Answer::Payment(id) => payment = Some(id.as_uuid()),
        Answer::Batch(id) => batch = Some(id.as_uuid()),
    }
    // A row that is there all the same is older than we promise to keep it.
    sqlx::query!(
        "insert into idempotency_keys (principal, key, fingerprint, status, location, body, payment_id, batch_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (principal, key) do update set
             fingerprint = excluded.fingerprint, status = excluded.status, location = excluded.location,
             body = excluded.body, payment_id = excluded.payment_id, batch_id = excluded.batch_id,
             created_at = clock_timestamp()",
        key.principal(),
        key.text(),
        fingerprint,
        status,
        location,
        body,
        payment,
        batch
    )
    .execute(connection)
    .await
    .map(|_| ())
}

impl Store {
    /// Forgets up to a thousand keys that are older than promised; returns how many.
    pub async fn prune_keys(&self) -> Result<u64, sqlx::Error> {
        sqlx::query!(
            "delete from idempotency_keys where ctid in (
                 select ctid from idempotency_keys
                 where created_at < clock_timestamp() - make_interval(hours => $1) limit 1000
                 for update skip locked
             )",
            KEPT_HOURS
        )
        .execute(&self.pool)
        .await
        .map(|done| done.rows_affected())
    }
}
