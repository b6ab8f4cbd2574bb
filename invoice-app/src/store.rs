//! Everything that is kept, in Postgres: one struct over the pool, the statements by topic in the files below.

use std::{sync::Arc, time::Duration};

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
    lists: Places,
    creates: Places,
}

/// Of this many connections lists and totals may use one: a filter that matches little reads everything, for seconds, and whoever
/// may only read must not be able to stop payments.
const CONNECTIONS_PER_LIST: u32 = 8;
/// The same for creating single invoices: one whose number an import under way has waits for its end.
const CONNECTIONS_PER_CREATE: u32 = 2;

/// Places for what may keep its connection for seconds, so that connections are left for all else.
#[derive(Clone, Debug)]
struct Places {
    free: Arc<Semaphore>,
    limit: Duration,
}

impl Places {
    /// One for this many connections of the pool, but two in any case.
    fn new(pool: &PgPool, connections: u32) -> Self {
        let places = (pool.options().get_max_connections() / connections).max(2);
        Self {
            free: Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(2))),
            limit: pool.options().get_acquire_timeout(),
        }
    }

    /// One of them. It is waited for as long as for a connection.
    async fn take(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        match tokio::time::timeout(self.limit, self.free.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(sqlx::Error::PoolClosed),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }
}

impl Store {
    pub fn new(pool: PgPool) -> Self {
        Self {
            lists: Places::new(&pool, CONNECTIONS_PER_LIST),
            creates: Places::new(&pool, CONNECTIONS_PER_CREATE),
            database: WarmPool::new(pool),
        }
    }

    /// The pool, for what is shared with other services.
    pub const fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Connections for what a payment waits for.
    pub const fn warm(&self) -> &WarmPool {
        &self.database
    }

    /// A place for a query that may read everything.
    async fn list_place(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        self.lists.take().await
    }

    /// A place for creating an invoice.
    pub async fn create_place(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        self.creates.take().await
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
