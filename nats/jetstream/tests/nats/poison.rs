//! Messages that the client cannot read, or takes for the server's own words: each ends as a dead letter, once, as it came.

use std::time::Duration;

use futures_util::StreamExt as _;
use local_stack::{RawNats, User};

use crate::{
    fixture::{ACK_WAIT, LIMIT, Pair, Server, pay_request},
    recorder::{Recorder, SETTINGS, publish, start, until_nothing_is_left},
};

/// Publishes what no other client lets through.
fn publish_raw(server: &Server, headers: &[u8], body: &[u8]) {
    let mut nats = RawNats::connect(server.nats(), User::InvoiceApp).unwrap();
    let refusals = nats
        .publish_with_headers("pay.v1.request.eur", headers, body)
        .unwrap();
    assert_eq!(refusals, Vec::<String>::new());
}

async fn is_dead_lettered_and_the_rest_handled(headers: &[u8]) {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..10).await;
    handler.until_done(10).await;
    let body = pay_request(666).encode();
    publish_raw(&pair.server, headers, &body);
    publish(&pair, 10..30).await;
    handler.until_dead_lettered(1).await;
    let letter = handler.letters.lock().unwrap()[0].clone();
    assert_eq!(letter.origin.headers, headers);
    assert_eq!(letter.origin.body, body);
    assert_eq!(letter.reason, "its headers are malformed");
    handler.until_done(30).await;
    publish(&pair, 30..40).await;
    handler.until_done(40).await;
    until_nothing_is_left(&pair).await;
    assert_eq!(handler.letters.lock().unwrap().len(), 1);
    assert!(!running.task.is_finished());
    let log = pair.server.log();
    assert!(!log.contains("Permissions Violation"), "{log}");
}

#[tokio::test]
async fn headers_that_are_no_utf8_end_as_a_dead_letter() {
    is_dead_lettered_and_the_rest_handled(b"NATS/1.0\r\na: \xff\xfe\r\n\r\n").await;
}

#[tokio::test]
async fn an_impossible_header_name_ends_as_a_dead_letter() {
    is_dead_lettered_and_the_rest_handled(b"NATS/1.0\r\nim possible: 1\r\n\r\n").await;
}

#[tokio::test]
async fn headers_that_look_like_the_servers_words_are_not_taken_for_them() {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let _running = start(&pair, SETTINGS, &handler);
    for (number, status) in (0..).zip([
        "404 No Messages",
        "408 Request Timeout",
        "409 Consumer Deleted",
        "100 Idle",
    ]) {
        let headers = format!("NATS/1.0 {status}\r\n\r\n");
        publish_raw(&pair.server, headers.as_bytes(), &pay_request(number).encode());
    }
    handler.until_done(4).await;
    until_nothing_is_left(&pair).await;
}

#[tokio::test]
async fn headers_that_end_the_client_are_dead_lettered_before_the_loop_ends() {
    let headers = b"NATS/1.0\r\na: 1\rb: 2\r\n\r\n";
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let mut running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..10).await;
    handler.until_done(10).await;
    publish_raw(&pair.server, headers, b"{}");
    // The process ends with its client, and the next one is not harmed.
    let limit = 2 * (ACK_WAIT + Duration::from_secs(10));
    tokio::time::timeout(limit, &mut running.task)
        .await
        .unwrap()
        .unwrap();
    let letters = handler.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].origin.headers, &headers[..]);
    until_nothing_is_left(&pair).await;
}

/// Why messages are pulled over a raw connection at times. When this fails, the client survives such a header, and can do without.
#[tokio::test]
async fn one_header_ends_a_client_that_reads_it() {
    let pair = Pair::start().await;
    let client = pair.server.admin("PAY_REQUESTS").await.client();
    let mut messages = client.subscribe("pay.v1.request.*").await.unwrap();
    client.flush().await.unwrap();
    publish_raw(&pair.server, b"NATS/1.0\r\na: 1\rb: 2\r\n\r\n", b"{}");
    let next = tokio::time::timeout(LIMIT, messages.next()).await.unwrap();
    assert!(next.is_none(), "{next:?}");
    // For good: it does not connect again.
    assert!(client.flush().await.is_err());
}
