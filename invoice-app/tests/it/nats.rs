//! The whole way, over a real nats-server: asked, answered, settled, whatever happens in between.

use std::time::Duration;

use futures_util::StreamExt as _;
use invoice_app::change_events::ChangeEvent;
use local_stack::eventually;
use payment_contract::messages::OutcomeStatus;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    harness::{App, Options, answer, id, outcome, parts, succeeded},
    provider::{Nats, Provider},
};

async fn app(nats: &Nats) -> App {
    App::with(Options {
        nats: Some(nats.url.clone()),
        ..Options::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pay_call_waits_until_the_invoice_is_paid() {
    let nats = Nats::start().await;
    let provider = Provider::start(&nats.url).await;
    let app = app(&nats).await;
    let invoice = app.invoice("A", "12.15").await;
    let (status, payment) = app.post(&format!("/invoices/{invoice}/pay"), json!({})).await;
    assert_eq!(
        (status, &payment["status"]),
        (StatusCode::OK, &json!("succeeded")),
        "{payment}"
    );
    let asked = provider.asked.lock().unwrap().clone();
    assert_eq!(asked[0].invoice_number, "A");
    assert_eq!(asked[0].amount.minor_units(), 1215);
    assert_eq!(asked[0].payment_id.to_string(), crate::harness::id(&payment));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_are_paid_in_one_call_and_none_is_asked_for_twice() {
    let nats = Nats::start().await;
    let provider = Provider::start(&nats.url).await;
    let app = app(&nats).await;
    app.fill(5000).await;
    let call = app
        .request(Method::POST, "/invoices/pay")
        .header("prefer", "wait=30");
    let (status, batch) = answer(call).await;
    assert_eq!(
        (status, &batch["paid"], &batch["pending"]),
        (StatusCode::OK, &json!(5000), &json!(0)),
        "{batch}"
    );
    assert_eq!(provider.count(), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_pay_calls_answer_and_the_payment_goes_out_when_it_is_back() {
    let nats = Nats::start().await;
    let _provider = Provider::start(&nats.url).await;
    let app = app(&nats).await;
    nats.server.stop().await;
    eventually("gone", async || !app.connection.is_connected())
        .await
        .unwrap();
    let invoice = app.invoice("A", "1.00").await;
    app.pay(&invoice).await;
    app.fill(700).await;
    let (status, batch) = app.post_async("/invoices/pay").await;
    assert_eq!((status, &batch["pending"]), (StatusCode::ACCEPTED, &json!(700)));
    nats.server.start_again().await.unwrap();
    let paid = "select count(*) from invoices where status = 'paid'";
    eventually("all are paid", async || app.count(paid).await == 701)
        .await
        .unwrap();
    assert_eq!(app.count("select count(*) from payments").await, 701);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_lost_mid_run_loses_no_invoice() {
    let nats = Nats::start().await;
    let _provider = Provider::start(&nats.url).await;
    let app = app(&nats).await;
    app.fill(20_000).await;
    app.post_async("/invoices/pay").await;
    let paid = "select count(*) from invoices where status = 'paid'";
    eventually("some are paid", async || app.count(paid).await > 500)
        .await
        .unwrap();
    nats.server.kill9().await;
    nats.server.wipe_store().unwrap();
    nats.server.start_again().await.unwrap();
    eventually("all are paid", async || app.count(paid).await == 20_000)
        .await
        .unwrap();
    let twice = "select count(*) from (select from payments where status = 'succeeded' group by invoice_id having count(*) > 1)";
    assert_eq!(app.count(twice).await, 0);
    assert_eq!(app.count("select count(*) from dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_becomes_a_dead_letter_and_the_rest_settles() {
    let nats = Nats::start().await;
    let provider = Provider::silent(&nats.url).await;
    let app = app(&nats).await;
    let invoice = app.invoice("A", "1.00").await;
    let payment = app.pay(&invoice).await;
    let unknown = "019a0000-0000-7000-8000-000000000000";
    provider.publish_raw(b"{\"payment_id\": \"what?\"}\0\xff").await;
    provider.publish(&succeeded(unknown, &invoice), "").await;
    let mut refused = outcome(&payment, &invoice, OutcomeStatus::Declined);
    refused.reason = Some("NUL \0 cannot be kept".to_owned());
    provider.publish(&refused, "-nul").await;
    provider.publish(&succeeded(&payment, &invoice), "").await;

    let letters = "select count(*) from dead_letters";
    eventually("three dead letters", async || app.count(letters).await == 3)
        .await
        .unwrap();
    eventually("the good one settles", async || {
        app.get(&format!("/invoices/{invoice}")).await.1["status"] == "paid"
    })
    .await
    .unwrap();
    let body: Vec<u8> = sqlx::query_scalar("select body from dead_letters where reason like 'not a valid%'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(body, b"{\"payment_id\": \"what?\"}\0\xff");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_replayed_once_its_cause_is_gone() {
    let nats = Nats::start().await;
    let provider = Provider::silent(&nats.url).await;
    let app = app(&nats).await;
    let invoice = app.invoice("A", "1.00").await;
    let payment = app.pay(&invoice).await;
    // As after restoring an old backup: the payment is not known (yet).
    sqlx::query("create table put_aside as table payments")
        .execute(&app.pool)
        .await
        .unwrap();
    sqlx::query("delete from payments")
        .execute(&app.pool)
        .await
        .unwrap();
    provider.publish(&succeeded(&payment, &invoice), "").await;
    let letters = "select count(*) from dead_letters where resolved_at is null";
    eventually("a dead letter", async || app.count(letters).await == 1)
        .await
        .unwrap();

    let replay = async || {
        let id: i64 = sqlx::query_scalar("select id from dead_letters")
            .fetch_one(&app.pool)
            .await
            .unwrap();
        let command = service::dead_letters::Command::Replay(service::dead_letters::Chosen {
            ids: vec![id],
            ..Default::default()
        });
        let outcomes = &app.outcomes;
        service::dead_letters::run(&app.pool, command, async |origin| {
            service::dead_letters::replay(outcomes, origin, "later").await
        })
        .await
    };
    assert!(replay().await.is_err());
    sqlx::query("insert into payments select * from put_aside")
        .execute(&app.pool)
        .await
        .unwrap();
    replay().await.unwrap();
    assert_eq!(app.get(&format!("/invoices/{invoice}")).await.1["status"], "paid");
    assert_eq!(app.count(letters).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waiting_on_one_replica_hears_of_what_another_settled() {
    let nats = Nats::start().await;
    let _provider = Provider::silent(&nats.url).await;
    let app = app(&nats).await;
    let invoice = app.invoice("A", "1.00").await;
    let payment = app.pay(&invoice).await;
    let other = parts(&app.pool, Some(&nats.url)).await;
    let waiters = other.waiters.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(invoice_app::change_events::listen(
        waiters.clone(),
        other.feed,
        other.connection.clone(),
        stop,
    ));
    let mut waiter = waiters.payment(payment.parse().unwrap());
    // Its subscription takes a moment: settle, and repeat the hint until it is heard.
    app.settle(&[succeeded(&payment, &invoice)]).await;
    let changed = ChangeEvent {
        payments: vec![payment.parse().unwrap()],
        batches: vec![],
    };
    let heard = async {
        tokio::select! {
            () = waiter.changed() => {}
            () = async { loop {
                invoice_app::change_events::publish(&app.connection, &changed).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            } } => {}
        }
    };
    tokio::time::timeout(crate::harness::LIMIT, heard).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_settled_is_told_to_other_replicas() {
    let nats = Nats::start().await;
    let _provider = Provider::start(&nats.url).await;
    let app = app(&nats).await;
    let other = parts(&app.pool, Some(&nats.url)).await;
    let client = other.connection.client();
    let mut hints = client
        .subscribe(invoice_app::change_events::SUBJECT)
        .await
        .unwrap();
    client.flush().await.unwrap();

    let (answered, awaited) = (app.invoice("A", "1.00").await, app.invoice("B", "2.00").await);
    let (status, payment) = app.post(&format!("/invoices/{answered}/pay"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{payment}");
    let mut missing = vec![id(&payment), app.pay(&awaited).await];
    app.invoice("C", "3.00").await;
    let (_, batch) = app.post("/invoices/pay", json!({})).await;
    missing.push(batch["batch_id"].as_str().unwrap().to_owned());
    let hearing = async {
        while !missing.is_empty() {
            let hint = hints.next().await.unwrap();
            let ChangeEvent { payments, batches } = serde_json::from_slice(&hint.payload).unwrap();
            let payments = payments.iter().map(ToString::to_string);
            let told: Vec<String> = payments.chain(batches.iter().map(ToString::to_string)).collect();
            missing.retain(|id| !told.contains(id));
        }
    };
    let heard = tokio::time::timeout(crate::harness::LIMIT, hearing).await;
    assert!(heard.is_ok(), "not told: {missing:?}");
}
