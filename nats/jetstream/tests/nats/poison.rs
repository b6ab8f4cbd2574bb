//! Messages that the client cannot read, or takes for the server's own words: each ends as a dead letter, once, as it came.

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use futures_util::StreamExt as _;
use local_stack::{User, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use crate::{
    fixture::{ACK_WAIT, LIMIT, Pair, Server, pay_request},
    recorder::{Recorder, SETTINGS, nothing_left, publish, start},
};

/// Publishes what no client lets through.
struct Publisher(TlsStream<TcpStream>);

impl Publisher {
    async fn connect(server: &Server) -> Self {
        let mut tcp = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let mut greeting = Vec::new();
        while !greeting.ends_with(b"\r\n") {
            greeting.push(tcp.read_u8().await.unwrap());
        }
        let greeting: serde_json::Value = serde_json::from_slice(&greeting[5..]).unwrap();
        let user = nkeys::KeyPair::from_seed(&server.keys.seed(User::InvoiceApp).unwrap()).unwrap();
        let nonce = greeting["nonce"].as_str().unwrap();
        let signature = user.sign(nonce.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(server.keys.ca_file()).unwrap())
            .unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        let mut publisher = Self(tls.unwrap());
        let login = serde_json::json!({
            "verbose": false, "tls_required": true, "headers": true, "nkey": user.public_key(),
            "sig": base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature),
        });
        publisher.write(format!("CONNECT {login}\r\n").as_bytes()).await;
        publisher
    }

    async fn publish(&mut self, headers: &[u8], body: &[u8]) {
        let total = headers.len() + body.len();
        let mut command = format!("HPUB pay.v1.request.eur {} {total}\r\n", headers.len()).into_bytes();
        for part in [headers, body, b"\r\n"] {
            command.extend_from_slice(part);
        }
        self.write(&command).await;
    }

    /// Returns when the server has taken it.
    async fn write(&mut self, command: &[u8]) {
        self.0.write_all(command).await.unwrap();
        self.0.write_all(b"PING\r\n").await.unwrap();
        let mut answer = String::new();
        while !answer.contains("PONG\r\n") {
            let mut bytes = [0; 1024];
            let count = self.0.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        assert!(!answer.contains("-ERR"), "{answer}");
    }
}

async fn is_dead_lettered_and_the_rest_handled(headers: &[u8]) {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..10).await;
    eventually("the first part", || async { handler.done() == 10 })
        .await
        .unwrap();
    let mut publisher = Publisher::connect(&pair.server).await;
    let body = pay_request(666).encode();
    publisher.publish(headers, &body).await;
    publish(&pair, 10..30).await;
    eventually("the dead letter", || async {
        handler.letters.lock().unwrap().len() == 1
    })
    .await
    .unwrap();
    let letter = handler.letters.lock().unwrap()[0].clone();
    assert_eq!(letter.origin.headers, headers);
    assert_eq!(letter.origin.body, body);
    assert_eq!(letter.reason, "its headers are malformed");
    eventually("the rest", || async { handler.done() == 30 })
        .await
        .unwrap();
    publish(&pair, 30..40).await;
    eventually("what came after", || async { handler.done() == 40 })
        .await
        .unwrap();
    eventually("the last ack", || nothing_left(&pair)).await.unwrap();
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
    let mut publisher = Publisher::connect(&pair.server).await;
    for (number, status) in (0..).zip([
        "404 No Messages",
        "408 Request Timeout",
        "409 Consumer Deleted",
        "100 Idle",
    ]) {
        let headers = format!("NATS/1.0 {status}\r\n\r\n");
        publisher
            .publish(headers.as_bytes(), &pay_request(number).encode())
            .await;
    }
    eventually("the end of the work", || async { handler.done() == 4 })
        .await
        .unwrap();
    eventually("the last ack", || nothing_left(&pair)).await.unwrap();
}

#[tokio::test]
async fn headers_that_end_the_client_are_dead_lettered_before_the_loop_ends() {
    let headers = b"NATS/1.0\r\na: 1\rb: 2\r\n\r\n";
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let mut running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..10).await;
    eventually("the first part", || async { handler.done() == 10 })
        .await
        .unwrap();
    let mut publisher = Publisher::connect(&pair.server).await;
    publisher.publish(headers, b"{}").await;
    // The process ends with its client, and the next one is not harmed.
    let limit = 2 * (ACK_WAIT + Duration::from_secs(10));
    tokio::time::timeout(limit, &mut running.task)
        .await
        .unwrap()
        .unwrap();
    let letters = handler.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].origin.headers, &headers[..]);
    eventually("the last ack", || nothing_left(&pair)).await.unwrap();
}

/// Why messages are pulled over a raw connection at times. When this fails, the client survives such a header, and can do without.
#[tokio::test]
async fn one_header_ends_a_client_that_reads_it() {
    let pair = Pair::start().await;
    let client = pair.server.admin("INVOICE").await.client();
    let mut messages = client.subscribe("pay.v1.request.*").await.unwrap();
    client.flush().await.unwrap();
    let mut publisher = Publisher::connect(&pair.server).await;
    publisher.publish(b"NATS/1.0\r\na: 1\rb: 2\r\n\r\n", b"{}").await;
    let next = tokio::time::timeout(LIMIT, messages.next()).await.unwrap();
    assert!(next.is_none(), "{next:?}");
    // For good: it does not connect again.
    assert!(client.flush().await.is_err());
}
