//! What the configuration allows does work.

use async_nats::jetstream::{self, consumer::pull};
use futures_util::{StreamExt, TryStreamExt};
use local_stack::User;

use super::{LIMIT, SILENCE, Server, messages_in, own, peer};

#[tokio::test]
async fn each_service_pulls_and_acks_what_the_other_published() {
    let server = Server::with_streams().await;
    let ways = [
        (
            User::InvoiceApp,
            User::PaymentProvider,
            "PAY_REQUESTS",
            "pay.v1.request.eur",
            "payment-provider",
        ),
        (
            User::PaymentProvider,
            User::InvoiceApp,
            "PAY_OUTCOMES",
            "pay.v1.outcome.succeeded",
            "invoice-app",
        ),
    ];
    for (publisher, puller, stream, subject, consumer) in ways {
        let (publisher, puller) = (server.connect(publisher).await, server.connect(puller).await);
        for _ in 0..3 {
            own(&publisher)
                .publish(subject, "x".into())
                .await
                .unwrap()
                .await
                .unwrap();
        }
        let durable: jetstream::consumer::PullConsumer = peer(&puller)
            .get_consumer_from_stream(consumer, stream)
            .await
            .unwrap();
        let batch = durable
            .fetch()
            .max_messages(3)
            .expires(LIMIT)
            .messages()
            .await
            .unwrap();
        let batch: Vec<_> = batch.try_collect().await.unwrap();
        assert_eq!(batch.len(), 3);
        for message in batch {
            message.double_ack().await.unwrap();
        }
        let info = own(&publisher)
            .get_consumer_from_stream::<pull::Config, _, _>(consumer, stream)
            .await
            .unwrap()
            .cached_info()
            .clone();
        assert_eq!((info.num_ack_pending, info.num_pending), (0, 0), "{stream}");
    }
}

#[tokio::test]
async fn debug_hears_everything_and_says_nothing() {
    let server = Server::with_streams().await;
    let debug = server.connect(User::Debug).await;
    let (invoice_app, payment_provider) = (
        server.connect(User::InvoiceApp).await,
        server.connect(User::PaymentProvider).await,
    );
    let mut heard = debug.subscribe("pay.>").await.unwrap();
    server.has_subscription("pay.>").await;
    own(&invoice_app)
        .publish("pay.v1.request.eur", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    own(&payment_provider)
        .publish("pay.v1.outcome.declined", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let mut subjects = Vec::new();
    for _ in 0..2 {
        subjects.push(
            tokio::time::timeout(LIMIT, heard.next())
                .await
                .unwrap()
                .unwrap()
                .subject
                .to_string(),
        );
    }
    subjects.sort();
    assert_eq!(subjects, ["pay.v1.outcome.declined", "pay.v1.request.eur"]);

    for subject in [
        "pay.v1.request.eur",
        "pay.v1.outcome.succeeded",
        "invoice.v1.changed",
        "anything",
    ] {
        debug.publish(subject, "forged".into()).await.unwrap();
    }
    debug.flush().await.unwrap();
    assert!(tokio::time::timeout(SILENCE, heard.next()).await.is_err());
    assert_eq!(messages_in(&invoice_app, "PAY_REQUESTS").await, 1);
    assert_eq!(messages_in(&payment_provider, "PAY_OUTCOMES").await, 1);
}

#[tokio::test]
async fn hints_reach_the_other_replica_and_nobody_else() {
    let server = Server::start().await;
    let [first, second] = [
        server.connect(User::InvoiceApp).await,
        server.connect(User::InvoiceApp).await,
    ];
    let stranger = server.connect(User::PaymentProvider).await;
    let mut hints = second.subscribe("invoice.v1.changed").await.unwrap();
    let mut overheard = stranger.subscribe("invoice.v1.changed").await.unwrap();
    server.has_subscription("invoice.v1.changed").await;
    stranger.flush().await.unwrap();
    first.publish("invoice.v1.changed", "x".into()).await.unwrap();
    tokio::time::timeout(LIMIT, hints.next()).await.unwrap().unwrap();
    // A refused subscription ends.
    assert!(matches!(
        tokio::time::timeout(SILENCE, overheard.next()).await,
        Err(_) | Ok(None)
    ));
}

#[tokio::test]
async fn a_wiped_store_forgets_and_a_killed_server_does_not() {
    let server = Server::with_streams().await;
    let invoice_app = server.connect(User::InvoiceApp).await;
    own(&invoice_app)
        .publish("pay.v1.request.eur", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let before = server.nats.program().pid();

    server.nats.kill9().await;
    server.nats.start_again().await.unwrap();
    assert_ne!(server.nats.program().pid(), before);
    let invoice_app = server.connect(User::InvoiceApp).await;
    assert_eq!(messages_in(&invoice_app, "PAY_REQUESTS").await, 1);

    server.nats.stop().await;
    server.nats.wipe_store().unwrap();
    server.nats.start_again().await.unwrap();
    let invoice_app = server.connect(User::InvoiceApp).await;
    assert!(own(&invoice_app).get_stream("PAY_REQUESTS").await.is_err());
}
