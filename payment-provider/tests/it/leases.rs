//! Who may call the bank: only the holder of the row's lease, and only while it lasts.

use std::time::Duration;

use jetstream::delivery::Decision;
use local_stack::eventually;
use payment_contract::messages::{OutcomeStatus, PayRequestV1};
use tokio::time::{sleep, timeout};

use crate::support::{World, decide, request};

#[tokio::test]
async fn while_one_provider_calls_the_other_keeps_away() {
    let world = World::start().await;
    let (one, other) = (
        world.provider_with(|setup| setup.timeout = Duration::from_secs(10)),
        world.provider_with(|setup| setup.timeout = Duration::from_secs(10)),
    );
    let request = request("12.15", "EUR");
    let calling = world.held_call(&one, &request).await;

    let decision = decide(&other, &request).await;
    assert!(
        matches!(decision, Decision::Retry(wait) if wait > Duration::from_secs(5)),
        "{decision:?}"
    );
    assert_eq!(world.bank.calls(request.payment_id), (1, 0));

    world.bank.open();
    assert_eq!(calling.await.unwrap(), Decision::Done);
    assert_eq!(decide(&other, &request).await, Decision::Done);
    assert_eq!(world.bank.calls(request.payment_id), (1, 0));
    world.heard(request.payment_id, 2).await;
}

#[tokio::test]
async fn row_of_a_provider_that_crashed_before_its_call_is_looked_up_then_paid() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    assert!(
        matches!(decide(&provider, &request).await, Decision::Retry(_)),
        "its lease lasts"
    );
    assert_eq!(world.bank.finds(request.payment_id), 0);

    world.end_lease(request.payment_id).await;
    assert_eq!(decide(&provider, &request).await, Decision::Done);
    assert_eq!(
        (
            world.bank.finds(request.payment_id),
            world.bank.pays(request.payment_id)
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn row_of_a_provider_that_crashed_after_its_call_gets_the_result_looked_up() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    world.bank.charge_unheard(&request).await;
    world.end_lease(request.payment_id).await;
    assert_eq!(decide(&provider, &request).await, Decision::Done);
    assert_eq!(
        (
            world.bank.finds(request.payment_id),
            world.bank.pays(request.payment_id)
        ),
        (1, 0)
    );
    assert_eq!(
        world.heard(request.payment_id, 1).await.status,
        OutcomeStatus::Succeeded
    );
}

#[tokio::test]
async fn look_up_without_an_answer_leads_to_no_call() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    world.end_lease(request.payment_id).await;
    world.bank.answer_no_look_ups(true);
    assert!(matches!(decide(&provider, &request).await, Decision::Retry(_)));
    assert_eq!(
        (
            world.bank.pays(request.payment_id),
            world.status(request.payment_id).await.as_str()
        ),
        (0, "started")
    );
    world.bank.answer_no_look_ups(false);
    assert_eq!(
        decide(&provider, &request).await,
        Decision::Done,
        "the lease was given back"
    );
}

#[tokio::test]
async fn payment_the_bank_may_have_forgotten_is_left_to_an_operator() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    world.end_lease(request.payment_id).await;
    world
        .execute(
            "update ledger set created_at = created_at - interval '23 h' where payment_id = $1",
            request.payment_id,
        )
        .await;
    let decision = decide(&provider, &request).await;
    assert!(
        matches!(decision, Decision::Retry(wait) if wait >= Duration::from_mins(10)),
        "{decision:?}"
    );
    assert_eq!(world.bank.calls(request.payment_id), (0, 1));
    assert_eq!(world.status(request.payment_id).await, "started");
}

#[tokio::test]
async fn old_payment_the_bank_remembers_is_finished_without_an_operator() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    world.bank.charge_unheard(&request).await;
    world.end_lease(request.payment_id).await;
    world
        .execute(
            "update ledger set created_at = created_at - interval '9 d' where payment_id = $1",
            request.payment_id,
        )
        .await;
    assert_eq!(decide(&world.provider(), &request).await, Decision::Done);
}

/// One permit to call the bank, taken by one payment while another waits for it until the bank may have forgotten that one. How
/// often it was then paid and looked up.
async fn grown_too_old(called_before: bool) -> (usize, usize) {
    let world = World::start().await;
    let provider = world.provider_with(|setup| {
        setup.policy.key_retention = Duration::from_secs(4);
        setup.timeout = Duration::from_secs(10);
        setup.lines = 1;
    });
    let (first, second) = (request("1.00", "EUR"), request("2.00", "EUR"));
    // It takes the permit.
    let calling = world.held_call(&provider, &first).await;
    if called_before {
        world.crashed_after_intent(&second).await;
        world.end_lease(second.payment_id).await;
    }
    let message = second.clone();
    let waiting = tokio::spawn(async move { decide(&provider, &message).await });
    eventually("the bank may have forgotten the payment that waits", async || {
        let sql = "select count(*) = 1 from ledger
                   where payment_id = $1 and created_at < clock_timestamp() - interval '4 s'";
        let old: bool = sqlx::query_scalar(sql)
            .bind(second.payment_id.as_uuid())
            .fetch_one(&world.pool)
            .await
            .unwrap();
        old
    })
    .await
    .unwrap();
    world.bank.open();
    assert_eq!(calling.await.unwrap(), Decision::Done);
    assert!(matches!(waiting.await.unwrap(), Decision::Retry(_)));
    world.bank.calls(second.payment_id)
}

