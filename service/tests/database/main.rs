//! The pool, migrations and dead letters against a real Postgres.

#![cfg(test)]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use local_stack::{TestPostgres, eventually, free_port};
use secrecy::SecretString;
use service::{
    config,
    database::{self, ErrorKind, error_kind, migrate, retry_conflicts, wait_for_schema},
};
use sqlx::{
    PgPool, Postgres, SqlSafeStr, Transaction,
    migrate::{Migration, MigrationType, Migrator},
    query_scalar,
};

mod connections;
mod dead_letters;
mod warm_pool;

static MIGRATOR: Migrator = sqlx::migrate!("tests/migrations");

fn migrations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrations")
}

fn config(url: &str) -> config::Database {
    config::Database {
        url: SecretString::from(url.to_owned()),
        password_file: None,
        max_connections: 4,
        acquire_timeout: Duration::from_secs(2),
    }
}

async fn new_database() -> PgPool {
    new_database_for(4).await
}

async fn new_database_for(max_connections: u32) -> PgPool {
    let database = TestPostgres::shared()
        .await
        .unwrap()
        .database(&migrations())
        .await
        .unwrap();
    let config = config::Database {
        max_connections,
        ..config(&database.url)
    };
    database::pool(&config, "test").unwrap()
}

#[tokio::test]
async fn a_connection_names_its_application_and_has_limits() {
    let pool = new_database().await;
    for (setting, expected) in [
        ("application_name", "test"),
        ("statement_timeout", "6s"),
        ("lock_timeout", "4s"),
        ("idle_in_transaction_session_timeout", "1min"),
    ] {
        let value: String = query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(value, expected, "{setting}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_fails_within_the_time_to_acquire() {
    let url = format!("postgres://nobody@127.0.0.1:{}/none", free_port());
    let pool = database::pool(&config(&url), "test").unwrap();
    let began = Instant::now();
    let error = sqlx::query("select 1").execute(&pool).await.unwrap_err();
    assert_eq!(error_kind(&error), ErrorKind::Away, "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_password_file_wins_and_an_unreadable_one_is_an_error() {
    let mut settings = config("postgres://app:wrong@127.0.0.1/x");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "right\n").unwrap();
    settings.password_file = Some(file.path().to_owned());
    let pool = database::pool(&settings, "test").unwrap();
    assert!(format!("{:?}", pool.connect_options()).contains("right"));
    settings.password_file = Some("/nowhere/password".into());
    let error = database::pool(&settings, "test").unwrap_err();
    assert!(error.to_string().contains("/nowhere/password"), "{error}");
}

#[tokio::test]
async fn migrating_is_repeatable_concurrent_and_tolerates_a_newer_schema() {
    let pool = new_database().await;
    sqlx::raw_sql("drop table dead_letters; drop table if exists _sqlx_migrations")
        .execute(&pool)
        .await
        .unwrap();
    let waiting = {
        let pool = pool.clone();
        tokio::spawn(async move { wait_for_schema(&pool, &MIGRATOR).await })
    };
    let (one, two) = tokio::join!(migrate(&pool, &MIGRATOR), migrate(&pool, &MIGRATOR));
    one.unwrap();
    two.unwrap();
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap()
        .unwrap();
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of a newer binary', true, '\\x00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    migrate(&pool, &MIGRATOR).await.unwrap();
    wait_for_schema(&pool, &MIGRATOR).await;
}

#[tokio::test]
async fn migrating_waits_for_the_database() {
    let url = format!("postgres://nobody@127.0.0.1:{}/none", free_port());
    let pool = database::pool(&config(&url), "test").unwrap();
    let migrating = migrate(&pool, &MIGRATOR);
    assert!(
        tokio::time::timeout(Duration::from_secs(4), migrating)
            .await
            .is_err(),
        "it waits"
    );
}

/// The test's own migrations and this one.
fn with_further(sql: &'static str, no_tx: bool) -> Migrator {
    let mut all: Vec<Migration> = MIGRATOR.iter().cloned().collect();
    let kind = MigrationType::Simple;
    all.push(Migration::new(
        99,
        "further".into(),
        kind,
        sql.into_sql_str(),
        no_tx,
    ));
    Migrator::with_migrations(all)
}

/// Waits until a query finds something.
async fn finds(pool: &PgPool, query: &'static str) {
    eventually(query, async || {
        query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() > 0
    })
    .await
    .unwrap();
}

/// A transaction that uses the table as any writing one does.
async fn using_the_table(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    let sql = "set local lock_timeout = '5s'; lock table dead_letters in row exclusive mode";
    sqlx::raw_sql(sql).execute(&mut *transaction).await.unwrap();
    transaction
}

#[tokio::test]
async fn a_migration_that_waits_for_a_table_lets_others_use_it_meanwhile() {
    let pool = new_database().await;
    let older = using_the_table(&pool).await;
    let migrating = tokio::spawn({
        let migrator = with_further("alter table dead_letters add column note text", false);
        let pool = pool.clone();
        async move { migrate(&pool, &migrator).await }
    });
    // It tries again and again, and nobody has to wait for it for longer than a call would.
    for _ in 0..2 {
        let waits = "select count(*) from pg_locks where relation = 'dead_letters'::regclass and not granted";
        finds(&pool, waits).await;
        using_the_table(&pool).await.commit().await.unwrap();
    }
    assert!(!migrating.is_finished());
    older.commit().await.unwrap();
    migrating.await.unwrap().unwrap();
    sqlx::query("select note from dead_letters")
        .execute(&pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn two_that_migrate_at_once_make_an_index_concurrently_without_a_deadlock() {
    let pool = new_database().await;
    let older = using_the_table(&pool).await;
    let migrating = ["one", "two"].map(|_| {
        let sql = "-- no-transaction\ncreate index concurrently by_reason on dead_letters (reason)";
        let (pool, migrator) = (pool.clone(), with_further(sql, true));
        tokio::spawn(async move { migrate(&pool, &migrator).await })
    });
    // The index waits for the older transaction, for longer than Postgres takes to notice a deadlock.
    let waits = "select count(*) from pg_stat_activity
                 where query like '%create index concurrently by_reason%' and wait_event_type = 'Lock'
                 and datname = current_database() and clock_timestamp() - query_start > interval '2 s'";
    finds(&pool, waits).await;
    older.commit().await.unwrap();
    for migrated in migrating {
        migrated.await.unwrap().unwrap();
    }
    let valid: bool =
        query_scalar("select indisvalid from pg_index where indexrelid = 'by_reason'::regclass")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(valid);
}

#[tokio::test]
async fn deadlocks_are_run_again_and_both_sides_succeed() {
    let pool = new_database().await;
    sqlx::raw_sql("create table counters (id int primary key, value int not null); insert into counters values (1, 0), (2, 0)")
        .execute(&pool)
        .await
        .unwrap();
    let barrier = tokio::sync::Barrier::new(2);
    let (pool, barrier) = (&pool, &barrier);
    let add = |first: i32, second: i32| async move {
        let mut tries = 0;
        let result = retry_conflicts(database::SHORT, || {
            tries += 1;
            let meet = tries == 1;
            async move {
                let mut tx = pool.begin().await?;
                sqlx::query("update counters set value = value + 1 where id = $1")
                    .bind(first)
                    .execute(&mut *tx)
                    .await?;
                if meet {
                    barrier.wait().await;
                }
                sqlx::query("update counters set value = value + 1 where id = $1")
                    .bind(second)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await
            }
        })
        .await;
        (result, tries)
    };
    let ((one, tries_one), (two, tries_two)) = tokio::join!(add(1, 2), add(2, 1));
    one.unwrap();
    two.unwrap();
    assert_eq!(tries_one + tries_two, 3, "one of them was the victim, once");
    let sum: i64 = query_scalar("select sum(value) from counters")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(sum, 4);
}
