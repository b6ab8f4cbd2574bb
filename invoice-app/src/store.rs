//! Everything that is kept, in Postgres: one struct over the pool, the statements by topic in the files below.

use service::database::WarmPool;
use sqlx::{PgPool, Postgres, Transaction};

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

/// The migrations, embedded.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    database: WarmPool,
}

impl Store {
    /// Over this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            database: WarmPool::new(pool),
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

    /// Starts a transaction; dropped, it is rolled back. Whoever works in it sets a limit.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool().begin().await
    }
}

/// A row that cannot be what the schema promises.
fn corrupt(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: what.to_owned(),
        source: Box::new(error),
    }
}
