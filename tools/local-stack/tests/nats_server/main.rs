//! The one server configuration, tried with a real server: each grant works, each refusal holds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod grants;
mod refusals;

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{self, consumer::pull, context::ContextBuilder},
};
use futures_util::StreamExt;
use local_stack::{Keys, NatsOptions, NatsServer, User, free_port, http_client};
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(10);
/// Refusals are silent; this is how long nothing must come. A granted answer takes about a millisecond.
const SILENCE: Duration = Duration::from_millis(400);

struct Server {
    nats: NatsServer,
    // Removed after the server has ended.
    _directory: TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let nats = NatsServer::start(NatsOptions {
            directory: directory.path().to_owned(),
            log: directory.path().join("nats.log"),
            port: free_port(),
            monitor_port: free_port(),
            keys: Keys::generate(&directory.path().join("keys"), &[]).unwrap(),
        })
        .await
        .unwrap();
        Self {
            nats,
            _directory: directory,
        }
    }

    async fn connect(&self, user: User) -> Client {
        self.nats.connect(user).await.unwrap()
    }

    /// Waits until the server knows a subscription: a client's flush only says that the request is on its way.
    async fn has_subscription(&self, subject: &str) {
        let http = http_client(LIMIT).unwrap();
        let url = format!("{}/connz?subs=1", self.nats.monitor_url());
        let wait = async {
            loop {
                let connections: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
                let known = |connection: &Value| {
                    let list = connection.get("subscriptions_list").and_then(Value::as_array);
                    list.is_some_and(|list| list.iter().any(|known| known == subject))
                };
                let connections = connections.get("connections").and_then(Value::as_array);
                if connections.is_some_and(|connections| connections.iter().any(known)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap();
    }

    /// Both streams and durables, made by their owners.
    async fn with_streams() -> Self {
        let server = Self::start().await;
        let invoice_app = server.connect(User::InvoiceApp).await;
        let payment_provider = server.connect(User::PaymentProvider).await;
        make_stream(
            &invoice_app,
            "PAY_REQUESTS",
            "pay.v1.request.*",
            "payment-provider",
        )
        .await;
        make_stream(
            &payment_provider,
            "PAY_OUTCOMES",
            "pay.v1.outcome.*",
            "invoice-app",
        )
        .await;
        server
    }
}

fn own(client: &Client) -> jetstream::Context {
    ContextBuilder::new().timeout(LIMIT).build(client.clone())
}

fn peer(client: &Client) -> jetstream::Context {
    ContextBuilder::new()
        .timeout(LIMIT)
        .api_prefix("PEER.API")
        .build(client.clone())
}

fn durable(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        ..pull::Config::default()
    }
}

async fn make_stream(client: &Client, stream: &str, subject: &str, consumer: &str) {
    let own = own(client);
    let config = || jetstream::stream::Config {
        name: stream.to_owned(),
        subjects: vec![subject.to_owned()],
        max_bytes: 1 << 30,
        ..jetstream::stream::Config::default()
    };
    own.create_stream(config()).await.unwrap();
    own.update_stream(config()).await.unwrap();
    own.get_stream(stream).await.unwrap();
    own.create_consumer_on_stream(durable(consumer), stream)
        .await
        .unwrap();
    own.get_consumer_from_stream::<pull::Config, _, _>(consumer, stream)
        .await
        .unwrap();
}

async fn messages_in(client: &Client, stream: &str) -> u64 {
    own(client)
        .get_stream(stream)
        .await
        .unwrap()
        .cached_info()
        .state
        .messages
}

/// Asks as the client may, and tells whether anything answered.
async fn answered(client: &Client, subject: &str, payload: &str) -> bool {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client
        .publish_with_reply(subject.to_owned(), inbox, payload.to_owned().into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    matches!(tokio::time::timeout(SILENCE, answers.next()).await, Ok(Some(m)) if m.status.is_none())
}
