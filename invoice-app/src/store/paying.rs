//! Asking for payments: one statement marks invoices pending and writes the requests, for single invoices as for all.

use std::time::Duration;

use payment_contract::{Currency, InvoiceId, trace::TraceParent};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    batch_id::BatchId,
    invoice,
    payment::{OutboxRequest, Skipped},
};

/// Which invoices a call pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    AllUnpaid,
    AllUnpaidOf(Currency),
    /// Those of these that are unpaid.
    These(Vec<Uuid>),
}

/// How payments are made.
#[derive(Clone, Debug)]
pub struct PaymentParams<'a> {
    /// The call they belong to.
    pub batch_id: BatchId,
    pub traceparent: &'a str,
    pub requested_by: Option<&'a str>,
    /// How long the rows are leased to this process, besides one second for every thousand of them.
    pub lease: Duration,
    /// Up to this many are handed back; of more than this, only the first.
    pub most: i64,
}

/// What a call asked for.
#[derive(Clone, Debug, Default)]
pub struct RequestedPayments {
    pub total: i64,
    /// The first of them.
    pub requests: Vec<OutboxRequest>,
}

struct Row {
    payment_id: Uuid,
    id: Uuid,
    number: String,
    amount_minor: i64,
    currency: String,
    attempt: i32,
    requested_at: OffsetDateTime,
    total: i64,
}

/// The one statement. Whoever takes an invoice off the list of the unpaid pays it; overlapping calls wait for each other
/// there, and whoever comes second finds it gone; a call for some does not wait, since what somebody else holds is being paid.
/// Several ids are locked in order; two calls for everything read the list in the same order. A payment's id is made of the row as it is updated (see `PaymentId::of`). A macro, since "all" and
/// "these" find invoices in different ways.
macro_rules! pay {
    ($found:tt, $params:expr $(, $which:expr)?) => {
        sqlx::query_as!(
            Row,
            r#"with found as materialized ("# + $found + r#"
               ), lease as materialized (
                   select clock_timestamp() as now,
                          make_interval(secs => least($2::float8 + count(*) / 1000, greatest($2, 600))) as length
                   from found
               ), ordered as materialized (
                   select id from found order by id
               ), moved as (
                   update invoices i
                   set status = 'pending', attempts = i.attempts + 1, last_payment_id = payment_id(i.id, i.attempts + 1),
                       updated_at = l.now
                   from ordered o, lease l where i.id = o.id and i.status = 'unpaid' and i.attempts < 65535
                   returning i.last_payment_id as payment_id, i.id, i.number, i.amount_minor, i.currency,
                             i.attempts as attempt
               ), asked as (
                   insert into payments (id, invoice_id, batch_id, attempt, created_at, sends, last_sent_at, next_send_at)
                   select m.payment_id, m.id, $1::uuid, m.attempt, l.now, 1, l.now, l.now + l.length
                   from moved m, lease l
               ), changed as (
                   insert into invoice_changes (kind, at, ids)
                   select 'pending', min(c.now), array_agg(c.payment_id)
                   from (select m.payment_id, l.now, (row_number() over () - 1) / 1000 as part
                         from moved m, lease l) c
                   group by c.part
               )
               select m.payment_id as "payment_id!", m.id as "id!", m.number as "number!",
                      m.amount_minor as "amount_minor!", m.currency as "currency!", m.attempt as "attempt!",
                      l.now as "requested_at!", (select count(*) from moved) as "total!"
               from moved m, lease l order by m.payment_id limit $3"#,
            $params.batch_id.as_uuid(),
            $params.lease.as_secs_f64(),
            $params.most
            $(, $which)?
        )
    };
}

/// Makes a payment for each unpaid invoice of the selection. Does not commit.
pub async fn pay_in_tx(
    connection: &mut PgConnection,
    selection: &Selection,
    params: &PaymentParams<'_>,
) -> Result<RequestedPayments, sqlx::Error> {
    let rows = match selection {
        Selection::AllUnpaid => {
            pay!("delete from unpaid_invoices returning invoice_id as id", params)
                .fetch_all(connection)
                .await?
        }
        Selection::AllUnpaidOf(currency) => {
            pay!(
                "delete from unpaid_invoices u using invoices i where i.id = u.invoice_id and i.currency = $4
                 returning u.invoice_id as id",
                params,
                currency.code()
            )
            .fetch_all(connection)
            .await?
        }
        Selection::These(ids) => {
            pay!(
                "delete from unpaid_invoices u using (
                     select u.invoice_id from unpaid_invoices u join invoices i on i.id = u.invoice_id
                     where u.invoice_id = any($4) order by u.invoice_id for update of u, i skip locked
                 ) free
                 where u.invoice_id = free.invoice_id returning u.invoice_id as id",
                params,
                ids
            )
            .fetch_all(connection)
            .await?
        }
    };
    let total = rows.first().map_or(0, |row| row.total);
    let request = |row: Row| OutboxRequest {
        payment_id: row.payment_id.into(),
        invoice_id: row.id.into(),
        invoice_number: row.number,
        amount_minor: row.amount_minor,
        currency: row.currency,
        attempt: row.attempt,
        send: 1,
        traceparent: Some(params.traceparent.to_owned()),
        requested_at: row.requested_at,
    };
    Ok(RequestedPayments {
        total,
        requests: rows.into_iter().map(request).collect(),
    })
}

