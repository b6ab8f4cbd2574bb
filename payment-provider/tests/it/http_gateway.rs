//! The HTTP bank's protocol, against a real server in the test: what is believed, and what is only ever "unknown".

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use payment_contract::{Money, PaymentId};
use payment_provider::{
    gateway::{Bank, credentials::Credentials, http::Http},
    order::{Answer, CallError, IdempotencyKey, Order},
};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

/// The server's name for a payment.
const REFERENCE: &str = "b-1";

/// A bank at `address` with a timeout of 500 ms.
fn bank_at(address: SocketAddr, credentials: &Credentials) -> Bank {
    local_stack::install_crypto_provider();
    let url = Url::parse(&format!("http://{address}/api")).unwrap();
    let http = Http::try_new(&url, Duration::from_millis(250), credentials).unwrap();
    Bank::new(Arc::new(http), Duration::from_millis(500), 8)
}

/// What a server was asked.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    key: Option<String>,
    authorization: Option<String>,
    body: Vec<u8>,
}

/// A server that answers everything alike, and the list of what it was asked.
async fn server<F>(answer: F) -> (Bank, Arc<Mutex<Vec<Seen>>>)
where
    F: Fn() -> Response + Clone + Send + Sync + 'static,
{
    server_for(answer, &Credentials::default()).await
}

/// The same for a client with credentials.
async fn server_for<F>(answer: F, credentials: &Credentials) -> (Bank, Arc<Mutex<Vec<Seen>>>)
where
    F: Fn() -> Response + Clone + Send + Sync + 'static,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let handler = async move |method: axum::http::Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        list.lock().await.push(Seen {
            method: method.to_string(),
            path: uri.path().to_owned(),
            key: text(&headers, "idempotency-key"),
            authorization: text(&headers, "authorization"),
            body: body.to_vec(),
        });
        answer()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bank = bank_at(listener.local_addr().unwrap(), credentials);
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    (bank, seen)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

/// A server that reads a request, then does something with the bare connection.
async fn raw_server<F, Fut>(then: F) -> Bank
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bank = bank_at(listener.local_addr().unwrap(), &Credentials::default());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            assert!(read > 0, "a request came");
            then(stream).await;
        }
    });
    bank
}

fn key() -> IdempotencyKey {
    "0198c0de-0000-7000-8000-000000000001"
        .parse::<PaymentId>()
        .unwrap()
        .into()
}

async fn pay(bank: &Bank) -> Result<Answer, CallError> {
    let order = Order {
        amount: Money::parse("12.15", "EUR").unwrap(),
        invoice_number: "I1".to_owned(),
    };
    bank.acquire().await.unwrap().pay(key(), &order).await
}

async fn find(bank: &Bank) -> Result<Option<Answer>, CallError> {
    bank.acquire().await.unwrap().find(key()).await
}

fn ok(body: Value) -> impl Fn() -> Response + Clone + Send + Sync + 'static {
    move || Json(body.clone()).into_response()
}

fn payment(status: &str, reason: Option<&str>) -> Value {
    json!({ "id": key().to_string(), "status": status, "reason": reason, "reference": REFERENCE })
}

#[tokio::test]
async fn payment_is_asked_for_as_documented_and_its_success_believed() {
    let (bank, seen) = server(ok(payment("succeeded", None))).await;
    assert_eq!(
        pay(&bank).await,
        Ok(Answer::Succeeded {
            reference: Some(REFERENCE.to_owned())
        })
    );
    assert_eq!(
        find(&bank).await,
        Ok(Some(Answer::Succeeded {
            reference: Some(REFERENCE.to_owned())
        }))
    );
    let seen = seen.lock().await;
    let (paid, found) = (&seen[0], &seen[1]);
    assert_eq!(
        (paid.method.as_str(), paid.path.as_str()),
        ("POST", "/api/payments/pay")
    );
    assert_eq!(paid.key, Some(key().to_string()));
    let body: Value = serde_json::from_slice(&paid.body).unwrap();
    assert_eq!(
        body,
        json!({ "id": key().to_string(), "value": "12.15", "currency": "EUR", "invoice": "I1" })
    );
    assert_eq!(
        (found.method.as_str(), found.path.clone()),
        ("GET", format!("/api/payments/{}", key()))
    );
}

