//! Every endpoint, as its callers see it.

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use invoice_app::store::Store;

use crate::harness::{App, declined, id, new, read, succeeded};

#[tokio::test]
async fn a_created_invoice_is_answered_and_found_again() {
    let app = App::start().await;
    let body = json!({"number": "2026/1", "amount": {"value": "12.15", "currency": "EUR"}});
    let response = app
        .request(Method::POST, "/invoices")
        .json(&body)
        .send()
        .await
        .unwrap();
    let location = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let (status, invoice) = read(response).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(location, format!("/invoices/{}", id(&invoice)));
    assert_eq!(invoice["number"], "2026/1");
    assert_eq!(invoice["amount"], json!({"value": "12.15", "currency": "EUR"}));
    assert_eq!(invoice["status"], "unpaid");
    assert!(invoice["created_at"].as_str().unwrap().ends_with('Z'));
    for absent in ["paid_at", "last_payment"] {
        assert_eq!(invoice[absent], Value::Null);
    }

    let (status, mut found) = app.get(&location).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(found.as_object_mut().unwrap().remove("payments"), Some(json!([])));
    assert_eq!(found, invoice);
}

#[tokio::test]
async fn invoices_without_a_number_get_the_next_free_one() {
    let app = App::start().await;
    let create = async |body| {
        app.post("/invoices", body).await.1["number"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let without = || json!({"amount": {"value": "1", "currency": "JPY"}});
    assert_eq!(create(without()).await, "I1");
    for taken in ["I2", "I3", "I5", "I9223372036854775807", "I0", "I04"] {
        create(new(taken, "1.00")).await;
    }
    assert_eq!(create(without()).await, "I4");
    assert_eq!(create(without()).await, "I6");

    let store = Store::new(app.pool.clone());
    assert_eq!(store.skip_numbers(12_000).await.unwrap(), 12_000);
    assert_eq!(create(without()).await, "I12001");
    assert_eq!(store.skip_numbers(12_000).await.unwrap(), 12_001, "never back");
    assert_eq!(create(without()).await, "I12002");
}

#[tokio::test]
async fn a_long_run_of_taken_numbers_is_skipped_at_once() {
    let app = App::start().await;
    sqlx::query(
        "insert into invoices (id, number, amount_minor, currency)
         select uuidv7(), 'I' || n, 1, 'EUR' from generate_series(1, 50000) n",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let (_, invoice) = app
        .post(
            "/invoices",
            json!({"amount": {"value": "1.00", "currency": "EUR"}}),
        )
        .await;
    assert_eq!(invoice["number"], "I50001");
}

#[tokio::test]
async fn amounts_have_all_decimals_of_their_currency() {
    let app = App::start().await;
    for (sent, currency, shown) in [
        ("12.1", "EUR", "12.10"),
        ("7", "JPY", "7"),
        ("1.5", "KWD", "1.500"),
    ] {
        let (_, invoice) = app
            .post(
                "/invoices",
                json!({"amount": {"value": sent, "currency": currency}}),
            )
            .await;
        assert_eq!(invoice["amount"], json!({"value": shown, "currency": currency}));
    }
}

#[tokio::test]
async fn one_invoice_is_paid_and_shows_its_payment() {
    let app = App::start().await;
    let invoice = app.invoice("A", "12.15").await;
    let (status, payment) = app.post_async(&format!("/invoices/{invoice}/pay")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(
        (&payment["status"], &payment["attempt"]),
        (&json!("requested"), &json!(1))
    );
    assert_eq!(payment["invoice_id"], invoice);
    assert_eq!(
        app.get(&format!("/invoices/{invoice}")).await.1["status"],
        "pending"
    );

    app.settle(&[succeeded(&id(&payment), &invoice)]).await;
    let (_, paid) = app.get(&format!("/invoices/{invoice}")).await;
    assert_eq!(paid["status"], "paid");
    assert!(paid["paid_at"].is_string());
    assert_eq!(
        paid["last_payment"],
        json!({"id": id(&payment), "status": "succeeded", "reason": null})
    );
    assert_eq!(paid["payments"].as_array().unwrap().len(), 1);
    assert_eq!(paid["payments"][0]["provider_reference"], "ref-1");
}

#[tokio::test]
async fn a_declined_invoice_is_unpaid_again_with_the_reason_and_can_be_paid() {
    let app = App::start().await;
    let invoice = app.invoice("A", "12.15").await;
    let first = app.pay(&invoice).await;
    app.settle(&[declined(&first, &invoice)]).await;
    let (_, shown) = app.get(&format!("/invoices/{invoice}")).await;
    assert_eq!(shown["status"], "unpaid");
    let last = json!({"id": first, "status": "declined", "reason": "insufficient_funds"});
    assert_eq!(shown["last_payment"], last);

    let second = app.pay(&invoice).await;
    app.settle(&[succeeded(&second, &invoice)]).await;
    let (_, shown) = app.get(&format!("/invoices/{invoice}")).await;
    assert_eq!(shown["status"], "paid");
    let attempts: Vec<_> = shown["payments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (&p["attempt"], &p["status"]))
        .collect();
    assert_eq!(
        attempts,
        [(&json!(1), &json!("declined")), (&json!(2), &json!("succeeded"))]
    );
}

#[tokio::test]
async fn paying_all_pays_the_unpaid_ones_alone() {
    let app = App::start().await;
    let (first, second) = (app.invoice("A", "1.00").await, app.invoice("B", "2.00").await);
    let void = app.invoice("C", "3.00").await;
    app.post(&format!("/invoices/{void}/void"), json!({})).await;
    let pending = app.invoice("D", "4.00").await;
    app.pay(&pending).await;

    let (status, batch) = app.post_async("/invoices/pay").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let batch_id = batch["batch_id"].as_str().unwrap();
    assert_eq!(
        batch,
        json!({"batch_id": batch_id, "requested": 2, "paid": 0, "declined": 0, "pending": 2, "skipped": []})
    );
    let last = async |invoice: &str| {
        app.get(&format!("/invoices/{invoice}")).await.1["last_payment"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    app.settle(&[
        succeeded(&last(&first).await, &first),
        declined(&last(&second).await, &second),
    ])
    .await;
    let (_, batch) = app.get(&format!("/payment-batches/{batch_id}")).await;
    assert_eq!([&batch["paid"], &batch["declined"], &batch["pending"]], [1, 1, 0]);
}

#[tokio::test]
async fn paying_some_tells_which_were_skipped_and_why_in_the_order_asked() {
    let app = App::start().await;
    let fine = app.invoice("A", "1.00").await;
    let void = app.invoice("B", "1.00").await;
    app.post(&format!("/invoices/{void}/void"), json!({})).await;
    let pending = app.invoice("C", "1.00").await;
    app.pay(&pending).await;
    let paid = app.invoice("D", "1.00").await;
    let payment = app.pay(&paid).await;
    app.settle(&[succeeded(&payment, &paid)]).await;
    let unknown = "019a0000-0000-7000-8000-000000000000";

    let ids = json!({"ids": [void, "what?", fine, pending, unknown, paid, fine]});
    let response = app
        .request(Method::POST, "/invoices/pay")
        .header("prefer", "respond-async")
        .json(&ids);
    let (status, batch) = crate::harness::answer(response).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(batch["requested"], 1);
    let skipped = json!([
        {"id": void, "reason": "void"},
        {"id": "what?", "reason": "unknown"},
        {"id": pending, "reason": "pending"},
        {"id": unknown, "reason": "unknown"},
        {"id": paid, "reason": "paid"},
        {"id": fine, "reason": "duplicate"},
    ]);
    assert_eq!(batch["skipped"], skipped);
    let path = format!("/payment-batches/{}", batch["batch_id"].as_str().unwrap());
    assert_eq!(app.get(&path).await, (StatusCode::OK, batch));
}

#[tokio::test]
async fn paying_nothing_is_settled_at_once() {
    let app = App::start().await;
    let (status, batch) = app.post("/invoices/pay", json!({})).await;
    assert_eq!((status, &batch["requested"]), (StatusCode::OK, &json!(0)));
    app.invoice("A", "1.00").await;
    let (status, batch) = app.post("/invoices/pay", json!({"ids": []})).await;
    assert_eq!((status, &batch["requested"]), (StatusCode::OK, &json!(0)));
    assert_eq!(app.count("select count(*) from payments").await, 0);
}

#[tokio::test]
async fn an_empty_body_is_none_whatever_type_it_claims() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    for path in [format!("/invoices/{invoice}/pay"), "/invoices/pay".to_owned()] {
        let request = app.request(Method::POST, &path).header("prefer", "respond-async");
        let (status, answer) = crate::harness::answer(request.header("content-type", "text/csv")).await;
        assert!(status.is_success(), "{answer}");
    }
}

#[tokio::test]
async fn an_unpaid_invoice_is_voided_once_and_for_all() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    for _ in 0..2 {
        let response = app
            .request(Method::POST, &format!("/invoices/{invoice}/void"))
            .send()
            .await
            .unwrap();
        let (status, shown) = read(response).await;
        assert_eq!((status, &shown["status"]), (StatusCode::OK, &json!("void")));
    }
    let (status, _) = app.post_async(&format!("/invoices/{invoice}/pay")).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body_and_other_methods_name_those_allowed() {
    let app = App::start().await;
    let response = app.request(Method::HEAD, "/invoices").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.text().await.unwrap().is_empty());
    for (method, path, allowed) in [
        (Method::DELETE, "/invoices", "GET,HEAD,POST"),
        (Method::GET, "/invoices/x/pay", "POST"),
        (Method::PUT, "/invoices/x", "GET,HEAD"),
    ] {
        let response = app.request(method, path).send().await.unwrap();
        assert_eq!(response.headers()[header::ALLOW], allowed, "{path}");
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