/// Which invoice a call pays that pays one.
#[derive(Clone, Copy, Debug)]
pub struct Single<'a> {
    pub id: InvoiceId,
    pub trace: &'a TraceParent,
    pub requested_by: Option<&'a str>,
}

/// Makes a payment for each of these invoices that is unpaid and that nobody else is about to pay or to void. Waits for
/// nobody: what becomes of the others is found out by asking for them alone. No invoice may be given twice. Does not commit.
pub async fn pay_free_in_tx(
    connection: &mut PgConnection,
    invoices: &[Single<'_>],
    lease: Duration,
) -> Result<Vec<OutboxRequest>, sqlx::Error> {
    let ids: Vec<Uuid> = invoices.iter().map(|single| single.id.as_uuid()).collect();
    let traces: Vec<String> = invoices
        .iter()
        .map(|single| single.trace.as_str().to_owned())
        .collect();
    let callers: Vec<Option<String>> = invoices
        .iter()
        .map(|single| single.requested_by.map(str::to_owned))
        .collect();
    sqlx::query_as!(
        OutboxRequest,
        // `(select $1)` hides from the planner how many there are. It would else prefer a plan made for just these, each
        // time, and making it takes longer than the rest.
        r#"with free as (
               select u.invoice_id, c.traceparent, c.requested_by
               from unnest((select $1::uuid[]), (select $2::text[]), (select $4::text[]))
                   c (id, traceparent, requested_by)
               join unpaid_invoices u on u.invoice_id = c.id
               join invoices i on i.id = u.invoice_id
               order by u.invoice_id for update of u, i skip locked
           ), taken as (
               delete from unpaid_invoices u using free f where u.invoice_id = f.invoice_id
               returning u.invoice_id, f.traceparent, f.requested_by
           ), moved as (
               update invoices i
               set status = 'pending', attempts = i.attempts + 1, last_payment_id = payment_id(i.id, i.attempts + 1),
                   updated_at = clock_timestamp()
               from taken t where i.id = t.invoice_id and i.status = 'unpaid' and i.attempts < 65535
               returning i.last_payment_id as payment_id, i.id, i.number, i.amount_minor, i.currency,
                         i.attempts as attempt, i.updated_at as now, t.traceparent, t.requested_by
           ), asked as (
               insert into payments (id, invoice_id, attempt, traceparent, requested_by, created_at,
                                     sends, last_sent_at, next_send_at)
               select payment_id, id, attempt, traceparent, requested_by, now, 1, now, now + make_interval(secs => $3)
               from moved
           ), changed as (
               insert into invoice_changes (kind, at, ids)
               select 'pending', max(now), array_agg(payment_id) from moved having count(*) > 0
           )
           select payment_id as "payment_id!", id as "invoice_id!", number as "invoice_number!",
                  amount_minor as "amount_minor!", currency as "currency!", attempt as "attempt!", 1 as "send!",
                  traceparent, now as "requested_at!"
           from moved"#,
        &ids,
        &traces,
        lease.as_secs_f64(),
        &callers as &[Option<String>]
    )
    .fetch_all(connection)
    .await
}

/// Those of `ids` that `batch` did not pay, and why. Does not commit.
pub async fn skipped_in_tx(
    connection: &mut PgConnection,
    ids: &[Uuid],
    batch: BatchId,
) -> Result<Vec<(Uuid, Skipped)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select a.id as "id!", i.status as "status?: invoice::Status"
           from unnest($1::uuid[]) a (id) left join invoices i on i.id = a.id
           where not exists (select from payments p
                             where p.invoice_id = a.id and p.batch_id = $2 and p.status in ('requested', 'succeeded'))"#,
        ids,
        batch.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    let why = |status| match status {
        None => Skipped::Unknown,
        // Unpaid by now: its payment was under way when we asked and has been declined since.
        Some(invoice::Status::Pending | invoice::Status::Unpaid) => Skipped::Pending,
        Some(invoice::Status::Paid) => Skipped::Paid,
        Some(invoice::Status::Void) => Skipped::Void,
    };
    Ok(rows.into_iter().map(|row| (row.id, why(row.status))).collect())
}

/// Writes down what a call asked for. Does not commit.
pub async fn insert_batch_in_tx(
    connection: &mut PgConnection,
    requested: &RequestedPayments,
    params: &PaymentParams<'_>,
    skipped: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into payment_batches (id, requested, traceparent, requested_by, skipped) values ($1, $2, $3, $4, $5)",
        params.batch_id.as_uuid(),
        requested.total,
        params.traceparent,
        params.requested_by,
        skipped
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Why one invoice was not paid: its status, or that there is none. Does not commit.
pub async fn status_in_tx(
    connection: &mut PgConnection,
    id: InvoiceId,
) -> Result<Option<invoice::Status>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select status as "status: invoice::Status" from invoices where id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await
}
