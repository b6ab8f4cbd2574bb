//! Calls that took effect, by their Idempotency-Key, kept in the transaction of the effect.

use std::collections::HashMap;

use payment_contract::PaymentId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Store;
use crate::{
    batch_id::BatchId,
    idempotency::{Claim, Key, KeyedCall, NotRun, SavedResponse},
};

/// How long a key is kept, in hours. A client that tries again later than this is a new call.
const KEPT_HOURS: i32 = 24;

struct Row {
    n: i64,
    fingerprint: Vec<u8>,
    status: Option<i16>,
    location: Option<String>,
    body: Option<String>,
    payment_id: Option<Uuid>,
    batch_id: Option<Uuid>,
}

impl Row {
    fn answer(self) -> SavedResponse {
        match (self.payment_id, self.batch_id) {
            (Some(payment), _) => SavedResponse::Payment(PaymentId::from(payment)),
            (None, Some(batch)) => SavedResponse::Batch(BatchId::from(batch)),
            (None, None) => SavedResponse::Whole {
                status: self.status.map_or(200, i16::unsigned_abs),
                location: self.location,
                body: self.body.unwrap_or_default(),
            },
        }
    }
}

/// Takes keys for the rest of the transaction, so that only one call with each runs at a time; what each is, in order. Two
/// statements: the second must see what the last holder of a lock committed. No two of the keys may be the same.
pub async fn claim_all_in_tx(
    connection: &mut PgConnection,
    keys: &[&Key],
) -> Result<Vec<Claim>, sqlx::Error> {
    let locks: Vec<i64> = keys.iter().map(|key| key.lock()).collect();
    let mine = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(k.lock) as "mine!"
           from unnest($1::bigint[]) with ordinality k (lock, n) order by k.n"#,
        &locks
    )
    .fetch_all(&mut *connection)
    .await?;
    let (principals, texts): (Vec<String>, Vec<String>) = keys
        .iter()
        .map(|key| (key.principal().to_owned(), key.text().to_owned()))
        .unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"select k.n as "n!", i.fingerprint, i.status, i.location, i.body, i.payment_id, i.batch_id
           from unnest($1::text[], $2::text[]) with ordinality k (principal, key, n)
           join idempotency_keys i on i.principal = k.principal and i.key = k.key
           where i.created_at > clock_timestamp() - make_interval(hours => $3)"#,
        &principals,
        &texts,
        KEPT_HOURS
    )
    .fetch_all(connection)
    .await?;
    let mut known: HashMap<i64, Row> = rows.into_iter().map(|row| (row.n, row)).collect();
    let claim = |(n, mine)| match (mine, known.remove(&n)) {
        (false, _) => Claim::InUse,
        (true, None) => Claim::Fresh,
        (true, Some(row)) => Claim::Known {
            fingerprint: row.fingerprint.clone(),
            answer: row.answer(),
        },
    };
    Ok((1..).zip(mine).map(claim).collect())
}

pub async fn claim_in_tx(connection: &mut PgConnection, key: &Key) -> Result<Claim, sqlx::Error> {
    let claims = claim_all_in_tx(connection, &[key]).await?;
    claims.into_iter().next().ok_or(sqlx::Error::RowNotFound)
}

/// Claims the key of a call that has one. `None`: run it.
pub async fn check_in_tx(
    connection: &mut PgConnection,
    call: Option<&KeyedCall>,
) -> Result<Option<NotRun>, sqlx::Error> {
    let Some(call) = call else { return Ok(None) };
    Ok(claim_in_tx(connection, &call.key).await?.check(&call.fingerprint))
}

/// Keeps the answer of a call that has a key. Does not commit.
pub async fn keep_in_tx(
    connection: &mut PgConnection,
    call: Option<&KeyedCall>,
    answer: &SavedResponse,
) -> Result<(), sqlx::Error> {
    let Some(KeyedCall { key, fingerprint }) = call else {
        return Ok(());
    };
    let (mut status, mut location, mut body, mut payment, mut batch) = (None, None, None, None, None);
    match answer {
        SavedResponse::Whole {
            status: s,
            location: l,
            body: b,
        } => {
            status = i16::try_from(*s).ok();
            location = l.as_deref();
            body = Some(b.as_str());
        }
        SavedResponse::Payment(id) => payment = Some(id.as_uuid()),
        SavedResponse::Batch(id) => batch = Some(id.as_uuid()),
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

/// Keeps that calls with these keys made these payments. Does not commit.
pub async fn keep_payments_in_tx(
    connection: &mut PgConnection,
    calls: &[(&KeyedCall, PaymentId)],
) -> Result<(), sqlx::Error> {
    let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (KeyedCall { key, fingerprint }, payment) in calls {
        columns.0.push(key.principal().to_owned());
        columns.1.push(key.text().to_owned());
        columns.2.push(fingerprint.clone());
        columns.3.push(payment.as_uuid());
    }
    // A row that is there all the same is older than we promise to keep it.
    sqlx::query!(
        "insert into idempotency_keys (principal, key, fingerprint, payment_id)
         select * from unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[])
         on conflict (principal, key) do update set
             fingerprint = excluded.fingerprint, status = null, location = null, body = null,
             payment_id = excluded.payment_id, batch_id = null, created_at = clock_timestamp()",
        &columns.0,
        &columns.1,
        &columns.2,
        &columns.3
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
        .execute(&self.database)
        .await
        .map(|done| done.rows_affected())
    }
}
