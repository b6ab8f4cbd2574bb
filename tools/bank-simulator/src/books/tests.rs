//! What a key charges, and when two calls under one are in flight at once.

use super::*;

fn order(value: &str) -> Order {
    Order {
        key: Uuid::from_u128(1),
        invoice: "I1".to_owned(),
        value: value.to_owned(),
        currency: "EUR".to_owned(),
    }
}

fn books() -> Books {
    Books::new(Duration::from_mins(1), None)
}

#[test]
fn a_key_charges_once_and_is_answered_alike_ever_after() {
    let mut books = books();
    let Entered::Status(first, events) = books.charge(&order("1.00"), None) else {
        panic!("refused");
    };
    assert_eq!(events.len(), 1);
    let Entered::Status(second, events) = books.charge(&order("1.00"), Some("insufficient_funds")) else {
        panic!("refused");
    };
    assert_eq!((second, events), (first, Vec::new()));
    assert!(matches!(
        books.charge(&order("2.00"), None),
        Entered::OtherOrder(_)
    ));
}

#[test]
fn a_key_that_was_forgotten_charges_again_under_another_reference() {
    let mut books = Books::new(Duration::from_mins(1), Some(Duration::ZERO));
    let mut references = Vec::new();
    for _ in 0..2 {
        let Entered::Status(State::Succeeded { reference }, events) = books.charge(&order("1.00"), None)
        else {
            panic!("refused");
        };
        assert_eq!((books.find(Uuid::from_u128(1)), events.len()), (None, 1));
        references.push(reference);
    }
    references.dedup();
    assert_eq!(references.len(), 2);
}

#[test]
fn a_late_order_is_pending_until_it_is_due_also_after_a_restart() {
    let mut books = books();
    let later = now_ms() + 60_000;
    let Entered::Status(_, events) = books.postpone(&order("1.00"), later) else {
        panic!("refused");
    };
    let mut after_restart = self::books();
    for event in &events {
        after_restart.replay(event);
    }
    assert_eq!(after_restart.waiting(), [(order("1.00"), later)]);
    let Entered::Status(state, events) = after_restart.charge(&order("1.00"), None) else {
        panic!("refused");
    };
    assert_eq!((state, events.len()), (State::Pending { due: later }, 0));
    books.postpone(&order("1.00"), later);
    let due = Event::Pending {
        at: 0,
        key: Uuid::from_u128(1),
        invoice: "I1".to_owned(),
        value: "1.00".to_owned(),
        currency: "EUR".to_owned(),
        due: 1,
    };
    books.replay(&due);
    assert!(matches!(
        books.charge(&order("1.00"), None),
        Entered::Status(State::Succeeded { .. }, _)
    ));
}

#[test]
fn two_calls_in_flight_under_one_key_are_seen_and_calls_one_after_the_other_are_not() {
    let mut books = books();
    let key = Uuid::from_u128(1);
    let first = books.begin(key, CallKind::Pay);
    let second = books.begin(key, CallKind::Find);
    let other = books.begin(Uuid::from_u128(2), CallKind::Pay);
    assert_eq!(books.end(Uuid::from_u128(2), other, Ended::Answered), []);
    let overlaps = books.end(key, first, Ended::Answered);
    assert!(
        matches!(
            overlaps[..],
            [Event::Overlap {
                first: CallKind::Pay,
                second: CallKind::Find,
                ..
            }]
        ),
        "{overlaps:?}"
    );
    assert_eq!(books.end(key, second, Ended::Answered), []);
    let third = books.begin(key, CallKind::Find);
    assert_eq!(books.end(key, third, Ended::Answered), []);
}

#[test]
fn a_caller_who_has_hung_up_is_not_in_flight_however_late_the_bank_hears_of_both() {
    let mut books = books();
    let key = Uuid::from_u128(1);
    let first = books.begin(key, CallKind::Pay);
    books.begin(key, CallKind::Find);
    assert_eq!(books.end(key, first, Ended::HungUp), []);
    // One who stays on the line for longer than that was there.
    let first = books.begin(key, CallKind::Pay);
    books.begin(key, CallKind::Find);
    let calls = books.in_flight.get_mut(&key).unwrap();
    for call in calls.iter_mut().filter(|call| call.call == first) {
        call.met[0].0 -= HUNG_UP_BEFORE_MS;
    }
    assert_eq!(books.end(key, first, Ended::HungUp).len(), 1);
}

#[test]
fn a_call_whose_caller_must_have_hung_up_is_not_in_flight() {
    let mut books = Books::new(Duration::ZERO, None);
    let key = Uuid::from_u128(1);
    let first = books.begin(key, CallKind::Pay);
    books.begin(key, CallKind::Pay);
    assert_eq!(books.end(key, first, Ended::Answered), []);
}
