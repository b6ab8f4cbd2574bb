//! Streams and durables: made, made again, and set right; and "gone" told apart from "nobody could say".

use std::{error::Error as _, time::Duration};

use async_nats::jetstream::{consumer, stream};
use futures_util::{FutureExt as _, StreamExt as _};
use jetstream::{provisioning::peer_consumer_created, streams};
use local_stack::User;

use crate::fixture::{
    ACK_WAIT, INVOICE_APP, PAY_OUTCOMES, PAY_REQUESTS, PAYMENT_PROVIDER, Server, provisioner, requests,
};

#[tokio::test]
async fn a_service_makes_its_stream_and_durable_once_and_the_other_side_sees_the_durable() {
    let server = Server::start().await;
    let both = [
        (
            User::InvoiceApp,
            PAY_REQUESTS,
            PAYMENT_PROVIDER,
            User::PaymentProvider,
        ),
        (User::PaymentProvider, PAY_OUTCOMES, INVOICE_APP, User::InvoiceApp),
    ];
    for (owner, stream, consumer, reader) in both {
        let (owner, reader) = (server.connect(owner).await, server.connect(reader).await);
        let provisioner = provisioner(&owner, stream, consumer.clone());
        assert_eq!(peer_consumer_created(&reader, &consumer).await.unwrap(), None);
        let created = provisioner.ensure().await.unwrap();
        assert_eq!(
            peer_consumer_created(&reader, &consumer).await.unwrap(),
            Some(created.consumers[0])
        );

        let admin = server.admin(stream.name).await;
        let mut asked = admin.client().subscribe("$JS.API.>").await.unwrap();
        // Answered, so everything sent before has arrived: the subscription here, its messages below.
        admin.query_account().await.unwrap();
        let again = provisioner.ensure().await.unwrap();
        assert_eq!(again, created);
        admin.query_account().await.unwrap();
        let asked = std::iter::from_fn(|| asked.next().now_or_never().flatten())
            .map(|request| request.subject.to_string())
            .filter(|subject| subject != "$JS.API.INFO")
            .collect::<Vec<_>>();
        let (stream, durable) = (stream.name, &consumer.durable);
        let expected = [
            format!("$JS.API.STREAM.INFO.{stream}"),
            format!("$JS.API.CONSUMER.INFO.{stream}.{durable}"),
        ];
        assert_eq!(asked, expected, "nothing is changed the second time");
    }
    assert!(
        !server.log().contains("Permissions Violation"),
        "{}",
        server.log()
    );
}

#[tokio::test]
async fn the_settings_are_the_designed_ones() {
    let server = Server::start().await;
    let owner = server.connect(User::InvoiceApp).await;
    requests(&owner).ensure().await.unwrap();
    let admin = server.admin("PAY_REQUESTS").await;
    let mut stream = admin.get_stream("PAY_REQUESTS").await.unwrap();
    let config = stream.info().await.unwrap().config.clone();
    assert_eq!(config.subjects, ["pay.v1.request.*"]);
    assert_eq!(config.retention, stream::RetentionPolicy::Limits);
    assert_eq!(config.storage, stream::StorageType::File);
    assert_eq!(config.discard, stream::DiscardPolicy::Old);
    assert_eq!(config.max_age, Duration::from_hours(1));
    assert_eq!(config.max_bytes, 1 << 30);
    assert_eq!(config.max_message_size, 8 * 1024);
    assert_eq!(config.duplicate_window, Duration::from_secs(30));
    assert_eq!(config.num_replicas, 1);
    let durable: consumer::PullConsumer = stream.get_consumer("payment-provider").await.unwrap();
    let config = &durable.cached_info().config;
    assert_eq!(config.deliver_policy, consumer::DeliverPolicy::All);
    assert_eq!(config.ack_policy, consumer::AckPolicy::Explicit);
    assert_eq!(config.ack_wait, ACK_WAIT);
    assert_eq!((config.max_deliver, config.max_ack_pending), (-1, -1));
    assert_eq!(config.filter_subject, "");
}

