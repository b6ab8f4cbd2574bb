//! Idempotency-Key: a repeat is answered and does nothing, and a key exists exactly when its effect does.

use futures_util::future::join_all;
use local_stack::eventually;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::harness::{App, id, new, read, succeeded};

async fn send(request: RequestBuilder) -> (u16, Value, Option<String>, bool) {
    let response = request.send().await.unwrap();
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let (location, replayed) = (
        header("location"),
        header("idempotent-replayed").as_deref() == Some("true"),
    );
    let (status, body) = read(response).await;
    (status.as_u16(), body, location, replayed)
}

#[tokio::test]
async fn a_repeated_create_is_answered_as_the_first_was_even_after_the_invoice_changed() {
    let app = App::start().await;
    let create = || {
        app.request(Method::POST, "/invoices")
            .header("idempotency-key", "\"k-1\"")
            .json(&new("A", "1.00"))
    };
    let (status, invoice, location, replayed) = send(create()).await;
    assert_eq!((status, replayed), (201, false));
    app.pay(&crate::harness::id(&invoice)).await;
    assert_eq!(send(create()).await, (201, invoice, location, true));
    let other = app
        .request(Method::POST, "/invoices")
        .header("idempotency-key", "k-1")
        .json(&new("B", "1.00"));
    assert_eq!(send(other).await.0, 422);
    assert_eq!(app.count("select count(*) from invoices").await, 1);
}

#[tokio::test]
async fn a_repeated_import_is_answered_and_imports_nothing() {
    let app = App::start().await;
    let body = format!("{}\nnonsense\n{}\n", new("A", "1.00"), new("A", "2.00"));
    let import = |body: String| {
        app.request(Method::POST, "/invoices/import")
            .header("idempotency-key", "k")
            .body(body)
    };
    let (status, result, _, replayed) = send(import(body.clone())).await;
    assert_eq!(
        (status, replayed, &result["created"], &result["rejected_total"]),
        (200, false, &json!(1), &json!(2))
    );
    assert_eq!(send(import(body.clone())).await, (200, result, None, true));
    assert_eq!(send(import(body + " ")).await.0, 422);
    assert_eq!(app.count("select count(*) from invoices").await, 1);
    assert_eq!(app.count("select count(*) from import_lines").await, 0);
}

#[tokio::test]
async fn repeated_pay_calls_answer_with_the_present_state_and_pay_nothing_again() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let path = format!("/invoices/{invoice}/pay");
    let pay = |path: &str, key: &str| {
        app.request(Method::POST, path)
            .header("idempotency-key", key)
            .header("prefer", "respond-async")
    };
    let (status, payment, _, replayed) = send(pay(&path, "one")).await;
    assert_eq!((status, replayed), (202, false));
    assert_eq!(send(pay(&path, "one")).await, (202, payment.clone(), None, true));
    assert_eq!(send(pay(&path, "another")).await.0, 409);
    app.invoice("B", "1.00").await;
    let (status, batch, _, _) = send(pay("/invoices/pay", "all")).await;
    assert_eq!((status, &batch["requested"]), (202, &json!(1)));

    app.settle(&[succeeded(&crate::harness::id(&payment), &invoice)])
        .await;
    let (status, settled, _, replayed) = send(pay(&path, "one")).await;
    assert_eq!(
        (status, &settled["status"], replayed),
        (200, &json!("succeeded"), true)
    );
    app.invoice("C", "1.00").await;
    assert_eq!(send(pay("/invoices/pay", "all")).await, (202, batch, None, true));
    assert_eq!(send(pay("/invoices/pay", "all").json(&json!({}))).await.0, 422);
    assert_eq!(app.count("select count(*) from payments").await, 2);
    let elsewhere = app.invoice("D", "1.00").await;
    assert_eq!(
        send(pay(&format!("/invoices/{elsewhere}/pay"), "one")).await.0,
        422
    );
}

