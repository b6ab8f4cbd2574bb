//! Invoices that are imported, paid, declined and voided while nothing is wrong with the machines.

use acceptance::{
    System,
    client::{NO_WAIT, WAIT, count, text},
    settled,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn three_imported_invoices_are_paid_by_one_call() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let lines = [
        ("I1", "12.15", "EUR"),
        ("I2", "10.25", "GBP"),
        ("I3", "66.13", "DKK"),
    ]
    .map(|(number, value, currency)| {
        json!({"number": number, "amount": {"value": value, "currency": currency}}).to_string()
    });
    let imported = client.import(lines.join("\n")).await.unwrap();
    assert_eq!(
        (count(&imported, "/created"), &imported["rejected"]),
        (3, &json!([]))
    );

    let unpaid = client.list("status=unpaid").await.unwrap();
    let numbers: Vec<_> = unpaid.iter().map(|invoice| text(invoice, "/number")).collect();
    assert_eq!(numbers, ["I1", "I2", "I3"], "oldest first");

    let batch = client.pay_all(WAIT).await.unwrap().expect(200).unwrap();
    let counts = ["/requested", "/paid", "/declined", "/pending"].map(|name| count(&batch, name));
    assert_eq!(counts, [3, 3, 0, 0]);
    assert_eq!(batch["skipped"], json!([]));
    assert_eq!(client.batch(text(&batch, "/batch_id")).await.unwrap()["paid"], 3);

    let paid = client.list("status=paid").await.unwrap();
    assert_eq!(paid.len(), 3);
    for invoice in &paid {
        assert_eq!(text(invoice, "/last_payment/status"), "succeeded");
        let whole = client.invoice(text(invoice, "/id")).await.unwrap();
        assert_eq!(whole["payments"].as_array().unwrap().len(), 1);
        assert_eq!(whole["payments"][0]["id"], invoice["last_payment"]["id"]);
        assert_eq!(has_the_documented_fields(invoice), Ok(()));
    }
    system.check().await.unwrap().expect_succeeded(3).unwrap();
}

/// The fixed part of an invoice; times are RFC 3339 in UTC.
fn has_the_documented_fields(invoice: &Value) -> Result<(), String> {
    use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
    for name in ["created_at", "updated_at", "paid_at"] {
        match OffsetDateTime::parse(text(invoice, &format!("/{name}")), &Rfc3339) {
            Ok(time) if time.offset() == UtcOffset::UTC => {}
            other => return Err(format!("{name}: {other:?} in {invoice}")),
        }
    }
    for path in [
        "/id",
        "/number",
        "/amount/value",
        "/amount/currency",
        "/status",
        "/last_payment/id",
    ] {
        if text(invoice, path).is_empty() {
            return Err(format!("{path} is missing in {invoice}"));
        }
    }
    match invoice.pointer("/last_payment/reason") {
        Some(Value::Null) => Ok(()),
        other => Err(format!("last_payment.reason is {other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_invoice_is_unpaid_again_with_the_reason_and_each_payment_is_kept() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    for (value, reason) in [("4000.01", "insufficient_funds"), ("4000.02", "account_closed")] {
        let id = client.create(value, "EUR").await.unwrap();
        for attempt in 1..=2 {
            let payment = client.pay(&id, WAIT).await.unwrap().expect(200).unwrap();
            assert_eq!(
                (text(&payment, "/status"), text(&payment, "/reason")),
                ("declined", reason)
            );
            assert_eq!(count(&payment, "/attempt"), attempt);
            let invoice = client.invoice(&id).await.unwrap();
            assert_eq!(text(&invoice, "/status"), "unpaid");
            assert_eq!(text(&invoice, "/last_payment/reason"), reason);
            assert_eq!(invoice["last_payment"]["id"], payment["id"]);
            assert_eq!(invoice["paid_at"], Value::Null);
        }
        let payments = client.invoice(&id).await.unwrap()["payments"].clone();
        assert_eq!(payments.as_array().unwrap().len(), 2);
        assert_ne!(
            payments[0]["id"], payments[1]["id"],
            "another attempt has another key at the bank"
        );
    }
    let report = system.check().await.unwrap().expect_succeeded(0).unwrap();
    assert_eq!(report.matches, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_magic_amount_ends_as_documented_with_at_most_one_charge() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let mut expected = Vec::new();
    for currency in ["EUR", "DKK"] {
        for (value, status) in [
            ("4000.01", "unpaid"),
            ("4000.02", "unpaid"),
            ("4000.03", "paid"),
            ("4000.04", "paid"),
            ("4000.05", "paid"),
            ("4000.06", "paid"),
        ] {
            expected.push((client.create(value, currency).await.unwrap(), value, status));
        }
    }
    // Where there are no cents, 4000.05 is no amount, and 400005 yen are just yen.
    expected.push((client.create("400005", "JPY").await.unwrap(), "400005", "paid"));

    let batch = client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    let batch = settled(&client, text(&batch, "/batch_id")).await.unwrap();
    assert_eq!((count(&batch, "/paid"), count(&batch, "/declined")), (9, 4));
    for (id, value, status) in &expected {
        assert_eq!(
            text(&client.invoice(id).await.unwrap(), "/status"),
            *status,
            "{value}"
        );
    }
    system.check().await.unwrap().expect_succeeded(9).unwrap();
    let charges = "select count(*) from simulated_charges where status = 'succeeded'";
    assert_eq!(system.count_in_payments(charges).await.unwrap(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_paid_and_voided_at_once_becomes_one_of_them() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let mut races = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let client = client.clone();
        races.spawn(async move {
            let id = client.create("5.00", "EUR").await.unwrap();
            let (paid, voided) = tokio::join!(client.pay(&id, WAIT), client.void(&id));
            let (paid, voided) = (paid.unwrap(), voided.unwrap());
            let status = text(&client.invoice(&id).await.unwrap(), "/status").to_owned();
            match status.as_str() {
                "paid" => assert!(
                    paid.status == 200 && voided.is_problem(409),
                    "{paid:?} {voided:?}"
                ),
                "void" => assert!(
                    voided.status == 200 && paid.is_problem(409),
                    "{paid:?} {voided:?}"
                ),
                other => panic!("the invoice is {other}"),
            }
        });
    }
    races.join_all().await;
    system.check().await.unwrap().expect_clean().unwrap();
}
