//! Faults, the alerts they raise, and what ends them.

use std::time::Duration;

use acceptance::{
    Result, System,
    client::{NO_WAIT, WAIT, text},
    eventually,
};
use local_stack::{RawNats, User};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{Watched, runbook};

/// Somebody with payment-provider's key says that a payment succeeded which nobody asked for.
pub(crate) async fn outcome_that_contradicts(watched: &Watched) {
    let system = &watched.system;
    let outcome = json!({
        "payment_id": "01890000-0000-7000-8000-000000000001", "invoice_id": "01890000-0000-7000-8000-000000000002",
        "status": "succeeded", "reason": null, "provider_reference": "forged", "settled_at": "2026-01-02T03:04:05Z",
    });
    publish(
        system,
        User::PaymentProvider,
        "pay.v1.outcome.succeeded",
        &outcome,
    );
    let alerts = ["OutcomeConflicts", "InvoiceAppDeadLetters"];
    watched.fire(&alerts).await;
    let printed = runbook::follow(system, "Dead letters", &[("SERVICE", "invoice-app"), ("ID", "1")]).await;
    assert!(printed.contains("this payment was never requested"), "{printed}");
    watched.clear(&alerts).await;
}

/// Somebody with invoice-app's key asks for a payment again, with another amount.
pub(crate) async fn request_that_contradicts(watched: &Watched) {
    let system = &watched.system;
    let client = system.client().unwrap();
    let id = client.create("1.00", "EUR").await.unwrap();
    let payment = client.pay(&id, WAIT).await.unwrap();
    let invoice = client.invoice(&id).await.unwrap();
    let request = json!({
        "payment_id": payment.text("/id"), "invoice_id": id, "invoice_number": text(&invoice, "/number"),
        "amount": {"value": "1000.00", "currency": "EUR"}, "attempt": 1, "requested_at": "2026-01-02T03:04:05Z",
    });
    publish(system, User::InvoiceApp, "pay.v1.request.eur", &request);
    let alerts = ["LedgerConflicts", "PaymentProviderDeadLetters"];
    watched.fire(&alerts).await;
    runbook::follow(
        system,
        "Dead letters",
        &[("SERVICE", "payment-provider"), ("ID", "1")],
    )
    .await;
    watched.clear(&alerts).await;
}

/// NATS is away, and a payment waits for so long that somebody should know.
pub(crate) async fn nats_away(watched: &Watched) {
    let system = &watched.system;
    let client = system.client().unwrap();
    system.stack().nats().stop().await;
    let id = client.create("2.00", "EUR").await.unwrap();
    let payment = client.pay(&id, NO_WAIT).await.unwrap();
    let payment = payment.text("/id");
    age(system, payment).await;
    let alerts = [
        "NatsDown",
        "ServiceWithoutNats",
        "ServiceNotConsuming",
        "PaymentsWithoutOutcome",
    ];
    watched.fire(&alerts).await;
    let printed = runbook::follow(system, "A payment stays `pending`", &[("ID", payment)]).await;
    assert!(printed.contains(payment), "{printed}");
    system.stack().nats().start_again().await.unwrap();
    watched.clear(&alerts).await;
}

/// NATS comes back without its store.
pub(crate) async fn nats_forgets(watched: &Watched) {
    let system = &watched.system;
    system.stack().nats().kill9().await;
    system.stack().nats().wipe_store().unwrap();
    system.stack().nats().start_again().await.unwrap();
    watched.fire(&["NatsForgot"]).await;
    watched.clear(&["NatsForgot"]).await;
}

/// Nobody takes requests.
pub(crate) async fn payment_provider_down(watched: &Watched) {
    let system = &watched.system;
    let client = system.client().unwrap();
    let service = system.stack().payment_provider();
    service.kill9().await;
    let id = client.create("3.00", "EUR").await.unwrap();
    client.pay(&id, NO_WAIT).await.unwrap();
    let alerts = ["PaymentProviderDown", "NatsConsumerStuck"];
    watched.fire(&alerts).await;
    service.start_again().await.unwrap();
    watched.clear(&alerts).await;
}

/// Nobody takes calls.
pub(crate) async fn invoice_app_down(watched: &Watched) {
    let service = watched.system.stack().invoice_app();
    service.kill9().await;
    watched.fire(&["InvoiceAppDown"]).await;
    service.start_again().await.unwrap();
    watched.clear(&["InvoiceAppDown"]).await;
}

/// Calls are answered 503, many of them, and what is no message cannot be kept.
pub(crate) async fn postgres_away(watched: &Watched) {
    let system = &watched.system;
    let client = system.client().unwrap();
    let id = client.create("4.00", "EUR").await.unwrap();
    system.stack().postgres().stop().await;
    publish(
        system,
        User::PaymentProvider,
        "pay.v1.outcome.succeeded",
        &json!("paid"),
    );
    let alerts = [
        "DeadLetterNotStored",
        "InvoiceAppErrors",
        "PayCallsBurnFast",
        "PayCallsBurnSteady",
        "PayCallsBurnSlow",
        "PayCallsBurnCreeping",
    ];
    let fired = watched.fire(&alerts);
    let calling = async {
        loop {
            for _ in 0..10 {
                let _ = tokio::join!(client.pay(&id, NO_WAIT), client.pay(&id, NO_WAIT));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = fired => {}
        () = calling => {}
    }
    system.stack().postgres().start_again().await.unwrap();
    eventually("calls work again", || async { client.list("").await.map(Some) })
        .await
        .unwrap();
    watched.fire(&["InvoiceAppDeadLetters"]).await;
    let printed = runbook::follow(system, "Dead letters", &[("SERVICE", "invoice-app"), ("ID", "1")]).await;
    assert!(printed.contains("not a valid message"), "{printed}");
    watched.clear(&["InvoiceAppDeadLetters"]).await;
    watched.clear(&alerts).await;
}

fn publish(system: &System, user: User, subject: &str, message: &Value) {
    let mut nats = RawNats::connect(system.stack().nats(), user).unwrap();
    let refusals = nats.publish(subject, "", message.to_string().as_bytes()).unwrap();
    assert_eq!(refusals, Vec::<String>::new());
}

/// Twenty minutes pass for a payment.
async fn age(system: &System, id: &str) {
    let older =
        format!("update payments set created_at = created_at - interval '20 minutes' where id = '{id}'");
    let changed: Result<_> = async {
        let mut database = PgConnection::connect(&system.stack().invoice_database_url()).await?;
        Ok(database
            .execute(sqlx::AssertSqlSafe(older))
            .await?
            .rows_affected())
    }
    .await;
    assert_eq!(changed.unwrap(), 1);
}
