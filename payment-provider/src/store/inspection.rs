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

/// A row as `ledger list` and `ledger show` tell it.
#[derive(Clone, Debug)]
pub struct Inspected {
    pub payment_id: Uuid,
    pub invoice_id: Uuid,
    pub invoice_number: String,
    pub amount_minor: i64,
    pub currency: String,
    pub attempt: i64,
    /// `started`, `succeeded` or `declined`.
    pub status: String,
    pub reason: Option<String>,
    /// Why it waits for an operator; `None` when it does not.
    pub held: Option<String>,
    /// When an operator let it go on.
    pub released_at: Option<OffsetDateTime>,
    pub gateway_reference: Option<String>,
    /// Calls and look-ups without a known result.
    pub tries: i32,
    /// Until when somebody may call the bank; `None` when nobody may now.
    pub leased_until: Option<OffsetDateTime>,
    /// The first request's trace.
    pub traceparent: Option<String>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    pub settled_at: Option<OffsetDateTime>,
}

/// Rows of the ledger, by what follows `from`.
macro_rules! inspect {
    ($rest:tt $(, $value:expr)+) => {
        sqlx::query_as!(
            Inspected,
            "select payment_id, invoice_id, invoice_number, amount_minor, currency, attempt, status, reason,
                    case when settled_at is null and released_at is null then held_reason end as held,
                    released_at, gateway_reference, tries,
                    case when lease_until > clock_timestamp() then lease_until end as leased_until,
                    traceparent, created_at, updated_at, settled_at
             from ledger " + $rest
            $(, $value)+
        )
    };
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
    pub async fn list(&self, filter: LedgerFilter, limit: i64) -> Result<Vec<Inspected>, Error> {
        let rows = match filter {
            // By payment id, which is ordered by its invoice's time and has an index.
            LedgerFilter::Latest => {
                inspect!("order by payment_id desc limit $1", limit)
                    .fetch_all(&self.database)
                    .await?
            }
            LedgerFilter::Open | LedgerFilter::Held => {
                inspect!(
                "where status = 'started' and (not $1 or (held_reason is not null and released_at is null))
                     order by created_at limit $2",
                filter == LedgerFilter::Held,
                limit
            )
                .fetch_all(&self.database)
                .await?
            }
        };
        Ok(rows)
    }

    /// One row.
    pub async fn show(&self, payment_id: PaymentId) -> Result<Option<Inspected>, Error> {
        let row = inspect!("where payment_id = $1", payment_id.as_uuid());
        Ok(row.fetch_optional(&self.database).await?)
    }

    /// At most `limit` open rows that nobody has touched for `quiet`, or for a tenth of their age where that is longer.
    pub async fn unasked(&self, quiet: Duration, limit: usize) -> Result<Vec<Uuid>, Error> {
        let ids = sqlx::query_scalar!(
            "select payment_id from ledger
             where status = 'started' and (held_reason is null or released_at is not null)
               and coalesce(lease_until, '-infinity') < clock_timestamp()
               and updated_at < clock_timestamp()
                                - greatest(make_interval(secs => $1), (clock_timestamp() - created_at) / 10)
             order by updated_at limit $2",
            quiet.as_secs_f64(),
            i64::try_from(limit).unwrap_or(i64::MAX),
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
