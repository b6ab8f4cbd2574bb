//! Paying what was shown, or nothing: totals, by currency, and the expectation beside them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{App, id, succeeded};

async fn create(app: &App, number: &str, value: &str, currency: &str) -> String {
    let body = json!({"number": number, "amount": {"value": value, "currency": currency}});
    id(&app.post("/invoices", body).await.1)
}

/// Two in EUR, one in JPY and one in KWD, all unpaid.
async fn four() -> App {
    let app = App::start().await;
    for (number, value, currency) in [
        ("a", "12.15", "EUR"),
        ("b", "0.05", "EUR"),
        ("c", "7", "JPY"),
        ("d", "1.5", "KWD"),
    ] {
        create(&app, number, value, currency).await;
    }
    app
}

async fn totals(app: &App, query: &str) -> Value {
    let (status, mut body) = app.get(&format!("/invoices/totals{query}")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["totals"].take()
}

fn total(currency: &str, count: i64, value: &str) -> Value {
    json!({"currency": currency, "count": count, "value": value})
}

#[tokio::test]
async fn totals_are_one_a_currency_and_follow_the_filters() {
    let app = four().await;
    let all = json!([
        total("EUR", 2, "12.20"),
        total("JPY", 1, "7"),
        total("KWD", 1, "1.500")
    ]);
    assert_eq!(totals(&app, "").await, all);
    assert_eq!(totals(&app, "?status=unpaid").await, all);
    assert_eq!(
        totals(&app, "?currency=JPY&status=unpaid").await,
        json!([total("JPY", 1, "7")])
    );
    for nothing in ["?status=pending", "?status=paid", "?status=void", "?currency=DKK"] {
        assert_eq!(totals(&app, nothing).await, json!([]), "{nothing}");
    }
    let paid = create(&app, "e", "3", "DKK").await;
    let void = create(&app, "f", "4", "DKK").await;
    let pending = create(&app, "g", "5", "DKK").await;
    let payment = app.pay(&paid).await;
    app.settle(&[succeeded(&payment, &paid)]).await;
    app.pay(&pending).await;
    app.post_async(&format!("/invoices/{void}/void")).await;
    for (status, value) in [("paid", "3.00"), ("void", "4.00"), ("pending", "5.00")] {
        let one = json!([total("DKK", 1, value)]);
        assert_eq!(totals(&app, &format!("?status={status}")).await, one, "{status}");
    }
    for bad in ["?limit=1", "?status=open", "?currency=EUR&currency=EUR"] {
        let (status, body) = app.get(&format!("/invoices/totals{bad}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
}

#[tokio::test]
async fn paying_a_currency_pays_that_currency() {
    let app = four().await;
    let (status, batch) = app.post_pay(json!({"currency": "EUR"})).await;
    assert_eq!(
        (status, &batch["requested"]),
        (StatusCode::ACCEPTED, &json!(2)),
        "{batch}"
    );
    assert_eq!(batch["skipped"], json!([]));
    assert_eq!(
        totals(&app, "?status=pending").await,
        json!([total("EUR", 2, "12.20")])
    );
    let (_, batch) = app.post_pay(json!({"currency": "EUR"})).await;
    assert_eq!(batch["requested"], 0);
}

#[tokio::test]
async fn an_expectation_that_is_not_met_pays_nothing() {
    let app = four().await;
    let ids: Vec<Value> = {
        let (_, page) = app.get("/invoices?currency=EUR").await;
        let invoices = page["invoices"].as_array().unwrap();
        invoices.iter().map(|invoice| invoice["id"].clone()).collect()
    };
    let euro = json!({"count": 2, "totals": [{"currency": "EUR", "value": "12.20"}]});
    let less = json!({"count": 2, "totals": [{"currency": "EUR", "value": "12.15"}]});
    let more = json!({"count": 3, "totals": [{"currency": "EUR", "value": "12.20"}]});
    for unmet in [
        json!({"expect": euro}),
        json!({"currency": "EUR", "expect": less}),
        json!({"currency": "EUR", "expect": more}),
        json!({"currency": "JPY", "expect": euro}),
        json!({"ids": ids, "expect": less}),
        json!({"ids": [ids[0]], "expect": euro}),
    ] {
        let (status, body) = app.post_pay(unmet.clone()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{unmet}: {body}");
        assert!(
            body["type"].as_str().unwrap().ends_with("totals-changed"),
            "{body}"
        );
    }
    let (_, body) = app.post_pay(json!({"currency": "EUR", "expect": more})).await;
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.ends_with("2 invoices, 12.20 EUR"), "{detail}");
    assert_eq!(app.count("select count(*) from payments").await, 0);
    assert_eq!(app.count("select count(*) from payment_batches").await, 0);
    assert_eq!(app.count("select count(*) from unpaid_invoices").await, 4);

    let (status, batch) = app.post_pay(json!({"ids": ids, "expect": euro})).await;
    assert_eq!(
        (status, &batch["requested"]),
        (StatusCode::ACCEPTED, &json!(2)),
        "{batch}"
    );
    let rest = json!({"count": 2, "totals": [{"currency": "KWD", "value": "1.5"}, {"currency": "JPY", "value": "7"}]});
    let (status, batch) = app.post_pay(json!({"expect": rest})).await;
    assert_eq!(
        (status, &batch["requested"]),
        (StatusCode::ACCEPTED, &json!(2)),
        "{batch}"
    );
}

#[tokio::test]
async fn a_key_is_free_after_an_expectation_that_was_not_met_and_kept_after_one_that_was() {
    let app = four().await;
    let pay = async |expect: Value| {
        let request = app.request(reqwest::Method::POST, "/invoices/pay");
        let request = request
            .header("idempotency-key", "once")
            .header("prefer", "respond-async");
        crate::harness::answer(request.json(&json!({"currency": "JPY", "expect": expect}))).await
    };
    let wrong = json!({"count": 1, "totals": [{"currency": "JPY", "value": "8"}]});
    let right = json!({"count": 1, "totals": [{"currency": "JPY", "value": "7"}]});
    assert_eq!(pay(wrong).await.0, StatusCode::CONFLICT);
    let (status, first) = pay(right.clone()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{first}");
    // Met no longer, but it is the same call.
    assert_eq!(pay(right).await, (status, first));
}
