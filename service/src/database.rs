//! The connection pool, migrations, and which errors are worth a second try.

use std::{borrow::Cow, io, path::Path, str::FromStr as _, time::Duration};

use rand::RngExt as _;
use secrecy::ExposeSecret as _;
use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{config, telemetry::chain};

mod warm_pool;

pub use warm_pool::{WarmConnection, WarmPool};

/// Longer than the largest batch takes, far shorter than anyone would wait.
const STATEMENT_TIMEOUT: &str = "60s";
/// A row held this long is held by something broken; the caller is told to come back.
const LOCK_TIMEOUT: &str = "20s";
/// Ends transactions whose owner hangs, so that they do not hold rows for ever.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "60s";
/// How every session of a service is set.
pub const SESSION: [(&str, &str); 11] = [
    ("statement_timeout", STATEMENT_TIMEOUT),
    ("lock_timeout", LOCK_TIMEOUT),
    ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
    // Every statement goes to the rows it names, one or hundreds, through an index. So a plan can be kept, made when a
    // table was still small or had no statistics yet, and a payment does not pay for planning. A row read counts for more
    // than anything else: a plan that reads two dozen rows of a table rather than look up ten would later read all of it.
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_mergejoin", "off"),
    ("random_page_cost", "1.1"),
    ("cpu_tuple_cost", "1"),
    // Compiling a statement, or starting workers for it, takes longer than any of them does.
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    // Two statements that read a whole table meet its rows in the same order, so neither waits for the other twice.
    ("synchronize_seqscans", "off"),
];
/// Prepared statements kept for each connection: more than there are queries.
const STATEMENT_CACHE: usize = 256;
/// A connection idle for longer is asked whether it still lives before it is used. Busy ones are not: that would be a
/// round trip for every query, and a connection that just worked tells of a restart by the error of its query. (The pool
/// asks those that come back all the same: see [`WarmPool`].)
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How often the password file is looked at.
const PASSWORD_CHECK: Duration = Duration::from_secs(10);
/// A migration that waits for a table holds up everybody who comes after it, so it waits less than a call waits for a
/// connection, and lets them pass for a while before it tries again.
const MIGRATION_LOCK_TIMEOUT: &str = "500ms";
const MIGRATION_LOCK_PAUSE: Duration = Duration::from_secs(2);
/// Held by whoever migrates; any number that nothing else in the database uses.
const MIGRATING: i64 = 0x696e_766f_6963_6573;
/// Between looks at a database that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// Deadlocks end with one victim at a time: after this many the contention is not accidental.
const CONFLICT_ATTEMPTS: u32 = 6;
/// Longest wait for one attempt's answer; more than any statement may take.
const ATTEMPT_LIMIT: Duration = Duration::from_mins(5);

/// A pool that connects lazily: a process may start before its database. `application_name` shows in `pg_stat_activity`.
/// The password file, when there is one, wins over the URL, and is read again every ten seconds.
///
/// A database that is away makes queries fail within `acquire_timeout`. Must run inside a tokio runtime.
pub fn pool(config: &config::Database, application_name: &str) -> Result<PgPool, sqlx::Error> {
    let mut options = PgConnectOptions::from_str(config.url.expose_secret())?
        .application_name(application_name)
        .statement_cache_capacity(STATEMENT_CACHE)
        .options(SESSION);
    if let Some(path) = &config.password_file {
        let password = read_password(path).map_err(|error| {
            sqlx::Error::Configuration(format!("database.password_file {}: {error}", path.display()).into())
        })?;
        options = options.password(&password);
    }
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            Box::pin(async move {
                if usage.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone());
    if let Some(path) = config.password_file.clone() {
        tokio::spawn(follow_password(pool.clone(), options, path));
    }
    Ok(pool)
}

fn read_password(path: &Path) -> io::Result<String> {
    Ok(std::fs::read_to_string(path)?
        .trim_end_matches(['\r', '\n'])
        .to_owned())
}

/// New connections use the password that is in the file now; those there are stay as they are.
async fn follow_password(pool: PgPool, mut options: PgConnectOptions, path: std::path::PathBuf) {
    let mut current = read_password(&path).ok();
    while !pool.is_closed() {
        tokio::select! {
            () = pool.close_event() => return,
            () = tokio::time::sleep(PASSWORD_CHECK) => {}
        }
        match read_password(&path) {
            Ok(password) if current.as_ref() != Some(&password) => {
                options = options.password(&password);
                pool.set_connect_options(options.clone());
                current = Some(password);
                tracing::info!(path = %path.display(), "the database password changed");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), error = %error, "cannot read the database password");
            }
        }
    }
}

