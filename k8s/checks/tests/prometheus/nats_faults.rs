//! Faults that only NATS tells of: a server is missing, messages are gone that nobody read, a client does not read.

use std::time::Duration;

use acceptance::{client::NO_WAIT, eventually, nats_cluster, streams::existing_stream};
use local_stack::{NatsAdmin, ServiceKind, Signal, User};
use serde_json::json;

use crate::Watched;

/// One of three servers loses its disk, and comes back with an empty one.
pub(crate) async fn server_missing(watched: &Watched) {
    let stack = watched.system.stack();
    let server = nats_cluster::leader(stack, "PAY_REQUESTS").await.unwrap();
    server.kill9().await;
    server.wipe_store().unwrap();
    watched.fire(&["NatsServerMissing"]).await;
    server.start_again().await.unwrap();
    nats_cluster::all_copies_whole(stack, &["PAY_REQUESTS", "PAY_OUTCOMES"])
        .await
        .unwrap();
    watched.clear(&["NatsServerMissing"]).await;
}

/// Nobody takes requests for longer than the stream keeps them.
pub(crate) async fn messages_aged_out(watched: &Watched) {
    const STOP: Duration = Duration::from_secs(20);
    let stack = watched.system.stack();
    let (nats, service) = (stack.nats(), stack.payment_provider());
    let admin = NatsAdmin::take_over(nats).await.unwrap();
    service.stop(STOP).await;
    let client = watched.system.client().unwrap();
    for _ in 0..3 {
        let id = client.create("6.00", "EUR").await.unwrap();
        client.pay(&id, NO_WAIT).await.unwrap();
    }
    eventually("they wait in the stream", || async {
        Ok(existing_stream(nats, "PAY_REQUESTS").await?.pending == 3)
    })
    .await
    .unwrap();
    // In place of the hour. The stream's owner sees to it that it is an hour again.
    let jetstream = admin.jetstream("PAY_REQUESTS").await.unwrap();
    eventually("what waited is gone", || async {
        let stream = jetstream.get_stream("PAY_REQUESTS").await.unwrap();
        let mut short = stream.cached_info().config.clone();
        (short.max_age, short.duplicate_window) = (Duration::from_secs(1), Duration::from_secs(1));
        jetstream.update_stream(short).await.unwrap();
        Ok(existing_stream(nats, "PAY_REQUESTS").await?.messages == 0)
    })
    .await
    .unwrap();
    watched.fire(&["NatsMessagesAgedOut"]).await;
    service.start_again().await.unwrap();
    watched.clear(&["NatsMessagesAgedOut"]).await;
    admin.server().stop().await;
    nats.start_again().await.unwrap();
}

/// A replica hangs, and does not read what the others tell it.
pub(crate) async fn client_that_does_not_read(watched: &Watched) {
    // As large as they get, and together more than any socket holds.
    const EVENTS: usize = 600;
    let system = &watched.system;
    let replica = system
        .replica(ServiceKind::InvoiceApp, "hanging", |_| {})
        .await
        .unwrap();
    let http = local_stack::http_client(Duration::from_secs(10)).unwrap();
    let subscriptions = format!("{}/connz?subs=true", system.stack().nats().monitor_url());
    eventually("both replicas listen", || async {
        let listed = http.get(&subscriptions).send().await?.text().await?;
        Ok(listed.matches(r#""invoice.v1.changed""#).count() == 2)
    })
    .await
    .unwrap();
    let process = replica.program().process().unwrap();
    process.signal(Signal::STOP);
    let others = system.stack().nats().connect(User::InvoiceApp).await.unwrap();
    let ids = vec!["01890000-0000-7000-8000-000000000001"; 500];
    let event = json!({"payments": ids, "batches": []}).to_string();
    for _ in 0..EVENTS {
        let event = event.clone().into();
        others.publish("invoice.v1.changed", event).await.unwrap();
    }
    others.flush().await.unwrap();
    watched.fire(&["NatsSlowConsumer"]).await;
    process.signal(Signal::CONT);
    eventually("it is connected anew", || async {
        let connects = acceptance::metric(&replica, "nats_client_connects_total", &[]).await?;
        Ok(connects > 1.0)
    })
    .await
    .unwrap();
    watched.clear(&["NatsSlowConsumer"]).await;
}
