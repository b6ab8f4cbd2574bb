//! Payments that are held: those whose invoice number was paid under another id, and all new ones while the switch is on.

use std::time::Duration;

use jetstream::delivery::Decision as Delivered;
use local_stack::eventually;
use payment_contract::{
    InvoiceId, PaymentId,
    messages::{OutcomeStatus, PayRequestV1},
};
use payment_provider::{
    commands::resolve::{OperatorDecision, Refusal, resolve},
    ledger::Held,
    store::LedgerFilter,
};
use uuid::Uuid;

use crate::support::{World, decide, decide_all, parts, request};

/// The same invoice, forgotten by a database that went back in time, and imported again.
pub(crate) fn imported_again(request: &PayRequestV1) -> PayRequestV1 {
    let invoice_id = InvoiceId::generate();
    PayRequestV1 {
        payment_id: PaymentId::of(invoice_id, 1),
        invoice_id,
        ..request.clone()
    }
}

fn second_attempt(request: &PayRequestV1) -> PayRequestV1 {
    PayRequestV1 {
        payment_id: PaymentId::of(request.invoice_id, 2),
        attempt: 2,
        ..request.clone()
    }
}

/// What a ledger that went back in time knows of a payment that had ended.
const FORGOTTEN: &str =
    "update ledger set status = 'started', reason = null, gateway_reference = null, settled_at = null,
                         lease_token = null, lease_until = null where payment_id = $1";

pub(crate) fn is_put_off(decision: &Delivered) -> bool {
    matches!(decision, Delivered::Retry(_))
}

/// The row waits for an operator, and not the message: it is asked for again.
pub(crate) fn is_held(decision: &Delivered) -> bool {
    matches!(decision, Delivered::Done)
}

async fn held(world: &World) -> Vec<(Uuid, Option<String>)> {
    let rows = world.store.list(LedgerFilter::Held, 100).await.unwrap();
    rows.into_iter().map(|row| (row.payment_id, row.held)).collect()
}

pub(crate) async fn assert_held(world: &World, request: &PayRequestV1, why: Held) {
    let expected = (request.payment_id.as_uuid(), Some(why.as_str().to_owned()));
    assert_eq!(held(world).await, [expected]);
    assert_eq!(world.status(request.payment_id).await, "started");
    let asked = (
        world.bank.finds(request.payment_id),
        world.bank.pays(request.payment_id),
    );
    assert_eq!(asked, (0, 0), "the bank was not called");
}

#[tokio::test]
async fn invoice_imported_again_under_a_number_that_was_paid_is_held() {
    let world = World::start().await;
    let provider = world.provider();
    let first = request("12.15", "EUR");
    assert_eq!(decide(&provider, &first).await, Delivered::Done);
    let again = imported_again(&first);
    assert!(is_put_off(&decide(&provider, &again).await));
    for _ in 0..2 {
        assert!(is_held(&decide(&provider, &again).await));
    }
    assert_held(&world, &again, Held::NumberPaid).await;
    assert_eq!(world.charges(&first).await, 1);
    let open = world.store.open_rows().await.unwrap();
    assert_eq!((open.open, open.held, open.oldest), (0, 1, Duration::ZERO));
}

/// Old requests that waited in the stream, and new ones behind them: in one batch, and in batches of two replicas.
#[tokio::test]
async fn of_two_invoices_with_one_number_that_come_together_one_is_paid() {
    let world = World::start().await;
    let replicas = [world.provider(), world.provider()];
    let old: Vec<_> = (0..20).map(|_| request("1.00", "EUR")).collect();
    let new: Vec<_> = old.iter().map(imported_again).collect();
    let [mut one, mut other] = [old.clone(), new.clone()];
    one.extend_from_slice(&new[..10]);
    other.extend_from_slice(&old[10..]);
    for _ in 0..4 {
        tokio::join!(decide_all(&replicas[0], &one), decide_all(&replicas[1], &other));
    }
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(world.charges(old).await, 1);
        let statuses = [
            world.status(old.payment_id).await,
            world.status(new.payment_id).await,
        ];
        assert!(statuses.contains(&"succeeded".to_owned()), "{statuses:?}");
        assert!(statuses.contains(&"started".to_owned()), "{statuses:?}");
    }
    assert_eq!(held(&world).await.len(), 20);
}

