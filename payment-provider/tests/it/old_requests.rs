//! Requests older than their rows: what a ledger that went back in time has forgotten is asked of the bank.

use std::time::Duration;

use jetstream::delivery::Decision;
use payment_contract::messages::PayRequestV1;
use payment_provider::{ledger::OPERATOR_DELAY, store::LedgerFilter};
use time::OffsetDateTime;

use crate::support::{World, decide, request};

fn asked_ago(age: Duration) -> PayRequestV1 {
    let mut request = request("12.15", "EUR");
    request.requested_at = OffsetDateTime::now_utc() - age;
    request
}

/// How often the bank was asked to look a payment up, and to pay it.
fn asked(world: &World, request: &PayRequestV1) -> (usize, usize) {
    let (finds, pays) = (
        world.bank.finds(request.payment_id),
        world.bank.pays(request.payment_id),
    );
    (finds, pays)
}

#[tokio::test]
async fn request_as_old_as_a_backup_is_looked_up_before_it_is_paid() {
    let world = World::start().await;
    let provider = world.provider();
    let (young, old) = (request("12.15", "EUR"), asked_ago(Duration::from_hours(2)));
    for request in [&young, &old] {
        assert_eq!(decide(&provider, request).await, Decision::Done);
        assert_eq!(world.charges(request).await, 1);
    }
    assert_eq!(asked(&world, &young), (0, 1), "the common case pays for nothing");
    assert_eq!(asked(&world, &old), (1, 1));
}

#[tokio::test]
async fn charge_that_a_restored_ledger_forgot_is_found_and_not_made_again() {
    let world = World::start().await;
    let forgotten = asked_ago(Duration::from_hours(24 * 3));
    world.bank.charge_unheard(&forgotten).await;
    assert_eq!(decide(&world.provider(), &forgotten).await, Decision::Done);
    assert_eq!(world.status(forgotten.payment_id).await, "succeeded");
    assert_eq!(asked(&world, &forgotten), (1, 0));
}

#[tokio::test]
async fn request_older_than_the_bank_remembers_is_an_operators() {
    let world = World::start().await;
    let provider = world.provider();
    let old = asked_ago(Duration::from_hours(23));
    assert_eq!(decide(&provider, &old).await, Decision::Retry(OPERATOR_DELAY));
    // And again from its row, which is young.
    assert_eq!(decide(&provider, &old).await, Decision::Retry(OPERATOR_DELAY));
    assert_eq!(asked(&world, &old), (2, 0));
    let open = world.store.list(LedgerFilter::Open, 10).await.unwrap();
    assert_eq!(
        open.iter().map(|row| row.payment_id).collect::<Vec<_>>(),
        [old.payment_id.as_uuid()]
    );
}
