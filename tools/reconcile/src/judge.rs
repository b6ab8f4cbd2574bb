//! The verdicts, without I/O and without a clock: what four books say about one payment, and about one invoice.

use std::{fmt::Display, time::Duration};

use payment_contract::messages::REJECTED_REQUEST;
use uuid::Uuid;

use super::{
    books::{Charge, Entry, Invoice, Payment, Status},
    report::Kind,
};

/// What is to be said about a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All books agree, and it has ended.
    Match,
    /// It has not ended, and is too young to worry about.
    InFlight,
    /// Anything else.
    Wrong(Kind, String),
}

/// Why something is wrong.
type Wrong = (Kind, String);

/// Judges one payment. `charges` are all that the bank has under its key; `None` when nobody has the bank's books.
pub(super) fn judge(
    payment: Option<&Payment>,
    entry: Option<&Entry>,
    charges: Option<&[Charge]>,
    older_than: Duration,
) -> Verdict {
    let judged = once_at_most(charges)
        .and_then(|()| provider_and_bank(entry, charges, older_than))
        .and_then(|()| app_and_provider(payment, entry, charges.unwrap_or_default(), older_than));
    match judged {
        Ok(true) => Verdict::Match,
        Ok(false) => Verdict::InFlight,
        Err((kind, why)) => Verdict::Wrong(kind, why),
    }
}

fn once_at_most(charges: Option<&[Charge]>) -> Result<(), Wrong> {
    let references: Vec<&str> = charges
        .unwrap_or_default()
        .iter()
        .filter(|charge| charge.status == Status::Succeeded)
        .map(|charge| charge.reference.as_str())
        .collect();
    if references.len() > 1 {
        return Err((
            Kind::Duplicate,
            format!("charged {} times under one key: {references:?}", references.len()),
        ));
    }
    Ok(())
}

/// Whether the ledger and the bank tell one story. What is open in the ledger, the bank may know or not; but what it ended long
/// ago, a ledger that went back in time has forgotten, however young its row and its payment are by now.
fn provider_and_bank(
    entry: Option<&Entry>,
    charges: Option<&[Charge]>,
    older_than: Duration,
) -> Result<(), Wrong> {
    let (Some(entry), Some(charges)) = (entry, charges) else {
        return Ok(());
    };
    // More than one: a key may have been declined or left pending before it was charged; the last word counts.
    let Some(charge) = charges
        .iter()
        .find(|charge| charge.status == Status::Succeeded)
        .or(charges.last())
    else {
        return never_heard_of(entry);
    };
    if charge.amount != entry.amount {
        return differ("the amount", "ledger", &entry.amount, "bank", &charge.amount);
    }
    match (entry.status, charge.status) {
        (Status::Succeeded, Status::Succeeded) if entry.reference.as_ref() != Some(&charge.reference) => {
            let ledger = told(entry.reference.as_ref());
            differ("the reference", "ledger", &ledger, "bank", &charge.reference)
        }
        (Status::Open, Status::Succeeded) => still_open("charged", charge, older_than),
        (Status::Open, Status::Declined) => still_open("declined", charge, older_than),
        (Status::Open, Status::Open)
        | (Status::Succeeded, Status::Succeeded)
        | (Status::Declined, Status::Declined) => Ok(()),
        (ledger, bank) => differ("the status", "ledger", &ledger, "bank", &bank),
    }
}

fn still_open(ended: &str, charge: &Charge, older_than: Duration) -> Result<(), Wrong> {
    let why = format!(
        "open in the ledger, {ended} at the bank as {:?}",
        charge.reference
    );
    young(charge.age, older_than, Kind::Mismatch, &why).map(drop)
}

fn never_heard_of(entry: &Entry) -> Result<(), Wrong> {
    let hand = if entry.by_hand { ", by hand" } else { "" };
    match entry.status {
        Status::Open => Ok(()),
        Status::Declined if entry.by_hand || entry.reason.as_deref() == Some(REJECTED_REQUEST) => Ok(()),
        Status::Declined => Err((Kind::Missing, "declined, but not by the bank".to_owned())),
        Status::Succeeded => Err((Kind::Missing, format!("succeeded{hand}, but never charged"))),
    }
}

