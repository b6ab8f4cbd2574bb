//! Every kind of finding is found: a check that cannot fail proves nothing.

use futures_util::FutureExt as _;
use payment_contract::Money;

use super::*;

/// Everything the check looks at.
struct Books {
    invoices: Vec<Invoice>,
    payments: Vec<Payment>,
    ledger: Vec<Entry>,
    charges: Vec<Charge>,
    bank_is_known: bool,
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn money(value: &str) -> Money {
    Money::parse(value, "EUR").unwrap()
}

const AGE: Duration = Duration::from_mins(20);

/// One payment as every book should have it.
fn add(books: &mut Books, (payment, invoice): (u128, u128), status: Status, amount: &str) {
    let reason = (status == Status::Declined).then(|| "insufficient_funds".to_owned());
    let reference = format!("bank-{payment}");
    books.payments.push(Payment {
        id: id(payment),
        invoice: id(invoice),
        status,
        amount: Some(money(amount)),
        reason: reason.clone(),
        reference: Some(reference.clone()),
        age: AGE,
    });
    books.ledger.push(Entry {
        id: id(payment),
        invoice: id(invoice),
        status,
        amount: money(amount),
        reason,
        reference: Some(reference.clone()),
        by_hand: false,
        age: AGE,
    });
    books.charges.push(Charge {
        key: id(payment),
        status,
        amount: money(amount),
        reference,
        age: AGE,
    });
}

fn invoice(n: u128, status: &str, amount: &str, paid_by: &[u128], open: i64) -> Invoice {
    Invoice {
        id: id(n),
        status: status.to_owned(),
        amount: money(amount),
        paid_by: paid_by.iter().copied().map(id).collect(),
        open,
    }
}

/// Invoice 1 paid by payment 11; invoice 2 declined once, then paid; invoice 3 void.
fn good() -> Books {
    let mut books = Books {
        invoices: vec![
            invoice(1, "paid", "12.15", &[11], 0),
            invoice(2, "paid", "0.85", &[22], 0),
            invoice(3, "void", "7.00", &[], 0),
        ],
        payments: Vec::new(),
        ledger: Vec::new(),
        charges: Vec::new(),
        bank_is_known: true,
    };
    add(&mut books, (11, 1), Status::Succeeded, "12.15");
    add(&mut books, (21, 2), Status::Declined, "0.85");
    add(&mut books, (22, 2), Status::Succeeded, "0.85");
    books
}

fn rows<T: Clone + Send + 'static>(rows: &[T]) -> Rows<'static, T> {
    books::in_memory(rows.to_vec())
}

fn compare(books: &Books, older_than: Duration) -> Result<Report> {
    let mut told = 0;
    let mut tell = |_: &Finding| told += 1;
    let mut check = Check::new(Options { older_than }, books.bank_is_known, &mut tell);
    let report = async {
        check
            .payments(rows(&books.payments), rows(&books.ledger), rows(&books.charges))
            .await?;
        check.invoices(rows(&books.invoices)).await?;
        Ok(check.finish())
    };
    let report: Result<Report> = report.now_or_never().unwrap();
    if let Ok(report) = &report {
        let kinds = [Kind::Mismatch, Kind::Missing, Kind::Duplicate, Kind::Stuck];
        let counted: usize = kinds.iter().map(|kind| report.count(*kind)).sum();
        assert_eq!((told, told == 0), (counted, report.is_clean()));
    }
    report
}

#[track_caller]
fn finds(kind: Kind, word: &str, spoil: impl FnOnce(&mut Books)) {
    let mut books = good();
    spoil(&mut books);
    let report = compare(&books, Duration::ZERO).unwrap();
    let text = report.to_string();
    assert!(report.count(kind) > 0 && text.contains(word), "{text}");
    assert!(report.expect_clean().is_err());
}

#[test]
fn agreement_is_a_match_and_its_sums_agree() {
    let report = compare(&good(), Duration::ZERO).unwrap();
    let report = report.expect_succeeded(2).unwrap();
    assert_eq!((report.matches, report.invoices, report.charges), (3, 3, 3));
    assert_eq!(
        report.sums.to_string(),
        "EUR invoices 13.00, payments 13.00, ledger 13.00, bank 13.00\n"
    );
    assert!(report.expect_succeeded(3).is_err());
}

#[test]
fn a_lost_row_is_missing_wherever_it_is_lost() {
    finds(Kind::Missing, "not in the ledger, though charged", |books| {
        _ = books.ledger.remove(0);
    });
    finds(Kind::Missing, "never charged", |books| {
        _ = books.charges.remove(0);
    });
    finds(Kind::Missing, "not by the bank", |books| {
        _ = books.charges.remove(1);
    });
    finds(Kind::Missing, "no payment of invoice-app", |books| {
        _ = books.payments.remove(1);
    });
    finds(Kind::Missing, "in neither", |books| {
        books.payments.remove(1);
        books.ledger.remove(1);
    });
    finds(Kind::Missing, "invoice does not exist", |books| {
        books.payments[0].amount = None;
    });
}

#[test]
fn a_second_success_is_a_duplicate() {
    finds(Kind::Duplicate, "paid by", |books| {
        books.invoices[1].paid_by = vec![id(21), id(22)];
    });
    finds(Kind::Duplicate, "charged under", |books| {
        books.charges[1].status = Status::Succeeded;
    });
}

#[test]
fn two_charges_under_one_key_are_a_duplicate_whatever_the_services_know_of_it() {
    finds(Kind::Duplicate, "charged 2 times", |books| {
        let mut again = books.charges[0].clone();
        again.reference += "-2";
        books.charges.insert(1, again);
    });
}

#[test]
fn different_stories_are_a_mismatch() {
    use Status::{Declined, Open, Succeeded};
    finds(Kind::Mismatch, "the invoice", |books| {
        books.ledger[0].invoice = id(2);
    });
    finds(Kind::Mismatch, "the amount", |books| {
        books.ledger[0].amount = money("12.16");
    });
    finds(Kind::Mismatch, "the amount", |books| {
        books.charges[0].amount = money("1.15");
    });
    finds(Kind::Mismatch, "the status", |books| {
        books.ledger[0].status = Declined;
    });
    finds(Kind::Mismatch, "open in the ledger, charged", |books| {
        books.ledger[0].status = Open;
    });
    finds(Kind::Mismatch, "the status", |books| {
        books.charges[0].status = Declined;
    });
    finds(Kind::Mismatch, "the status", |books| {
        books.charges[1].status = Succeeded;
    });
    finds(Kind::Mismatch, "the reference", |books| {
        books.ledger[0].reference = None;
    });
    finds(Kind::Mismatch, "the reference", |books| {
        books.payments[0].reference = None;
    });
    finds(Kind::Mismatch, "the reason", |books| {
        books.payments[1].reason = None;
    });
    finds(Kind::Mismatch, "it is unpaid", |books| {
        books.invoices[0].status = "unpaid".to_owned();
    });
    finds(Kind::Mismatch, "it is paid", |books| {
        books.invoices[2].status = "paid".to_owned();
    });
    finds(Kind::Mismatch, "it is pending", |books| {
        books.invoices[2].status = "pending".to_owned();
    });
}

#[test]
fn sums_that_differ_are_found_even_where_every_payment_matches() {
    finds(Kind::Mismatch, "the sums differ: EUR", |books| {
        books.invoices[0].amount = money("12.16");
    });
}

/// Invoice 4, asked to be paid, with nothing heard of it since.
fn with_open(ledger: Option<Status>) -> Books {
    let mut books = good();
    books.invoices.push(invoice(4, "pending", "3.00", &[], 1));
    add(&mut books, (41, 4), ledger.unwrap_or(Status::Open), "3.00");
    let payment = books.payments.last_mut().unwrap();
    (payment.status, payment.reference) = (Status::Open, None);
    if ledger.is_none() {
        books.ledger.pop();
    }
    if ledger.is_none_or(|standing| standing == Status::Open) {
        books.charges.pop();
    }
    books
}

#[test]
fn what_has_not_ended_is_in_flight_while_young_and_stuck_when_old() {
    let older_than = AGE + Duration::from_secs(1);
    for (ledger, word) in [
        (None, "has not reached"),
        (Some(Status::Open), "does not know"),
        (Some(Status::Succeeded), "has not arrived"),
    ] {
        let books = with_open(ledger);
        let young = compare(&books, older_than).unwrap().expect_clean().unwrap();
        assert_eq!((young.matches, young.in_flight), (3, 1));
        let old = compare(&books, AGE).unwrap();
        assert!(
            old.count(Kind::Stuck) == 1 && old.to_string().contains(word),
            "{old}"
        );
    }
}

/// Both databases went back, and everybody paid again: row and payment are seconds old, and only the bank remembers.
#[test]
fn payment_that_the_bank_ended_before_a_restore_is_a_mismatch_however_young_its_rows_are() {
    for (status, word) in [(Status::Succeeded, "charged"), (Status::Declined, "declined")] {
        let mut books = with_open(Some(Status::Open));
        books.payments.last_mut().unwrap().age = Duration::from_secs(2);
        books.ledger.last_mut().unwrap().age = Duration::from_secs(1);
        books.charges.push(Charge {
            key: id(41),
            status,
            amount: money("3.00"),
            reference: "R-17".to_owned(),
            age: Duration::from_hours(72),
        });
        let older_than = Duration::from_mins(15);
        let text = compare(&books, older_than).unwrap().to_string();
        let found = format!(
            "mismatch  payment {} invoice {}: open in the ledger, {word} at the bank as \"R-17\"",
            id(41),
            id(4)
        );
        assert!(text.contains(&found), "{text}");
        // The bank ended it just now: so will the ledger.
        books.charges.last_mut().unwrap().age = Duration::from_secs(1);
        let young = compare(&books, older_than).unwrap().expect_clean().unwrap();
        assert_eq!((young.matches, young.in_flight), (3, 1));
    }
}

#[test]
fn youth_excuses_neither_a_duplicate_nor_a_mismatch() {
    let mut books = with_open(Some(Status::Succeeded));
    books.charges.last_mut().unwrap().status = Status::Declined;
    let report = compare(&books, Duration::MAX).unwrap();
    assert!(report.count(Kind::Mismatch) > 0, "{report}");
    let again = Charge {
        status: Status::Succeeded,
        ..books.charges.last().unwrap().clone()
    };
    books.charges.extend([again.clone(), again]);
    let report = compare(&books, Duration::MAX).unwrap();
    assert_eq!(report.count(Kind::Duplicate), 1, "{report}");
}

#[test]
fn rows_that_were_written_after_the_payments_were_read_are_in_flight() {
    let mut books = good();
    add(&mut books, (51, 5), Status::Succeeded, "3.00");
    books.payments.pop();
    let report = compare(&books, Duration::MAX).unwrap().expect_clean().unwrap();
    assert_eq!(report.in_flight, 1);
    books.ledger.pop();
    let report = compare(&books, Duration::MAX).unwrap().expect_clean().unwrap();
    assert_eq!(report.in_flight, 1);
}

#[test]
fn a_decline_needs_the_bank_unless_the_provider_or_an_operator_made_it() {
    for (reason, by_hand) in [("rejected_request", false), ("called the bank", true)] {
        let mut books = good();
        books.charges.remove(1);
        books.ledger[1].by_hand = by_hand;
        books.ledger[1].reason = Some(reason.to_owned());
        books.payments[1].reason = Some(reason.to_owned());
        compare(&books, Duration::ZERO).unwrap().expect_clean().unwrap();
    }
}

#[test]
fn without_the_banks_books_the_ledger_is_believed_and_everything_else_is_compared() {
    let mut books = good();
    books.charges.clear();
    books.bank_is_known = false;
    let report = compare(&books, Duration::ZERO).unwrap().expect_clean().unwrap();
    assert!(
        report
            .sums
            .to_string()
            .ends_with("ledger 13.00, bank not asked\n"),
        "{report}"
    );
    books.ledger[0].amount = money("1.00");
    let report = compare(&books, Duration::ZERO).unwrap();
    assert!(report.count(Kind::Mismatch) > 0, "{report}");
}

#[test]
fn rows_out_of_order_are_refused_rather_than_passed_over() {
    let mut books = good();
    books.ledger.swap(0, 1);
    assert!(compare(&books, Duration::ZERO).is_err());
}

#[test]
fn a_thousand_findings_are_all_counted_and_told_and_the_first_are_kept() {
    let mut books = good();
    for n in 0..1000 {
        add(&mut books, (100 + n, 1), Status::Declined, "12.15");
        books.charges.pop();
    }
    let report = compare(&books, Duration::ZERO).unwrap();
    assert_eq!(report.count(Kind::Missing), 1000);
    assert!(report.to_string().contains("and 980 more"), "{report}");
}
