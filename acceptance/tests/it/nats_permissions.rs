//! What each user of NATS may do, and that everything else is refused, with the one server configuration.
//!
//! No service runs here, so nothing but the test changes what the streams hold, and the server's own monitoring counts it.

pub(crate) mod side;

use acceptance::{StreamState, eventually, streams::existing_stream};
use local_stack::{Keys, NatsOptions, NatsServer, RawNats, User};
use payment_contract::streams::{PAY_OUTCOMES, PAY_REQUESTS};
use tempfile::TempDir;

use self::side::{INVOICE_APP, PAYMENT_PROVIDER, SIDES, Side, forbidden_to};

pub(crate) struct Server {
    pub(crate) nats: NatsServer,
    // Removed after the server has ended.
    _directory: TempDir,
}

impl Server {
    /// With both streams as their owners make them, and three messages in each, none delivered.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::generate(&directory.path().join("keys"), &[]).unwrap();
        let options = NatsOptions::for_tests(directory.path(), keys);
        let nats = NatsServer::start(options).await.unwrap();
        for side in SIDES {
            let owner = side.provision(&nats).await;
            for _ in 0..3 {
                owner
                    .publish(side.subject, "{}".into())
                    .await
                    .unwrap()
                    .await
                    .unwrap();
            }
        }
        Self {
            nats,
            _directory: directory,
        }
    }

    pub(crate) fn connect(&self, user: User) -> RawNats {
        RawNats::connect(&self.nats, user).unwrap()
    }

    /// A message of this side's, as the side itself publishes it.
    fn publish_as_its_owner(&self, side: Side) {
        self.connect(side.user).publish(side.subject, "", b"{}").unwrap();
    }

    async fn states(&self) -> [StreamState; 2] {
        [self.state(PAY_REQUESTS).await, self.state(PAY_OUTCOMES).await]
    }

    async fn state(&self, stream: &str) -> StreamState {
        existing_stream(&self.nats, stream).await.unwrap()
    }
}

#[track_caller]
fn assert_refused(what: &str, refusals: &[String]) {
    let refused = refusals
        .iter()
        .any(|text| text.to_lowercase().contains("permissions violation"));
    assert!(refused, "{what} was let through: {refusals:?}");
}

