//! The ledger's rules, case by case.

use payment_contract::Money;
use uuid::Uuid;

use super::*;

fn request() -> PayRequestV1 {
    PayRequestV1 {
        payment_id: Uuid::from_u128(1).into(),
        invoice_id: Uuid::from_u128(2).into(),
        invoice_number: "I1".to_owned(),
        amount: Money::parse("12.15", "EUR").unwrap(),
        attempt: 1,
        requested_at: OffsetDateTime::UNIX_EPOCH,
    }
}

fn succeeded(reference: Option<&str>) -> Settlement {
    Settlement {
        status: OutcomeStatus::Succeeded,
        reason: None,
        reference: reference.map(str::to_owned),
    }
}

fn declined() -> Settlement {
    Settlement {
        status: OutcomeStatus::Declined,
        reason: Some("insufficient_funds".to_owned()),
        reference: None,
    }
}

fn entry(state: State) -> Entry {
    let request = request();
    Entry {
        payment_id: request.payment_id,
        invoice_id: request.invoice_id,
        request_hash: RequestHash::of(&request),
        order: Order::of(&request),
        tries: 0,
        age: Duration::ZERO,
        trace: None,
        state,
    }
}

#[test]
fn hash_covers_what_moves_money_and_nothing_else() {
    let hash = RequestHash::of(&request());
    let same = PayRequestV1 {
        attempt: 7,
        invoice_number: "other".to_owned(),
        ..request()
    };
    assert_eq!(RequestHash::of(&same), hash);
    for other in [
        PayRequestV1 {
            payment_id: Uuid::from_u128(3).into(),
            ..request()
        },
        PayRequestV1 {
            invoice_id: Uuid::from_u128(3).into(),
            ..request()
        },
        PayRequestV1 {
            amount: Money::parse("12.16", "EUR").unwrap(),
            ..request()
        },
        PayRequestV1 {
            amount: Money::parse("12.15", "USD").unwrap(),
            ..request()
        },
    ] {
        assert_ne!(RequestHash::of(&other), hash);
    }
}

#[test]
fn request_for_a_row_of_its_own_follows_the_rows_state() {
    let hash = RequestHash::of(&request());
    let left = Duration::from_secs(3);
    assert_eq!(
        next_step(
            &entry(State::Open {
                lease_left: Some(left)
            }),
            hash
        ),
        NextStep::Wait(left)
    );
    assert_eq!(
        next_step(&entry(State::Open { lease_left: None }), hash),
        NextStep::TakeOver
    );
    let ending = Ending {
        settlement: declined(),
        settled_at: OffsetDateTime::UNIX_EPOCH,
    };
    assert_eq!(next_step(&entry(State::Finished(ending)), hash), NextStep::Answer);
}

#[test]
fn request_that_differs_from_its_row_is_a_conflict_whatever_the_state() {
    let other = RequestHash::of(&PayRequestV1 {
        invoice_id: Uuid::from_u128(9).into(),
        ..request()
    });
    let ending = Ending {
        settlement: succeeded(None),
        settled_at: OffsetDateTime::UNIX_EPOCH,
    };
    for state in [State::Open { lease_left: None }, State::Finished(ending)] {
        assert_eq!(next_step(&entry(state), other), NextStep::Conflict);
    }
}

#[test]
fn payment_the_bank_does_not_know_is_paid_only_while_the_bank_would_remember_it() {
    let retention = Duration::from_secs(100);
    assert_eq!(
        looked_up(Ok(None), Duration::from_secs(99), retention),
        LookedUp::Pay
    );
    assert_eq!(
        looked_up(Ok(None), Duration::from_secs(100), retention),
        LookedUp::LeftToOperator
    );
}

#[test]
fn row_grows_older_while_whoever_read_it_waits() {
    let read = Instant::now();
    let age = Age::new(Duration::from_secs(5), read);
    assert_eq!(age.at(read), Duration::from_secs(5));
    assert_eq!(age.at(read + Duration::from_secs(90)), Duration::from_secs(95));
}

#[test]
fn bank_is_called_only_while_it_surely_remembers() {
    let [young, retention] = [99, 100].map(Duration::from_secs);
    assert!(may_call(young, retention));
    assert!(!may_call(retention, retention));
}

#[test]
fn call_outlasted_by_its_lease_leaves_the_margin() {
    let [left, timeout, margin] = [7, 5, 1].map(Duration::from_secs);
    assert!(outlasts(left, timeout, margin));
    assert!(!outlasts(timeout + margin, timeout, margin));
}

#[test]
fn only_success_and_a_documented_decline_are_results() {
    let late = Duration::from_secs(1_000);
    let found = Answer::Succeeded {
        reference: Some("r".to_owned()),
    };
    assert_eq!(
        looked_up(Ok(Some(found)), late, Duration::ZERO),
        LookedUp::Settled(succeeded(Some("r")))
    );
    assert!(matches!(
        looked_up(Ok(Some(Answer::Pending)), late, late),
        LookedUp::Unknown(_)
    ));
    for error in [
        CallError::Unknown("500".to_owned()),
        CallError::Retryable("429".to_owned()),
    ] {
        assert!(matches!(
            looked_up(Err(error.clone()), late, late),
            LookedUp::Unknown(_)
        ));
        assert!(paid(Err(error)).is_err());
    }
    assert!(paid(Ok(Answer::Pending)).is_err());
    let refused = Answer::Declined {
        reason: "insufficient_funds".to_owned(),
        reference: None,
    };
    assert_eq!(paid(Ok(refused)), Ok(declined()));
}

#[test]
fn other_status_or_other_reference_contradicts_a_finished_row() {
    assert!(contradicts(&succeeded(None), &declined()));
    assert!(contradicts(&succeeded(Some("a")), &succeeded(Some("b"))));
    assert!(!contradicts(&succeeded(Some("a")), &succeeded(None)));
    assert!(!contradicts(&succeeded(Some("a")), &succeeded(Some("a"))));
    assert!(!contradicts(&declined(), &declined()));
}

#[test]
fn pauses_double_up_to_a_minute_and_are_spread() {
    let seconds = |tries, jitter| retry_delay(tries, jitter).as_secs_f64();
    let full: Vec<f64> = (1..=8).map(|tries| seconds(tries, 1.0)).collect();
    assert_eq!(full, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    assert!((seconds(1, 0.0) - 0.75).abs() < 1e-9);
    assert!((seconds(u32::MAX, 7.0) - 60.0).abs() < 1e-9);
    assert!(wait_for_lease(Duration::from_secs(5), 0.5) > Duration::from_secs(5));
    assert!(wait_for_lease(Duration::from_hours(1), 1.0) <= Duration::from_secs(61));
}
