//! The connection pool, migrations, and which errors are worth a second try.

use sqlx::{PgPool, migrate::Migrator};

/// A pool that connects lazily: a process may start before its database. `application_name` shows in `pg_stat_activity`.
/// The password file, when there is one, wins over the URL.
pub fn pool(_config: &crate::config::Database, _application_name: &str) -> Result<PgPool, sqlx::Error> {
    todo!()
}

/// Runs pending migrations, waiting for the database as long as it is away (logged once a change). Other replicas wait
/// on sqlx's advisory lock.
pub async fn migrate(_pool: &PgPool, _migrator: &Migrator) -> Result<(), sqlx::migrate::MigrateError> {
    todo!()
}

/// Waits until the schema is at least the migrator's newest version: what `serve` does when it may not migrate itself.
pub async fn wait_for_schema(_pool: &PgPool, _migrator: &Migrator) {
    todo!()
}

/// What an error of the database means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Deadlock or serialization failure: run the transaction again, now.
    Conflict,
    /// The database is away, full, starting or stopping: try again later, answer 503.
    Away,
    /// The data is at fault (a constraint, a bad value): trying again changes nothing.
    Data,
    /// Anything else.
    Other,
}

/// Classifies an error.
#[must_use]
pub fn fault(_error: &sqlx::Error) -> Fault {
    todo!()
}

/// Runs a transaction again on deadlocks and serialization failures, a bounded number of times.
pub async fn retry_conflicts<T, F, Fut>(_attempt: F) -> Result<T, sqlx::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, sqlx::Error>>,
{
    todo!()
}
