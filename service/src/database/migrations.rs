//! The schema: brought up to date, waited for, and looked after while the process runs.

use std::time::Duration;

use jetstream::trouble::Trouble;
use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};
use tokio_util::sync::CancellationToken;

use super::{
    error_kind::{ErrorKind, error_kind, is_lock_timeout, is_missing_database},
    limits::{SHORT, in_time},
};
use crate::{admin::Readiness, telemetry::chain};

/// A migration that waits for a table holds up everybody who comes after it, so it waits less than a call waits for a
/// connection, and lets them pass for a while before it tries again.
const MIGRATION_LOCK_TIMEOUT: &str = "500ms";
const MIGRATION_LOCK_PAUSE: Duration = Duration::from_secs(2);
/// Held by whoever migrates; any number that nothing else in the database uses.
const MIGRATING: i64 = 0x696e_766f_6963_6573;
/// Between looks at a database that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// How often a schema that was there is looked at: a database may be restored, or its server replaced by an empty one.
const SCHEMA_CHECK: Duration = Duration::from_secs(2);

/// Runs pending migrations, waiting for the database as long as it is away or does not exist (logged once a change), and for
/// tables that are in use. One replica migrates, others wait for it. Migrations of a newer binary are left alone: an older one may be
/// started again beside it.
pub async fn migrate(pool: &PgPool, migrator: &Migrator) -> Result<(), MigrateError> {
    let mut own = Migrator::with_migrations(migrator.iter().cloned().collect());
    own.set_ignore_missing(true);
    // We take a lock of our own.
    own.set_locking(false);
    let mut outage = Trouble::default();
    loop {
        let pause = match migrate_once(pool, &own).await {
            Ok(()) => {
                tell_end(&mut outage);
                tracing::info!("database schema is up to date");
                return Ok(());
            }
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))
                if error_kind(&error) == ErrorKind::Away || is_missing_database(&error) =>
            {
                tell(&mut outage, &chain(&error));
                if is_lock_timeout(&error) {
                    MIGRATION_LOCK_PAUSE
                } else {
                    AWAY_PAUSE
                }
            }
            Err(error) => return Err(error),
        };
        tokio::time::sleep(pause).await;
    }
}

async fn migrate_once(pool: &PgPool, migrator: &Migrator) -> Result<(), MigrateError> {
    // Out of the pool, since it has limits of its own.
    let mut connection = pool.acquire().await?.detach();
    in_time(SHORT, connection.execute("set statement_timeout = 0")).await?;
    // Asked for again and again: a session that waits inside a statement would hold up `create index concurrently`, which
    // waits for every older statement.
    while !in_time(SHORT, try_lock(&mut connection)).await? {
        tokio::time::sleep(AWAY_PAUSE).await;
    }
    for migration in migrator.iter() {
        // What runs outside a transaction is made to wait beside others, and giving up half-way leaves an invalid index.
        let lock_timeout = if migration.no_tx {
            "0"
        } else {
            MIGRATION_LOCK_TIMEOUT
        };
        let setting = sqlx::query_scalar::<_, String>("select set_config('lock_timeout', $1, false)")
            .bind(lock_timeout)
            .fetch_one(&mut connection);
        in_time(SHORT, setting).await?;
        // Nobody knows how long a migration may take, so this alone has no limit.
        migrator
            .run_direct(Some(migration.version), &mut connection, false)
            .await?;
    }
    // The lock ends with the session.
    connection.close().await?;
    Ok(())
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(MIGRATING)
        .fetch_one(connection)
        .await
}

/// Waits until the schema is at least the migrator's newest version: what `serve` does when it may not migrate itself.
pub async fn wait_for_schema(pool: &PgPool, migrator: &Migrator) {
    let mut outage = Trouble::default();
    loop {
        match in_time(SHORT, newest(pool)).await {
            Ok(version) if newest_of(migrator) <= version => return tell_end(&mut outage),
            Ok(_) => tell(&mut outage, "the schema is older than this binary: run migrate"),
            Err(error) => tell(&mut outage, &chain(&error)),
        }
        tokio::time::sleep(AWAY_PAUSE).await;
    }
}

/// The newest migration in the database.
async fn newest(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    // Not checked at compile time: the table is sqlx's own.
    sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
        .fetch_one(pool)
        .await
}

fn newest_of(migrator: &Migrator) -> Option<i64> {
    migrator.iter().map(|migration| migration.version).max()
}

fn tell(outage: &mut Trouble, why: &str) {
    if outage.is_news(why) {
        tracing::warn!(error = why, "waiting for the database");
    }
}

fn tell_end(outage: &mut Trouble) {
    if outage.is_over() {
        tracing::info!("the database is there");
    }
}

/// What `serve` does about the schema at start: migrates, or waits until somebody else has.
pub async fn prepare_schema(
    pool: &PgPool,
    migrator: &Migrator,
    migrate_on_start: bool,
) -> Result<(), sqlx::migrate::MigrateError> {
    if migrate_on_start {
        migrate(pool, migrator).await
    } else {
        wait_for_schema(pool, migrator).await;
        Ok(())
    }
}

/// Looks after a schema that was there, until `stop`. Once it is gone or older, the process is not ready, and does about it
/// what it does at start.
pub async fn keep_schema(
    pool: PgPool,
    migrator: &Migrator,
    migrate_on_start: bool,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), MigrateError> {
    let keeping = async {
        loop {
            tokio::time::sleep(SCHEMA_CHECK).await;
            if !is_outdated(&pool, migrator).await {
                continue;
            }
            tracing::error!(
                "the database's schema is gone or older: was a backup restored, or the server replaced?"
            );
            readiness.set(false);
            prepare_schema(&pool, migrator, migrate_on_start).await?;
            readiness.set(true);
        }
    };
    stop.run_until_cancelled(keeping).await.unwrap_or(Ok(()))
}

/// Whether the schema is surely not what it was. While nobody can say, it is taken to be there.
async fn is_outdated(pool: &PgPool, migrator: &Migrator) -> bool {
    match in_time(SHORT, newest(pool)).await {
        Ok(version) => version < newest_of(migrator),
        Err(error) => error_kind(&error) == ErrorKind::Schema,
    }
}
