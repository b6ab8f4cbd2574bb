//! Delivery while NATS is not well: killed, wiped, streams and durables deleted under way.

use std::time::Duration;

use futures_util::StreamExt as _;
use jetstream::{delivery::Decision, publish::Publisher};
use local_stack::eventually;

use crate::{
    fixture::{LIMIT, Pair, outgoing, pay_request},
    recorder::{Action, Recorder, SETTINGS, publish, start, until_nothing_is_left},
};

/// Sends until everything was handled, as the sweep of invoice-app does: NATS may forget, the sender does not.
async fn send_until_done(pair: &Pair, handler: &Recorder, count: usize) {
    let requests = (0..count).map(pay_request).collect::<Vec<_>>();
    let publisher = Publisher::new(pair.invoice_app.clone());
    let mut send = 0;
    eventually("the end of the work", || {
        send += 1;
        let missing = requests
            .iter()
            .filter(|request| handler.deliveries(&request.invoice_number) == 0)
            .map(|request| outgoing(request, send))
            .collect::<Vec<_>>();
        let publisher = &publisher;
        async move {
            let finished = missing.is_empty();
            let _ = publisher.send(missing).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            finished
        }
    })
    .await
    .unwrap();
}

/// Waits until the loop has looked for its durable and not found it.
async fn missed(pair: &Pair, admin: &async_nats::jetstream::Context, delete: impl Future<Output = ()>) {
    let mut asked = admin
        .client()
        .subscribe("$JS.API.CONSUMER.INFO.PAY_REQUESTS.payment-provider")
        .await
        .unwrap();
    admin.client().flush().await.unwrap();
    delete.await;
    // Both pullers at least once, and one of them again.
    for _ in 0..3 {
        tokio::time::timeout(LIMIT, asked.next())
            .await
            .expect("the durable is looked for")
            .unwrap();
    }
    assert!(pair.payment_provider.is_connected());
}

#[tokio::test]
async fn a_deleted_durable_is_waited_for_and_work_continues() {
    let mut pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let _running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..100).await;
    handler.until_done(100).await;
    let admin = pair.server.admin("PAY_REQUESTS").await;
    for part in 1..3 {
        pair.unguard();
        missed(&pair, &admin, async {
            admin
                .delete_consumer_from_stream("payment-provider", "PAY_REQUESTS")
                .await
                .unwrap();
        })
        .await;
        publish(&pair, part * 100..(part + 1) * 100).await;
        pair.guard();
        handler.until_done((part + 1) * 100).await;
    }
}

#[tokio::test]
async fn a_deleted_stream_is_waited_for_and_work_continues() {
    let mut pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let _running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..100).await;
    handler.until_done(100).await;
    let admin = pair.server.admin("PAY_REQUESTS").await;
    pair.unguard();
    missed(&pair, &admin, async {
        admin.delete_stream("PAY_REQUESTS").await.unwrap();
    })
    .await;
    pair.guard();
    send_until_done(&pair, &handler, 300).await;
}

#[tokio::test]
async fn nothing_confirmed_is_lost_when_the_server_is_killed_and_started_again() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|_, _| Action::Take(Duration::from_millis(20)));
    publish(&pair, 0..3000).await;
    let _running = start(&pair, SETTINGS, &handler);
    for round in 1..=2 {
        eventually("some work", || async { handler.done() > round * 300 })
            .await
            .unwrap();
        pair.server.nats().kill9().await;
        pair.server.nats().start_again().await.unwrap();
    }
    handler.until_done(3000).await;
    until_nothing_is_left(&pair).await;
}

#[tokio::test]
async fn a_server_that_forgot_everything_is_worked_with_again() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|_, _| Action::Take(Duration::from_millis(5)));
    publish(&pair, 0..500).await;
    let _running = start(&pair, SETTINGS, &handler);
    eventually("some work", || async { handler.done() > 50 })
        .await
        .unwrap();
    pair.server.nats().kill9().await;
    pair.server.nats().wipe_store().unwrap();
    pair.server.nats().start_again().await.unwrap();
    send_until_done(&pair, &handler, 500).await;
}

/// Two messages are held until their stream is another one, whose messages have the same sequences: their acks end none of those.
async fn late_acks_end_no_message_of_the_new_stream(pair: &Pair, made_again: impl Future<Output = ()>) {
    let handler = Recorder::new(|request, _| match request.invoice_number.as_str() {
        "I0" | "I1" => Action::Hold,
        "I2" => Action::Decide(Decision::Retry(Duration::from_secs(1))),
        _ => Action::Decide(Decision::Done),
    });
    let _running = start(pair, SETTINGS, &handler);
    publish(pair, 0..2).await;
    eventually("work in flight", || async { handler.seen() == 2 })
        .await
        .unwrap();
    made_again.await;
    eventually("the new stream", || async {
        let message = outgoing(&pay_request(2), 1);
        let publisher = Publisher::new(pair.invoice_app.clone());
        publisher.send_confirmed(vec![message]).await[0].is_ok()
    })
    .await
    .unwrap();
    eventually("the new message", || async { handler.deliveries("I2") > 0 })
        .await
        .unwrap();
    handler.gate.add_permits(2);
    handler.until_done(2).await;
    let delivered = handler.deliveries("I2");
    eventually("the new message, again and again", || async {
        handler.deliveries("I2") > delivered + 1
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_ack_from_before_a_reconnect_does_not_end_a_message_of_the_new_stream() {
    let pair = Pair::start().await;
    let forgotten = async {
        let epoch = pair.payment_provider.link().borrow().epoch;
        pair.server.nats().kill9().await;
        pair.server.nats().wipe_store().unwrap();
        pair.server.nats().start_again().await.unwrap();
        let mut link = pair.payment_provider.link();
        link.wait_for(|link| link.connected && link.epoch > epoch)
            .await
            .unwrap();
    };
    Box::pin(late_acks_end_no_message_of_the_new_stream(&pair, forgotten)).await;
}

#[tokio::test]
async fn an_ack_does_not_end_a_message_of_a_stream_made_again_meanwhile() {
    let pair = Pair::start().await;
    let deleted = async {
        let admin = pair.server.admin("PAY_REQUESTS").await;
        admin.delete_stream("PAY_REQUESTS").await.unwrap();
    };
    Box::pin(late_acks_end_no_message_of_the_new_stream(&pair, deleted)).await;
}
