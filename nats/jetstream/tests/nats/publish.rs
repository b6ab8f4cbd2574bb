//! Publishing: stored with its headers, confirmed, counted once, and never hanging.

use std::time::{Duration, Instant};

use jetstream::publish::{Error, Outgoing, Publisher};
use local_stack::{User, eventually};
use payment_contract::trace::TraceParent;

use crate::fixture::{Pair, Server, outgoing, pay_request, requests};

fn many(count: usize) -> Vec<Outgoing> {
    (0..count)
        .map(|number| outgoing(&pay_request(number), 1))
        .collect()
}

async fn stored(server: &Server) -> u64 {
    server
        .admin("PAY_REQUESTS")
        .await
        .get_stream("PAY_REQUESTS")
        .await
        .unwrap()
        .cached_info()
        .state
        .messages
}

#[tokio::test]
async fn a_request_is_stored_with_its_id_trace_and_content_type() {
    let pair = Pair::start().await;
    let (request, trace) = (pay_request(1), TraceParent::generate());
    let publisher = Publisher::new(pair.invoice_app.clone());
    publisher
        .send(vec![Outgoing {
            traceparent: Some(trace.to_string()),
            ..outgoing(&request, 2)
        }])
        .await
        .unwrap();
    eventually("the message", || async { stored(&pair.server).await == 1 })
        .await
        .unwrap();
    let stream = pair
        .server
        .admin("PAY_REQUESTS")
        .await
        .get_stream("PAY_REQUESTS")
        .await
        .unwrap();
    let message = stream.get_raw_message(1).await.unwrap();
    assert_eq!(message.subject.as_str(), "pay.v1.request.eur");
    let header = |name: &str| message.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(header("Nats-Msg-Id"), format!("{}.2", request.payment_id));
    assert_eq!(header("traceparent"), trace.as_str());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(message.payload, request.encode());
}

#[tokio::test]
async fn confirmed_messages_are_stored_and_a_duplicate_counts_as_stored() {
    let pair = Pair::start().await;
    let publisher = Publisher::new(pair.invoice_app.clone());
    let messages = many(2000);
    for _ in 0..2 {
        let results = publisher.send_confirmed(messages.clone()).await;
        assert_eq!(results.len(), 2000);
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(stored(&pair.server).await, 2000);
    }
    assert!(publisher.send_confirmed(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn without_a_stream_nothing_is_confirmed_and_the_answer_comes_at_once() {
    let server = Server::start().await;
    let publisher = Publisher::new(server.connect(User::InvoiceApp).await);
    let began = Instant::now();
    let results = publisher.send_confirmed(many(600)).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Err(Error::Unconfirmed(_))))
    );
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_message_that_is_too_large_does_not_keep_back_the_others() {
    let pair = Pair::start().await;
    let publisher = Publisher::new(pair.invoice_app.clone());
    let mut messages = many(3);
    messages[1].body = vec![b' '; 1 << 20].into();
    let results = publisher.send_confirmed(messages.clone()).await;
    assert_eq!(
        results.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, true]
    );
    for message in &mut messages {
        message.message_id.push_str(".again");
    }
    assert!(matches!(
        publisher.send(messages).await,
        Err(Error::Unconfirmed(_))
    ));
    eventually("the others", || async { stored(&pair.server).await == 4 })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_server_cannot_store_at_once_is_held_back_and_not_dropped() {
    let pair = Pair::start().await;
    let publisher = Publisher::new(pair.invoice_app.clone());
    let flood = many(60_000);
    let count = u64::try_from(flood.len()).unwrap();
    for part in flood.chunks(700) {
        publisher.send(part.to_vec()).await.unwrap();
    }
    eventually("all of them", || async { stored(&pair.server).await == count })
        .await
        .unwrap();
    assert!(!pair.server.log().contains("Dropping"), "{}", pair.server.log());
}

#[tokio::test]
async fn while_disconnected_sending_fails_at_once() {
    let pair = Pair::start().await;
    let publisher = Publisher::new(pair.invoice_app.clone());
    pair.server.nats().kill9().await;
    let mut link = pair.invoice_app.link();
    link.wait_for(|link| !link.connected).await.unwrap();
    // Making so many takes a while on a busy machine.
    let (many, fewer) = (many(20_000), many(1000));
    let began = Instant::now();
    assert!(matches!(publisher.send(many).await, Err(Error::Disconnected)));
    let results = publisher.send_confirmed(fewer).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Err(Error::Disconnected)))
    );
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_dies_meanwhile_ends_waiting_for_confirmation() {
    let pair = Pair::start().await;
    let publisher = Publisher::new(pair.invoice_app.clone());
    let sending = tokio::spawn(async move { publisher.send_confirmed(many(100_000)).await });
    eventually("the first messages", || async {
        stored(&pair.server).await > 100
    })
    .await
    .unwrap();
    pair.server.nats().kill9().await;
    let began = Instant::now();
    let results = sending.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let confirmed = results.iter().filter(|result| result.is_ok()).count();
    assert!(
        confirmed > 0 && confirmed < results.len(),
        "{confirmed} confirmed"
    );
}

#[tokio::test]
async fn a_half_open_connection_neither_hangs_nor_lies() {
    let server = Server::start().await;
    let proxy = proxy::Proxy::start(server.nats().port()).await;
    let mut settings = server.settings(User::InvoiceApp);
    settings.url = format!("tls://127.0.0.1:{}", proxy.port);
    let connection = jetstream::connection::Connection::init(settings).await.unwrap();
    crate::fixture::connected(&connection).await;
    requests(&connection).ensure().await.unwrap();
    let publisher = Publisher::new(connection.clone());
    proxy.freeze();
    let began = Instant::now();
    // More than the sockets' buffers and the queue hold together.
    let sent = publisher.send(many(60_000)).await;
    assert!(sent.is_err());
    let results = publisher.send_confirmed(many(10)).await;
    assert!(results.iter().all(Result::is_err));
    let limit = Duration::from_secs(5 + 60 + 10);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    let mut link = connection.link();
    tokio::time::timeout(Duration::from_secs(20), link.wait_for(|link| !link.connected))
        .await
        .unwrap()
        .unwrap();
}

mod proxy {
    //! Passes bytes on until it is told to freeze; connections then stay open and silent.

    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    pub(super) struct Proxy {
        pub(super) port: u16,
        frozen: Arc<AtomicBool>,
    }

    impl Proxy {
        pub(super) async fn start(target: u16) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let frozen = Arc::new(AtomicBool::new(false));
            let shared = Arc::clone(&frozen);
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                    let ((client_read, client_write), (server_read, server_write)) =
                        (client.into_split(), server.into_split());
                    tokio::spawn(pass(client_read, server_write, Arc::clone(&shared)));
                    tokio::spawn(pass(server_read, client_write, Arc::clone(&shared)));
                }
            });
            Self { port, frozen }
        }

        pub(super) fn freeze(&self) {
            self.frozen.store(true, Ordering::SeqCst);
        }
    }

    async fn pass(
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
        frozen: Arc<AtomicBool>,
    ) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if frozen.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    }
}