#[tokio::test]
async fn documented_decline_is_believed_with_its_reason() {
    let (bank, _) = server(ok(payment("declined", Some("insufficient_funds")))).await;
    let declined = Answer::Declined {
        reason: "insufficient_funds".to_owned(),
        reference: Some(REFERENCE.to_owned()),
    };
    assert_eq!(pay(&bank).await, Ok(declined.clone()));
    assert_eq!(find(&bank).await, Ok(Some(declined)));

    let (bank, _) = server(ok(payment("declined", None))).await;
    assert!(matches!(pay(&bank).await, Ok(Answer::Declined { reason, .. }) if reason == "unspecified"));
}

#[tokio::test]
async fn pending_is_no_result() {
    let (bank, _) = server(ok(payment("pending", None))).await;
    assert_eq!(pay(&bank).await, Ok(Answer::Pending));
    assert_eq!(find(&bank).await, Ok(Some(Answer::Pending)));
}

#[tokio::test]
async fn payment_the_bank_does_not_know_is_found_to_be_unknown_to_it_by_get_alone() {
    let (bank, _) = server(|| StatusCode::NOT_FOUND.into_response()).await;
    assert_eq!(find(&bank).await, Ok(None));
    assert!(matches!(pay(&bank).await, Err(CallError::Undocumented(_))));
}

#[tokio::test]
async fn too_many_requests_can_be_retried() {
    let (bank, _) = server(|| StatusCode::TOO_MANY_REQUESTS.into_response()).await;
    assert!(matches!(pay(&bank).await, Err(CallError::Retryable(_))));
    assert!(matches!(find(&bank).await, Err(CallError::Retryable(_))));
}

#[tokio::test]
async fn bank_that_asks_for_a_pause_gets_it() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let (bank, seen) = server(move || (status, [(header::RETRY_AFTER, "7")]).into_response()).await;
        let Err(CallError::Busy { pause, .. }) = pay(&bank).await else {
            panic!("it asks for a pause")
        };
        assert_eq!(pause, Duration::from_secs(7));
        let away = bank.acquire().await.err().unwrap();
        assert!(away.next_call <= pause && bank.is_there().is_err());
        assert_eq!(seen.lock().await.len(), 1);
    }
    // A date, or nonsense, is no pause.
    for text in ["Fri, 27 Nov 2026 10:00:00 GMT", "-1", "soon", ""] {
        let (bank, _) =
            server(move || (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, text)]).into_response())
                .await;
        assert!(matches!(pay(&bank).await, Err(CallError::Unknown(_))), "{text}");
        assert!(bank.is_there().is_ok());
    }
}

#[tokio::test]
async fn every_other_status_is_unknown_even_with_a_body_that_looks_like_an_answer() {
    for status in [201, 202, 204, 400, 401, 403, 409, 422, 500, 502, 503, 504] {
        let status = StatusCode::from_u16(status).unwrap();
        let body = payment("declined", Some("no"));
        let (bank, seen) = server(move || (status, Json(body.clone())).into_response()).await;
        for error in [pay(&bank).await.unwrap_err(), find(&bank).await.unwrap_err()] {
            match error {
                CallError::Unknown(_) => assert!(status.is_server_error() || status == 401, "{status}"),
                // The bank is there, and other payments need not wait.
                CallError::Undocumented(_) => assert!(!status.is_server_error(), "{status}"),
                other => panic!("{status}: {other}"),
            }
        }
        assert_eq!(
            seen.lock().await.len(),
            2,
            "nothing is repeated behind the ledger's back"
        );
    }
}

#[tokio::test]
async fn redirect_is_unknown_and_not_followed() {
    let elsewhere = [(header::LOCATION, "/api/payments/pay2")];
    let (bank, seen) =
        server(move || (StatusCode::TEMPORARY_REDIRECT, elsewhere.clone()).into_response()).await;
    assert!(matches!(pay(&bank).await, Err(CallError::Undocumented(_))));
    assert_eq!(seen.lock().await.len(), 1);
}

#[tokio::test]
async fn unreadable_answers_are_unknown() {
    let other_payment = json!({ "id": PaymentId::generate(), "status": "succeeded", "reference": "b-2" });
    let undocumented = payment("settled", None);
    let huge = json!({ "id": key().to_string(), "status": "succeeded", "padding": "x".repeat(100_000) });
    for body in [
        other_payment,
        undocumented,
        huge,
        json!({}),
        json!([]),
        json!("succeeded"),
    ] {
        let (bank, _) = server(ok(body)).await;
        assert!(matches!(pay(&bank).await, Err(CallError::Undocumented(_))));
        assert!(matches!(find(&bank).await, Err(CallError::Undocumented(_))));
    }
    for text in ["", "{\"id\":", "<html>succeeded</html>"] {
        let (bank, _) = server(move || text.into_response()).await;
        assert!(
            matches!(pay(&bank).await, Err(CallError::Undocumented(_))),
            "{text}"
        );
    }
}

