//! Writing down what is about to be asked of the bank, and reading what was written before.

use std::time::Duration;

use payment_contract::{InvoiceId, PaymentId, messages::REJECTED_REQUEST, trace::TraceParent};
use service::{
    database::{SHORT, retry_conflicts},
    telemetry::chain,
};
use time::OffsetDateTime;
use tracing::error;
use uuid::Uuid;

use super::{EntryRow, Error, Store};
use crate::{
    ledger::{Entry, Held, RequestHash},
    order::Order,
};

/// A row to be written.
#[derive(Clone, Debug)]
pub struct Intent {
    pub payment_id: PaymentId,
    pub invoice_id: InvoiceId,
    /// What must not differ when the request comes again.
    pub request_hash: RequestHash,
    pub order: Order,
    pub attempt: u32,
    /// When the sender first asked, by its clock.
    pub requested_at: OffsetDateTime,
    pub trace: Option<TraceParent>,
    /// It can never be paid: the row is born declined, and the bank is never asked.
    pub rejected: bool,
    /// It is not to be paid before an operator lets it.
    pub held: Option<Held>,
}

/// A row that was written just now.
#[derive(Clone, Copy, Debug)]
pub struct Inserted {
    pub payment_id: PaymentId,
    /// Time since it was first asked for, by the database's clock: about nothing, unless a row for it was lost.
    pub age: Duration,
    /// Set when the row was born declined.
    pub settled_at: Option<OffsetDateTime>,
}

/// The intents as the statement takes them: a column each.
#[derive(Default)]
struct Columns {
    payment_ids: Vec<Uuid>,
    invoice_ids: Vec<Uuid>,
    hashes: Vec<Vec<u8>>,
    amounts: Vec<i64>,
    currencies: Vec<String>,
    numbers: Vec<String>,
    attempts: Vec<i64>,
    requested_at: Vec<OffsetDateTime>,
    traces: Vec<Option<String>>,
    rejected: Vec<bool>,
    held: Vec<Option<String>>,
}

impl Columns {
    fn of(intents: &[Intent]) -> Self {
        let mut columns = Self::default();
        for intent in intents {
            columns.payment_ids.push(intent.payment_id.as_uuid());
            columns.invoice_ids.push(intent.invoice_id.as_uuid());
            columns.hashes.push(intent.request_hash.as_bytes().to_vec());
            columns.amounts.push(intent.order.amount.minor_units());
            columns
                .currencies
                .push(intent.order.amount.currency().code().to_owned());
            columns.numbers.push(intent.order.invoice_number.clone());
            columns.attempts.push(i64::from(intent.attempt));
            columns.requested_at.push(intent.requested_at);
            columns
                .traces
                .push(intent.trace.as_ref().map(|trace| trace.as_str().to_owned()));
            columns.rejected.push(intent.rejected);
            columns
                .held
                .push(intent.held.map(|held| held.as_str().to_owned()));
        }
        columns
    }
}

impl Store {
    /// Writes the rows that are not there yet, leased to `token` unless they are held, and tells which those are. Commits.
    /// One whose invoice number another payment has is not written: see [`Store::earlier_attempts`] and [`Store::hold_numbers_paid`]. Rows go in by id, so that two
    /// replicas with overlapping batches wait for each other instead of deadlocking.
    pub async fn insert_intents(&self, intents: &[Intent], token: Uuid) -> Result<Vec<Inserted>, Error> {
        let columns = Columns::of(intents);
        let rows = retry_conflicts(SHORT, || async {
            let query = sqlx::query!(
                // `(select $1)` hides from the planner how many there are: it would else make a plan for just these, each
                // time.
                r#"insert into ledger (payment_id, invoice_id, request_hash, amount_minor, currency, invoice_number, attempt,
                                     requested_at, traceparent, status, reason, settled_at, lease_token, lease_until, held_reason)
                 select i.payment_id, i.invoice_id, i.hash, i.amount, i.currency, i.number, i.attempt,
                        i.requested_at, i.trace,
                        case when i.rejected then 'declined' else 'started' end,
                        case when i.rejected then $12 end,
                        case when i.rejected then clock_timestamp() end,
                        case when not i.rejected and i.held is null then $10::uuid end,
                        case when not i.rejected and i.held is null then clock_timestamp() + make_interval(secs => $11) end,
                        case when not i.rejected then i.held end
                 from unnest((select $1::uuid[]), $2::uuid[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::bigint[],
                             $8::text[], $9::bool[], $13::timestamptz[], $14::text[])
                      as i (payment_id, invoice_id, hash, amount, currency, number, attempt, trace, rejected, requested_at,
                            held)
                 order by i.payment_id
                 on conflict do nothing
                 returning payment_id, settled_at,
                           extract(epoch from clock_timestamp() - least(created_at, requested_at))::float8 as "age_s!""#,
                &columns.payment_ids,
                &columns.invoice_ids,
                &columns.hashes,
                &columns.amounts,
                &columns.currencies,
                &columns.numbers,
                &columns.attempts,
                &columns.traces as &[Option<String>],
                &columns.rejected,
                token,
                self.lease.as_secs_f64(),
                REJECTED_REQUEST,
                &columns.requested_at,
                &columns.held as &[Option<String>],
            );
            query.fetch_all(&self.database).await
        })
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Inserted {
                payment_id: row.payment_id.into(),
                age: super::left(row.age_s).unwrap_or_default(),
                settled_at: row.settled_at,
            })
            .collect())
    }

    /// Reads the rows of these payments; those without a readable row are left out.
    pub async fn entries(&self, payment_ids: &[Uuid]) -> Result<Vec<Entry>, Error> {
        let rows = sqlx::query_as!(
            EntryRow,
            r#"select payment_id, invoice_id, request_hash, amount_minor, currency, invoice_number, status, reason,
                      gateway_reference, tries, traceparent, settled_at,
                      case when released_at is null then held_reason end as held,
                      extract(epoch from lease_until - clock_timestamp())::float8 as lease_left_s,
                      extract(epoch from clock_timestamp()
                                         - coalesce(released_at,
                                                    case when held_reason is null then least(created_at, requested_at)
                                                         else created_at end))::float8 as "age_s!"
               from ledger
               where payment_id = any($1)"#,
            payment_ids,
        )
        .fetch_all(&self.database)
        .await?;
        let readable = |row| match Entry::try_from(row) {
            Ok(entry) => Some(entry),
            Err(error) => {
                // One row that somebody damaged must not hold up the requests that came with its own.
                error!(
                    error = chain(&error),
                    "a ledger row is unreadable; its request waits"
                );
                None
            }
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }
}