#[tokio::test]
async fn number_whose_payment_was_declined_is_free() {
    let world = World::start().await;
    let provider = world.provider();
    let declined = request("4000.01", "EUR");
    assert_eq!(decide(&provider, &declined).await, Delivered::Done);
    assert_eq!(world.status(declined.payment_id).await, "declined");
    let mut again = imported_again(&declined);
    again.amount = payment_contract::Money::parse("5.00", "EUR").unwrap();
    assert_eq!(decide(&provider, &again).await, Delivered::Done);
    assert_eq!(world.status(again.payment_id).await, "succeeded");
}

/// The ledger went back to a moment at which the first attempt was open; that it was declined, invoice-app knows.
#[tokio::test]
async fn open_attempt_that_the_bank_has_declined_is_ended_before_the_next_one() {
    let world = World::start().await;
    let provider = world.provider();
    let first = request("4000.01", "EUR");
    assert_eq!(decide(&provider, &first).await, Delivered::Done);
    world.execute(FORGOTTEN, first.payment_id).await;
    let mut second = second_attempt(&first);
    second.amount = payment_contract::Money::parse("5.00", "EUR").unwrap();
    assert!(is_put_off(&decide(&provider, &second).await));
    assert_eq!(world.status(first.payment_id).await, "declined");
    assert_eq!(decide(&provider, &second).await, Delivered::Done);
    assert_eq!(world.status(second.payment_id).await, "succeeded");
    assert_eq!(world.bank.pays(first.payment_id), 1);
}

/// Nobody declined the first attempt: somebody with a stolen key says so, or asks for a second one.
#[tokio::test]
async fn open_attempt_that_was_charged_is_ended_and_the_next_one_held() {
    let world = World::start().await;
    let provider = world.provider();
    let charged = request("12.15", "EUR");
    assert_eq!(decide(&provider, &charged).await, Delivered::Done);
    world.execute(FORGOTTEN, charged.payment_id).await;
    let unasked = request("13.15", "EUR");
    world.crashed_after_intent(&unasked).await;
    world.end_lease(unasked.payment_id).await;
    for first in [charged, unasked] {
        let second = second_attempt(&first);
        assert!(is_put_off(&decide(&provider, &second).await));
        assert_eq!(world.status(first.payment_id).await, "succeeded");
        assert!(is_put_off(&decide(&provider, &second).await));
        assert!(is_held(&decide(&provider, &second).await));
        assert_eq!(world.charges(&first).await, 1);
        assert_eq!(world.bank.pays(second.payment_id), 0);
    }
}

#[tokio::test]
async fn second_attempt_at_an_invoice_that_was_paid_is_held() {
    let world = World::start().await;
    let provider = world.provider();
    let first = request("12.15", "EUR");
    assert_eq!(decide(&provider, &first).await, Delivered::Done);
    let second = second_attempt(&first);
    assert!(is_put_off(&decide(&provider, &second).await));
    assert!(is_held(&decide(&provider, &second).await));
    assert_held(&world, &second, Held::NumberPaid).await;
    assert_eq!(world.charges(&first).await, 1);
}

#[tokio::test]
async fn switch_holds_every_new_payment_until_they_are_released() {
    let world = World::start().await;
    let known = request("1.00", "EUR");
    assert_eq!(decide(&world.provider(), &known).await, Delivered::Done);
    let holding = world.provider_with(|setup| setup.policy.hold_new_payments = true);
    assert_eq!(
        decide(&holding, &known).await,
        Delivered::Done,
        "what is known is answered"
    );
    let new = request("2.00", "EUR");
    for _ in 0..2 {
        assert!(is_held(&decide(&holding, &new).await));
    }
    assert_held(&world, &new, Held::NewPayments).await;
    // Its number is taken all the same.
    let again = imported_again(&new);
    assert!(is_put_off(&decide(&holding, &again).await));
    assert!(is_held(&decide(&holding, &again).await));

    let release = world.store.release_new("the books agree", Some("ops"), |_| {});
    assert_eq!(release.await.unwrap(), 1);
    assert_eq!(decide(&world.provider(), &new).await, Delivered::Done);
    assert_eq!(world.charges(&new).await, 1);
    assert_held(&world, &again, Held::NumberPaid).await;
    let records = world.store.resolutions(new.payment_id).await.unwrap();
    assert_eq!(
        (records[0].status.as_str(), records[0].resolved_by.as_str()),
        ("released", "ops")
    );
}

