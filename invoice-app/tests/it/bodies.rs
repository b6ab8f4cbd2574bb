//! Bodies: compressed ones are refused, an empty one is none, and one that is left unread does not cost the answer.

use std::time::Duration;

use invoice_app::config::Limits;
use reqwest::{Method, StatusCode, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{App, Options, answer, limits, new};

#[tokio::test]
async fn a_compressed_body_is_refused_rather_than_misread() {
    let app = App::start().await;
    for path in ["/invoices", "/invoices/import", "/invoices/pay"] {
        let call = app
            .request(Method::POST, path)
            .header(header::CONTENT_ENCODING, "gzip");
        let (status, problem) = answer(call.body("\u{1f}not really")).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}: {problem}");
    }
    let plain = app
        .request(Method::POST, "/invoices")
        .header(header::CONTENT_ENCODING, "identity");
    assert_eq!(answer(plain.json(&new("A", "1.00"))).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn one_of_two_content_types_that_does_not_fit_is_refused() {
    let app = App::start().await;
    let call = app
        .request(Method::POST, "/invoices")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_TYPE, "text/plain");
    let (status, _) = answer(call.body(new("A", "1.00").to_string())).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn an_empty_import_is_none_whatever_its_type() {
    let app = App::start().await;
    let call = app
        .request(Method::POST, "/invoices/import")
        .header(header::CONTENT_TYPE, "text/csv");
    let (status, summary) = answer(call).await;
    assert_eq!(
        (status, summary),
        (
            StatusCode::OK,
            json!({"created": 0, "rejected": [], "rejected_total": 0})
        )
    );
}

/// A client that writes everything before it reads, as simple ones do.
#[tokio::test]
async fn a_client_that_sends_a_body_nobody_reads_gets_its_answer() {
    let app = App::start().await;
    let body = vec![b' '; 20 * 1024 * 1024];
    for (path, expected) in [
        ("/invoices", "413"),
        ("/nothing", "404"),
        ("/invoices/pay", "413"),
    ] {
        let mut stream = TcpStream::connect(app.base.trim_start_matches("http://"))
            .await
            .unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_waits_for_its_turn_instead_of_being_refused() {
    let limits = Limits {
        max_in_flight: 2,
        ..limits()
    };
    let app = App::with(Options {
        limits,
        ..Options::default()
    })
    .await;
    let calls = (0..50).map(|_| app.get("/invoices"));
    let burst = tokio::time::timeout(Duration::from_secs(20), futures_util::future::join_all(calls));
    for (status, _) in burst.await.unwrap() {
        assert_eq!(status, StatusCode::OK);
    }
}
