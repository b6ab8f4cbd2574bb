//! Repeating a call: what took effect is answered again, even when the first answer was lost in a crash.

use acceptance::{
    System,
    client::{NO_WAIT, WAIT, count, text},
    eventually,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_call_takes_effect_once_and_another_body_is_refused() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let key = [("idempotency-key", "create-1")];
    let body = json!({"number": "A-1", "amount": {"value": "7.00", "currency": "EUR"}});
    let first = client.post("/invoices", &key, &body).await.unwrap();
    let again = client.post("/invoices", &key, &body).await.unwrap();
    assert_eq!((first.status, again.status), (201, 201), "{again:?}");
    assert_eq!(first.body, again.body);
    assert!(!first.header("location").is_empty());
    assert_eq!(first.header("location"), again.header("location"));
    let other = json!({"number": "A-2", "amount": {"value": "7.00", "currency": "EUR"}});
    assert!(
        client
            .post("/invoices", &key, &other)
            .await
            .unwrap()
            .is_problem(422)
    );

    // A repeated pay call is answered with the batch as it is by then.
    let key = [("idempotency-key", "pay-1"), NO_WAIT[0]];
    let batch = client.pay_all(&key).await.unwrap().expect(202).unwrap();
    system.at_least_paid(1).await.unwrap();
    client.create("8.00", "EUR").await.unwrap();
    let again = client.pay_all(&key).await.unwrap().expect(200).unwrap();
    assert_eq!(batch["batch_id"], again["batch_id"]);
    assert_eq!((count(&again, "/requested"), count(&again, "/paid")), (1, 1));
    assert_eq!(system.count_invoices("unpaid").await.unwrap(), 1);
    system.check().await.unwrap().expect_succeeded(1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_repeated_after_a_crash_between_effect_and_answer_finds_its_own_payment() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    // The bank takes 2 s, so the caller is still waiting when the process dies.
    let id = client.create("4000.03", "EUR").await.unwrap();
    let headers = [("idempotency-key", "pay-slowly"), WAIT[0]];
    let call = tokio::spawn({
        let (client, id) = (client.clone(), id.clone());
        async move { client.pay(&id, &headers).await }
    });
    eventually("the payment is requested", || async {
        Ok(system.count_payments("requested").await? == 1)
    })
    .await
    .unwrap();
    system.stack().invoice_app().kill9().await;
    assert!(call.await.unwrap().is_err(), "the answer should have been lost");
    system.stack().invoice_app().start_again().await.unwrap();

    let payment = client.pay(&id, &headers).await.unwrap();
    assert!(payment.status == 200 || payment.status == 202, "{payment:?}");
    system.at_least_paid(1).await.unwrap();
    let again = client.pay(&id, &headers).await.unwrap().expect(200).unwrap();
    assert_eq!(text(&again, "/id"), payment.text("/id"));
    assert_eq!(text(&again, "/status"), "succeeded");
    assert_eq!(
        system
            .count_in_invoices("select count(*) from payments")
            .await
            .unwrap(),
        1
    );
    system.check().await.unwrap().expect_succeeded(1).unwrap();
}
