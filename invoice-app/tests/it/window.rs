//! The window: who fills it, and that it opens again.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use invoice_app::window::Window;
use local_stack::User;
use payment_contract::streams::PAY_REQUESTS;

use crate::{
    harness::{App, connect, parts},
    provider::Nats,
};

/// More than ten replicas work on at a time.
const TAKEN: usize = 12_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_and_put_off_fills_the_window_as_what_waits_does() {
    let nats = Nats::start().await;
    let app = App::start().await;
    let mut replica = parts(&app.pool, Some(&nats.url)).await;
    replica.incarnation.compare().await.unwrap();
    let mut window = Window::new(replica.connection.clone());
    assert!(window.room().await > 0);

    let requests = replica.connection.own_jetstream();
    stream::iter(0..TAKEN)
        .map(|_| async { requests.publish("pay.v1.request.eur", "{}".into()).await?.await })
        .buffer_unordered(200)
        .try_for_each(|_| async { Ok(()) })
        .await
        .unwrap();
    assert_eq!(window.room().await, 0, "all of them wait");

    let provider = connect("payment-provider", User::PaymentProvider, Some(&nats.url)).await;
    let consumer: PullConsumer = provider
        .peer_jetstream()
        .get_consumer_from_stream("payment-provider", PAY_REQUESTS)
        .await
        .unwrap();
    let taken = consumer
        .batch()
        .max_messages(TAKEN)
        .expires(Duration::from_secs(20));
    let taken: Vec<_> = taken.messages().await.unwrap().try_collect().await.unwrap();
    assert_eq!(taken.len(), TAKEN);
    assert_eq!(window.room().await, 0, "none waits, and none is finished");

    for message in taken.iter().take(TAKEN / 2) {
        message.ack().await.unwrap();
    }
    provider.client().flush().await.unwrap();
    assert!(window.room().await > 0);
}
