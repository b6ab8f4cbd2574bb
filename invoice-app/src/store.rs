//! Everything that is kept, in Postgres: one struct over the pool, the statements by topic in the files below.

use service::database::Kept;
use sqlx::{PgPool, Postgres, Transaction};

pub mod created;
pub mod idempotency;
pub mod imports;
pub mod invoices;
pub mod numbers;
pub mod outbox;
pub mod paying;
pub mod payments;
pub mod settling;

/// The migrations, embedded.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    kept: Kept,
}

impl Store {
    /// Over this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let kept = Kept::new(pool.clone());
        Self { pool, kept }
    }

    /// The pool, for what is shared with other services.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Connections for what a payment waits for.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Starts a transaction; dropped, it is rolled back.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool.begin().await
    }
}

/// A row that cannot be what the schema promises.
fn corrupt(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: what.to_owned(),
        source: Box::new(error),
    }
}
