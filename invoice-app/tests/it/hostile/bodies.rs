//! Bodies that are something else than they should be, deeper, longer or slower.

use std::time::Duration;

use invoice_app::config::Limits;
use reqwest::{Method, header::HeaderValue};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{App, Options, answer, limits, new};

/// Each call that takes a body, and what it takes.
const TAKERS: [(&str, &str); 5] = [
    ("/invoices", "application/json"),
    ("/invoices/pay", "application/json"),
    (
        "/invoices/019a0000-0000-7000-8000-000000000000/pay",
        "application/json",
    ),
    (
        "/invoices/019a0000-0000-7000-8000-000000000000/void",
        "application/json",
    ),
    ("/invoices/import", "application/x-ndjson"),
];

#[tokio::test]
async fn bodies_of_another_type_are_refused_by_every_call_that_takes_one() {
    let app = App::start().await;
    for (path, _) in TAKERS {
        for kind in [
            "text/plain",
            "text/html; charset=utf-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "application/jsonx",
            "application",
            ";",
            "",
            "text/csv\u{ff}",
        ] {
            let kind = HeaderValue::from_bytes(kind.as_bytes()).unwrap();
            let call = app
                .request(Method::POST, path)
                .header("content-type", kind.clone());
            let (status, problem) = answer(call.body(new("A", "1.00").to_string())).await;
            assert_eq!(status.as_u16(), 415, "{path} {kind:?}: {problem}");
        }
    }
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn nesting_without_end_is_refused_by_every_call_that_takes_a_body() {
    let app = App::start().await;
    for (path, kind) in TAKERS {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let value = |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let money = r#""value": "1.00", "currency": "EUR""#;
            for body in [
                value(100_000),
                open.repeat(100_000),
                format!("{{\"amount\": {}}}", value(100_000)),
                format!("{{\"amount\": {{{money}}}, \"more\": {}}}", value(100_000)),
                format!("{{\"amount\": {{{money}, \"more\": {}}}}}", value(100_000)),
                format!("{{\"ids\": [{}]}}", value(100_000)),
                format!("{{\"expect\": {}}}", value(100_000)),
                format!("{{\"expect\": {{\"totals\": [{}]}}}}", value(100_000)),
            ] {
                let call = app.request(Method::POST, path).header("content-type", kind);
                let (status, problem) = answer(call.body(body.clone())).await;
                // An import refuses lines, not the call; a line is shorter than some of these.
                let refused = status.is_client_error() || problem["rejected_total"] == 1;
                assert!(refused, "{path} {body:.60}: {status} {problem}");
            }
        }
    }
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn numbers_in_any_spelling_and_of_any_length_are_no_amounts() {
    let app = App::start().await;
    let nines = "9".repeat(1000);
    let values = [
        "-0".to_owned(),
        "\"-0\"".to_owned(),
        "\"-0.00\"".to_owned(),
        "1e3".to_owned(),
        "1E+3".to_owned(),
        "\"1E3\"".to_owned(),
        "1e-3".to_owned(),
        nines.clone(),
        format!("\"{nines}\""),
        format!("-{nines}"),
        format!("0.{nines}"),
        format!("\"0.{nines}\""),
        format!("\"1.{}\"", "0".repeat(1000)),
        format!("\"{}1\"", "0".repeat(1000)),
        format!("1e{nines}"),
        "\"1.0\\u0000\"".to_owned(),
        "\"1.00\\n\"".to_owned(),
        "\"\\u0661.00\"".to_owned(),
    ];
    for value in &values {
        let body = format!("{{\"amount\": {{\"value\": {value}, \"currency\": \"EUR\"}}}}");
        let (status, problem) = answer(app.request(Method::POST, "/invoices").body(body)).await;
        let field = &problem["errors"][0]["field"];
        assert_eq!(
            (status.as_u16(), field),
            (422, &"amount.value".into()),
            "{value:.40}: {problem}"
        );
    }
    // Cells of CSV are text as they are.
    let cells = values.iter().filter(|value| !value.contains('\\'));
    let rows: Vec<String> = cells
        .clone()
        .map(|value| format!("a,{},EUR\n", value.replace('"', "")))
        .collect();
    let import = app
        .request(Method::POST, "/invoices/import")
        .header("content-type", "text/csv");
    let (_, summary) = answer(import.body(format!("number,value,currency\n{}", rows.concat()))).await;
    assert_eq!(summary["rejected_total"], cells.count(), "{summary}");
    // As a count it is nought, which is what there is to pay.
    for value in values.iter().filter(|value| *value != "-0") {
        for (path, body) in [
            (
                "/invoices/pay",
                format!("{{\"expect\": {{\"count\": {value}, \"totals\": []}}}}"),
            ),
            ("/invoices/pay", format!("{{\"ids\": {value}}}")),
        ] {
            let (status, problem) = answer(app.request(Method::POST, path).body(body)).await;
            assert_eq!(status.as_u16(), 422, "{value:.40}: {problem}");
        }
    }
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn control_characters_and_bytes_that_are_no_text_are_refused() {
    let app = App::start().await;
    for number in [
        "\\u0000",
        "\\u0007",
        "\\u001b[2J",
        "\\u007f",
        "\\u0085",
        "a\\tb",
        "a\\r\\nb: c",
    ] {
        let body = format!(
            "{{\"number\": \"{number}\", \"amount\": {{\"value\": \"1.00\", \"currency\": \"EUR\"}}}}"
        );
        let (status, problem) = answer(app.request(Method::POST, "/invoices").body(body)).await;
        assert_eq!(
            (status.as_u16(), &problem["errors"][0]["field"]),
            (422, &"number".into()),
            "{number}"
        );
    }
    let rows = b"number,value,currency\n\x1b[2J,1,EUR\na\x00b,1,EUR\n\xff,1,EUR\n\"a\x07\",1,EUR\n".to_vec();
    let import = app
        .request(Method::POST, "/invoices/import")
        .header("content-type", "text/csv");
    let (_, summary) = answer(import.body(rows)).await;
    assert_eq!(
        (&summary["created"], &summary["rejected_total"]),
        (&0.into(), &4.into()),
        "{summary}"
    );
    for (method, path, name, value, expected) in [
        (
            Method::POST,
            "/invoices",
            "idempotency-key",
            b"a\xff".as_slice(),
            400,
        ),
        (Method::POST, "/invoices", "idempotency-key", b"a\tb", 400),
        (Method::GET, "/events?follow=false", "last-event-id", b"\xff", 400),
        (
            Method::GET,
            "/invoices/019a0000-0000-7000-8000-000000000000",
            "if-none-match",
            b"\xff",
            404,
        ),
        (
            Method::POST,
            "/invoices/019a0000-0000-7000-8000-000000000000/void",
            "if-match",
            b"\"\xff\"",
            400,
        ),
        (Method::GET, "/invoices", "accept", b"\xff", 200),
        (Method::GET, "/invoices", "authorization", b"Bearer \xff", 200),
    ] {
        let call = app
            .request(method, path)
            .header(name, HeaderValue::from_bytes(value).unwrap());
        let (status, problem) = answer(call).await;
        assert_eq!(status.as_u16(), expected, "{path} {name}: {problem}");
    }
    for query in [
        "status=%00",
        "currency=%1b",
        "created_after=%ff",
        "order=%0d%0ax:1",
        "cursor=%ff",
        "%00=1",
    ] {
        let (status, problem) = app.get(&format!("/invoices?{query}")).await;
        assert_eq!(status.as_u16(), 422, "{query}: {problem}");
    }
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn body_that_comes_byte_by_byte_is_the_clients_slowness_not_ours() {
    let limits = Limits {
        request: Duration::from_secs(10),
        import: Duration::from_secs(10),
        ..limits()
    };
    let app = App::with(Options {
        limits,
        ..Options::default()
    })
    .await;
    let calls = ["/invoices", "/invoices/import", "/invoices/pay"].map(async |path| {
        let address = app.base.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n");
        connection.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = connection.split();
        let mut answer = [0; 12];
        let dripping = async {
            while writing.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = reading.read_exact(&mut answer) => { read.unwrap(); }
            () = dripping => {}
        }
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408", "{path}");
    });
    futures_util::future::join_all(calls).await;
}
