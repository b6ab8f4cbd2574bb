//! The ledger in Postgres. Every statement works on many rows; one row is the same statement.

use std::{sync::Arc, time::Duration};

use payment_contract::{Currency, Money, messages::OutcomeStatus, trace::TraceParent};
use service::{
    batcher::MaybeOfOne,
    database::{ErrorKind, WarmPool},
};
use sqlx::{PgPool, migrate::Migrator};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ledger::{Ending, Entry, Held, RequestHash, Settlement, State},
    order::Order,
};

mod held;
mod inspection;
mod intents;
mod leases;
mod resolutions;
mod results;

pub use held::Taken;
pub use inspection::{Inspected, LedgerFilter, OpenRows};
pub use intents::{Inserted, Intent};
pub use resolutions::{RecordedResolution, Resolution};
pub use results::{Recorded, ResultToRecord};

pub static MIGRATOR: Migrator = sqlx::migrate!();

/// A statement failed. Cheap to clone, because a batch's failure is each of its members' failure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a statement on the ledger failed")]
pub struct Error {
    /// What that means for the caller.
    pub kind: ErrorKind,
    #[source]
    source: Arc<sqlx::Error>,
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        Self {
            kind: service::database::error_kind(&source),
            source: Arc::new(source),
        }
    }
}

impl MaybeOfOne for Error {
    fn is_of_data(&self) -> bool {
        self.kind == ErrorKind::Data
    }
}

/// The ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    database: WarmPool,
    lease: Duration,
}

impl Store {
    /// Over a pool; leases last `lease`.
    pub fn new(pool: PgPool, lease: Duration) -> Self {
        Self {
            database: WarmPool::new(pool),
            lease,
        }
    }

    /// The pool, for what is not the ledger's.
    pub const fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Connections for what a payment waits for.
    pub const fn warm(&self) -> &WarmPool {
        &self.database
    }

    pub const fn lease(&self) -> Duration {
        self.lease
    }
}

/// A row as the statements read it.
struct EntryRow {
    payment_id: Uuid,
    invoice_id: Uuid,
    request_hash: Vec<u8>,
    amount_minor: i64,
    currency: String,
    invoice_number: String,
    status: String,
    reason: Option<String>,
    gateway_reference: Option<String>,
    tries: i32,
    traceparent: Option<String>,
    settled_at: Option<OffsetDateTime>,
    held: Option<String>,
    lease_left_s: Option<f64>,
    age_s: f64,
}

impl TryFrom<EntryRow> for Entry {
    type Error = sqlx::Error;

    fn try_from(row: EntryRow) -> Result<Self, sqlx::Error> {
        let unreadable = |what: &str| {
            sqlx::Error::Decode(format!("ledger row {}: {what} is unreadable", row.payment_id).into())
        };
        let hash = row
            .request_hash
            .as_slice()
            .try_into()
            .map_err(|_| unreadable("request_hash"))?;
        let currency = Currency::try_new(&row.currency).map_err(|_| unreadable("currency"))?;
        let amount = Money::try_from_minor_units(row.amount_minor, currency)
            .map_err(|_| unreadable("amount_minor"))?;
        let status = status(&row.status).map_err(|()| unreadable("status"))?;
        let state = match (status, row.settled_at) {
            (Some(status), Some(settled_at)) => State::Finished(Ending {
                settlement: Settlement {
                    status,
                    reason: row.reason,
                    reference: row.gateway_reference,
                },
                settled_at,
            }),
            _ => match row.held {
                Some(held) => State::Held(Held::parse(&held).ok_or_else(|| unreadable("held_reason"))?),
                None => State::Open {
                    lease_left: row.lease_left_s.and_then(left),
                },
            },
        };
        Ok(Self {
            payment_id: row.payment_id.into(),
            invoice_id: row.invoice_id.into(),
            request_hash: RequestHash::from_bytes(hash),
            order: Order {
                amount,
                invoice_number: row.invoice_number,
            },
            tries: row.tries.unsigned_abs(),
            age: left(row.age_s).unwrap_or_default(),
            trace: row.traceparent.as_deref().and_then(TraceParent::parse),
            state,
        })
    }
}

/// Seconds as read; `None` once they are over.
fn left(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|left| !left.is_zero())
}

/// `None` is `started`.
fn status(text: &str) -> Result<Option<OutcomeStatus>, ()> {
    match text {
        "started" => Ok(None),
        _ => OutcomeStatus::parse(text).map(Some).ok_or(()),
    }
}
