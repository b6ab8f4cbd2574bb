//! A nats-server of a test's own, and connections to it as the services and as an administrator.

use std::{borrow::Cow, fs, time::Duration};

use ::jetstream::{
    connection::{Connection, Settings},
    provisioning::StreamProvisioner,
    publish::{Outgoing, Sent},
    streams::{Consumer, Stream},
};
use async_nats::jetstream;
use local_stack::{Keys, NatsAdmin, NatsOptions, NatsServer, User};
use payment_contract::{InvoiceId, Money, PaymentId, messages::PayRequestV1, subjects};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::task::AbortOnDropHandle;

/// Everything a test waits for happens within this, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Short, so that tests of redelivery are.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(2);

/// invoice-app's stream.
pub(crate) const PAY_REQUESTS: Stream = Stream {
    name: "PAY_REQUESTS",
    subject: "pay.v1.request.*",
};
/// payment-provider's consumer of it.
pub(crate) const PAYMENT_PROVIDER: Consumer = Consumer {
    stream: "PAY_REQUESTS",
    durable: Cow::Borrowed("payment-provider"),
    ack_wait: ACK_WAIT,
};
/// payment-provider's stream.
pub(crate) const PAY_OUTCOMES: Stream = Stream {
    name: "PAY_OUTCOMES",
    subject: "pay.v1.outcome.*",
};
/// invoice-app's consumer of it.
pub(crate) const INVOICE_APP: Consumer = Consumer {
    stream: "PAY_OUTCOMES",
    durable: Cow::Borrowed("invoice-app"),
    ack_wait: ACK_WAIT,
};

/// Makes invoice-app's stream, as invoice-app.
pub(crate) fn requests(invoice_app: &Connection) -> StreamProvisioner {
    provisioner(invoice_app, PAY_REQUESTS, PAYMENT_PROVIDER)
}

/// Makes payment-provider's stream, as payment-provider.
pub(crate) fn outcomes(payment_provider: &Connection) -> StreamProvisioner {
    provisioner(payment_provider, PAY_OUTCOMES, INVOICE_APP)
}

pub(crate) fn provisioner(owner: &Connection, stream: Stream, consumer: Consumer) -> StreamProvisioner {
    StreamProvisioner {
        connection: owner.clone(),
        stream,
        consumers: vec![consumer],
        replicas: 1,
    }
}

pub(crate) struct Server {
    admin: NatsAdmin,
    _directory: TempDir,
}

impl Server {
    /// With a shorter queue before each stream than the deployed one: what goes beyond it is dropped, as with a slow disk.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::generate(&directory.path().join("keys"), &[]).unwrap();
        let options = NatsOptions::for_tests(directory.path(), keys);
        let admin = NatsAdmin::start(options, |configuration| {
            configuration.replace("jetstream {\n", "jetstream {\n    max_buffered_msgs: 1500\n")
        });
        Self {
            admin: admin.await.unwrap(),
            _directory: directory,
        }
    }

    pub(crate) fn nats(&self) -> &NatsServer {
        self.admin.server()
    }

    pub(crate) fn settings(&self, user: User) -> Settings {
        let keys = self.nats().keys();
        Settings {
            name: user.as_str(),
            url: self.nats().url(),
            nkey_seed: keys.seed(user).unwrap(),
            nkey_seed_file: None,
            ca_file: Some(keys.ca_file()),
        }
    }

    pub(crate) async fn connect(&self, user: User) -> Connection {
        let connection = Connection::init(self.settings(user)).await.unwrap();
        connected(&connection).await;
        connection
    }

    /// May do anything in the account that owns this stream.
    pub(crate) async fn admin(&self, stream: &str) -> jetstream::Context {
        self.admin.jetstream(stream).await.unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.nats().options().log).unwrap()
    }
}

pub(crate) async fn connected(connection: &Connection) {
    let mut link = connection.link();
    let up = link.wait_for(|link| link.connected);
    tokio::time::timeout(LIMIT, up)
        .await
        .expect("connects in time")
        .unwrap();
}

/// Makes the streams whenever they are gone, as each service does for its own.
pub(crate) fn guard(provisioner: StreamProvisioner) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let _ = provisioner.ensure().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }))
}

/// Both services' connections, with both streams made and kept.
pub(crate) struct Pair {
    pub(crate) server: Server,
    pub(crate) invoice_app: Connection,
    pub(crate) payment_provider: Connection,
    guards: Vec<AbortOnDropHandle<()>>,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let server = Server::start().await;
        let invoice_app = server.connect(User::InvoiceApp).await;
        let payment_provider = server.connect(User::PaymentProvider).await;
        requests(&invoice_app).ensure().await.unwrap();
        outcomes(&payment_provider).ensure().await.unwrap();
        let guards = Vec::new();
        let mut pair = Self {
            server,
            invoice_app,
            payment_provider,
            guards,
        };
        pair.guard();
        pair
    }
}

impl Pair {
    /// From now on streams and durables are made again when they are gone.
    pub(crate) fn guard(&mut self) {
        self.guards = vec![
            guard(requests(&self.invoice_app)),
            guard(outcomes(&self.payment_provider)),
        ];
    }

    /// From now on they are not.
    pub(crate) fn unguard(&mut self) {
        self.guards.clear();
    }
}

pub(crate) fn pay_request(number: usize) -> PayRequestV1 {
    PayRequestV1 {
        payment_id: PaymentId::generate(),
        invoice_id: InvoiceId::generate(),
        invoice_number: format!("I{number}"),
        amount: Money::parse("12.15", "EUR").unwrap(),
        attempt: 1,
        requested_at: OffsetDateTime::now_utc(),
    }
}

/// A request as it is sent.
pub(crate) fn outgoing(request: &PayRequestV1, send: u32) -> Outgoing {
    Outgoing {
        subject: request.subject(),
        template: subjects::PAY_REQUEST_TEMPLATE,
        message_id: request.message_id(send),
        conversation_id: request.payment_id.as_uuid(),
        sent: Sent::First,
        traceparent: None,
        body: request.encode(),
    }
}