#[tokio::test]
async fn settings_that_somebody_changed_are_set_right_and_nothing_is_forgotten() {
    let server = Server::start().await;
    let owner = server.connect(User::InvoiceApp).await;
    let created = requests(&owner).ensure().await.unwrap();
    let admin = server.admin("PAY_REQUESTS").await;
    let mut stream = admin.get_stream("PAY_REQUESTS").await.unwrap();
    let mut drifted = stream.info().await.unwrap().config.clone();
    drifted.max_age = Duration::from_secs(90);
    drifted.discard = stream::DiscardPolicy::New;
    drifted.subjects.push("other.subject".to_owned());
    admin.update_stream(drifted).await.unwrap();
    let durable: consumer::PullConsumer = stream.get_consumer("payment-provider").await.unwrap();
    let mut drifted = durable.cached_info().config.clone();
    drifted.ack_wait = Duration::from_mins(5);
    drifted.max_deliver = 3;
    drifted.max_ack_pending = 7;
    let _: consumer::Consumer<consumer::Config> = admin
        .create_consumer_on_stream(drifted, "PAY_REQUESTS")
        .await
        .unwrap();

    let again = requests(&owner).ensure().await.unwrap();
    assert_eq!(again, created, "updated, not made again");
    let config = stream.info().await.unwrap().config.clone();
    assert_eq!(
        (config.max_age, config.discard),
        (streams::MAX_AGE, stream::DiscardPolicy::Old)
    );
    assert_eq!(config.subjects, ["pay.v1.request.*"]);
    let durable: consumer::PullConsumer = stream.get_consumer("payment-provider").await.unwrap();
    let config = &durable.cached_info().config;
    assert_eq!(
        (config.ack_wait, config.max_deliver, config.max_ack_pending),
        (ACK_WAIT, -1, -1)
    );
}

/// What the runbook is about.
#[tokio::test]
async fn stream_of_another_kind_is_told_and_made_as_it_should_be_once_it_is_gone() {
    let server = Server::start().await;
    let owner = server.connect(User::InvoiceApp).await;
    let admin = server.admin("PAY_REQUESTS").await;
    let work_queue = stream::Config {
        name: "PAY_REQUESTS".to_owned(),
        subjects: vec!["pay.v1.request.*".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..stream::Config::default()
    };
    admin.create_stream(work_queue).await.unwrap();
    let refused = requests(&owner).ensure().await.unwrap_err();
    assert_eq!(refused.to_string(), "could not update stream PAY_REQUESTS");
    let why = refused.source().unwrap().to_string();
    assert!(why.contains("can not change retention policy"), "{why}");

    admin.delete_stream("PAY_REQUESTS").await.unwrap();
    requests(&owner).ensure().await.unwrap();
    let mut stream = admin.get_stream("PAY_REQUESTS").await.unwrap();
    let config = stream.info().await.unwrap().config.clone();
    assert_eq!(config.retention, stream::RetentionPolicy::Limits);
}

#[tokio::test]
async fn what_was_deleted_is_made_again_and_has_another_time_of_creation() {
    let server = Server::start().await;
    let owner = server.connect(User::InvoiceApp).await;
    let reader = server.connect(User::PaymentProvider).await;
    let first = requests(&owner).ensure().await.unwrap();
    let admin = server.admin("PAY_REQUESTS").await;

    admin
        .delete_consumer_from_stream("payment-provider", "PAY_REQUESTS")
        .await
        .unwrap();
    assert_eq!(
        peer_consumer_created(&reader, &PAYMENT_PROVIDER).await.unwrap(),
        None
    );
    let second = requests(&owner).ensure().await.unwrap();
    assert_eq!(second.stream, first.stream);
    assert_ne!(second.consumers, first.consumers);

    admin.delete_stream("PAY_REQUESTS").await.unwrap();
    assert_eq!(
        peer_consumer_created(&reader, &PAYMENT_PROVIDER).await.unwrap(),
        None
    );
    let third = requests(&owner).ensure().await.unwrap();
    assert_ne!(third.stream, second.stream);
    assert_ne!(third.consumers, second.consumers);
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_a_server_that_is_away_is_not_a_missing_durable() {
    let server = Server::start().await;
    let owner = server.connect(User::InvoiceApp).await;
    let reader = server.connect(User::PaymentProvider).await;
    let created = requests(&owner).ensure().await.unwrap();
    server.nats().kill9().await;
    assert!(peer_consumer_created(&reader, &PAYMENT_PROVIDER).await.is_err());
    assert!(requests(&owner).ensure().await.is_err());
    server.nats().start_again().await.unwrap();
    crate::fixture::connected(&owner).await;
    let again = requests(&owner).ensure().await.unwrap();
    assert_eq!(again, created);
}
