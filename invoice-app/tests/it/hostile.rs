//! Input from people who mean harm, or from their programs: refused in words, never a 500, and nothing changes.

mod bodies;
mod forged;

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{App, answer};

#[tokio::test]
async fn hostile_bodies_are_refused_with_a_problem() {
    let app = App::start().await;
    let deep = format!("{{\"amount\": {}", "[".repeat(100_000));
    let money = r#""amount":{"value":"1.00","currency":"EUR"}"#;
    let cases: Vec<(u16, Vec<u8>)> = vec![
        (400, b"".to_vec()),
        (400, b"\0".to_vec()),
        (400, b"\xff\xfe{}".to_vec()),
        (400, deep.into_bytes()),
        (400, format!("{{{money}}} trailing").into_bytes()),
        (400, b"{\"amount\": NaN}".to_vec()),
        (
            422,
            format!("{{\"number\": \"a\\u0000b\", {money}}}").into_bytes(),
        ),
        (422, format!("{{\"number\": \"\\ud800\", {money}}}").into_bytes()),
        (
            422,
            format!("{{\"number\": \"{}\", {money}}}", "x".repeat(65)).into_bytes(),
        ),
        (422, format!("{{{money}, {money}}}").into_bytes()),
        (422, format!("{{{money}, \"__proto__\": {{}}}}").into_bytes()),
        (
            422,
            format!("{{{money}, \"{}\": 1}}", "k".repeat(10_000)).into_bytes(),
        ),
        (422, b"[]".to_vec()),
        (400, b"1e999999".to_vec()),
    ];
    for (expected, body) in cases {
        let shown = String::from_utf8_lossy(&body)
            .chars()
            .take(60)
            .collect::<String>();
        let (status, problem) = answer(app.request(Method::POST, "/invoices").body(body)).await;
        assert_eq!(status.as_u16(), expected, "{shown}: {problem}");
        assert!(problem["type"].is_string());
    }
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn hostile_amounts_are_refused_with_their_field() {
    let app = App::start().await;
    for value in [
        "1.00",
        "1.00",
        "\"-1.00\"",
        "\"+1.00\"",
        "\"0\"",
        "\"0.00\"",
        "\"01.00\"",
        "\"1.\"",
        "\".5\"",
        "\"1.001\"",
        "\"1e3\"",
        "\"1,00\"",
        "\" 1.00\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"0x10\"",
        "\"1_000\"",
        "\"１.00\"",
        "\"10000000000000.01\"",
        "\"99999999999999999999999999999999\"",
        "\"\"",
        "null",
        "true",
        "{}",
        "1e400",
        "123456789012345678901234567890",
    ] {
        let body = format!("{{\"amount\": {{\"value\": {value}, \"currency\": \"EUR\"}}}}");
        let (status, problem) = answer(app.request(Method::POST, "/invoices").body(body)).await;
        assert_eq!(
            (status.as_u16(), &problem["errors"][0]["field"]),
            (422, &"amount.value".into()),
            "{value}: {problem}"
        );
    }
    for currency in [
        "\"eur\"",
        "\"EU\"",
        "\"EURO\"",
        "\"XYZ\"",
        "\"€\"",
        "\"E\\u0000R\"",
        "5",
        "null",
        "\"\"",
    ] {
        let body = format!("{{\"amount\": {{\"value\": \"1.00\", \"currency\": {currency}}}}}");
        let (status, problem) = answer(app.request(Method::POST, "/invoices").body(body)).await;
        assert_eq!(
            (status.as_u16(), &problem["errors"][0]["field"]),
            (422, &"amount.currency".into()),
            "{currency}: {problem}"
        );
    }
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn hostile_pay_calls_pay_nothing() {
    let app = App::start().await;
    app.invoice("A", "1.00").await;
    for body in [
        r#"{"id": []}"#,
        r#"{"ids": null}"#,
        r#"{"ids": [null]}"#,
        r#"{"ids": {}}"#,
        r#"{"ids": [], "all": true}"#,
        "[]",
        "null",
        "true",
        r#"{"ids": [], "ids": []}"#,
    ] {
        let (status, problem) = answer(app.request(Method::POST, "/invoices/pay").body(body)).await;
        assert_eq!(status.as_u16(), 422, "{body}: {problem}");
    }
    let many = format!("{{\"ids\": [{}]}}", vec!["\"x\""; 100_001].join(","));
    assert_eq!(
        answer(app.request(Method::POST, "/invoices/pay").body(many))
            .await
            .0
            .as_u16(),
        422
    );
    let strange = r#"{"ids": ["\u0000", "'; drop table invoices; --", "", "💶"]}"#;
    let (status, batch) = answer(app.request(Method::POST, "/invoices/pay").body(strange)).await;
    assert_eq!(
        (status.as_u16(), batch["skipped"].as_array().unwrap().len()),
        (200, 4),
        "{batch}"
    );
    let path = format!("/payment-batches/{}", batch["batch_id"].as_str().unwrap());
    assert_eq!(app.get(&path).await.1, batch);
    assert_eq!(app.count("select count(*) from payments").await, 0);
}

#[tokio::test]
async fn hostile_paths_and_queries_are_refused() {
    let app = App::start().await;
    for (expected, path) in [
        (400, "/invoices/%ff"),
        (404, "/invoices/%00"),
        (404, "/invoices/..%2f"),
        (404, "/invoices/1'%20or%201=1"),
        (422, "/invoices?limit=0"),
        (422, "/invoices?limit=1001"),
        (422, "/invoices?cursor=%00"),
        (422, "/invoices?status=paid&status=paid"),
        (422, "/invoices?stauts=paid"),
        (200, "/invoices?number=%ff"),
        (200, "/invoices?number=%00"),
        (200, "/invoices?"),
    ] {
        let (status, answer) = app.get(path).await;
        assert_eq!(status.as_u16(), expected, "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_a_pay_call_does_not_understand_pays_nothing() {
    let app = App::start().await;
    app.invoice("E", "1.00").await;
    app.invoice("D", "2.00").await;
    let pay = |path: &str| app.request(Method::POST, path);
    for query in [
        "currency=DKK",
        "ids=019a0000-0000-7000-8000-000000000000",
        "x",
        "%00=1",
    ] {
        let (status, problem) = answer(pay(&format!("/invoices/pay?{query}"))).await;
        assert_eq!(status, 422, "{query}: {problem}");
    }
    let empty = pay("/invoices/pay").header("content-type", "application/json");
    assert_eq!(answer(empty).await.0, 400);
    assert_eq!(app.count("select count(*) from payments").await, 0);
    assert_eq!(
        app.post_async("/invoices/pay").await.1["requested"],
        2,
        "no body and no type mean all"
    );
}

/// What is answered to bytes as they are, until the connection is closed.
async fn raw(app: &App, request: &str) -> String {
    let address = app.base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_that_a_proxy_may_read_otherwise_are_refused() {
    let app = App::start().await;
    let body = r#"{"amount":{"value":"1.00","currency":"EUR"}}"#;
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (expected, head, body) in [
        (
            "200",
            "GET /invoices HTTP/1.1\r\nhost: here:8081\r\nconnection: close",
            "",
        ),
        (
            "200",
            "GET /invoices HTTP/1.1\r\nhost: [::1]:80\r\nconnection: close",
            "",
        ),
        ("200", "GET /invoices HTTP/1.0", ""),
        ("400", "GET /invoices HTTP/1.1", ""),
        ("400", "GET /invoices HTTP/1.1\r\nhost: a\r\nhost: a", ""),
        ("400", "GET /invoices HTTP/1.1\r\nhost: a b/..@", ""),
        ("400", "GET /invoices HTTP/1.1\r\nhost: me:secret@here", ""),
        ("400", "GET /problems HTTP/1.1", ""),
        (
            "201",
            "POST /invoices HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: Chunked",
            &chunked,
        ),
        (
            "400",
            "POST /invoices HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked",
            &chunked,
        ),
        (
            "400",
            "POST /invoices HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip",
            &chunked,
        ),
        (
            "400",
            "POST /invoices HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked",
            &chunked,
        ),
    ] {
        let answer = raw(&app, &format!("{head}\r\n\r\n{body}")).await;
        assert_eq!(answer.split(' ').nth(1), Some(expected), "{head}: {answer}");
    }
    assert_eq!(app.count("select count(*) from invoices").await, 1);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let app = App::start().await;
    let head = |bytes| {
        let long = "x".repeat(bytes);
        format!("GET /invoices HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-long: {long}\r\n\r\n")
    };
    let answered = raw(&app, &head(32 * 1024)).await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");

    let address = app.base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    // The connection is closed while more is on its way, which may take the answer away with it.
    let _ = connection.write_all(head(1024 * 1024).as_bytes()).await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
}
