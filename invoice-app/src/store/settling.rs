//! Settling: one statement applies a batch of outcomes, each at most once.

use std::collections::{HashMap, HashSet};

use payment_contract::{
    PaymentId,
    messages::{PaymentOutcomeV1, ProviderEffort},
};
use sqlx::{Executor, PgConnection, Postgres, types::Json};
use uuid::Uuid;

use super::Store;
use crate::batch_id::BatchId;
use crate::payment::{Former, OutcomeEffect, Status, settle};

/// A payment that an outcome named, as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub id: PaymentId,
    /// Its state before.
    pub former: Former,
    /// The call it belongs to.
    pub batch_id: Option<BatchId>,
    /// From its last send until now, in milliseconds; `None` when it was not sent.
    pub since_send_ms: Option<f64>,
    /// From its request until now, in seconds; `None` unless it was settled just now.
    pub settle_s: Option<f64>,
    /// How often its request was sent.
    pub sends: i32,
    /// Somebody else held its rows, so nothing was done about it.
    pub held: bool,
}

impl Store {
    /// Settles those of the payments that are still requested and of the named invoice, and their invoices with them.
    /// Returns every payment found, with its state before. No two outcomes may name the same payment.
    pub async fn settle(&self, outcomes: &[&PaymentOutcomeV1]) -> Result<Vec<Found>, sqlx::Error> {
        let mut left = outcomes.to_vec();
        // Rows are locked in the order in which they are given.
        left.sort_unstable_by_key(|outcome| outcome.payment_id);
        let mut found = Vec::with_capacity(left.len());
        loop {
            let settled = settle_requested(&self.database, &left).await?;
            let ids: HashSet<PaymentId> = settled.iter().map(|found| found.id).collect();
            found.extend(settled);
            left.retain(|outcome| !ids.contains(&outcome.payment_id));
            if left.is_empty() {
                return Ok(found);
            }
            let others = self.look_at(&left).await?;
            let former: HashMap<PaymentId, &Former> =
                others.iter().map(|found| (found.id, &found.former)).collect();
            // Committed by its call only after we looked for it the first time.
            let applies_by_now = |outcome: &&PaymentOutcomeV1| {
                settle(outcome, former.get(&outcome.payment_id).copied()) == OutcomeEffect::Applied
            };
            if !left.iter().any(applies_by_now) {
                found.extend(others);
                return Ok(found);
            }
        }
    }

    /// The same for those whose rows nobody else holds at the moment; the others are marked as held.
    pub async fn settle_free(&self, outcomes: &[&PaymentOutcomeV1]) -> Result<Vec<Found>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let free = lock_free_in_tx(&mut tx, outcomes).await?;
        let (free, rest): (Vec<_>, Vec<_>) = outcomes
            .iter()
            .copied()
            .partition(|outcome| free.contains(&outcome.payment_id.as_uuid()));
        let mut found = settle_requested(&mut *tx, &free).await?;
        tx.commit().await?;
        for other in self.look_at(&rest).await? {
            found.push(Found {
                held: other.former.status == Status::Requested,
                ..other
            });
        }
        Ok(found)
    }

    /// The payments as they are.
    async fn look_at(&self, outcomes: &[&PaymentOutcomeV1]) -> Result<Vec<Found>, sqlx::Error> {
        let payments: Vec<Uuid> = outcomes.iter().map(|o| o.payment_id.as_uuid()).collect();
        let rows = sqlx::query!(
            r#"select id, invoice_id, status as "status: Status", batch_id, sends from payments where id = any($1)"#,
            &payments
        )
        .fetch_all(&self.database)
        .await?;
        let found = rows.into_iter().map(|row| Found {
            id: row.id.into(),
            former: Former {
                invoice_id: row.invoice_id.into(),
                status: row.status,
            },
            batch_id: row.batch_id.map(BatchId::from),
            since_send_ms: None,
            settle_s: None,
            sends: row.sends,
            held: false,
        });
        Ok(found.collect())
    }
}

