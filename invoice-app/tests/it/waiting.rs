//! How long pay calls wait, and what ends it.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use invoice_app::config::Limits;
use local_stack::eventually;
use reqwest::{Method, RequestBuilder, StatusCode};
use tokio::task::JoinHandle;

use crate::harness::{App, Options, limits, read, succeeded};

async fn timed(request: RequestBuilder) -> (StatusCode, Duration, Option<String>) {
    let start = Instant::now();
    let response = request.send().await.unwrap();
    let applied = response
        .headers()
        .get("preference-applied")
        .map(|value| value.to_str().unwrap().to_owned());
    let (status, _) = read(response).await;
    (status, start.elapsed(), applied)
}

#[tokio::test]
async fn preferences_decide_how_long_a_call_waits() {
    let app = App::start().await;
    for (number, prefer, least, most) in [
        ("A", "respond-async", 0, 900),
        ("B", "wait=1", 1000, 2500),
        ("C", "respond-async, wait=1", 1000, 2500),
    ] {
        let path = format!("/invoices/{}/pay", app.invoice(number, "1.00").await);
        let (status, took, applied) = timed(app.request(Method::POST, &path).header("prefer", prefer)).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert!((least..most).contains(&took.as_millis()), "{prefer}: {took:?}");
        assert!(prefer.ends_with(&applied.unwrap()), "{prefer}");
    }
    let path = format!("/invoices/{}/pay", app.invoice("D", "1.00").await);
    let (status, took, applied) = timed(app.request(Method::POST, &path)).await;
    assert_eq!((status, applied), (StatusCode::ACCEPTED, None));
    assert!((5000..7000).contains(&took.as_millis()), "{took:?}");
}

const OPEN: &str = "select count(*) from payments where status = 'requested'";

/// Pays an invoice and waits for its outcome; the payment is asked for.
async fn waiting_call(app: &App) -> JoinHandle<(StatusCode, Duration, Option<String>)> {
    let path = format!("/invoices/{}/pay", app.invoice("A", "1.00").await);
    let call = tokio::spawn(timed(
        app.request(Method::POST, &path).header("prefer", "wait=30"),
    ));
    eventually("it is asked for", async || app.count(OPEN).await == 1)
        .await
        .unwrap();
    call
}

#[tokio::test]
async fn an_outcome_ends_the_wait() {
    let app = App::start().await;
    let call = waiting_call(&app).await;
    let batch = {
        app.invoice("B", "1.00").await;
        tokio::spawn(timed(
            app.request(Method::POST, "/invoices/pay")
                .header("prefer", "wait=30"),
        ))
    };
    eventually("both are asked for", async || app.count(OPEN).await == 2)
        .await
        .unwrap();
    let rows: Vec<(uuid::Uuid, uuid::Uuid)> = sqlx::query_as("select id, invoice_id from payments")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    for (payment, invoice) in rows {
        app.settle(&[succeeded(&payment.to_string(), &invoice.to_string())])
            .await;
    }
    for call in [call, batch] {
        let (status, took, _) = call.await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[tokio::test]
async fn stopping_answers_whoever_waits_at_once() {
    let app = App::start().await;
    let call = waiting_call(&app).await;
    app.stop.cancel();
    let (status, took, _) = call.await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn waiting_calls_hold_neither_a_place_among_those_in_flight_nor_a_connection() {
    let limits = Limits {
        max_in_flight: 2,
        max_waiting: 30,
        ..limits()
    };
    let app = App::with(Options {
        limits,
        ..Options::default()
    })
    .await;
    let mut waiting = Vec::new();
    for number in 0..30 {
        let invoice = app.invoice(&format!("W{number}"), "1.00").await;
        let call = app
            .request(Method::POST, &format!("/invoices/{invoice}/pay"))
            .header("prefer", "wait=30");
        waiting.push(tokio::spawn(timed(call)));
        let asked = async || {
            let (_, shown) = app.get(&format!("/invoices/{invoice}")).await;
            (shown["status"] == "pending").then_some(())
        };
        eventually("it is asked for", asked).await.unwrap();
    }
    // More than may wait: answered without waiting.
    let last = app.invoice("last", "1.00").await;
    let call = app
        .request(Method::POST, &format!("/invoices/{last}/pay"))
        .header("prefer", "wait=30");
    let (status, took, _) = timed(call).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(took < Duration::from_secs(5), "{took:?}");
    app.stop.cancel();
    for call in waiting {
        assert_eq!(call.await.unwrap().0, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn the_sender_outlives_those_who_hand_over_to_it() {
    let parts = crate::harness::parts(&crate::harness::database().await, None).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut sender = std::pin::pin!(parts.sender.run(stop.clone()));
    drop(parts.paying);
    assert!(sender.as_mut().now_or_never().is_none());
    stop.cancel();
    sender.await;
}
