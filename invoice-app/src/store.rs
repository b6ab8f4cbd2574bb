//! Everything that is kept, in Postgres: one struct over the pool, the statements by topic in the files below.

use std::sync::Arc;

use payment_contract::{Currency, Money};
use service::database::WarmPool;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::{Semaphore, SemaphorePermit};

pub mod changes;
pub mod history;
pub mod idempotency;
pub mod imports;
pub mod inspection;
pub mod invoices;
pub mod nats_incarnation;
pub mod numbers;
pub mod outbox;
pub mod paying;
pub mod payments;
pub mod settling;
pub mod totals;

pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    database: WarmPool,
    lists: Arc<Semaphore>,
}

/// Of this many connections lists and totals may use one, but two in any case: a filter that matches little reads everything, for
/// seconds, and whoever may only read must not be able to stop payments.
const CONNECTIONS_PER_LIST: u32 = 8;

impl Store {
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let lists = (pool.options().get_max_connections() / CONNECTIONS_PER_LIST).max(2);
        Self {
            database: WarmPool::new(pool),
            lists: Arc::new(Semaphore::new(usize::try_from(lists).unwrap_or(2))),
        }
    }

    /// The pool, for what is shared with other services.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Connections for what a payment waits for.
    #[must_use]
    pub const fn warm(&self) -> &WarmPool {
        &self.database
    }

    /// A place for a query that may read everything. It is waited for as long as for a connection.
    async fn list_place(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        let limit = self.pool().options().get_acquire_timeout();
        match tokio::time::timeout(limit, self.lists.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(sqlx::Error::PoolClosed),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Starts a transaction; dropped, it is rolled back. Whoever works in it sets a limit.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool().begin().await
    }
}

fn money(minor_units: i64, currency: &str) -> Result<Money, sqlx::Error> {
    Currency::try_new(currency)
        .and_then(|currency| Money::try_from_minor_units(minor_units, currency))
        .map_err(|error| corrupt("amount", error))
}

/// A row that cannot be what the schema promises.
fn corrupt(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: what.to_owned(),
        source: Box::new(error),
    }
}
