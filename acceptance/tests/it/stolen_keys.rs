//! What somebody does with a service's key of NATS, and what notices: docs/security.md, row by row where no other test has it.

use acceptance::{
    Result, System,
    client::{NO_WAIT, text},
    eventually, metric,
};
use local_stack::{RawNats, User};
use payment_contract::timestamp;
use reconcile::Kind;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

fn say(system: &System, user: User, subject: &str, message: &Value) {
    let mut thief = RawNats::connect(system.stack().nats(), user).unwrap();
    let refusals = thief
        .publish(subject, "", message.to_string().as_bytes())
        .unwrap();
    assert_eq!(refusals, Vec::<String>::new());
}

fn now() -> String {
    timestamp::Display(OffsetDateTime::now_utc()).to_string()
}

/// NATS lets that key ask for payments, so it is paid; but not without being noticed twice.
#[tokio::test(flavor = "multi_thread")]
async fn forged_request_is_paid_and_told_by_its_outcome_and_by_the_books() {
    let system = System::start().await.unwrap();
    let payment = Uuid::now_v7();
    let request = json!({
        "payment_id": payment, "invoice_id": Uuid::now_v7(), "invoice_number": "forged", "attempt": 1,
        "amount": {"value": "999.00", "currency": "EUR"}, "requested_at": now(),
    });
    say(&system, User::InvoiceApp, "pay.v1.request.eur", &request);
    let paid = format!("select count(*) from ledger where payment_id = '{payment}' and status = 'succeeded'");
    eventually("it is paid", || async {
        Ok(system.count_in_payments(&paid).await? == 1)
    })
    .await
    .unwrap();

    // The alert OutcomeConflicts is about this number.
    eventually(
        "invoice-app counts an outcome that contradicts what it knows",
        || async {
            let conflicts = metric(
                system.stack().invoice_app(),
                "invoice_app_outcome_conflicts_total",
                &[],
            );
            Ok(conflicts.await? >= 1.0)
        },
    )
    .await
    .unwrap();
    let letters = format!(
        "select count(*) from dead_letters where position('{payment}' in encode(body, 'escape')) > 0"
    );
    eventually("it is kept", || async {
        Ok(system.count_in_invoices(&letters).await? == 1)
    })
    .await
    .unwrap();
    told_by_the_books(&system, Kind::Missing, payment).await.unwrap();
}

/// invoice-app believes who may publish outcomes; the books do not.
#[tokio::test(flavor = "multi_thread")]
async fn forged_outcome_of_an_open_payment_pays_the_invoice_and_is_told_by_the_books() {
    let system = System::start().await.unwrap();
    system.stack().payment_provider().kill9().await;
    let client = system.client().unwrap();
    let invoice = client.create("12.15", "EUR").await.unwrap();
    let payment = client.pay(&invoice, NO_WAIT).await.unwrap();
    let payment: Uuid = payment.text("/id").parse().unwrap();
    let outcome = json!({
        "payment_id": payment, "invoice_id": invoice, "status": "succeeded", "reason": null,
        "provider_reference": "forged", "settled_at": now(),
    });
    say(
        &system,
        User::PaymentProvider,
        "pay.v1.outcome.succeeded",
        &outcome,
    );
    eventually("the invoice is paid", || async {
        let invoice = client.invoice(&invoice).await?;
        Ok(text(&invoice, "/status") == "paid")
    })
    .await
    .unwrap();
    told_by_the_books(&system, Kind::Missing, payment).await.unwrap();
}

async fn told_by_the_books(system: &System, kind: Kind, payment: Uuid) -> Result<()> {
    let report = system.check().await?;
    assert_eq!(report.count(kind), 1, "{report}");
    let told = report.to_string();
    assert!(told.contains(&payment.to_string()), "{told}");
    Ok(())
}
