//! Several replicas of both services, one replaced after the other while they work.

use std::time::Duration;

use acceptance::{
    Chaos, Client, System,
    client::{NO_WAIT, WAIT, import_lines},
};
use local_stack::ServiceKind;

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_of_each_service_settle_a_batch_while_each_is_restarted_in_turn() {
    const INVOICES: u32 = 3000;
    let mut chaos = Chaos::new("two_replicas_of_each_service");
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
    clients[0].import(import_lines("R", INVOICES, 4)).await.unwrap();
    let (one, two) = tokio::join!(clients[0].pay_all(NO_WAIT), clients[1].pay_all(NO_WAIT));
    for answer in [one.unwrap(), two.unwrap()] {
        assert!(answer.status == 200 || answer.status == 202, "{answer:?}");
    }
    let replicas = [
        stack.invoice_app(),
        stack.payment_provider(),
        &other_app,
        &other_provider,
    ];
    let strikes = chaos.thresholds(u64::from(INVOICES), 4);
    for (service, paid) in replicas.into_iter().zip(strikes) {
        system.at_least_paid(paid).await.unwrap();
        let status = service.stop(Duration::from_mins(1)).await.unwrap();
        assert_eq!(status.code(), Some(0), "{:?}", service.options().kind);
        service.start_again().await.unwrap();
    }
    system.expect_all_paid(u64::from(INVOICES), 3).await.unwrap();

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
        .expect_succeeded(INVOICES as usize + 20)
        .unwrap();
}