/// Whether invoice-app and the provider tell one story; false while it is still being told.
fn app_and_provider(
    payment: Option<&Payment>,
    entry: Option<&Entry>,
    charges: &[Charge],
    older_than: Duration,
) -> Result<bool, Wrong> {
    match (payment, entry) {
        (Some(payment), Some(entry)) => both_know(payment, entry, older_than),
        (Some(payment), None) => not_in_the_ledger(payment, charges, older_than),
        (None, Some(entry)) => {
            // Written since the payments were read.
            let why = format!("in the ledger ({}), but no payment of invoice-app", entry.status);
            young(entry.age, older_than, Kind::Missing, &why)
        }
        (None, None) => {
            let youngest = charges.iter().map(|charge| charge.age).min().unwrap_or_default();
            let why = "charged, but in neither service's books";
            young(youngest, older_than, Kind::Missing, why)
        }
    }
}

fn both_know(payment: &Payment, entry: &Entry, older_than: Duration) -> Result<bool, Wrong> {
    let Some(owed) = payment.amount else {
        return Err((Kind::Missing, "its invoice does not exist".to_owned()));
    };
    let differs = |what: &str, app: &dyn Display, ledger: &dyn Display| {
        differ(what, "invoice-app", app, "ledger", ledger)
    };
    if payment.invoice != entry.invoice {
        return differs("the invoice", &payment.invoice, &entry.invoice);
    }
    if owed != entry.amount {
        return differs("the amount", &owed, &entry.amount);
    }
    match (payment.status, entry.status) {
        (Status::Open, Status::Open) => young(
            payment.age,
            older_than,
            Kind::Stuck,
            "the provider does not know its result",
        ),
        (Status::Open, settled) => young(
            payment.age,
            older_than,
            Kind::Stuck,
            &format!("{settled} in the ledger, but its outcome has not arrived"),
        ),
        (app, ledger) if app != ledger => differs("the status", &app, &ledger),
        _ if payment.reason != entry.reason => differs(
            "the reason",
            &told(payment.reason.as_ref()),
            &told(entry.reason.as_ref()),
        ),
        _ if payment.reference != entry.reference => differs(
            "the reference",
            &told(payment.reference.as_ref()),
            &told(entry.reference.as_ref()),
        ),
        _ => Ok(true),
    }
}

fn not_in_the_ledger(payment: &Payment, charges: &[Charge], older_than: Duration) -> Result<bool, Wrong> {
    let though = if charges.is_empty() {
        ""
    } else {
        ", though charged"
    };
    match payment.status {
        Status::Open if though.is_empty() => young(
            payment.age,
            older_than,
            Kind::Stuck,
            "its request has not reached the provider",
        ),
        Status::Open => young(
            payment.age,
            older_than,
            Kind::Missing,
            "not in the ledger, though charged",
        ),
        settled => Err((Kind::Missing, format!("{settled}, but not in the ledger{though}"))),
    }
}

fn young(age: Duration, older_than: Duration, kind: Kind, why: &str) -> Result<bool, Wrong> {
    if age < older_than {
        return Ok(false);
    }
    Err((kind, format!("{why} (for {} s)", age.as_secs())))
}

fn told(text: Option<&String>) -> &str {
    text.map_or("none", String::as_str)
}

fn differ<T>(what: &str, a: &str, in_a: &dyn Display, b: &str, in_b: &dyn Display) -> Result<T, Wrong> {
    Err((Kind::Mismatch, format!("{what} is {in_a} in {a}, {in_b} in {b}")))
}

/// Judges one invoice by its own payments, and by the payments under which it was charged although they did not succeed.
pub(super) fn judge_invoice(invoice: &Invoice, charged_otherwise: &[Uuid]) -> Result<(), Wrong> {
    let paid_by = &invoice.paid_by;
    if paid_by.len() > 1 {
        return Err((Kind::Duplicate, format!("paid by {paid_by:?}")));
    }
    if paid_by.len() + charged_otherwise.len() > 1 {
        let all: Vec<_> = paid_by.iter().chain(charged_otherwise).collect();
        return Err((Kind::Duplicate, format!("charged under {all:?}")));
    }
    match (invoice.status.as_str(), paid_by.len(), invoice.open) {
        // The open payment has been judged by its age.
        ("paid", 1, 0) | ("unpaid" | "void", 0, 0) | ("pending", 0, 1) => Ok(()),
        (status, paid, open) => Err((
            Kind::Mismatch,
            format!("it is {status}, with {paid} payments that succeeded and {open} open ones"),
        )),
    }
}
