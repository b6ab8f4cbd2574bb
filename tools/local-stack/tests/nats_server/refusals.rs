//! What the configuration does not allow is refused, each time beside something that is allowed.

use async_nats::jetstream::{self, consumer::pull};
use futures_util::StreamExt;
use local_stack::{Keys, User, connect_nats};

use super::{LIMIT, SILENCE, Server, answered, messages_in, own, peer};

#[tokio::test]
async fn what_is_not_granted_is_refused() {
    let server = Server::with_streams().await;
    let invoice_app = server.connect(User::InvoiceApp).await;
    let payment_provider = server.connect(User::PaymentProvider).await;
    own(&invoice_app)
        .publish("pay.v1.request.eur", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    own(&payment_provider)
        .publish("pay.v1.outcome.succeeded", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();

    // The control: what is granted answers, so the silence below means a refusal.
    assert!(answered(&invoice_app, "$JS.API.STREAM.INFO.PAY_REQUESTS", "").await);
    assert!(
        answered(
            &invoice_app,
            "PEER.API.CONSUMER.INFO.PAY_OUTCOMES.invoice-app",
            ""
        )
        .await
    );
    assert!(answered(&payment_provider, "$JS.API.STREAM.INFO.PAY_OUTCOMES", "").await);
    assert!(
        answered(
            &payment_provider,
            "PEER.API.CONSUMER.MSG.NEXT.PAY_REQUESTS.payment-provider",
            "1"
        )
        .await
    );

    let sides = [
        (
            &invoice_app,
            "PAY_REQUESTS",
            "payment-provider",
            "PAY_OUTCOMES",
            "pay.v1.outcome.succeeded",
        ),
        (
            &payment_provider,
            "PAY_OUTCOMES",
            "invoice-app",
            "PAY_REQUESTS",
            "pay.v1.request.eur",
        ),
    ];
    for (client, mine, my_durable, theirs, their_subject) in sides {
        let mut refused = vec![
            their_subject.to_owned(),
            // Even on its own stream nobody deletes, purges or reads.
            format!("$JS.API.STREAM.DELETE.{mine}"),
            format!("$JS.API.STREAM.PURGE.{mine}"),
            format!("$JS.API.STREAM.MSG.GET.{mine}"),
            format!("$JS.API.STREAM.MSG.DELETE.{mine}"),
            format!("$JS.API.DIRECT.GET.{mine}"),
            format!("$JS.API.STREAM.SNAPSHOT.{mine}"),
            format!("$JS.API.CONSUMER.DELETE.{mine}.{my_durable}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{mine}.{my_durable}"),
            format!("$JS.API.CONSUMER.CREATE.{mine}.another"),
            format!("$JS.API.CONSUMER.CREATE.{mine}"),
            "$JS.API.STREAM.CREATE.OTHER".to_owned(),
            "$JS.API.STREAM.NAMES".to_owned(),
            "$JS.API.STREAM.LIST".to_owned(),
            "$JS.API.INFO".to_owned(),
            "$SYS.REQ.SERVER.PING".to_owned(),
        ];
        for prefix in ["$JS.API", "PEER.API"] {
            refused.extend([
                format!("{prefix}.STREAM.INFO.{theirs}"),
                format!("{prefix}.STREAM.DELETE.{theirs}"),
                format!("{prefix}.STREAM.PURGE.{theirs}"),
                format!("{prefix}.STREAM.MSG.GET.{theirs}"),
                format!("{prefix}.CONSUMER.CREATE.{theirs}.another"),
                format!("{prefix}.CONSUMER.DELETE.{theirs}.{my_durable}"),
                format!("{prefix}.CONSUMER.MSG.NEXT.{theirs}.{my_durable}"),
            ]);
        }
        let tried = refused.iter().map(|subject| async move {
            assert!(!answered(client, subject, "{}").await, "{subject} was answered");
        });
        futures_util::future::join_all(tried).await;
    }
    assert_eq!(messages_in(&invoice_app, "PAY_REQUESTS").await, 1);
    assert_eq!(messages_in(&payment_provider, "PAY_OUTCOMES").await, 1);
}

#[tokio::test]
async fn a_crafted_reply_writes_nothing_into_the_other_side() {
    let server = Server::with_streams().await;
    let invoice_app = server.connect(User::InvoiceApp).await;
    let payment_provider = server.connect(User::PaymentProvider).await;
    own(&payment_provider)
        .publish("pay.v1.outcome.succeeded", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    for subject in [
        "pay.v1.request.eur",
        "$JS.API.STREAM.INFO.PAY_REQUESTS",
        "PEER.API.CONSUMER.INFO.PAY_OUTCOMES.invoice-app",
        "PEER.API.CONSUMER.MSG.NEXT.PAY_OUTCOMES.invoice-app",
    ] {
        let reply = "pay.v1.outcome.succeeded".to_owned();
        invoice_app
            .publish_with_reply(subject, reply, "1".into())
            .await
            .unwrap();
    }
    invoice_app.flush().await.unwrap();
    // The control: the request itself did arrive.
    assert_eq!(messages_in(&invoice_app, "PAY_REQUESTS").await, 1);
    tokio::time::sleep(SILENCE).await;
    assert_eq!(messages_in(&payment_provider, "PAY_OUTCOMES").await, 1);
}

#[tokio::test]
async fn nobody_acks_through_a_durable_that_is_not_theirs() {
    let server = Server::with_streams().await;
    let invoice_app = server.connect(User::InvoiceApp).await;
    let payment_provider = server.connect(User::PaymentProvider).await;
    own(&invoice_app)
        .publish("pay.v1.request.eur", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let consumer: jetstream::consumer::PullConsumer = peer(&payment_provider)
        .get_consumer_from_stream("payment-provider", "PAY_REQUESTS")
        .await
        .unwrap();
    let mut batch = consumer
        .fetch()
        .max_messages(1)
        .expires(LIMIT)
        .messages()
        .await
        .unwrap();
    let message = batch.next().await.unwrap().unwrap();
    let ack = message.reply.clone().unwrap();
    let pending = || async {
        own(&invoice_app)
            .get_consumer_from_stream::<pull::Config, _, _>("payment-provider", "PAY_REQUESTS")
            .await
            .unwrap()
            .cached_info()
            .num_ack_pending
    };
    assert!(!answered(&invoice_app, &ack, "+ACK").await);
    assert_eq!(pending().await, 1);
    message.double_ack().await.unwrap();
    assert_eq!(pending().await, 0);
}

#[tokio::test]
async fn services_hear_only_their_inbox() {
    let server = Server::with_streams().await;
    for (user, subject) in [
        (User::InvoiceApp, "pay.v1.request.eur"),
        (User::PaymentProvider, "pay.v1.outcome.succeeded"),
    ] {
        let client = server.connect(user).await;
        let mut overheard = Vec::new();
        for refused in [">", "pay.>", "$JS.>", "PEER.>", "_INBOX.>"] {
            overheard.push(client.subscribe(refused).await.unwrap());
        }
        // The control: its own inbox gets the answer to a message that each of these would have heard.
        own(&client)
            .publish(subject, "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
        for mut messages in overheard {
            let heard = tokio::time::timeout(SILENCE / 4, messages.next()).await;
            assert!(matches!(heard, Err(_) | Ok(None)), "{user:?} heard {heard:?}");
        }
    }
}

#[tokio::test]
async fn without_a_known_key_nobody_connects() {
    let server = Server::start().await;
    server.connect(User::InvoiceApp).await;
    let strangers = tempfile::tempdir().unwrap();
    let other = Keys::generate(strangers.path(), &[]).unwrap();
    let ours = server.nats.keys();
    let url = server.nats.url();

    let seed = other.seed_file(User::InvoiceApp);
    let refused = connect_nats(&url, &ours.ca_file(), &seed, User::InvoiceApp)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("authorization violation"),
        "{refused}"
    );
    let anonymous = async_nats::ConnectOptions::new()
        .add_root_certificates(ours.ca_file())
        .connect(&url)
        .await;
    assert!(
        anonymous
            .unwrap_err()
            .to_string()
            .contains("authorization violation")
    );
    // And nobody is fooled by a server with another certificate.
    let seed = ours.seed_file(User::InvoiceApp);
    assert!(
        connect_nats(&url, &other.ca_file(), &seed, User::InvoiceApp)
            .await
            .is_err()
    );
}