fn decision(request: &PayRequestV1, status: OutcomeStatus, force: bool) -> OperatorDecision {
    OperatorDecision {
        payment_id: request.payment_id,
        status,
        reason: "it was paid under its old id".to_owned(),
        reference: None,
        resolved_by: None,
        force,
    }
}

const TWO_DAYS_OLD: &str = "update ledger set created_at = created_at - interval '2 d' where payment_id = $1";

/// The ledger may have gone back to before it called the bank: that call may still be carried out.
#[tokio::test]
async fn held_payment_is_declined_like_any_other_only_when_no_call_can_come_late() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.policy.hold_new_payments = true);
    let mut request = request("12.15", "EUR");
    // It was asked for long ago, and may have been released and called just now.
    request.requested_at -= Duration::from_hours(48);
    assert!(is_held(&decide(&provider, &request).await));
    let parts = parts(&world);
    let refused = resolve(&parts, decision(&request, OutcomeStatus::Succeeded, false)).await;
    assert!(matches!(refused, Err(Refusal::Unproven { .. })), "{refused:?}");
    for force in [false, true] {
        let refused = resolve(&parts, decision(&request, OutcomeStatus::Declined, force)).await;
        assert!(matches!(refused, Err(Refusal::TooYoung { .. })), "{refused:?}");
    }
    assert!(is_held(&decide(&provider, &request).await), "it stays held");

    world.execute(TWO_DAYS_OLD, request.payment_id).await;
    let refused = resolve(&parts, decision(&request, OutcomeStatus::Declined, false)).await;
    assert!(matches!(refused, Err(Refusal::Unproven { .. })), "{refused:?}");
    let resolved = resolve(&parts, decision(&request, OutcomeStatus::Declined, true))
        .await
        .unwrap();
    assert_eq!(resolved.outcome.status, OutcomeStatus::Declined);
    assert!(held(&world).await.is_empty());
}

#[tokio::test]
async fn held_payment_that_the_bank_declined_is_declined_at_once() {
    let world = World::start().await;
    let request = request("4000.01", "EUR");
    assert_eq!(decide(&world.provider(), &request).await, Delivered::Done);
    sqlx::query("delete from ledger")
        .execute(&world.pool)
        .await
        .unwrap();
    let provider = world.provider_with(|setup| setup.policy.hold_new_payments = true);
    assert!(is_held(&decide(&provider, &request).await));
    resolve(&parts(&world), decision(&request, OutcomeStatus::Declined, false))
        .await
        .unwrap();
}

/// What an operator decides on is read once nobody else can change it.
#[tokio::test]
async fn payment_that_is_released_while_it_is_to_be_declined_is_as_young_as_its_release() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.policy.hold_new_payments = true);
    let request = request("12.15", "EUR");
    assert!(is_held(&decide(&provider, &request).await));
    world.execute(TWO_DAYS_OLD, request.payment_id).await;
    let mut releasing = world.pool.begin().await.unwrap();
    sqlx::query("update ledger set released_at = clock_timestamp()")
        .execute(&mut *releasing)
        .await
        .unwrap();
    let parts = parts(&world);
    let resolving = resolve(&parts, decision(&request, OutcomeStatus::Declined, true));
    let release = async {
        eventually("the lease is waited for", async || {
            let waiting = "select exists (select from pg_stat_activity
                                          where datname = current_database() and wait_event_type = 'Lock')";
            let waiting: bool = sqlx::query_scalar(waiting).fetch_one(&world.pool).await.unwrap();
            waiting
        })
        .await
        .unwrap();
        releasing.commit().await.unwrap();
    };
    let (refused, ()) = tokio::join!(resolving, release);
    assert!(matches!(refused, Err(Refusal::TooYoung { .. })), "{refused:?}");
}
