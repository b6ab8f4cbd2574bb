//! Postgres away or silent: 503 in words, nothing lost, and everything goes on by itself afterwards.

use std::time::Duration;

use acceptance::{
    Answer, Client, Load, System,
    client::{NO_WAIT, WAIT, text},
    eventually,
};
use local_stack::{CutProxy, ServiceKind};
use serde_json::json;
use sqlx::{Connection as _, Executor as _};

use crate::nats_outages::{cut_and_silence, expect_healthy};

async fn each_kind_of_call(client: &Client, id: &str) -> Vec<Answer> {
    let body = json!({"amount": {"value": "3.00", "currency": "EUR"}});
    vec![
        client.get("/invoices").await.unwrap(),
        client.get(&format!("/invoices/{id}")).await.unwrap(),
        client.post("/invoices", &[], &body).await.unwrap(),
        client.pay(id, NO_WAIT).await.unwrap(),
        client.pay_all(NO_WAIT).await.unwrap(),
        client.void(id).await.unwrap(),
    ]
}

fn is_unavailable(answer: &Answer) -> bool {
    answer.is_problem(503) && answer.header("retry-after").parse::<u32>().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_calls_are_answered_503_and_afterwards_everything_works() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let id = client.create("3.00", "EUR").await.unwrap();
    system.stack().postgres().stop().await;

    for answer in each_kind_of_call(&client, &id).await {
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    for service in [system.stack().invoice_app(), system.stack().payment_provider()] {
        expect_healthy(service).await;
    }

    system.stack().postgres().start_again().await.unwrap();
    let payment = eventually("a call works again", || async {
        let answer = client.pay(&id, WAIT).await?;
        Ok((answer.status != 503).then_some(answer))
    })
    .await
    .unwrap();
    assert_eq!(
        (payment.status, payment.text("/status")),
        (200, "succeeded"),
        "{payment:?}"
    );
    system.check().await.unwrap().expect_succeeded(1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_silent_links_to_postgres_lose_nothing() {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    let port = stack.postgres().port();
    let proxies = [
        CutProxy::start(port).await.unwrap(),
        CutProxy::start(port).await.unwrap(),
    ];
    tokio::join!(
        stack.invoice_app().stop(Duration::from_secs(30)),
        stack.payment_provider().stop(Duration::from_secs(30))
    );
    let kinds = [ServiceKind::InvoiceApp, ServiceKind::PaymentProvider];
    let mut services = Vec::new();
    for (kind, (proxy, database)) in kinds
        .into_iter()
        .zip(proxies.iter().zip(["invoices", "payments"]))
    {
        let url = stack.postgres().url_at_port(database, proxy.port());
        let service = system.replica(kind, kind.as_str(), |options| {
            options.settings.insert("database.url".to_owned(), url);
        });
        services.push(service.await.unwrap());
    }
    let client = Client::try_new(&services[0].url()).unwrap();
    let mut load = Load::through("links to Postgres", &system, client);
    for (service, proxy) in services.iter().zip(&proxies) {
        cut_and_silence(&mut load, service, proxy, Duration::from_secs(10)).await;
    }
    load.expect_all_paid(4).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stays_silent_is_answered_503_too() {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    let proxy = CutProxy::start(stack.postgres().port()).await.unwrap();
    let url = stack.postgres().url_at_port("invoices", proxy.port());
    let service = system
        .replica(ServiceKind::InvoiceApp, "behind-a-proxy", |options| {
            options.settings.insert("database.url".to_owned(), url);
        })
        .await
        .unwrap();
    let client = Client::try_new(&service.url()).unwrap();
    let id = client.create("3.00", "EUR").await.unwrap();

    proxy.swallow();
    let answer = client.get(&format!("/invoices/{id}")).await.unwrap();
    assert!(is_unavailable(&answer), "{answer:?}");
    proxy.restore();
    let invoice = eventually("the invoice is shown again", || async {
        client.invoice(&id).await.map(Some)
    });
    assert_eq!(text(&invoice.await.unwrap(), "/status"), "unpaid");
}

/// What a replaced server on ephemeral storage looks like, or a backup from before the first migration.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_gone_is_answered_503_and_made_again() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    client.create("3.00", "EUR").await.unwrap();
    for database in [
        system.stack().invoice_database_url(),
        system.stack().payment_database_url(),
    ] {
        let mut connection = sqlx::PgConnection::connect(&database).await.unwrap();
        connection
            .execute("drop schema public cascade; create schema public")
            .await
            .unwrap();
    }
    let id = eventually("an invoice can be made again", || async {
        let answer = client.get("/invoices").await?;
        assert!(answer.status == 200 || is_unavailable(&answer), "{answer:?}");
        Ok(client.create("3.00", "EUR").await.ok())
    })
    .await
    .unwrap();
    let payment = client.pay(&id, WAIT).await.unwrap();
    assert_eq!(payment.text("/status"), "succeeded", "{payment:?}");
    for service in [system.stack().invoice_app(), system.stack().payment_provider()] {
        let admin = Client::try_new(&service.admin_url()).unwrap();
        eventually("it is ready again", || async {
            Ok(admin.get("/readyz").await?.status == 200)
        })
        .await
        .unwrap();
    }
}