#[track_caller]
fn assert_granted(what: &str, refusals: &[String]) {
    assert!(refusals.is_empty(), "{what} was refused: {refusals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_may_do_what_its_work_takes() {
    let server = Server::start().await;
    for side in SIDES {
        let mut me = server.connect(side.user);
        let inbox = format!("{}.1", side.inbox);
        assert_granted("its inbox", &me.subscribe(&format!("{}.>", side.inbox)).unwrap());
        let before = server.state(side.own.stream).await;
        assert!(
            me.request(side.subject, &inbox, b"{}").unwrap().is_some(),
            "a publish is confirmed"
        );
        assert_eq!(
            server.state(side.own.stream).await.last_sequence,
            before.last_sequence + 1
        );

        for subject in [
            format!("$JS.API.STREAM.INFO.{}", side.own.stream),
            format!("$JS.API.CONSUMER.INFO.{}.{}", side.own.stream, side.own.durable),
            format!(
                "PEER.API.CONSUMER.INFO.{}.{}",
                side.peer.stream, side.peer.durable
            ),
        ] {
            let answer = me.request(&subject, &inbox, b"").unwrap().unwrap();
            let text = String::from_utf8_lossy(&answer.content).into_owned();
            assert!(
                text.contains(r#""config""#) && !text.contains(r#""error""#),
                "{subject}: {text}"
            );
        }
        let pull = format!(
            "PEER.API.CONSUMER.MSG.NEXT.{}.{}",
            side.peer.stream, side.peer.durable
        );
        let message = me.request(&pull, &inbox, b"").unwrap().unwrap();
        assert_eq!(message.subject, side.peer_subject);
        assert_eq!(server.state(side.peer.stream).await.ack_pending, 1);
        assert_granted(
            "the ack",
            &me.publish(&message.reply.unwrap(), "", b"+ACK").unwrap(),
        );
        eventually("the ack is taken", || async {
            let state = existing_stream(&server.nats, side.peer.stream).await?;
            Ok(state.ack_pending == 0 && state.ack_floor == 1)
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_do_nothing_else() {
    let server = Server::start().await;
    for side in SIDES {
        // Something delivered and not acknowledged, so that a foreign ack or reset would show.
        let mut me = server.connect(side.user);
        let inbox = format!("{}.1", side.inbox);
        me.subscribe(&inbox).unwrap();
        let pull = format!(
            "PEER.API.CONSUMER.MSG.NEXT.{}.{}",
            side.peer.stream, side.peer.durable
        );
        me.request(&pull, &inbox, b"").unwrap().unwrap();
    }
    let before = server.states().await;
    assert_eq!(
        before.clone().map(|state| (state.messages, state.ack_pending)),
        [(3, 1), (3, 1)]
    );
    for side in SIDES {
        let mut me = server.connect(side.user);
        let inbox = format!("{}.2", side.inbox);
        assert_granted("its inbox", &me.subscribe(&format!("{}.>", side.inbox)).unwrap());
        for subject in forbidden_to(side) {
            for body in [b"".as_slice(), b"{}", b"+ACK"] {
                assert_refused(&subject, &me.publish(&subject, &inbox, body).unwrap());
            }
        }
        // The control, on the same connection.
        let info = format!("$JS.API.STREAM.INFO.{}", side.own.stream);
        assert!(me.request(&info, &inbox, b"").unwrap().is_some());
        assert_eq!(me.messages_so_far().unwrap(), []);
    }
    assert_eq!(server.states().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crafted_reply_changes_nothing_anywhere() {
    for side in SIDES {
        let server = Server::start().await;
        let mut me = server.connect(side.user);
        let inbox = format!("{}.1", side.inbox);
        me.subscribe(&inbox).unwrap();
        let (own, peer) = (side.own, side.peer);
        // The other side holds one message of the own stream: a forged ack of it would show.
        let other = SIDES.into_iter().find(|other| other.user != side.user).unwrap();
        let mut them = server.connect(other.user);
        let their_inbox = format!("{}.1", other.inbox);
        them.subscribe(&their_inbox).unwrap();
        let pull = format!("PEER.API.CONSUMER.MSG.NEXT.{}.{}", own.stream, own.durable);
        let held = them.request(&pull, &their_inbox, b"").unwrap().unwrap();

        let targets = [
            side.peer_subject.to_owned(),
            format!("$JS.API.STREAM.PURGE.{}", own.stream),
            format!("$JS.API.STREAM.DELETE.{}", own.stream),
            format!("$JS.API.CONSUMER.DELETE.{}.{}", own.stream, own.durable),
            format!("$JS.API.STREAM.PURGE.{}", peer.stream),
            format!("PEER.API.STREAM.PURGE.{}", peer.stream),
            held.reply.unwrap(),
        ];
        let requests = [
            format!("$JS.API.STREAM.INFO.{}", own.stream),
            format!("$JS.API.CONSUMER.INFO.{}.{}", own.stream, own.durable),
            format!("PEER.API.CONSUMER.INFO.{}.{}", peer.stream, peer.durable),
        ];
        // The control: the server does write an answer into the own stream, where nothing forbids it.
        let before = server.state(own.stream).await.last_sequence;
        me.publish(&requests[0], side.subject, b"").unwrap();
        eventually("the answer is stored as a message", || async {
            Ok(existing_stream(&server.nats, own.stream).await?.last_sequence > before)
        })
        .await
        .unwrap();

        let before = server.states().await;
        for target in &targets {
            for request in &requests {
                // The server refuses some replies by themselves; the others must have no effect.
                me.publish(request, target, b"").unwrap();
                // The control: the same request with an honest reply is answered, and after the crafted one.
                assert!(me.request(request, &inbox, b"").unwrap().is_some(), "{request}");
            }
            assert_eq!(server.states().await, before, "{target}");
        }
        // A publish is confirmed, and a pull answered, to any reply too. They move their own counts and nothing else's.
        for target in &targets {
            let before = server.state(own.stream).await;
            let refusals = me.publish(side.subject, target, b"{}").unwrap();
            assert!(me.request(side.subject, &inbox, b"{}").unwrap().is_some());
            let now = server.state(own.stream).await;
            let stored = if refusals.is_empty() { 2 } else { 1 };
            assert_eq!(now.last_sequence, before.last_sequence + stored, "{target}");
            assert_eq!(now.messages, before.messages + stored, "{target}");
            assert_eq!(
                (now.consumers, now.ack_pending, now.ack_floor),
                (1, 1, before.ack_floor),
                "{target}"
            );
        }
        let pull = format!("PEER.API.CONSUMER.MSG.NEXT.{}.{}", peer.stream, peer.durable);
        let info = format!("PEER.API.CONSUMER.INFO.{}.{}", peer.stream, peer.durable);
        for target in &targets {
            let before = server
                .states()
                .await
                .map(|state| (state.messages, state.last_sequence, state.ack_floor));
            me.publish(&pull, target, br#"{"batch":1,"no_wait":true}"#)
                .unwrap();
            assert!(me.request(&info, &inbox, b"").unwrap().is_some());
            let now = server
                .states()
                .await
                .map(|state| (state.messages, state.last_sequence, state.ack_floor));
            assert_eq!(now, before, "{target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_hears_its_own_inbox_and_nothing_else() {
    let server = Server::start().await;
    for side in SIDES {
        let mut me = server.connect(side.user);
        let theirs = if side.user == User::InvoiceApp {
            PAYMENT_PROVIDER.inbox
        } else {
            INVOICE_APP.inbox
        };
        let mut refused = vec![format!("{theirs}.>"), format!("{theirs}.1")];
        refused.extend(
            [
                ">",
                "*",
                "*.>",
                "$SYS.>",
                "$JS.>",
                "$JS.EVENT.>",
                "$JS.ACK.>",
                "PEER.>",
                "pay.>",
                "pay.v1.request.*",
                "pay.v1.outcome.*",
                "_INBOX.>",
                "_INBOX_*.>",
                "_R_.>",
                "invoice.>",
            ]
            .map(str::to_owned),
        );
        if side.user == User::PaymentProvider {
            refused.push("invoice.v1.changed".to_owned());
        } else {
            assert_granted("hints", &me.subscribe("invoice.v1.changed").unwrap());
        }
        for subject in refused {
            assert_refused(&subject, &me.subscribe(&subject).unwrap());
            assert_refused(&subject, &me.subscribe(&format!("{subject} queue")).unwrap());
        }
        assert_granted("its inbox", &me.subscribe(&format!("{}.>", side.inbox)).unwrap());
        // What others publish now reaches it through none of these.
        for other in SIDES {
            server.publish_as_its_owner(other);
        }
        assert_eq!(me.messages_so_far().unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_hears_both_kinds_of_message_and_publishes_nothing() {
    let server = Server::start().await;
    let mut debug = server.connect(User::Debug);
    assert_granted("listening in", &debug.subscribe("pay.>").unwrap());
    for side in SIDES {
        server.publish_as_its_owner(side);
        let heard = debug.next_message(acceptance::LIMIT).unwrap().unwrap();
        assert_eq!(heard.subject, side.subject);
    }
    let before = server.states().await;
    let mut subjects = vec![
        "anything".to_owned(),
        "invoice.v1.changed".to_owned(),
        "_INBOX_invoice_app.x".to_owned(),
    ];
    for side in SIDES {
        subjects.push(side.subject.to_owned());
        subjects.extend(forbidden_to(side));
    }
    for subject in subjects {
        assert_refused(&subject, &debug.publish(&subject, "", b"{}").unwrap());
    }
    assert_eq!(server.states().await, before);
    assert_eq!(debug.messages_so_far().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn system_account_reaches_no_stream_and_hears_no_message() {
    let server = Server::start().await;
    let mut system = server.connect(User::Sys);
    let before = server.states().await;
    for side in SIDES {
        // Nothing is refused, and nothing of it leaves the account.
        system.publish(side.subject, "", b"{}").unwrap();
        for subject in forbidden_to(side) {
            system.publish(&subject, "", b"{}").unwrap();
        }
    }
    assert_eq!(server.states().await, before);
    assert_granted("listening in", &system.subscribe("pay.>").unwrap());
    for side in SIDES {
        server.publish_as_its_owner(side);
    }
    assert_eq!(system.messages_so_far().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_connects_without_a_known_key_or_without_encryption() {
    use std::io::{Read, Write};
    let server = Server::start().await;
    server.connect(User::InvoiceApp);

    let refusal = RawNats::connect_with(&server.nats, None).unwrap_err().to_string();
    assert!(refusal.contains("Authorization Violation"), "{refusal}");
    let refusal = RawNats::connect_with(&server.nats, Some(&nkeys::KeyPair::new_user()))
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("Authorization Violation"), "{refusal}");

    let mut plain = std::net::TcpStream::connect(("127.0.0.1", server.nats.port())).unwrap();
    plain.set_read_timeout(Some(acceptance::LIMIT)).unwrap();
    plain
        .write_all(b"CONNECT {\"verbose\":true}\r\nPING\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // Ends, since the server hangs up; how does not matter.
    let _ = plain.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("INFO ") && !answer.contains("+OK") && !answer.contains("PONG"),
        "{answer}"
    );
}
