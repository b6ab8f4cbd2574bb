//! The two services as NATS sees them, and what neither may say.

use ::jetstream::connection::{Connection, Settings};
use async_nats::jetstream;
use local_stack::{NatsServer, User};
use payment_contract::streams::{PAY_OUTCOMES, PAY_REQUESTS};

/// A stream, and the consumer of it that the other side reads by.
#[derive(Clone, Copy)]
pub(crate) struct Durable {
    pub(crate) stream: &'static str,
    pub(crate) durable: &'static str,
}

const REQUESTS: Durable = Durable {
    stream: PAY_REQUESTS,
    durable: "payment-provider",
};
const OUTCOMES: Durable = Durable {
    stream: PAY_OUTCOMES,
    durable: "invoice-app",
};

/// A service seen from both ends.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) user: User,
    pub(crate) inbox: &'static str,
    /// The stream it owns, and the durable the other side reads it by.
    pub(crate) own: Durable,
    /// A subject of that stream.
    pub(crate) subject: &'static str,
    /// The other side's, with its own durable on it.
    pub(crate) peer: Durable,
    pub(crate) peer_subject: &'static str,
}

pub(crate) const INVOICE_APP: Side = Side {
    user: User::InvoiceApp,
    inbox: "_INBOX_invoice_app",
    own: REQUESTS,
    subject: "pay.v1.request.eur",
    peer: OUTCOMES,
    peer_subject: "pay.v1.outcome.succeeded",
};
pub(crate) const PAYMENT_PROVIDER: Side = Side {
    user: User::PaymentProvider,
    inbox: "_INBOX_payment_provider",
    own: OUTCOMES,
    subject: "pay.v1.outcome.succeeded",
    peer: REQUESTS,
    peer_subject: "pay.v1.request.eur",
};
pub(crate) const SIDES: [Side; 2] = [INVOICE_APP, PAYMENT_PROVIDER];

/// Everything that touches a stream or durable by another way than the granted ones.
pub(crate) fn forbidden_to(side: Side) -> Vec<String> {
    let (own, peer) = (side.own, side.peer);
    let mut subjects: Vec<String> = [
        side.peer_subject,
        "pay.v1.outcome.declined.x",
        "pay.v1.request",
        "pay.v2.request.eur",
        "anything",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.CREATE.ANOTHER",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.ACCOUNT.INVOICE.CONNZ",
        "_INBOX.x",
    ]
    .map(str::to_owned)
    .into();
    subjects.push(match side.user {
        User::InvoiceApp => "_INBOX_payment_provider.x".to_owned(),
        _ => "_INBOX_invoice_app.x".to_owned(),
    });
    if side.user == User::PaymentProvider {
        subjects.push("invoice.v1.changed".to_owned());
    }
    // Its own stream: neither read nor emptied, and nobody but the other side pulls or acknowledges.
    for action in [
        "STREAM.DELETE",
        "STREAM.PURGE",
        "STREAM.MSG.GET",
        "STREAM.MSG.DELETE",
        "STREAM.SNAPSHOT",
        "STREAM.RESTORE",
        "DIRECT.GET",
        "CONSUMER.NAMES",
        "CONSUMER.LIST",
        "STREAM.LEADER.STEPDOWN",
    ] {
        subjects.push(format!("$JS.API.{action}.{}", own.stream));
    }
    for action in [
        "CONSUMER.DELETE",
        "CONSUMER.MSG.NEXT",
        "CONSUMER.PAUSE",
        "CONSUMER.RESET",
        "CONSUMER.UNPIN",
    ] {
        subjects.push(format!("$JS.API.{action}.{}.{}", own.stream, own.durable));
    }
    subjects.extend([
        format!("$JS.API.CONSUMER.CREATE.{}", own.stream),
        format!("$JS.API.CONSUMER.CREATE.{}.another", own.stream),
        format!("$JS.API.CONSUMER.CREATE.{}.another.>", own.stream),
        format!("$JS.API.CONSUMER.DURABLE.CREATE.{}.{}", own.stream, own.durable),
        format!("$JS.ACK.{}.{}.1.1.1.1.0", own.stream, own.durable),
        format!("$JS.ACK._.x.{}.{}.1.1.1.1.0.x", own.stream, own.durable),
        format!("$JS.FC.{}.{}.x", own.stream, own.durable),
    ]);
    // The other side's, by its own name and by the imported one.
    for prefix in ["$JS.API", "PEER.API"] {
        for action in [
            "STREAM.INFO",
            "STREAM.CREATE",
            "STREAM.UPDATE",
            "STREAM.DELETE",
            "STREAM.PURGE",
            "STREAM.MSG.GET",
            "STREAM.MSG.DELETE",
            "DIRECT.GET",
            "CONSUMER.CREATE",
        ] {
            subjects.push(format!("{prefix}.{action}.{}", peer.stream));
        }
        subjects.push(format!("{prefix}.CONSUMER.CREATE.{}.another", peer.stream));
        subjects.push(format!(
            "{prefix}.CONSUMER.CREATE.{}.{}",
            peer.stream, peer.durable
        ));
        subjects.push(format!(
            "{prefix}.CONSUMER.DELETE.{}.{}",
            peer.stream, peer.durable
        ));
        subjects.push(format!("{prefix}.CONSUMER.MSG.NEXT.{}.another", peer.stream));
    }
    for action in ["CONSUMER.INFO", "CONSUMER.MSG.NEXT"] {
        subjects.push(format!("$JS.API.{action}.{}.{}", peer.stream, peer.durable));
        subjects.push(format!("PEER.API.{action}.{}.{}", own.stream, own.durable));
    }
    subjects.push(format!("$JS.ACK.{}.another.1.1.1.1.0", peer.stream));
    subjects
}

impl Side {
    /// Connected as the service, the way the service is.
    pub(crate) async fn connect(self, nats: &NatsServer) -> Connection {
        let connection = Connection::init(Settings {
            name: self.user.as_str(),
            url: nats.url(),
            nkey_seed: nats.keys().seed(self.user).unwrap(),
            nkey_seed_file: None,
            ca_file: Some(nats.keys().ca_file()),
        })
        .await
        .unwrap();
        let mut link = connection.link();
        link.wait_for(|link| link.connected).await.unwrap();
        connection
    }

    /// Makes the stream, and the other side's consumer of it, as its owner; and answers with the owner's `JetStream`.
    pub(crate) async fn provision(self, nats: &NatsServer) -> jetstream::Context {
        let connection = self.connect(nats).await;
        let provisioner = match self.user {
            User::InvoiceApp => invoice_app::streams::provisioner(connection.clone(), 1, &[]),
            _ => payment_provider::streams::provisioner(connection.clone(), 1, &[]),
        };
        provisioner.ensure().await.unwrap();
        connection.own_jetstream()
    }
}