/// Locks the requested payments of these outcomes, their invoices and their batches, as far as nobody else holds them; those
/// payments of which all three are ours.
async fn lock_free_in_tx(
    connection: &mut PgConnection,
    outcomes: &[&PaymentOutcomeV1],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let payments: Vec<Uuid> = outcomes.iter().map(|o| o.payment_id.as_uuid()).collect();
    let locked = sqlx::query!(
        "select p.id, p.batch_id from payments p join invoices i on i.id = p.invoice_id
         where p.id = any($1) and p.settled_at is null order by p.id for no key update of p, i skip locked",
        &payments
    )
    .fetch_all(&mut *connection)
    .await?;
    let batches: Vec<Uuid> = locked.iter().filter_map(|payment| payment.batch_id).collect();
    let batches: HashSet<Uuid> = sqlx::query_scalar!(
        "select id from payment_batches where id = any($1) order by id for no key update skip locked",
        &batches
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .collect();
    let ours = locked
        .into_iter()
        .filter(|payment| payment.batch_id.is_none_or(|batch| batches.contains(&batch)));
    Ok(ours.map(|payment| payment.id).collect())
}

/// The one statement. Everything it changes for one payment it changes for all of them, or for none.
async fn settle_requested(
    executor: impl Executor<'_, Database = Postgres>,
    outcomes: &[&PaymentOutcomeV1],
) -> Result<Vec<Found>, sqlx::Error> {
    let payments: Vec<Uuid> = outcomes.iter().map(|o| o.payment_id.as_uuid()).collect();
    let invoices: Vec<Uuid> = outcomes.iter().map(|o| o.invoice_id.as_uuid()).collect();
    let statuses: Vec<String> = outcomes.iter().map(|o| o.status.as_str().to_owned()).collect();
    let reasons: Vec<Option<String>> = outcomes.iter().map(|o| o.reason.clone()).collect();
    let references: Vec<Option<String>> = outcomes.iter().map(|o| o.provider_reference.clone()).collect();
    let settled: Vec<_> = outcomes.iter().map(|o| o.settled_at).collect();
    let efforts: Vec<Option<Json<ProviderEffort>>> = outcomes.iter().map(|o| o.provider.map(Json)).collect();
    let query = sqlx::query_as!(
        SettledRow,
        // `(select $1)` hides from the planner how many there are: it would else make a plan for just these, each time.
        // The guard is `status = 'requested'`, written as the column that is null just then (a check says so): the
        // planner would else go through the index of all requested rows, instead of to the few named here.
        r#"with settled as (
               update payments p
               set status = o.status, reason = o.reason, provider_reference = o.provider_reference,
                   settled_at = o.settled_at, provider = o.provider
               from unnest((select $1::uuid[]), $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                           $7::jsonb[])
                   as o (payment_id, invoice_id, status, reason, provider_reference, settled_at, provider)
               where p.id = o.payment_id and p.invoice_id = o.invoice_id and p.settled_at is null
               returning p.id, p.invoice_id, p.status, p.settled_at, p.batch_id, p.last_sent_at, p.created_at, p.sends
           ), moved as (
               update invoices i
               set status = case s.status when 'succeeded' then 'paid' else 'unpaid' end,
                   paid_at = case s.status when 'succeeded' then s.settled_at end,
                   updated_at = statement_timestamp()
               from settled s
               where i.id = s.invoice_id and i.last_payment_id = s.id
           ), counted as (
               update payment_batches b set paid = b.paid + n.paid, declined = b.declined + n.declined
               from (select batch_id, count(*) filter (where status = 'succeeded') as paid,
                            count(*) filter (where status = 'declined') as declined
                     from settled where batch_id is not null group by batch_id order by batch_id) n
               where b.id = n.batch_id
           ), changed as (
               insert into invoice_changes (kind, at, ids)
               select case s.status when 'succeeded' then 'paid' else 'declined' end, statement_timestamp(),
                      array_agg(s.id)
               from (select id, status, (row_number() over () - 1) / 1000 as part from settled) s
               group by s.status, s.part
           )
           select id, invoice_id, batch_id, sends,
                  extract(epoch from clock_timestamp() - created_at)::float8 as settle_s,
                  (extract(epoch from clock_timestamp() - last_sent_at) * 1000)::float8 as since_send_ms
           from settled"#,
        &payments,
        &invoices,
        &statuses,
        &reasons as &[Option<String>],
        &references as &[Option<String>],
        &settled,
        &efforts as &[Option<Json<ProviderEffort>>]
    );
    let rows = query.fetch_all(executor).await?;
    Ok(rows.into_iter().map(Found::from).collect())
}

/// A payment that was settled just now.
struct SettledRow {
    id: Uuid,
    invoice_id: Uuid,
    batch_id: Option<Uuid>,
    sends: i32,
    settle_s: Option<f64>,
    since_send_ms: Option<f64>,
}

impl From<SettledRow> for Found {
    fn from(row: SettledRow) -> Self {
        Self {
            id: row.id.into(),
            former: Former {
                invoice_id: row.invoice_id.into(),
                status: Status::Requested,
            },
            batch_id: row.batch_id.map(BatchId::from),
            since_send_ms: row.since_send_ms,
            settle_s: row.settle_s,
            sends: row.sends,
            held: false,
        }
    }
}
