//! NATS forgets while invoices are being paid: its whole store, a stream, a durable. Each becomes paid, once.

use std::time::Duration;

use acceptance::{
    Load, System,
    client::{NO_WAIT, import_lines},
    eventually, stream_state,
    streams::existing_stream,
};
use local_stack::NatsAdmin;

/// Where nothing is sent again because time has passed: only noticing that NATS has forgotten helps.
async fn system_that_must_notice() -> System {
    let resend_after = ("sender.resend_after_s".to_owned(), "3600".to_owned());
    System::start_with(|options| options.invoice_app.extend([resend_after]))
        .await
        .unwrap()
}

async fn wiped_while_paying(name: &str, wipes: u32, wave: u32, minutes: u64) {
    let system = system_that_must_notice().await;
    let mut load = Load::try_new(name, &system).unwrap();
    let nats = system.stack().nats();
    for _ in 0..wipes {
        load.wave(wave).await.unwrap();
        nats.kill9().await;
        nats.wipe_store().unwrap();
        nats.start_again().await.unwrap();
    }
    load.expect_all_paid(minutes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_loses_no_invoice_and_charges_none_twice() {
    wiped_while_paying("wiped stores", 3, 2500, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn a_store_wiped_three_times_under_fifty_thousand_loses_no_invoice_and_charges_none_twice() {
    wiped_while_paying("wiped stores under load", 3, 16_667, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_durables_and_streams_come_back_and_nothing_is_lost() {
    let system = system_that_must_notice().await;
    // The services may delete nothing, so the server gets a user who may.
    let admin = NatsAdmin::take_over(system.stack().nats()).await.unwrap();
    let mut load = Load::try_new("deleted durables and streams", &system).unwrap();
    let durables = [
        ("PAY_REQUESTS", "payment-provider"),
        ("PAY_OUTCOMES", "invoice-app"),
    ];
    for (stream, durable) in [
        durables[0],
        durables[1],
        ("PAY_REQUESTS", ""),
        ("PAY_OUTCOMES", ""),
    ] {
        let jetstream = admin.jetstream(stream).await.unwrap();
        load.wave(2500).await.unwrap();
        eventually("there is something to delete", || async {
            let deleted = if durable.is_empty() {
                jetstream.delete_stream(stream).await?.success
            } else {
                jetstream
                    .delete_consumer_from_stream(durable, stream)
                    .await?
                    .success
            };
            Ok(deleted)
        })
        .await
        .unwrap();
    }
    load.expect_all_paid(4).await.unwrap();
    for (stream, _) in durables {
        let state = eventually("the stream and its durable exist again", || async {
            Ok(stream_state(system.stack().nats(), stream)
                .await?
                .filter(|state| state.consumers == 1))
        });
        state.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_waited_long_in_a_store_are_sent_again_when_it_is_wiped() {
    let system = system_that_must_notice().await;
    let client = system.client().unwrap();
    let nats = system.stack().nats();
    system
        .stack()
        .payment_provider()
        .stop(Duration::from_mins(1))
        .await
        .unwrap();
    client.import(import_lines("F", 500, 0)).await.unwrap();
    client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    eventually("all requests are stored", || async {
        Ok(existing_stream(nats, "PAY_REQUESTS").await?.messages == 500)
    })
    .await
    .unwrap();
    // What was sent just before a connection was lost is sent again anyhow; these have long arrived by then.
    tokio::time::sleep(Duration::from_secs(10)).await;
    nats.kill9().await;
    nats.wipe_store().unwrap();
    nats.start_again().await.unwrap();
    system.stack().payment_provider().start_again().await.unwrap();
    system.expect_all_paid(500, 2).await.unwrap();
}
