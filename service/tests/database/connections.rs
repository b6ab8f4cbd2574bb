//! What becomes of connections that were cut, given up or demoted.

use std::time::Duration;

use local_stack::eventually_within;
use sqlx::{PgPool, query_scalar};

use super::new_database;

#[tokio::test]
async fn connections_cut_by_the_server_are_replaced_without_an_error() {
    let pool = new_database().await;
    sqlx::query("select 1").execute(&pool).await.unwrap();
    let killer = new_connection_to(&pool).await;
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test' and datname = current_database()")
        .execute(&killer)
        .await
        .unwrap();
    // Idle for long enough not to be trusted any more.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    sqlx::query("select 1").execute(&pool).await.unwrap();
}

#[tokio::test]
async fn a_connection_given_up_in_a_statement_leaves_its_place_in_the_pool() {
    let pool = new_database().await;
    for _ in 0..4 {
        let sleeping = sqlx::query("select pg_sleep(50)").execute(&pool);
        let given_up = tokio::time::timeout(Duration::from_millis(100), sleeping).await;
        assert!(given_up.is_err());
    }
    sqlx::query("select 1").execute(&pool).await.unwrap();
    let left = new_connection_to(&pool).await;
    let sleeping = "select count(*) from pg_stat_activity
                    where datname = current_database() and query = 'select pg_sleep(50)' and state = 'active'";
    // They would end by themselves later.
    eventually_within(Duration::from_secs(20), "those given up are gone", async || {
        query_scalar::<_, i64>(sleeping).fetch_one(&left).await.unwrap() == 0
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_connection_to_a_server_that_may_only_read_is_closed() {
    let pool = new_database().await;
    let backend = "select pg_backend_pid()";
    let mut connection = pool.acquire().await.unwrap();
    let demoted: i32 = query_scalar(backend).fetch_one(&mut *connection).await.unwrap();
    sqlx::query("set default_transaction_read_only = on")
        .execute(&mut *connection)
        .await
        .unwrap();
    drop(connection);
    let closed = async {
        while pool.size() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .unwrap();
    let next: i32 = query_scalar(backend).fetch_one(&pool).await.unwrap();
    assert_ne!(next, demoted);
}

async fn new_connection_to(pool: &PgPool) -> PgPool {
    let options = (*pool.connect_options()).clone().application_name("killer");
    PgPool::connect_with(options).await.unwrap()
}
