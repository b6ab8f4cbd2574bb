//! Connections kept out of the pool between uses, against a real Postgres.

use std::time::Duration;

use local_stack::eventually;
use service::database::{WarmConnection, WarmPool};
use sqlx::{Connection as _, PgPool, query, query_scalar};

use super::new_database_for;

const MOST: u32 = 8;

async fn backend(connection: &mut WarmConnection) -> i32 {
    query_scalar("select pg_backend_pid()")
        .fetch_one(&mut **connection)
        .await
        .unwrap()
}

/// What went back to the pool is asked whether it lives first, by a task.
async fn until_idle(pool: &PgPool, idle: usize) {
    eventually(&format!("{idle} are idle"), async || pool.num_idle() == idle)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_one_used_last_is_lent_again_and_never_seen_by_the_pool() {
    let pool = new_database_for(MOST).await;
    let kept = WarmPool::new(pool.clone());
    let (mut one, mut other) = (kept.acquire().await.unwrap(), kept.acquire().await.unwrap());
    let (first, last) = (backend(&mut one).await, backend(&mut other).await);
    assert_ne!(first, last);
    one.release();
    other.release();
    for _ in 0..5 {
        let mut warm = kept.acquire().await.unwrap();
        assert_eq!(backend(&mut warm).await, last);
        warm.release();
    }
    assert_eq!((pool.size(), pool.num_idle()), (2, 0));
}

#[tokio::test]
async fn what_is_not_kept_or_too_many_goes_back_to_the_pool() {
    let pool = new_database_for(MOST).await;
    let kept = WarmPool::new(pool.clone());
    drop(kept.acquire().await.unwrap());
    until_idle(&pool, 1).await;

    let mut warm = Vec::new();
    for _ in 0..MOST {
        warm.push(kept.acquire().await.unwrap());
    }
    warm.into_iter().for_each(WarmConnection::release);
    // The other half is there for others.
    until_idle(&pool, 4).await;
    assert_eq!(pool.size(), MOST);
}

#[tokio::test]
async fn a_small_pool_keeps_none() {
    let pool = new_database_for(MOST - 1).await;
    WarmPool::new(pool.clone()).acquire().await.unwrap().release();
    until_idle(&pool, 1).await;
}

#[tokio::test]
async fn what_was_left_open_is_undone_before_anybody_gets_it() {
    let pool = new_database_for(MOST).await;
    let kept = WarmPool::new(pool.clone());
    sqlx::raw_sql("create table left_open (n integer)")
        .execute(&pool)
        .await
        .unwrap();
    until_idle(&pool, 1).await;
    let first = {
        let mut warm = kept.acquire().await.unwrap();
        let first = backend(&mut warm).await;
        let mut tx = warm.begin().await.unwrap();
        sqlx::query("insert into left_open values (1)")
            .execute(&mut *tx)
            .await
            .unwrap();
        first
    };
    until_idle(&pool, 1).await;
    {
        // Given up in the middle of an answer.
        let sleeping = query("select pg_sleep(60)").fetch_all(&kept);
        let given_up = tokio::time::timeout(Duration::from_millis(50), sleeping).await;
        assert!(given_up.is_err());
        let cut = "select pg_cancel_backend($1)";
        let other = pool.acquire().await.unwrap();
        query(cut).bind(first).execute(&mut *{ other }).await.unwrap();
    }
    let rows = query("select n from left_open").fetch_all(&kept).await;
    assert_eq!(rows.unwrap().len(), 0);
}

#[tokio::test]
async fn those_cut_by_the_server_are_replaced_without_an_error() {
    let pool = new_database_for(MOST).await;
    let kept = WarmPool::new(pool.clone());
    let mut warm = [kept.acquire().await.unwrap(), kept.acquire().await.unwrap()];
    let mut backends = Vec::new();
    for warm in &mut warm {
        backends.push(backend(warm).await);
    }
    warm.into_iter().for_each(WarmConnection::release);
    let cut: Vec<bool> = query_scalar("select pg_terminate_backend(pid) from unnest($1::int[]) as b (pid)")
        .bind(&backends)
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(cut, [true, true]);
    // Idle for long enough not to be trusted any more.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let mut new = kept.acquire().await.unwrap();
    assert!(!backends.contains(&backend(&mut new).await));
}
