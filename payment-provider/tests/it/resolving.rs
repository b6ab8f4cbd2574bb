//! `ledger resolve`: what it refuses, and what it leaves behind.

use jetstream::delivery::Decision as Delivered;
use payment_contract::messages::{OutcomeStatus, PayRequestV1};
use payment_provider::{
    commands::resolve::{OperatorDecision, Refusal, Resolved, resolve},
    store::LedgerFilter,
};
use uuid::Uuid;

use crate::support::{World, decide, parts, request};

async fn try_resolve(
    world: &World,
    request: &PayRequestV1,
    status: OutcomeStatus,
) -> Result<Resolved, Refusal> {
    resolve_with(world, request, status, false).await
}

/// Against what the bank does not say.
async fn force(world: &World, request: &PayRequestV1, status: OutcomeStatus) -> Result<Resolved, Refusal> {
    resolve_with(world, request, status, true).await
}

async fn resolve_with(
    world: &World,
    request: &PayRequestV1,
    status: OutcomeStatus,
    force: bool,
) -> Result<Resolved, Refusal> {
    let decision = OperatorDecision {
        payment_id: request.payment_id,
        status,
        reason: "the bank's desk said so".to_owned(),
        reference: Some("R-17".to_owned()),
        resolved_by: Some("an operator".to_owned()),
        force,
    };
    resolve(&parts(world), decision).await
}

/// Older than the bank remembers keys, and an hour.
async fn age(world: &World, request: &PayRequestV1) {
    let old = "update ledger set created_at = created_at - interval '2 d' where payment_id = $1";
    world.execute(old, request.payment_id).await;
}

async fn open_payment(world: &World) -> PayRequestV1 {
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    world.end_lease(request.payment_id).await;
    request
}

#[tokio::test]
async fn open_payment_is_listed_and_ended_with_a_record_of_who_decided() {
    let world = World::start().await;
    let request = open_payment(&world).await;
    let open = world.store.list(LedgerFilter::Open, 10).await.unwrap();
    assert_eq!(
        open.iter().map(|row| row.payment_id).collect::<Vec<_>>(),
        [request.payment_id.as_uuid()]
    );

    age(&world, &request).await;
    let resolved = force(&world, &request, OutcomeStatus::Declined).await.unwrap();
    assert_eq!(resolved.outcome.status, OutcomeStatus::Declined);
    assert_eq!(
        resolved.outcome.reason.as_deref(),
        Some("the bank's desk said so")
    );
    assert!(world.store.list(LedgerFilter::Open, 10).await.unwrap().is_empty());
    assert_eq!(
        world.store.list(LedgerFilter::Latest, 10).await.unwrap()[0].status,
        "declined"
    );

    let shown = world.store.show(request.payment_id).await.unwrap().unwrap();
    assert_eq!(shown.settled_at, Some(resolved.outcome.settled_at));
    let records = world.store.resolutions(request.payment_id).await.unwrap();
    let record = &records[0];
    assert_eq!(
        (record.status.as_str(), record.resolved_by.as_str()),
        ("declined", "an operator")
    );
    assert_eq!(record.bank_said, "it does not know the payment (forced)");

    assert_eq!(decide(&world.provider(), &request).await, Delivered::Done);
    assert_eq!(world.heard(request.payment_id, 1).await, resolved.outcome);
    assert_eq!(world.bank.pays(request.payment_id), 0);
}

#[tokio::test]
async fn payment_whose_bank_answers_nothing_is_ended_by_force_and_declined_only_when_no_call_can_come_late() {
    let world = World::start().await;
    world.bank.answer_no_look_ups(true);
    for status in [OutcomeStatus::Succeeded, OutcomeStatus::Declined] {
        let request = open_payment(&world).await;
        if status == OutcomeStatus::Declined {
            let refused = force(&world, &request, status).await;
            assert!(matches!(refused, Err(Refusal::TooYoung { .. })), "{refused:?}");
            age(&world, &request).await;
        }
        let refused = try_resolve(&world, &request, status).await;
        assert!(matches!(refused, Err(Refusal::Unproven { .. })), "{refused:?}");
        assert_eq!(world.status(request.payment_id).await, "started");
        let resolved = force(&world, &request, status).await.unwrap();
        assert_eq!(resolved.outcome.status, status);
        assert!(
            resolved.bank_said.starts_with("nothing"),
            "{}",
            resolved.bank_said
        );
    }
}

