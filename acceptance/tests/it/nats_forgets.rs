//! NATS forgets while invoices are being paid: its whole store, a stream, a durable. Each becomes paid, once.

use acceptance::{
    Chaos, NatsAdmin, System,
    client::{NO_WAIT, import_lines},
    eventually, stream_state,
};

async fn wiped_while_paying(name: &str, invoices: u32, wipes: u64, minutes: u64) {
    let mut chaos = Chaos::new(name);
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    client.import(import_lines("W", invoices, 4)).await.unwrap();
    client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    let nats = system.stack().nats();
    for paid in chaos.thresholds(u64::from(invoices), wipes) {
        system.at_least_paid(paid).await.unwrap();
        nats.kill9().await;
        let open = system.count_payments("requested").await.unwrap();
        assert!(open > 0, "the wipe came too late to prove anything");
        eprintln!("{name}: wiping with {open} of {invoices} payments open");
        nats.wipe_store().unwrap();
        nats.start_again().await.unwrap();
    }
    let report = system
        .expect_all_paid(u64::from(invoices), minutes)
        .await
        .unwrap();
    assert_eq!(report.matches, invoices as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_loses_no_invoice_and_charges_none_twice() {
    wiped_while_paying("a_wiped_store", 3000, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn a_store_wiped_under_fifty_thousand_loses_no_invoice_and_charges_none_twice() {
    wiped_while_paying("a_store_wiped_under_fifty_thousand", 50_000, 3, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_durables_and_streams_come_back_and_nothing_is_lost() {
    const INVOICES: u32 = 3000;
    let mut chaos = Chaos::new("deleted_durables_and_streams");
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    // The services may delete nothing, so the server gets a user who may.
    let admin = NatsAdmin::take_over(system.stack().nats()).await.unwrap();
    client.import(import_lines("D", INVOICES, 4)).await.unwrap();
    client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();

    let durables = [
        ("PAY_REQUESTS", "payment-provider"),
        ("PAY_OUTCOMES", "invoice-app"),
    ];
    let deletions = [
        durables[0],
        durables[1],
        ("PAY_REQUESTS", ""),
        ("PAY_OUTCOMES", ""),
    ];
    let strikes = chaos.thresholds(u64::from(INVOICES), 4);
    for ((stream, durable), paid) in deletions.into_iter().zip(strikes) {
        system.at_least_paid(paid).await.unwrap();
        assert!(
            system.count_payments("requested").await.unwrap() > 0,
            "too late to prove anything"
        );
        let jetstream = admin.jetstream(stream).await.unwrap();
        // The services make them again within seconds, when an earlier strike has taken them.
        eventually("the deletion", || async {
            if durable.is_empty() {
                Ok(Some(jetstream.delete_stream(stream).await?.success))
            } else {
                Ok(Some(
                    jetstream
                        .delete_consumer_from_stream(durable, stream)
                        .await?
                        .success,
                ))
            }
        })
        .await
        .unwrap();
    }
    system.expect_all_paid(u64::from(INVOICES), 3).await.unwrap();
    for (stream, _) in durables {
        let state = eventually("the stream and its durable exist again", || async {
            Ok(stream_state(system.stack().nats(), stream)
                .await?
                .filter(|state| state.consumers == 1))
        });
        state.await.unwrap();
    }
}
