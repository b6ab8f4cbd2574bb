//! Readers of events who are cut off by every kind of death hear everything, once, and in the order in which it is kept.

use std::{collections::HashSet, time::Duration};

use acceptance::{Client, EventReader, Load, System, Told};
use local_stack::ServiceKind;

const WAVE: u32 = 2500;

#[tokio::test(flavor = "multi_thread")]
async fn reader_hears_everything_once_whatever_dies() {
    let system = System::start_with(|options| options.durable = true)
        .await
        .unwrap();
    let other_app = system
        .replica(ServiceKind::InvoiceApp, "invoice-app-2", |_| {})
        .await
        .unwrap();
    let stack = system.stack();
    let clients = [
        system.client().unwrap(),
        Client::try_new(&other_app.url()).unwrap(),
    ];
    let mut reader = EventReader::from_now_on(&clients[0]).await.unwrap();
    let all = 4 * usize::try_from(WAVE).unwrap();
    let reading = {
        let clients = clients.clone();
        tokio::spawn(async move {
            let paid = |told: &[Told]| told.iter().filter(|told| told.kind == "invoice.paid").count();
            let done = reader.read_until(&clients, |told| told.len() >= 3 * all && paid(told) >= all);
            done.await.map(|()| reader.told)
        })
    };

    let mut load = Load::try_new("a reader of events", &system).unwrap();
    load.wave(WAVE).await.unwrap();
    stack.invoice_app().kill9().await;
    stack.invoice_app().start_again().await.unwrap();
    load.wave(WAVE).await.unwrap();
    other_app.kill9().await;
    other_app.start_again().await.unwrap();
    load.wave(WAVE).await.unwrap();
    stack.nats().kill9().await;
    stack.nats().wipe_store().unwrap();
    stack.nats().start_again().await.unwrap();
    load.wave(WAVE).await.unwrap();
    stack.postgres().kill9().await;
    stack.postgres().start_again().await.unwrap();
    load.expect_all_paid(4).await.unwrap();

    let told = reading.await.unwrap().unwrap();
    let ids: HashSet<&str> = told.iter().map(|told| told.id.as_str()).collect();
    assert_eq!(ids.len(), told.len(), "something was told twice");
    assert_eq!(told, EventReader::everything(&clients[1]).await.unwrap());
    let count = |kind: &str| told.iter().filter(|told| told.kind == kind).count() as u64;
    let rows = async |query: &str| system.count_in_invoices(query).await.unwrap();
    assert_eq!(
        count("invoice.created"),
        rows("select count(*) from invoices").await
    );
    assert_eq!(
        count("invoice.pending"),
        rows("select count(*) from payments").await
    );
    for (kind, status) in [("invoice.paid", "succeeded"), ("invoice.declined", "declined")] {
        assert_eq!(
            count(kind),
            system.count_payments(status).await.unwrap(),
            "{kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_open_streams_at_once_and_cleanly() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = client.events("", None).await.unwrap();
        assert!(stream.chunk().await.unwrap().is_some());
        streams.push(stream);
    }
    let status = system
        .stack()
        .invoice_app()
        .stop(Duration::from_mins(1))
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
    for mut stream in streams {
        assert_eq!(stream.chunk().await.unwrap(), None, "it was cut off");
    }
}
