//! The outbox: requested payments are sent until their outcome arrives. Rows are leased by `next_send_at`, and whoever
//! moved it last is the one sending.

use std::time::Duration;

use payment_contract::PaymentId;
use service::fail_point;
use uuid::Uuid;

use super::Store;
use crate::{batch_id::BatchId, payment::OutboxRequest};

/// No request waits longer than this to be sent again, in seconds, but for the jitter of up to a fifth on top.
pub const LONGEST_WAIT_S: f64 = 600.0;
/// Rows made due by one statement.
const RELEASED_TOGETHER: i64 = 5_000;

/// What a claim found.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Rows that were due, whatever was done with them.
    pub due: usize,
    /// Those to be sent now.
    pub requests: Vec<OutboxRequest>,
}

/// Makes rows due at once: they were not sent, or may not have been. Which, and in which order they are locked, has to stand in
/// the text.
macro_rules! make_due {
    ($locked:tt, $returning:tt $(, $value:expr)*) => {
        sqlx::query!(
            "with locked as (" + $locked + " for no key update)
             update payments p set next_send_at = clock_timestamp(), last_sent_at = null
             from locked l where p.id = l.id" + $returning
            $(, $value)*
        )
    };
}

impl Store {
    /// Takes up to `limit` due rows for sending. How long since the last send is long enough is judged here and now:
    /// `resend_after`, or twice what outcomes take at the moment; a row that has not waited that long is put off without being
    /// sent. It then waits twice as long as it has waited now, so that only waiting in vain makes pauses longer: what was made
    /// due by a reconnect starts anew.
    pub async fn claim_due(&self, limit: i64, resend_after: Duration) -> Result<Claimed, sqlx::Error> {
        let mut requests = sqlx::query_as!(
            OutboxRequest,
            r#"with tick as materialized (
                   select clock_timestamp() as now,
                          coalesce((select 2 * median_ms / 1000 from sender_patience
                                    where updated_at > clock_timestamp() - interval '2 minutes'), 0) as slow_s
               ), due as materialized (
                   select p.id, p.last_sent_at from payments p
                   where p.status = 'requested' and p.next_send_at <= (select now from tick)
                   order by p.next_send_at limit $1
                   for no key update skip locked
               ), judged as materialized (
                   select d.id, t.now,
                          make_interval(secs => least(
                              greatest($2::float8, t.slow_s, 2 * extract(epoch from t.now - d.last_sent_at)::float8), $3
                          ) * (1 + random() / 5)) as then_wait,
                          d.last_sent_at + make_interval(secs => least(greatest($2, t.slow_s), $3)) as not_before
                   from due d, tick t
               )
               update payments p set
                   sends = case when j.not_before > j.now then p.sends else p.sends + 1 end,
                   last_sent_at = case when j.not_before > j.now then p.last_sent_at else j.now end,
                   next_send_at = case when j.not_before > j.now then j.not_before else j.now + j.then_wait end
               from judged j, invoices i
               where p.id = j.id and i.id = p.invoice_id
               returning p.id as payment_id, p.invoice_id, i.number as invoice_number, i.amount_minor, i.currency, p.attempt,
                         case when p.last_sent_at = j.now then p.sends else 0 end as "send!",
                         coalesce(p.traceparent, (select b.traceparent from payment_batches b where b.id = p.batch_id))
                             as traceparent,
                         p.created_at as requested_at"#,
            limit,
            resend_after.as_secs_f64(),
            LONGEST_WAIT_S
        )
        .fetch_all(&self.database)
        .await?;
        let due = requests.len();
        // Those with no send are put off.
        requests.retain(|request| request.send > 0);
        requests.sort_unstable_by_key(|request| request.payment_id);
        Ok(Claimed { due, requests })
    }

    /// Up to `limit` open payments of a batch after `after`, for the first send. Those whose lease ended before their turn came
    /// are the sweep's.
    pub async fn batch_page(
        &self,
        batch: BatchId,
        after: Option<PaymentId>,
        limit: i64,
    ) -> Result<Vec<OutboxRequest>, sqlx::Error> {
        sqlx::query_as!(
            OutboxRequest,
            "select p.id as payment_id, p.invoice_id, i.number as invoice_number, i.amount_minor, i.currency, p.attempt,
                    p.sends as send, b.traceparent, p.created_at as requested_at
             from payment_batches b, payments p, invoices i
             where b.id = $1 and p.batch_id = $1 and p.settled_at is null and i.id = p.invoice_id
               and p.id > $2 and p.sends = 1
             order by p.id limit $3",
            batch.as_uuid(),
            after.map_or(Uuid::nil(), PaymentId::as_uuid),
            limit
        )
        .fetch_all(&self.database)
        .await
    }

    /// Makes these due at once: they were not sent, or may not have been.
    pub async fn release(&self, payments: &[PaymentId]) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = payments.iter().map(|id| id.as_uuid()).collect();
        fail_point!(RequestsReleasing);
        make_due!(
            "select id from payments where id = any($1) and settled_at is null order by id",
            "",
            &ids
        )
        .execute(&self.database)
        .await?;
        fail_point!(RequestsReleased);
        Ok(())
    }

    /// Makes what is left of a batch's first send due at once. In pages, each committed: a rest of any size comes to its end.
    pub async fn release_batch(
        &self,
        batch: BatchId,
        mut after: Option<PaymentId>,
    ) -> Result<(), sqlx::Error> {
        while let Some(last) = self.release_batch_page(batch, after).await? {
            after = Some(last);
        }
        Ok(())
    }

    /// Makes one page of that due; the last payment of it, unless there was none.
    pub async fn release_batch_page(
        &self,
        batch: BatchId,
        after: Option<PaymentId>,
    ) -> Result<Option<PaymentId>, sqlx::Error> {
        let page = make_due!(
            "select id from payments where batch_id = $1 and settled_at is null and id > $2 order by id limit $3",
            " returning p.id",
            batch.as_uuid(),
            after.map_or(Uuid::nil(), PaymentId::as_uuid),
            RELEASED_TOGETHER
        )
        .fetch_all(&self.database)
        .await?;
        Ok(page.iter().map(|row| row.id).max().map(PaymentId::from))
    }

    /// Makes everything due that was sent by now, or within this long: it may have been lost on the way. In pages, like a batch's
    /// rest; those that wait longest for their next send come first, so that no page looks at what the last one has done.
    pub async fn release_sent(&self, within: Option<Duration>) -> Result<u64, sqlx::Error> {
        let until = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#)
            .fetch_one(&self.database)
            .await?;
        let mut released = 0;
        loop {
            let page = make_due!(
                "select id from payments where id = any(array(
                     select id from payments
                     where status = 'requested' and last_sent_at <= $1
                       and ($2::float8 is null or last_sent_at >= $1::timestamptz - make_interval(secs => $2))
                     order by next_send_at desc limit $3
                 )) and settled_at is null order by id",
                "",
                until,
                within.map(|within| within.as_secs_f64()),
                RELEASED_TOGETHER
            )
            .execute(&self.database)
            .await?
            .rows_affected();
            if page == 0 {
                return Ok(released);
            }
            released += page;
        }
    }

    /// Writes down how long outcomes take at the moment.
    pub async fn set_outcome_latency(&self, median_ms: f64) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into sender_patience (median_ms) values ($1)
             on conflict (only_row) do update set median_ms = excluded.median_ms, updated_at = clock_timestamp()",
            median_ms
        )
        .execute(&self.database)
        .await
        .map(|_| ())
    }
}