#[tokio::test]
async fn a_call_that_had_no_effect_leaves_its_key_free() {
    let app = App::start().await;
    let create = |number: &str| {
        app.request(Method::POST, "/invoices")
            .header("idempotency-key", "k")
            .json(&new(number, "1.00"))
    };
    app.invoice("A", "1.00").await;
    assert_eq!(send(create("A")).await.0, 409);
    assert_eq!(send(create("")).await.0, 422);
    assert_eq!(app.count("select count(*) from idempotency_keys").await, 0);
    assert_eq!(send(create("B")).await.0, 201);
    let pay = "/invoices/019a0000-0000-7000-8000-000000000000/pay";
    assert_eq!(
        send(app.request(Method::POST, pay).header("idempotency-key", "p"))
            .await
            .0,
        404
    );
    assert_eq!(app.count("select count(*) from idempotency_keys").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_with_one_key_have_one_effect_and_the_others_are_told() {
    let app = App::start().await;
    app.fill(50).await;
    let call = || {
        let call = app
            .request(Method::POST, "/invoices/pay")
            .header("idempotency-key", "k");
        send(call.header("prefer", "respond-async"))
    };
    let answers = join_all((0..20).map(|_| call())).await;
    let first: Vec<_> = answers
        .iter()
        .filter(|(status, _, _, replayed)| *status == 202 && !replayed)
        .collect();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].1["requested"], 50);
    for (status, body, _, replayed) in &answers {
        assert!(
            *status == 409 || *body == first[0].1,
            "{status} {replayed} {body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_pay_calls_that_come_together_keep_their_keys_apart() {
    let app = App::start().await;
    app.fill(40).await;
    let (_, page) = app.get("/invoices?limit=40").await;
    let ids: Vec<String> = page["invoices"].as_array().unwrap().iter().map(id).collect();
    let pay = |invoice: &String, key: String| {
        let call = app.request(Method::POST, &format!("/invoices/{invoice}/pay"));
        send(
            call.header("idempotency-key", key)
                .header("prefer", "respond-async"),
        )
    };
    // One invoice four times with one key, and the others once with their own; among them some without any.
    let same = (0..4).map(|_| pay(&ids[0], "same".to_owned()));
    let own = ids[1..30].iter().map(|id| pay(id, format!("own-{id}")));
    let none = ids[30..].iter().map(|id| {
        let call = app.request(Method::POST, &format!("/invoices/{id}/pay"));
        send(call.header("prefer", "respond-async"))
    });
    let (same, own, none) = tokio::join!(join_all(same), join_all(own), join_all(none));
    let first: Vec<_> = same
        .iter()
        .filter(|(status, _, _, replayed)| (*status, *replayed) == (202, false))
        .collect();
    assert_eq!(first.len(), 1, "{same:?}");
    for (status, body, _, _) in &same {
        assert!(*status == 409 || *body == first[0].1, "{status} {body}");
    }
    for (status, payment, _, replayed) in own.iter().chain(&none) {
        assert_eq!((*status, *replayed), (202, false), "{payment}");
    }
    for (invoice, (_, payment, _, _)) in ids[1..30].iter().zip(own) {
        assert_eq!(
            pay(invoice, format!("own-{invoice}")).await,
            (202, payment, None, true)
        );
    }
    assert_eq!(pay(&ids[1], "same".to_owned()).await.0, 422);
    assert_eq!(app.count("select count(*) from payments").await, 40);
    assert_eq!(app.count("select count(*) from idempotency_keys").await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_call_runs_another_with_its_key_is_told_and_the_key_is_not_visible() {
    let app = App::start().await;
    app.invoice("A", "1.00").await;
    let mut held = app.pool.begin().await.unwrap();
    sqlx::query("lock table payments in share row exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let pay = || {
        app.request(Method::POST, "/invoices/pay")
            .header("idempotency-key", "k")
            .header("prefer", "respond-async")
    };
    let first = tokio::spawn(send(pay()));
    let blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    eventually("the first call is running", async || app.count(blocked).await > 0)
        .await
        .unwrap();
    let (status, problem, _, _) = send(pay()).await;
    assert_eq!(
        (status, &problem["type"]),
        (409, &json!("/problems/idempotency-key-in-use"))
    );
    assert_eq!(app.count("select count(*) from idempotency_keys").await, 0);
    held.rollback().await.unwrap();
    assert_eq!(first.await.unwrap().0, StatusCode::ACCEPTED.as_u16());
    assert!(send(pay()).await.3);
}

#[tokio::test]
async fn a_key_is_free_again_after_a_day() {
    let app = App::start().await;
    let create = |number: &str| {
        app.request(Method::POST, "/invoices")
            .header("idempotency-key", "k")
            .json(&new(number, "1.00"))
    };
    assert_eq!(send(create("A")).await.0, 201);
    sqlx::query("update idempotency_keys set created_at = now() - interval '25 hours'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(send(create("B")).await.0, 201);
    assert_eq!(app.store.prune_keys().await.unwrap(), 0);
    sqlx::query("update idempotency_keys set created_at = now() - interval '25 hours'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(app.store.prune_keys().await.unwrap(), 1);
}

#[tokio::test]
async fn keys_that_are_no_keys_are_refused() {
    let app = App::start().await;
    for key in ["", "a b", "\"open", &"k".repeat(256)] {
        let call = app
            .request(Method::POST, "/invoices")
            .header("idempotency-key", key)
            .json(&new("A", "1.00"));
        assert_eq!(send(call).await.0, 400, "{key:?}");
    }
}