#[tokio::test]
async fn payment_that_grows_too_old_while_it_waits_for_the_bank_is_left_to_an_operator() {
    assert_eq!(grown_too_old(true).await, (0, 1));
}

#[tokio::test]
async fn new_payment_that_grows_too_old_while_it_waits_for_the_bank_is_not_called() {
    assert_eq!(grown_too_old(false).await, (0, 0));
}

/// One permit to call the bank, taken by one payment while another waits for it for longer than its first lease outlasts a call.
async fn waited_for_the_permit(steal: bool) -> (World, Decision, usize) {
    let world = World::with_leases(Duration::from_secs(12)).await;
    let provider = world.provider_with(|setup| {
        setup.timeout = Duration::from_secs(10);
        setup.policy.lease_margin = Duration::from_secs(1);
        setup.lines = 1;
    });
    let (first, second) = (request("1.00", "EUR"), request("2.00", "EUR"));
    // It takes the permit.
    let calling = world.held_call(&provider, &first).await;
    let message = second.clone();
    let waiting = tokio::spawn(async move { decide(&provider, &message).await });
    eventually(
        "it has waited for longer than its lease outlasted a call",
        async || {
            let sql = "select count(*) = 1 from ledger
                   where payment_id = $1 and created_at < clock_timestamp() - interval '1.5 s'";
            let long: bool = sqlx::query_scalar(sql)
                .bind(second.payment_id.as_uuid())
                .fetch_one(&world.pool)
                .await
                .unwrap();
            long
        },
    )
    .await
    .unwrap();
    if steal {
        world
            .execute(
                "update ledger set lease_token = uuidv7() where payment_id = $1",
                second.payment_id,
            )
            .await;
        eventually("that is noticed", async || waiting.is_finished())
            .await
            .unwrap();
    }
    world.bank.open();
    assert_eq!(calling.await.unwrap(), Decision::Done);
    let decision = waiting.await.unwrap();
    let pays = world.bank.pays(second.payment_id);
    (world, decision, pays)
}

#[tokio::test]
async fn lease_that_would_end_during_the_call_is_renewed_first() {
    let (_world, decision, pays) = waited_for_the_permit(false).await;
    assert_eq!((decision, pays), (Decision::Done, 1));
}

#[tokio::test]
async fn lease_that_cannot_be_renewed_leads_to_no_call() {
    let (_world, decision, pays) = waited_for_the_permit(true).await;
    assert!(matches!(decision, Decision::Retry(_)), "{decision:?}");
    assert_eq!(pays, 0);
}

/// One call at a time. The lease of the payment whose turn comes cannot be renewed now, since somebody has locked its row: the
/// next one has its turn meanwhile.
#[tokio::test]
async fn renewal_that_hangs_keeps_no_other_payment_from_the_bank() {
    let world = World::with_leases(Duration::from_secs(14)).await;
    let provider = world.provider_with(|setup| {
        setup.timeout = Duration::from_secs(10);
        setup.policy.lease_margin = Duration::from_secs(1);
        setup.lines = 1;
    });
    let [first, second, third] = [(); 3].map(|()| request("1.00", "EUR"));
    let paying = |request: &PayRequestV1| {
        let (provider, request) = (provider.clone(), request.clone());
        tokio::spawn(async move { decide(&provider, &request).await })
    };
    let calling = world.held_call(&provider, &first).await;
    let mut locked = world.pool.begin().await.unwrap();
    let waiting = paying(&second);
    eventually("the row that hangs is there", async || {
        world.row(second.payment_id).await.is_some()
    })
    .await
    .unwrap();
    sqlx::query("select from ledger where payment_id = $1 for update")
        .bind(second.payment_id.as_uuid())
        .fetch_one(&mut *locked)
        .await
        .unwrap();
    sleep(Duration::from_millis(3_200)).await;
    let next = paying(&third);
    eventually("it waits behind the other", async || {
        world.row(third.payment_id).await.is_some()
    })
    .await
    .unwrap();
    world.bank.open();
    assert_eq!(calling.await.unwrap(), Decision::Done);
    let paid = timeout(Duration::from_secs(2), next).await;
    assert_eq!(paid.expect("before the renewal ends").unwrap(), Decision::Done);
    assert_eq!(world.bank.pays(second.payment_id), 0);
    locked.commit().await.unwrap();
    waiting.abort();
}