#[tokio::test]
async fn stray_control_characters_do_not_cost_a_definite_result() {
    let body = json!({ "id": key().to_string(), "status": "succeeded", "reference": "b\u{0}-1\n" });
    let (bank, _) = server(ok(body)).await;
    assert_eq!(
        pay(&bank).await,
        Ok(Answer::Succeeded {
            reference: Some(REFERENCE.to_owned())
        })
    );
}

#[tokio::test]
async fn refused_connection_can_be_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bank = bank_at(listener.local_addr().unwrap(), &Credentials::default());
    drop(listener);
    assert!(matches!(pay(&bank).await, Err(CallError::Retryable(_))));
    assert!(matches!(find(&bank).await, Err(CallError::Retryable(_))));
}

#[tokio::test]
async fn connection_reset_after_the_request_is_unknown() {
    let bank = raw_server(async |stream: TcpStream| {
        stream.set_zero_linger().unwrap();
        drop(stream);
    })
    .await;
    assert!(matches!(pay(&bank).await, Err(CallError::Unknown(_))));
    assert!(matches!(find(&bank).await, Err(CallError::Unknown(_))));
}

#[tokio::test]
async fn silence_and_half_an_answer_are_unknown_when_the_time_is_over() {
    let silent = raw_server(async |stream: TcpStream| {
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
    })
    .await;
    let halting = raw_server(async |mut stream: TcpStream| {
        let head =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"id\":";
        stream.write_all(head).await.unwrap();
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
    })
    .await;
    for bank in [silent, halting] {
        assert!(matches!(pay(&bank).await, Err(CallError::Unknown(text)) if text.contains("500 ms")));
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_for_a_permit() {
    let (bank, _) = server(ok(payment("succeeded", None))).await;
    let mut permits = Vec::new();
    for _ in 0..8 {
        permits.push(bank.acquire().await.unwrap());
    }
    let ninth = tokio::time::timeout(Duration::from_millis(50), bank.acquire()).await;
    assert!(ninth.is_err(), "eight permits and no more");
    permits.pop();
    assert!(bank.acquire().await.is_ok());
}

#[tokio::test]
async fn token_is_shown_to_the_bank_as_it_is_in_its_file_by_now() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let credentials = Credentials {
        token_file: Some(file.clone()),
        ..Credentials::default()
    };
    let not_found = || StatusCode::NOT_FOUND.into_response();
    let (bank, seen) = server_for(not_found, &credentials).await;
    let shown = async || {
        assert_eq!(bank.acquire().await.unwrap().find(key()).await, Ok(None));
        seen.lock().await.last().unwrap().authorization.clone()
    };
    assert_eq!(shown().await.as_deref(), Some("Bearer first"));
    std::fs::write(&file, "second").unwrap();
    local_stack::eventually("the new token is shown", async || {
        shown().await.as_deref() == Some("Bearer second")
    })
    .await
    .unwrap();
    // What cannot be read leaves the last one in use.
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(shown().await.as_deref(), Some("Bearer second"));

    let (bank, seen) = server(not_found).await;
    assert_eq!(bank.acquire().await.unwrap().find(key()).await, Ok(None));
    assert_eq!(seen.lock().await[0].authorization, None);
}

#[tokio::test]
async fn credentials_that_cannot_be_used_are_told_at_start_by_their_file() {
    local_stack::install_crypto_provider();
    let directory = tempfile::tempdir().unwrap();
    let (empty, missing) = (directory.path().join("empty"), directory.path().join("missing"));
    std::fs::write(&empty, "\n").unwrap();
    let url = Url::parse("https://127.0.0.1:1/api").unwrap();
    for file in [&empty, &missing] {
        for credentials in [
            Credentials {
                token_file: Some(file.clone()),
                ..Credentials::default()
            },
            Credentials {
                client_cert: Some((file.clone(), file.clone())),
                ..Credentials::default()
            },
        ] {
            let error = Http::try_new(&url, Duration::from_millis(250), &credentials)
                .err()
                .unwrap();
            let said = service::telemetry::chain(&error);
            assert!(said.contains(file.to_str().unwrap()), "{said}");
        }
    }
}
