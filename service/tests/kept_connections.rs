//! Connections kept out of the pool between uses, against a real Postgres.

#![cfg(test)]

use std::{path::Path, time::Duration};

use local_stack::TestPostgres;
use secrecy::SecretString;
use service::{
    config,
    database::{self, Kept, Lent},
};
use sqlx::{PgPool, query_scalar};

const MOST: u32 = 4;

async fn new_pool() -> PgPool {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrations");
    let postgres = TestPostgres::shared().await.unwrap();
    let database = postgres.database(&migrations).await.unwrap();
    let config = config::Database {
        url: SecretString::from(database.url),
        password_file: None,
        max_connections: MOST,
        acquire_timeout: Duration::from_secs(2),
    };
    database::pool(&config, "kept").unwrap()
}

async fn backend(connection: &mut Lent) -> i32 {
    query_scalar("select pg_backend_pid()")
        .fetch_one(&mut **connection)
        .await
        .unwrap()
}

/// What went back to the pool is asked whether it lives first, by a task.
async fn until_idle(pool: &PgPool, idle: usize) {
    let waiting = async {
        while pool.num_idle() != idle {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert!(waited.is_ok(), "{} are idle and not {idle}", pool.num_idle());
}

#[tokio::test]
async fn the_one_used_last_is_lent_again_and_never_seen_by_the_pool() {
    let pool = new_pool().await;
    let kept = Kept::new(pool.clone());
    let (mut one, mut other) = (kept.lend().await.unwrap(), kept.lend().await.unwrap());
    let (first, last) = (backend(&mut one).await, backend(&mut other).await);
    assert_ne!(first, last);
    one.keep();
    other.keep();
    for _ in 0..5 {
        let mut lent = kept.lend().await.unwrap();
        assert_eq!(backend(&mut lent).await, last);
        lent.keep();
    }
    assert_eq!((pool.size(), pool.num_idle()), (2, 0));
}

#[tokio::test]
async fn what_is_not_kept_or_too_many_goes_back_to_the_pool() {
    let pool = new_pool().await;
    let kept = Kept::new(pool.clone());
    drop(kept.lend().await.unwrap());
    until_idle(&pool, 1).await;

    let lent = [
        kept.lend().await.unwrap(),
        kept.lend().await.unwrap(),
        kept.lend().await.unwrap(),
    ];
    lent.into_iter().for_each(Lent::keep);
    // Half of the pool's may be kept.
    until_idle(&pool, 1).await;
    assert_eq!(pool.size(), 3);
    let _others = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
}

#[tokio::test]
async fn those_cut_by_the_server_are_replaced_without_an_error() {
    let pool = new_pool().await;
    let kept = Kept::new(pool.clone());
    let mut lent = [kept.lend().await.unwrap(), kept.lend().await.unwrap()];
    let mut backends = Vec::new();
    for lent in &mut lent {
        backends.push(backend(lent).await);
    }
    lent.into_iter().for_each(Lent::keep);
    let cut: Vec<bool> = query_scalar("select pg_terminate_backend(pid) from unnest($1::int[]) as b (pid)")
        .bind(&backends)
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(cut, [true, true]);
    // Idle for long enough not to be trusted any more.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let mut new = kept.lend().await.unwrap();
    assert!(!backends.contains(&backend(&mut new).await));
}