/// Runs pending migrations, waiting for the database as long as it is away (logged once a change), and for tables that
/// are in use. One replica migrates, others wait for it. Migrations of a newer binary are left alone: an older one may be
/// started again beside it.
pub async fn migrate(pool: &PgPool, migrator: &Migrator) -> Result<(), MigrateError> {
    let mut own = Migrator::with_migrations(migrator.iter().cloned().collect());
    own.set_ignore_missing(true);
    // We take a lock of our own.
    own.set_locking(false);
    let mut away = Away::default();
    loop {
        let pause = match migrate_once(pool, &own).await {
            Ok(()) => {
                away.over();
                tracing::info!("database schema is up to date");
                return Ok(());
            }
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))
                if fault(&error) == Fault::Away =>
            {
                away.note(&error);
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
    connection.execute("set statement_timeout = 0").await?;
    // Asked for again and again: a session that waits inside a statement would hold up `create index concurrently`, which
    // waits for every older statement.
    while !try_lock(&mut connection).await? {
        tokio::time::sleep(AWAY_PAUSE).await;
    }
    for migration in migrator.iter() {
        // What runs outside a transaction is made to wait beside others, and giving up half-way leaves an invalid index.
        let lock_timeout = if migration.no_tx {
            "0"
        } else {
            MIGRATION_LOCK_TIMEOUT
        };
        sqlx::query_scalar::<_, String>("select set_config('lock_timeout', $1, false)")
            .bind(lock_timeout)
            .fetch_one(&mut connection)
            .await?;
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

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// Waits until the schema is at least the migrator's newest version: what `serve` does when it may not migrate itself.
pub async fn wait_for_schema(pool: &PgPool, migrator: &Migrator) {
    let newest = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default();
    let mut away = Away::default();
    loop {
        // Not checked at compile time: the table is sqlx's own.
        let version = sqlx::query_scalar("select max(version) from _sqlx_migrations where success");
        match version.fetch_one(pool).await {
            Ok(Some(version)) if newest <= version => return away.over(),
            Ok::<Option<i64>, _>(_) => away.tell("the schema is older than this binary: run migrate"),
            Err(error) => away.note(&error),
        }
        tokio::time::sleep(AWAY_PAUSE).await;
    }
}

/// Logs why the database cannot be used, once a change.
#[derive(Default)]
struct Away(Option<String>);

impl Away {
    fn note(&mut self, error: &sqlx::Error) {
        self.tell(&chain(error));
    }

    fn tell(&mut self, why: &str) {
        if self.0.as_deref() != Some(why) {
            tracing::warn!(error = why, "waiting for the database");
            self.0 = Some(why.to_owned());
        }
    }

    fn over(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("the database is there");
        }
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
pub fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(Fault::Other, |code| fault_of_state(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        // What a connection that breaks in the middle of an answer looks like.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Fault::Away,
        sqlx::Error::Encode(_) => Fault::Data,
        _ => Fault::Other,
    }
}

/// By SQLSTATE (Postgres manual, appendix A).
fn fault_of_state(state: &str) -> Fault {
    match state {
        // serialization_failure, deadlock_detected
        "40001" | "40P01" => Fault::Conflict,
        // query_canceled (a timeout), lock_not_available, read_only_sql_transaction (a failover under way)
        "57014" | "55P03" | "25006" => Fault::Away,
        _ => match state.get(..2) {
            // connection exceptions; authorization (a password being rotated); too few resources; an operator; the system
            Some("08" | "28" | "53" | "57" | "58") => Fault::Away,
            // bad values; constraints
            Some("22" | "23") => Fault::Data,
            _ => Fault::Other,
        },
    }
}

/// Runs a transaction again on deadlocks and serialization failures, a bounded number of times. Attempts are boxed: they are
/// large, and would be copied by everybody who wraps them.
pub async fn retry_conflicts<T, F, Fut>(mut attempt: F) -> Result<T, sqlx::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, sqlx::Error>>,
{
    let mut longest = Duration::from_millis(5);
    for _ in 1..CONFLICT_ATTEMPTS {
        match within_limit(Box::pin(attempt())).await {
            Err(error) if fault(&error) == Fault::Conflict => {
                tracing::debug!(error = %error, "transaction conflict; running it again");
                let pause = longest.mul_f64(rand::rng().random_range(0.2..=1.0));
                tokio::time::sleep(pause).await;
                longest *= 2;
            }
            result => return result,
        }
    }
    within_limit(Box::pin(attempt())).await
}

/// Gives up on a server that has gone silent: TCP alone would wait for a quarter of an hour.
async fn within_limit<T>(attempt: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(ATTEMPT_LIMIT, attempt).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            "the database has not answered for minutes",
        ))),
    }
}

/// Gives up on a database that has gone silent: whoever waits in a group waits for everybody in it. Whether the work was
/// done is unknown then.
pub async fn in_time<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|late| Err(sqlx::Error::Io(late.into()).into()))
}

/// Lets the planner see how much a statement is given, and read whole tables where that is best, until the transaction
/// ends: for what works on thousands of rows.
pub async fn plan_for_many_in_tx(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The first, because a kept plan does not look at the others.
    let allowed = "select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'on', true),
                          set_config('enable_mergejoin', 'on', true), set_config('cpu_tuple_cost', '0.01', true)";
    sqlx::query(allowed).execute(connection).await.map(|_| ())
}

/// Longer than a group may wait for rows that others hold (`lock_timeout`).
pub const GROUP_LIMIT: Duration = Duration::from_secs(25);

/// Text that Postgres can hold: it has no NUL.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_states_mean_what_the_caller_can_do() {
        for (state, expected) in [
            ("40001", Fault::Conflict),
            ("40P01", Fault::Conflict),
            ("57P01", Fault::Away),
            ("57P03", Fault::Away),
            ("53300", Fault::Away),
            ("08006", Fault::Away),
            ("55P03", Fault::Away),
            ("28P01", Fault::Away),
            ("23505", Fault::Data),
            ("22021", Fault::Data),
            ("42P01", Fault::Other),
            ("", Fault::Other),
        ] {
            assert_eq!(fault_of_state(state), expected, "{state}");
        }
        assert_eq!(fault(&sqlx::Error::PoolTimedOut), Fault::Away);
        assert_eq!(fault(&sqlx::Error::RowNotFound), Fault::Other);
    }
}
