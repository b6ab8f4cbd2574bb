//! What contradicts the ledger, and what the ledger cannot hold: nothing changes, and somebody is told.

use std::time::Duration;

use jetstream::delivery::Decision;
use payment_contract::{Money, messages::OutcomeStatus};

use crate::support::{World, decide, decide_all, request};

fn is_conflict(decision: &Decision) -> bool {
    matches!(decision, Decision::Reject(reason) if reason.starts_with("conflict"))
}

#[tokio::test]
async fn other_request_under_a_finished_payments_id_is_a_conflict_and_the_outcome_is_published_again() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    assert_eq!(decide(&provider, &request).await, Decision::Done);
    let mut other = request.clone();
    other.amount = Money::parse("9999.00", "EUR").unwrap();
    assert!(is_conflict(&decide(&provider, &other).await));
    world.heard(request.payment_id, 2).await;
    assert_eq!(
        (world.bank.pays(request.payment_id), world.charges(&request).await),
        (1, 1)
    );
}

#[tokio::test]
async fn other_request_under_an_open_payments_id_is_a_conflict_and_calls_nobody() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    world.end_lease(request.payment_id).await;
    let mut other = request.clone();
    other.invoice_id = payment_contract::InvoiceId::generate();
    assert!(is_conflict(&decide(&provider, &other).await));
    assert_eq!(world.bank.calls(request.payment_id), (0, 0));
    assert!(world.outcomes(request.payment_id).is_empty());
    assert_eq!(
        decide(&provider, &request).await,
        Decision::Done,
        "the right one goes on"
    );
}

#[tokio::test]
async fn two_different_requests_for_one_payment_in_a_batch_pay_the_first_only() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    let mut other = request.clone();
    other.amount = Money::parse("9999.00", "EUR").unwrap();
    let decisions = decide_all(&provider, &[request.clone(), other]).await;
    assert_eq!(decisions[0], Decision::Done);
    assert!(is_conflict(&decisions[1]), "{:?}", decisions[1]);
    assert_eq!(world.bank.pays(request.payment_id), 1);
}

#[tokio::test]
async fn result_that_contradicts_a_finished_row_changes_nothing_and_is_a_conflict() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.timeout = Duration::from_secs(10));
    let request = request("12.15", "EUR");
    let calling = world.held_call(&provider, &request).await;
    let finish =
        "update ledger set status = 'declined', reason = 'by hand', lease_token = null, lease_until = null,
                                    settled_at = clock_timestamp() where payment_id = $1";
    world.execute(finish, request.payment_id).await;
    world.bank.open();
    let decision = calling.await.unwrap();
    assert!(is_conflict(&decision), "{decision:?}");
    let outcome = world.heard(request.payment_id, 1).await;
    assert_eq!(
        (outcome.status, outcome.reason.as_deref()),
        (OutcomeStatus::Declined, Some("by hand"))
    );
    assert_eq!(world.row(request.payment_id).await.unwrap().0, "declined");
}

#[tokio::test]
async fn result_that_agrees_with_a_row_finished_meanwhile_is_simply_done() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.timeout = Duration::from_secs(10));
    let request = request("12.15", "EUR");
    let calling = world.held_call(&provider, &request).await;
    let finish = "update ledger set status = 'succeeded', lease_token = null, lease_until = null,
                                    settled_at = clock_timestamp() where payment_id = $1";
    world.execute(finish, request.payment_id).await;
    world.bank.open();
    assert_eq!(calling.await.unwrap(), Decision::Done);
    world.heard(request.payment_id, 1).await;
}

#[tokio::test]
async fn request_the_ledger_cannot_hold_fails_nobody_elses() {
    let world = World::start().await;
    let provider = world.provider();
    let mut bad = request("1.00", "EUR");
    bad.invoice_number = "I\u{0}1".to_owned();
    let (before, after) = (request("2.00", "EUR"), request("3.00", "EUR"));
    let decisions = decide_all(&provider, &[before.clone(), bad.clone(), after.clone()]).await;
    assert_eq!((&decisions[0], &decisions[2]), (&Decision::Done, &Decision::Done));
    assert!(
        matches!(&decisions[1], Decision::Reject(reason) if !reason.is_empty()),
        "{:?}",
        decisions[1]
    );
    assert_eq!(world.row(bad.payment_id).await, None);
    assert_eq!(world.bank.pays(bad.payment_id), 0);
}

#[tokio::test]
async fn requests_wait_while_the_database_is_away() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    world.pool.close().await;
    assert!(matches!(decide(&provider, &request).await, Decision::Retry(_)));
    assert_eq!(world.bank.pays(request.payment_id), 0);
}
