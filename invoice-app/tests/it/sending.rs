//! What a large call hands to the sender: sent page by page, or made due page by page, and a failure between puts off none of it.

use std::time::Duration;

use invoice_app::{app::Parts, batch_id::BatchId, sender::Job};

use crate::{
    harness::{App, LIMIT, Options, parts},
    provider::{Nats, Provider},
};

/// A call that pays so many, leased to a sender that is to be driven by hand.
async fn large_call(count: i64) -> (App, BatchId) {
    let app = App::with(Options {
        background: false,
        ..Options::default()
    })
    .await;
    app.fill(count).await;
    let (_, batch) = app.post_async("/invoices/pay").await;
    execute(
        &app,
        "update payments set next_send_at = now() + interval '10 minutes', last_sent_at = now()",
    )
    .await;
    (app, batch["batch_id"].as_str().unwrap().parse().unwrap())
}

async fn execute(app: &App, sql: &'static str) {
    sqlx::query(sql).execute(&app.pool).await.unwrap();
}

/// One step for which there is no table of payments.
async fn failing_step(app: &App, replica: &mut Parts, job: Option<Job>) {
    execute(app, "alter table payments rename to hidden").await;
    replica.sender.step(job).await;
    execute(app, "alter table hidden rename to payments").await;
}

/// Steps until something has come true.
async fn step_until(what: &str, replica: &mut Parts, check: impl AsyncFn() -> bool) {
    let stepping = async {
        while !check().await {
            replica.sender.step(None).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(LIMIT, stepping).await;
    done.unwrap_or_else(|_| panic!("did not happen: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_while_a_large_call_is_read_back_does_not_put_off_its_rest() {
    let nats = Nats::start().await;
    let (app, batch) = large_call(1_200).await;
    let mut replica = parts(&app.pool, Some(&nats.url)).await;
    replica.incarnation.compare().await.unwrap();
    let provider = Provider::silent(&nats.url).await;
    failing_step(&app, &mut replica, Some(Job::Batch(batch))).await;
    let asked = async || provider.asked.lock().unwrap().len() == 1_200;
    step_until("all are sent", &mut replica, asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_call_that_cannot_be_sent_becomes_due_in_steps_whatever_fails_between() {
    let (app, batch) = large_call(6_000).await;
    let due = "select count(*) from payments where next_send_at <= now()";
    let mut replica = parts(&app.pool, None).await;
    replica.sender.step(Some(Job::Batch(batch))).await;
    assert_eq!(app.count(due).await, 0, "single payments wait for none of it");
    replica.sender.step(None).await;
    assert_eq!(app.count(due).await, 5_000);
    failing_step(&app, &mut replica, None).await;
    let all = async || app.count(due).await == 6_000;
    step_until("all are due", &mut replica, all).await;
}