#[tokio::test]
async fn what_the_bank_declined_is_declined_for_the_banks_reason() {
    let world = World::start().await;
    let request = request("4000.01", "EUR");
    assert_eq!(decide(&world.provider(), &request).await, Delivered::Done);
    let told = world.heard(request.payment_id, 1).await;
    assert!(told.reason.is_some());
    // The ledger goes back to before that; invoice-app, which has heard it, does not.
    let forgotten =
        "update ledger set status = 'started', reason = null, gateway_reference = null, settled_at = null
                     where payment_id = $1";
    world.execute(forgotten, request.payment_id).await;
    let resolved = try_resolve(&world, &request, OutcomeStatus::Declined)
        .await
        .unwrap();
    assert_eq!(resolved.outcome.reason, told.reason);
    let records = world.store.resolutions(request.payment_id).await.unwrap();
    assert_eq!(records[0].reason, "the bank's desk said so");
}

#[tokio::test]
async fn payment_somebody_holds_is_not_ended() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    let refused = try_resolve(&world, &request, OutcomeStatus::Declined).await;
    assert!(matches!(refused, Err(Refusal::Leased(_))), "{refused:?}");
    assert_eq!(world.bank.finds(request.payment_id), 0);
    assert_eq!(world.status(request.payment_id).await, "started");
}

#[tokio::test]
async fn decision_the_bank_contradicts_is_refused_and_the_row_stays_free() {
    let world = World::start().await;
    let request = open_payment(&world).await;
    world.bank.charge_unheard(&request).await;
    let refused = try_resolve(&world, &request, OutcomeStatus::Declined).await;
    assert!(
        matches!(refused, Err(Refusal::Contradicted { .. })),
        "{refused:?}"
    );
    assert_eq!(world.status(request.payment_id).await, "started");
    assert!(
        world
            .store
            .resolutions(request.payment_id)
            .await
            .unwrap()
            .is_empty()
    );

    let resolved = try_resolve(&world, &request, OutcomeStatus::Succeeded)
        .await
        .unwrap();
    let reference = resolved.outcome.provider_reference.unwrap();
    assert_ne!(reference, "R-17", "the bank's own reference is kept");
    assert!(resolved.outcome.reason.is_none());
}

#[tokio::test]
async fn success_of_a_payment_the_bank_should_know_and_does_not_is_refused() {
    let world = World::start().await;
    let request = open_payment(&world).await;
    let refused = try_resolve(&world, &request, OutcomeStatus::Succeeded).await;
    assert!(matches!(refused, Err(Refusal::Unproven { .. })), "{refused:?}");

    age(&world, &request).await;
    let forced = force(&world, &request, OutcomeStatus::Succeeded)
        .await
        .expect("a bank that forgets contradicts nothing");
    assert_eq!(forced.outcome.provider_reference.as_deref(), Some("R-17"));
}

#[tokio::test]
async fn finished_and_unknown_payments_are_not_ended() {
    let world = World::start().await;
    let paid = request("12.15", "EUR");
    assert_eq!(decide(&world.provider(), &paid).await, Delivered::Done);
    let refused = try_resolve(&world, &paid, OutcomeStatus::Declined).await;
    assert!(
        matches!(
            refused,
            Err(Refusal::Finished {
                status: "succeeded",
                ..
            })
        ),
        "{refused:?}"
    );

    let nobodys = request("12.15", "EUR");
    let refused = try_resolve(&world, &nobodys, OutcomeStatus::Declined).await;
    assert!(matches!(refused, Err(Refusal::Unknown(_))), "{refused:?}");
}

#[tokio::test]
async fn decision_whose_lease_was_lost_changes_nothing() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    world.crashed_after_intent(&request).await;
    let resolution = payment_provider::store::Resolution {
        payment_id: request.payment_id,
        settlement: payment_provider::ledger::Settlement {
            status: OutcomeStatus::Succeeded,
            reason: None,
            reference: None,
        },
        reason: "too late".to_owned(),
        resolved_by: None,
        bank_said: "nothing".to_owned(),
    };
    assert_eq!(
        world.store.resolve(&resolution, Uuid::new_v4()).await.unwrap(),
        None
    );
    assert_eq!(world.status(request.payment_id).await, "started");
    assert!(
        world
            .store
            .resolutions(request.payment_id)
            .await
            .unwrap()
            .is_empty()
    );
}
