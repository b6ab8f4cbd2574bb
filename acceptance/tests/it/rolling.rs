//! Several replicas of both services, one replaced after the other while they work.

use std::time::Duration;

use acceptance::{
    Callers, Client, Load, System,
    client::{Headers, WAIT},
    streams::existing_stream,
};
use local_stack::{Service, ServiceKind};

async fn two_of_each() -> (System, Service, Service) {
    let system = System::start_patient(|_| {}).await.unwrap();
    let (other_app, other_provider) = tokio::try_join!(
        system.replica(ServiceKind::InvoiceApp, "invoice-app-2", |_| {}),
        system.replica(ServiceKind::PaymentProvider, "payment-provider-2", |_| {}),
    )
    .unwrap();
    (system, other_app, other_provider)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_of_each_service_settle_a_batch_while_each_is_restarted_in_turn() {
    let (system, other_app, other_provider) = two_of_each().await;
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
        stop_and_start(service).await;
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

const CALLERS: usize = 16;
/// As the deployment's `preStop` does: until no proxy sends it anything new.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// Long enough that calls are waiting at any moment, and short enough not to wait out a restart.
const WAITS_A_LITTLE: Headers<'static> = &[("prefer", "wait=1")];

async fn stop_and_start(service: &Service) {
    let status = service.stop(Duration::from_mins(1)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{:?}", service.options().kind);
    service.start_again().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_replaced_one_after_the_other_fail_no_call_and_deliver_almost_nothing_twice() {
    let (system, other_app, other_provider) = two_of_each().await;
    let stack = system.stack();
    let (this, other) = (
        system.client().unwrap(),
        Client::try_new(&other_app.url()).unwrap(),
    );
    let both = vec![this.clone(), other.clone()];
    let callers = Callers::start(CALLERS, both.clone(), WAITS_A_LITTLE);
    for (service, the_rest) in [(stack.invoice_app(), other), (&other_app, this)] {
        callers.accepted(500).await.unwrap();
        callers.call_only(vec![the_rest]);
        tokio::time::sleep(LEFT_ALONE).await;
        stop_and_start(service).await;
        callers.call_only(both.clone());
    }
    for service in [stack.payment_provider(), &other_provider] {
        callers.accepted(500).await.unwrap();
        stop_and_start(service).await;
    }
    callers.accepted(500).await.unwrap();
    let tally = callers.stop().await.unwrap();
    tally.expect_all_accepted().unwrap();
    let asked = u64::try_from(tally.accepted.len()).unwrap();
    system.expect_all_paid(asked, 2).await.unwrap();
    for stream in ["PAY_REQUESTS", "PAY_OUTCOMES"] {
        let state = existing_stream(stack.nats(), stream).await.unwrap();
        let again = state.deliveries.saturating_sub(state.last_sequence);
        let sent_again = state.last_sequence.saturating_sub(asked);
        eprintln!("{stream}: {asked} payments, {sent_again} sent again, {again} delivered again");
        // Each of the four restarts may repeat what was in flight at that moment, and a caller has one payment open.
        assert!(again + sent_again <= 4 * CALLERS as u64, "{state:?}");
        assert!(again * 100 < asked, "{state:?}");
    }
}
