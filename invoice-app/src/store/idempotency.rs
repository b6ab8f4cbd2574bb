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

/// Keeps the answers of calls with these keys. No two of the keys may be the same. Does not commit.
pub async fn keep_all_in_tx(
    connection: &mut PgConnection,
    answers: Vec<(&KeyedCall, SavedResponse)>,
) -> Result<(), sqlx::Error> {
    if answers.is_empty() {
        return Ok(());
    }
    let (mut principals, mut keys, mut fingerprints) = (Vec::new(), Vec::new(), Vec::new());
    let (mut statuses, mut locations, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut payments, mut batches) = (Vec::new(), Vec::new());
    for (KeyedCall { key, fingerprint }, answer) in answers {
        principals.push(key.principal().to_owned());
        keys.push(key.text().to_owned());
        fingerprints.push(fingerprint.clone());
        let (mut whole, mut payment, mut batch) = ((None, None, None), None, None);
        match answer {
            SavedResponse::Whole {
                status,
                location,
                body,
            } => whole = (i16::try_from(status).ok(), location, Some(body)),
            SavedResponse::Payment(id) => payment = Some(id.as_uuid()),
            SavedResponse::Batch(id) => batch = Some(id.as_uuid()),
        }
        statuses.push(whole.0);
        locations.push(whole.1);
        bodies.push(whole.2);
        payments.push(payment);
        batches.push(batch);
    }
    // A row that is there all the same is older than we promise to keep it.
    sqlx::query!(
        "insert into idempotency_keys (principal, key, fingerprint, status, location, body, payment_id, batch_id)
         select * from unnest($1::text[], $2::text[], $3::bytea[], $4::smallint[], $5::text[], $6::text[], $7::uuid[],
                              $8::uuid[])
         on conflict (principal, key) do update set
             fingerprint = excluded.fingerprint, status = excluded.status, location = excluded.location,
             body = excluded.body, payment_id = excluded.payment_id, batch_id = excluded.batch_id,
             created_at = clock_timestamp()",
        &principals,
        &keys,
        &fingerprints,
        &statuses as &[Option<i16>],
        &locations as &[Option<String>],
        &bodies as &[Option<String>],
        &payments as &[Option<Uuid>],
        &batches as &[Option<Uuid>]
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Keeps the answer of a call that has a key. Does not commit.
pub async fn keep_in_tx(
    connection: &mut PgConnection,
    call: Option<&KeyedCall>,
    answer: SavedResponse,
) -> Result<(), sqlx::Error> {
    let answers = call.map(|call| (call, answer)).into_iter().collect();
    keep_all_in_tx(connection, answers).await
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
