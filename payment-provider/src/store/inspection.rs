//! Looking at the ledger: for operators and for gauges.

use std::time::Duration;

use payment_contract::PaymentId;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Store};

/// Which rows `ledger list` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerFilter {
    /// Those of the latest invoices, newest first.
    Latest,
    /// Those that are not finished, oldest first.
    Open,
    /// Those that wait for an operator to release them, oldest first.
    Held,
}

/// A row as `ledger list` shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub payment_id: Uuid,
    pub invoice_id: Uuid,
    pub invoice_number: String,
    pub amount_minor: i64,
    pub currency: String,
    /// `started`, `succeeded` or `declined`.
    pub status: String,
    pub reason: Option<String>,
    /// Why it waits for an operator; `None` when it does not.
    pub held: Option<String>,
    /// Calls and look-ups without a known result.
    pub tries: i32,
    pub created_at: OffsetDateTime,
}

/// A row as `ledger show` shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What `list` shows too.
    pub listed: Listed,
    pub attempt: i64,
    pub gateway_reference: Option<String>,
    /// When an operator let it go on.
    pub released_at: Option<OffsetDateTime>,
    /// Until when somebody may call the bank; `None` when nobody may now.
    pub leased_until: Option<OffsetDateTime>,
    /// The first request's trace.
    pub traceparent: Option<String>,
    pub updated_at: OffsetDateTime,
    pub settled_at: Option<OffsetDateTime>,
}

/// What is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRows {
    /// Rows whose result is not known.
    pub open: i64,
    /// The age of the oldest of them; nothing without one.
    pub oldest: Duration,
    /// Rows that wait for an operator to release them.
    pub held: i64,
    /// Dead letters nobody has ended.
    pub dead_letters: i64,
}

impl Store {
    /// At most `limit` rows.
    pub async fn list(&self, filter: LedgerFilter, limit: i64) -> Result<Vec<Listed>, Error> {
        let rows = match filter {
            // By payment id, which is ordered by its invoice's time and has an index.
            LedgerFilter::Latest => {
                sqlx::query_as!(
                    Listed,
                    "select payment_id, invoice_id, invoice_number, amount_minor, currency, status, reason, tries, created_at,
                            case when settled_at is null and released_at is null then held_reason end as held
                     from ledger order by payment_id desc limit $1",
                    limit,
                )
                .fetch_all(&self.database)
                .await?
            }
            LedgerFilter::Open | LedgerFilter::Held => {
                sqlx::query_as!(
                    Listed,
                    "select payment_id, invoice_id, invoice_number, amount_minor, currency, status, reason, tries, created_at,
                            case when released_at is null then held_reason end as held
                     from ledger
                     where status = 'started' and (not $1 or (held_reason is not null and released_at is null))
                     order by created_at limit $2",
                    filter == LedgerFilter::Held,
                    limit,
                )
                .fetch_all(&self.database)
                .await?
            }
        };
        Ok(rows)
    }

    /// One row, whole.
    pub async fn show(&self, payment_id: PaymentId) -> Result<Option<Shown>, Error> {
        let row = sqlx::query!(
            "select payment_id, invoice_id, invoice_number, amount_minor, currency, status, reason, tries, created_at,
                    attempt, gateway_reference, traceparent, updated_at, settled_at, released_at,
                    case when settled_at is null and released_at is null then held_reason end as held,
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
                held: row.held,
                tries: row.tries,
                created_at: row.created_at,
            },
            attempt: row.attempt,
            gateway_reference: row.gateway_reference,
            released_at: row.released_at,
            leased_until: row.leased_until,
            traceparent: row.traceparent,
            updated_at: row.updated_at,
            settled_at: row.settled_at,
        }))
    }

    /// At most `limit` open rows that nobody has touched for `quiet`, or for a tenth of their age where that is longer.
    pub async fn unasked(&self, quiet: Duration, limit: i64) -> Result<Vec<Uuid>, Error> {
        let ids = sqlx::query_scalar!(
            "select payment_id from ledger
             where status = 'started' and (held_reason is null or released_at is not null)
               and coalesce(lease_until, '-infinity') < clock_timestamp()
               and updated_at < clock_timestamp()
                                - greatest(make_interval(secs => $1), (clock_timestamp() - created_at) / 10)
             order by updated_at limit $2",
            quiet.as_secs_f64(),
            limit,
        )
        .fetch_all(&self.database)
        .await?;
        Ok(ids)
    }

    /// How many rows are open or held, and the age of the oldest open one.
    pub async fn open_rows(&self) -> Result<OpenRows, Error> {
        let row = sqlx::query!(
            r#"select count(*) filter (where not held) as "open!", count(*) filter (where held) as "held!",
                      (select count(*) from dead_letters where resolved_at is null) as "dead_letters!",
                      extract(epoch from clock_timestamp() - min(since) filter (where not held))::float8 as oldest_s
               from (select held_reason is not null and released_at is null as held,
                            coalesce(released_at, created_at) as since
                     from ledger where status = 'started') as rows"#,
        )
        .fetch_one(&self.database)
        .await?;
        Ok(OpenRows {
            open: row.open,
            oldest: row.oldest_s.and_then(super::left).unwrap_or_default(),
            held: row.held,
            dead_letters: row.dead_letters,
        })
    }
}
