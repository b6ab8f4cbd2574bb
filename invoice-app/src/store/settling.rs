//! Settling: one statement applies a batch of outcomes, each at most once.

use payment_contract::{BatchId, PaymentId, messages::PaymentOutcomeV1};
use uuid::Uuid;

use super::Store;
use crate::payment::{Former, Status};

/// A payment that an outcome named, as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The payment.
    pub id: PaymentId,
    /// Its state before.
    pub former: Former,
    /// The call it belongs to.
    pub batch_id: Option<BatchId>,
    /// From its last send until now, in milliseconds; `None` when it was not sent.
    pub since_send_ms: Option<f64>,
}

impl Store {
    /// Settles those of the payments that are still requested and of the named invoice, and their invoices with them.
    /// Returns every payment found, with its state before. No two outcomes may name the same payment.
    pub async fn settle(&self, outcomes: &[&PaymentOutcomeV1]) -> Result<Vec<Found>, sqlx::Error> {
        let payments: Vec<Uuid> = outcomes.iter().map(|o| o.payment_id.as_uuid()).collect();
        let invoices: Vec<Uuid> = outcomes.iter().map(|o| o.invoice_id.as_uuid()).collect();
        let statuses: Vec<String> = outcomes.iter().map(|o| o.status.as_str().to_owned()).collect();
        let reasons: Vec<Option<String>> = outcomes.iter().map(|o| o.reason.clone()).collect();
        let references: Vec<Option<String>> = outcomes.iter().map(|o| o.provider_reference.clone()).collect();
        let settled: Vec<_> = outcomes.iter().map(|o| o.settled_at).collect();
        let rows = sqlx::query!(
            r#"with outcome as materialized (
                   select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
                       as o (payment_id, invoice_id, status, reason, provider_reference, settled_at)
               ), found as materialized (
                   select p.id, p.invoice_id, p.status, p.batch_id, p.last_sent_at
                   from payments p where p.id = any($1) order by p.id
                   for no key update
               ), settled as (
                   update payments p
                   set status = o.status, reason = o.reason, provider_reference = o.provider_reference,
                       settled_at = o.settled_at
                   from outcome o join found f on f.id = o.payment_id and f.invoice_id = o.invoice_id
                   where p.id = o.payment_id and f.status = 'requested'
                   returning p.id, p.invoice_id, p.status, p.settled_at
               ), locked as materialized (
                   select i.id from invoices i where i.id in (select invoice_id from settled) order by i.id
                   for no key update
               ), moved as (
                   update invoices i
                   set status = case s.status when 'succeeded' then 'paid' else 'unpaid' end,
                       paid_at = case s.status when 'succeeded' then s.settled_at end,
                       updated_at = clock_timestamp()
                   from settled s join locked l on l.id = s.invoice_id
                   where i.id = s.invoice_id and i.last_payment_id = s.id
               )
               select id, invoice_id, status as "status: Status", batch_id,
                      (extract(epoch from clock_timestamp() - last_sent_at) * 1000)::float8 as since_send_ms
               from found"#,
            &payments,
            &invoices,
            &statuses,
            &reasons as &[Option<String>],
            &references as &[Option<String>],
            &settled
        )
        .fetch_all(&self.pool)
        .await?;
        let found = rows.into_iter().map(|row| Found {
            id: row.id.into(),
            former: Former {
                invoice_id: row.invoice_id.into(),
                status: row.status,
            },
            batch_id: row.batch_id.map(BatchId::from),
            since_send_ms: row.since_send_ms,
        });
        Ok(found.collect())
    }
}
