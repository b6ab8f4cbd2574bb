//! Entity tags, and calls that want an invoice as it was read, or nothing.

use reqwest::{Method, StatusCode, header};

use serde_json::Value;

use crate::harness::{App, answer, declined, read, succeeded};

async fn tag(app: &App, path: &str) -> String {
    let response = app.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.headers()[header::ETAG].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_tag_changes_with_the_invoice_and_only_with_it() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let path = format!("/invoices/{invoice}");
    let unpaid = tag(&app, &path).await;
    assert_eq!(tag(&app, &path).await, unpaid);
    assert!(unpaid.starts_with('"'), "strong: {unpaid}");
    let known = app
        .request(Method::GET, &path)
        .header(header::IF_NONE_MATCH, &unpaid);
    let response = known.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.headers()[header::ETAG], unpaid.as_str());
    assert_eq!(response.text().await.unwrap(), "");

    let payment = app.pay(&invoice).await;
    let pending = tag(&app, &path).await;
    app.settle(&[succeeded(&payment, &invoice)]).await;
    let paid = tag(&app, &path).await;
    assert!(unpaid != pending && pending != paid && unpaid != paid);
    let changed = app
        .request(Method::GET, &path)
        .header(header::IF_NONE_MATCH, &unpaid);
    assert_eq!(changed.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn two_answers_have_one_tag_exactly_where_they_are_the_same() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let other = app.invoice("B", "1.00").await;
    let path = format!("/invoices/{invoice}");
    let mut seen: Vec<(String, Value)> = Vec::new();
    let look = async |seen: &mut Vec<(String, Value)>| {
        for _ in 0..2 {
            seen.push((tag(&app, &path).await, app.get(&path).await.1));
        }
    };
    look(&mut seen).await;
    for outcome in [declined, declined, succeeded] {
        let payment = app.pay(&invoice).await;
        look(&mut seen).await;
        // What is refused, sent again, or about another changes nothing.
        app.post_async(&format!("{path}/pay")).await;
        app.post_async(&format!("{path}/void")).await;
        app.pay(&other).await;
        sqlx::query("update payments set sends = sends + 1, last_sent_at = now()")
            .execute(&app.pool)
            .await
            .unwrap();
        look(&mut seen).await;
        for _ in 0..2 {
            app.settle(&[outcome(&payment, &invoice)]).await;
            look(&mut seen).await;
        }
        let last = app.get(&format!("/invoices/{other}")).await.1["last_payment"]["id"].clone();
        app.settle(&[declined(last.as_str().unwrap(), &other)]).await;
        look(&mut seen).await;
    }
    for (tag, body) in &seen {
        for (other_tag, other_body) in &seen {
            assert_eq!(
                tag == other_tag,
                body == other_body,
                "{tag} {body}\n{other_tag} {other_body}"
            );
        }
    }
    let tags: std::collections::HashSet<&String> = seen.iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags.len(), 7, "{tags:?}");
}

#[tokio::test]
async fn paying_and_voiding_ask_for_the_version_that_was_read() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let path = format!("/invoices/{invoice}");
    let current = tag(&app, &path).await;
    let call = |action: &str, tag: &str| {
        app.request(Method::POST, &format!("{path}/{action}"))
            .header(header::IF_MATCH, tag)
            .header("prefer", "respond-async")
    };
    for (action, stale) in [
        ("pay", "\"unpaid-1\""),
        ("void", "\"unpaid-1\""),
        ("void", "W/\"unpaid-1\""),
    ] {
        let (status, problem) = read(call(action, stale).send().await.unwrap()).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{problem}");
    }
    let (status, _) = read(call("pay", "not a tag").send().await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let weak = format!("W/{current}");
    let (status, _) = read(call("pay", &weak).send().await.unwrap()).await;
    assert_eq!(
        status,
        StatusCode::PRECONDITION_FAILED,
        "a weak tag never matches"
    );
    assert_eq!(tag(&app, &path).await, current, "nothing was done");

    let keyed = || call("pay", &current).header("idempotency-key", "once");
    let (status, payment) = read(keyed().send().await.unwrap()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{payment}");
    let (status, again) = read(keyed().send().await.unwrap()).await;
    assert_eq!(
        (status, &again["id"]),
        (StatusCode::ACCEPTED, &payment["id"]),
        "what succeeded is answered again, though the invoice has changed by it"
    );
    let (status, _) = read(call("pay", &current).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    let missing = app
        .request(Method::POST, "/invoices/019a0000-0000-7000-8000-000000000000/pay")
        .header(header::IF_MATCH, "*");
    assert_eq!(missing.send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn voiding_with_the_right_tag_answers_with_the_next_one() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let path = format!("/invoices/{invoice}");
    let voiding = app
        .request(Method::POST, &format!("{path}/void"))
        .header(header::IF_MATCH, tag(&app, &path).await);
    let response = voiding.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answered = response.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(answered, tag(&app, &path).await);
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let app = App::start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for path in ["/invoices", "/nothing", "/invoices/x"] {
        let traced = app.request(Method::GET, path).header("traceparent", trace);
        let response = traced.send().await.unwrap();
        assert_eq!(
            response.headers()["request-id"],
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "{path}"
        );
    }
    let response = app.request(Method::GET, "/invoices").send().await.unwrap();
    assert_eq!(response.headers()["request-id"].len(), 32);
}

#[tokio::test]
async fn call_under_a_condition_that_it_does_not_know_is_not_carried_out() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let one = format!("/invoices/{invoice}");
    for (path, condition) in [
        (format!("{one}/pay"), header::IF_NONE_MATCH),
        (format!("{one}/void"), header::IF_NONE_MATCH),
        ("/invoices/pay".to_owned(), header::IF_MATCH),
        ("/invoices".to_owned(), header::IF_MATCH),
        ("/invoices/import".to_owned(), header::IF_NONE_MATCH),
    ] {
        let call = app.request(Method::POST, &path).header(condition, "\"x\"");
        let (status, problem) = answer(call).await;
        assert_eq!(status, 422, "{path}: {problem}");
    }
    assert_eq!(app.get(&one).await.1["status"], "unpaid");
    assert_eq!(app.count("select count(*) from invoices").await, 1);
}
