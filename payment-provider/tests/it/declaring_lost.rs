//! `ledger declare-lost`: ends what the ledger never had, and nothing that it has or that the bank knows.

use std::{sync::Arc, time::Duration};

use jetstream::delivery::{DeadLetter, Decision as Delivered, Origin};
use payment_contract::{
    Money,
    messages::{OutcomeStatus, PayRequestV1},
};
use payment_provider::commands::{
    declare_lost::{Lost, declare_lost},
    resolve::Refusal,
};

use time::OffsetDateTime;

use crate::support::{World, decide, parts, request};

fn lost(request: &PayRequestV1) -> Lost {
    Lost {
        payment_id: request.payment_id,
        invoice_id: None,
        amount: None,
        requested_at: None,
        reason: "its request was unreadable".to_owned(),
        decided_by: Some("ops".to_owned()),
        force: false,
    }
}

async fn keep_letter(world: &World, body: Vec<u8>) {
    let letter = DeadLetter {
        reason: "rejected".to_owned(),
        origin: Arc::new(Origin {
            subject: "pay.v1.request.eur".to_owned(),
            stream_sequence: 1,
            headers: Vec::new().into(),
            body: body.into(),
        }),
    };
    let kept = service::dead_letters::insert(&world.pool, &[letter]).await;
    assert_eq!(kept.unwrap(), 1);
}

#[tokio::test]
async fn rejected_request_is_ended_by_what_its_dead_letter_says() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    keep_letter(&world, serde_json::to_vec(&request).unwrap()).await;
    let ended = declare_lost(&parts(&world), lost(&request)).await.unwrap();
    assert_eq!(ended.outcome.invoice_id, request.invoice_id);
    assert_eq!(ended.outcome.status, OutcomeStatus::Declined);
    assert_eq!(
        ended.outcome.reason.as_deref(),
        Some("its request was unreadable")
    );
    assert_eq!(ended.bank_said, "it does not know the payment");
    let records = world.store.resolutions(request.payment_id).await.unwrap();
    assert_eq!(records[0].resolved_by, "ops");

    // Should the request be readable after all, it is answered and not paid.
    assert_eq!(decide(&world.provider(), &request).await, Delivered::Done);
    assert_eq!(world.heard(request.payment_id, 1).await, ended.outcome);
    assert_eq!(world.bank.pays(request.payment_id), 0);
}

#[tokio::test]
async fn what_no_letter_tells_the_operator_has_to() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    keep_letter(
        &world,
        format!("{{\"payment_id\":\"{}\"", request.payment_id).into_bytes(),
    )
    .await;
    let parts = parts(&world);
    let refused = declare_lost(&parts, lost(&request)).await;
    assert!(
        matches!(refused, Err(Refusal::Untold("--invoice"))),
        "{refused:?}"
    );
    let mut told = lost(&request);
    told.invoice_id = Some(request.invoice_id);
    let refused = declare_lost(&parts, told.clone()).await;
    assert!(matches!(refused, Err(Refusal::Untold("--amount"))), "{refused:?}");
    told.amount = Some(Money::parse("12.15", "EUR").unwrap());
    declare_lost(&parts, told).await.unwrap();
    assert_eq!(world.status(request.payment_id).await, "declined");
}

/// The ledger may have gone back to before it had it, and its call may be under way.
#[tokio::test]
async fn payment_without_a_dead_letter_is_lost_only_when_no_call_can_come_late() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    let parts = parts(&world);
    let mut told = lost(&request);
    told.invoice_id = Some(request.invoice_id);
    told.amount = Some(request.amount);
    told.force = true;
    let refused = declare_lost(&parts, told.clone()).await;
    assert!(
        matches!(refused, Err(Refusal::Untold("--requested-at"))),
        "{refused:?}"
    );
    told.requested_at = Some(OffsetDateTime::now_utc() - Duration::from_mins(23 * 60 + 59));
    let refused = declare_lost(&parts, told.clone()).await;
    assert!(matches!(refused, Err(Refusal::TooYoung { .. })), "{refused:?}");
    told.requested_at = Some(OffsetDateTime::now_utc() - Duration::from_hours(24));
    told.force = false;
    let refused = declare_lost(&parts, told.clone()).await;
    assert!(matches!(refused, Err(Refusal::Unproven { .. })), "{refused:?}");
    told.force = true;
    declare_lost(&parts, told).await.unwrap();
    assert_eq!(world.status(request.payment_id).await, "declined");
}

#[tokio::test]
async fn what_a_dead_letter_tells_an_operator_cannot_tell_otherwise() {
    let world = World::start().await;
    let told = request("12.15", "EUR");
    keep_letter(&world, serde_json::to_vec(&told).unwrap()).await;
    let mut other = lost(&told);
    other.invoice_id = Some(request("1.00", "EUR").invoice_id);
    let refused = declare_lost(&parts(&world), other).await;
    assert!(matches!(refused, Err(Refusal::OfAnother { .. })), "{refused:?}");
    let mut same = lost(&told);
    (same.invoice_id, same.amount) = (Some(told.invoice_id), Some(told.amount));
    declare_lost(&parts(&world), same).await.unwrap();
}

#[tokio::test]
async fn payment_that_the_ledger_has_or_the_bank_knows_is_not_lost() {
    let world = World::start().await;
    let had = request("12.15", "EUR");
    world.crashed_after_intent(&had).await;
    let refused = declare_lost(&parts(&world), lost(&had)).await;
    assert!(matches!(refused, Err(Refusal::Had(_))), "{refused:?}");

    let charged = request("12.15", "EUR");
    keep_letter(&world, serde_json::to_vec(&charged).unwrap()).await;
    world.bank.charge_unheard(&charged).await;
    let mut forced = lost(&charged);
    forced.force = true;
    let refused = declare_lost(&parts(&world), forced).await;
    assert!(
        matches!(refused, Err(Refusal::Contradicted { .. })),
        "{refused:?}"
    );
    assert_eq!(world.row(charged.payment_id).await, None);
}

#[tokio::test]
async fn bank_that_does_not_answer_proves_nothing() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    keep_letter(&world, serde_json::to_vec(&request).unwrap()).await;
    world.bank.answer_no_look_ups(true);
    let refused = declare_lost(&parts(&world), lost(&request)).await;
    assert!(matches!(refused, Err(Refusal::Unproven { .. })), "{refused:?}");
    let mut forced = lost(&request);
    forced.force = true;
    let ended = declare_lost(&parts(&world), forced).await.unwrap();
    assert!(ended.bank_said.ends_with("(forced)"), "{}", ended.bank_said);
}
