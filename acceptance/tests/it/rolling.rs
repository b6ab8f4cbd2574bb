//! Several replicas of both services, one replaced after the other while they work.

use std::time::Duration;

use acceptance::{Client, Load, System, client::WAIT};
use local_stack::ServiceKind;

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_of_each_service_settle_a_batch_while_each_is_restarted_in_turn() {
    let system = System::start().await.unwrap();
    let (other_app, other_provider) = tokio::try_join!(
        system.replica(ServiceKind::InvoiceApp, "invoice-app-2", |_| {}),
        system.replica(ServiceKind::PaymentProvider, "payment-provider-2", |_| {}),
    )
    .unwrap();
    let stack = system.stack();
    let clients = [
        system.client().unwrap(),
        Client::try_new(&other_app.url()).unwrap(),
    ];
    let mut load = Load::try_new("two replicas of each service", &system).unwrap();
    for service in [
        stack.payment_provider(),
        &other_app,
        &other_provider,
        stack.invoice_app(),
    ] {
        load.wave(2500).await.unwrap();
        let status = service.stop(Duration::from_mins(1)).await.unwrap();
        assert_eq!(status.code(), Some(0), "{:?}", service.options().kind);
        service.start_again().await.unwrap();
    }
    load.expect_all_paid(4).await.unwrap();

    // Whichever replica hears of the outcome, the one that is asked answers the waiting caller.
    for i in 0..20 {
        let client = &clients[i % 2];
        let id = client.create("1.00", "EUR").await.unwrap();
        let payment = client.pay(&id, WAIT).await.unwrap();
        assert_eq!(
            (payment.status, payment.text("/status")),
            (200, "succeeded"),
            "{payment:?}"
        );
    }
    system
        .check()
        .await
        .unwrap()
        .expect_succeeded(usize::try_from(load.asked() + 20).unwrap())
        .unwrap();
}
