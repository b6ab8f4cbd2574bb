//! The pool, and how its sessions are set.

use std::{borrow::Cow, io, path::Path, str::FromStr as _, time::Duration};

use secrecy::ExposeSecret as _;
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::check;
use crate::config;

/// Many times what a statement about a few hundred rows takes. The client gives up a moment later ([`super::SHORT`]), and would
/// not know whether the statement is still at work.
const STATEMENT_TIMEOUT: &str = "6s";
/// A row held this long is held by something large or broken; the caller is told to come back.
const LOCK_TIMEOUT: &str = "4s";
/// Ends transactions whose owner hangs, so that they do not hold rows for ever.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "60s";
/// How every session of a service is set.
pub const SESSION: [(&str, &str); 12] = [
    ("statement_timeout", STATEMENT_TIMEOUT),
    ("lock_timeout", LOCK_TIMEOUT),
    ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
    // A statement whose connection was given up ends as well, and lets its rows go.
    ("client_connection_check_interval", "1s"),
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
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How often the password file is looked at.
const PASSWORD_CHECK: Duration = Duration::from_secs(10);

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
                    return check::can_write(connection).await;
                }
                Ok(true)
            })
        })
        // Before the pool asks by itself, which it does without a limit.
        .after_release(|connection, _| Box::pin(check::can_write(connection)))
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

/// Gives the transaction time for a large call, several times what a million payments take, and plans that fit one. Whoever
/// runs it gives up after [`super::LONG`].
pub async fn allow_time_in_tx(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let allowed =
        "select set_config('statement_timeout', '2min', true), set_config('lock_timeout', '20s', true)";
    sqlx::query(allowed).execute(&mut *connection).await?;
    plan_for_many_in_tx(connection).await
}

/// Lets the planner see how much a statement is given, and read whole tables where that is best, until the transaction
/// ends: for what works on thousands of rows.
pub async fn plan_for_many_in_tx(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The first, because a kept plan does not look at the others.
    let allowed = "select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'on', true),
                          set_config('enable_mergejoin', 'on', true), set_config('cpu_tuple_cost', '0.01', true)";
    sqlx::query(allowed).execute(connection).await.map(|_| ())
}

/// Text that Postgres can hold: it has no NUL.
pub fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
