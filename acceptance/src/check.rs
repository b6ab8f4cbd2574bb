//! The check: joins invoices, payments, the ledger and the simulated bank's books, and calls every payment a match or
//! names what is wrong with it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{Error, Result};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two places tell different stories.
    Mismatch,
    /// One place has never heard of it.
    Missing,
    /// An invoice was paid, or charged, more than once.
    Duplicate,
    /// It has not ended.
    Stuck,
}

/// Everything the check looks at.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// `invoices`: id, status.
    pub invoices: Vec<(Uuid, String)>,
    /// `payments`: id, invoice, status.
    pub payments: Vec<(Uuid, Uuid, String)>,
    /// `ledger`: payment, invoice, status.
    pub ledger: Vec<(Uuid, Uuid, String)>,
    /// The simulated bank's charges: idempotency key, status.
    pub charges: Vec<(Uuid, String)>,
}

/// The verdict.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Payments on which everybody agrees.
    pub matches: usize,
    /// Of these, succeeded ones; each has exactly one charge and one paid invoice.
    pub succeeded: usize,
    /// Everything else, by kind, in words with ids.
    pub findings: BTreeMap<Kind, Vec<String>>,
}

/// A report names this many findings of a kind; thousands would hide the first.
const SHOWN: usize = 20;

impl Report {
    fn find(&mut self, kind: Kind, text: String) {
        self.findings.entry(kind).or_default().push(text);
    }

    /// How many findings there are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.findings.get(&kind).map_or(0, Vec::len)
    }

    /// Fails unless everything matches.
    pub fn expect_clean(self) -> Result<Self> {
        if self.findings.is_empty() {
            Ok(self)
        } else {
            Err(Error::new(self.to_string()))
        }
    }

    /// Fails unless everything matches and exactly `n` payments succeeded.
    pub fn expect_succeeded(self, n: usize) -> Result<Self> {
        let report = self.expect_clean()?;
        if report.succeeded == n {
            return Ok(report);
        }
        Err(Error::new(format!(
            "{n} payments should have succeeded, not {}",
            report.succeeded
        )))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} match", self.matches)?;
        for (kind, texts) in &self.findings {
            write!(f, "\n{} {kind:?}:", texts.len())?;
            for text in texts.iter().take(SHOWN) {
                write!(f, "\n  {text}")?;
            }
        }
        Ok(())
    }
}

/// Reads both databases and compares.
pub async fn check(invoice_database_url: &str, payment_database_url: &str) -> Result<Report> {
    Ok(compare(&read(invoice_database_url, payment_database_url).await?))
}

/// Reads what the check looks at.
pub async fn read(invoice_database_url: &str, payment_database_url: &str) -> Result<Books> {
    let mut database = PgConnection::connect(invoice_database_url).await?;
    // One snapshot, so that a payment made in between is not taken for a lost one.
    let mut snapshot = database
        .begin_with("begin isolation level repeatable read")
        .await?;
    let invoices = sqlx::query_as("select id, status from invoices")
        .fetch_all(&mut *snapshot)
        .await?;
    let payments = sqlx::query_as("select id, invoice_id, status from payments")
        .fetch_all(&mut *snapshot)
        .await?;
    drop(snapshot);
    let mut database = PgConnection::connect(payment_database_url).await?;
    let ledger = sqlx::query_as("select payment_id, invoice_id, status from ledger")
        .fetch_all(&mut database)
        .await?;
    let charges = sqlx::query_as("select key, status from simulated_charges")
        .fetch_all(&mut database)
        .await?;
    Ok(Books {
        invoices,
        payments,
        ledger,
        charges,
    })
}

/// Compares. Pure, and tested below: a check that cannot fail proves nothing.
#[must_use]
pub fn compare(books: &Books) -> Report {
    let mut report = Report::default();
    let invoices: HashMap<_, _> = books
        .invoices
        .iter()
        .map(|(id, status)| (*id, status.as_str()))
        .collect();
    let ledger: HashMap<_, _> = books
        .ledger
        .iter()
        .map(|(id, invoice, status)| (*id, (*invoice, status.as_str())))
        .collect();
    let charges: HashMap<_, _> = books
        .charges
        .iter()
        .map(|(key, status)| (*key, status.as_str()))
        .collect();

    let mut succeeded: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    let mut open: HashSet<Uuid> = HashSet::new();
    for (id, invoice, status) in &books.payments {
        match status.as_str() {
            "requested" => _ = open.insert(*invoice),
            "succeeded" => succeeded.entry(*invoice).or_default().push(*id),
            _ => {}
        }
        let entry = ledger.get(id).copied();
        match judge_payment((*invoice, status), entry, charges.get(id).copied()) {
            Ok(()) => {
                report.matches += 1;
                report.succeeded += usize::from(status == "succeeded");
            }
            Err((kind, why)) => report.find(kind, format!("payment {id} of invoice {invoice}: {why}")),
        }
    }
    judge_invoices(&mut report, &invoices, &succeeded, &open);
    judge_foreign(&mut report, books, &ledger);
    report
}

fn judge_payment(
    (invoice, status): (Uuid, &str),
    entry: Option<(Uuid, &str)>,
    charge: Option<&str>,
) -> std::result::Result<(), (Kind, String)> {
    if status == "requested" {
        return Err((
            Kind::Stuck,
            format!("requested; ledger {entry:?}, charge {charge:?}"),
        ));
    }
    let Some((of, settled)) = entry else {
        return Err((Kind::Missing, format!("{status}, but not in the ledger")));
    };
    if of != invoice {
        return Err((Kind::Mismatch, format!("the ledger says invoice {of}")));
    }
    match (status, settled, charge) {
        (_, "started", _) => Err((Kind::Stuck, format!("{status}, but started in the ledger"))),
        ("succeeded", "succeeded", None) => Err((Kind::Missing, "succeeded, but never charged".to_owned())),
        // A request that the bank cannot take is declined without asking it.
        ("declined", "declined", None | Some("declined")) | ("succeeded", "succeeded", Some("succeeded")) => {
            Ok(())
        }
        _ => Err((
            Kind::Mismatch,
            format!("{status}; ledger {settled}, charge {charge:?}"),
        )),
    }
}

fn judge_invoices(
    report: &mut Report,
    invoices: &HashMap<Uuid, &str>,
    succeeded: &HashMap<Uuid, Vec<Uuid>>,
    open: &HashSet<Uuid>,
) {
    for (invoice, payments) in succeeded {
        if payments.len() > 1 {
            report.find(
                Kind::Duplicate,
                format!("invoice {invoice} was paid by {payments:?}"),
            );
        }
        if !invoices.contains_key(invoice) {
            report.find(
                Kind::Missing,
                format!("invoice {invoice} of payments {payments:?} does not exist"),
            );
        }
    }
    for (invoice, status) in invoices {
        match (*status, succeeded.contains_key(invoice), open.contains(invoice)) {
            ("paid", true, false) | ("unpaid" | "void", false, false) => {}
            ("pending", false, true) => report.find(Kind::Stuck, format!("invoice {invoice} is pending")),
            (status, paid, open) => report.find(
                Kind::Mismatch,
                format!(
                    "invoice {invoice} is {status}, has a succeeded payment: {paid}, an open one: {open}"
                ),
            ),
        }
    }
}

/// What the provider's side knows and invoice-app does not, and money that moved twice.
fn judge_foreign(report: &mut Report, books: &Books, ledger: &HashMap<Uuid, (Uuid, &str)>) {
    let payments: HashSet<_> = books.payments.iter().map(|(id, ..)| *id).collect();
    for (payment, (invoice, status)) in ledger {
        if !payments.contains(payment) {
            report.find(
                Kind::Missing,
                format!(
                    "ledger entry {payment} ({status}) of invoice {invoice} is no payment of invoice-app"
                ),
            );
        }
    }
    let mut charged: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for (key, status) in &books.charges {
        match ledger.get(key) {
            None => report.find(
                Kind::Missing,
                format!("charge {key} ({status}) is not in the ledger"),
            ),
            Some((invoice, _)) if status == "succeeded" => charged.entry(*invoice).or_default().push(*key),
            Some(_) => {}
        }
    }
    for (invoice, keys) in charged {
        if keys.len() > 1 {
            report.find(
                Kind::Duplicate,
                format!("invoice {invoice} was charged under {keys:?}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    /// Invoice 1 paid by payment 11; invoice 2 declined once, then paid; invoice 3 void.
    fn good() -> Books {
        let of = |payment, invoice, status: &str| (id(payment), id(invoice), status.to_owned());
        let rows = vec![
            of(11, 1, "succeeded"),
            of(21, 2, "declined"),
            of(22, 2, "succeeded"),
        ];
        Books {
            invoices: [(1, "paid"), (2, "paid"), (3, "void")]
                .map(|(n, s)| (id(n), s.to_owned()))
                .into(),
            payments: rows.clone(),
            ledger: rows,
            charges: [(11, "succeeded"), (21, "declined"), (22, "succeeded")]
                .map(|(n, s)| (id(n), s.to_owned()))
                .into(),
        }
    }

    #[track_caller]
    fn finds(kind: Kind, spoil: impl FnOnce(&mut Books)) {
        let mut books = good();
        spoil(&mut books);
        let report = compare(&books);
        assert!(report.count(kind) > 0, "{report}");
        assert!(report.expect_clean().is_err());
    }

    #[test]
    fn agreement_is_a_match() {
        let report = compare(&good()).expect_succeeded(2).unwrap();
        assert_eq!(report.matches, 3);
        assert!(compare(&good()).expect_succeeded(3).is_err());
    }

    #[test]
    fn a_lost_row_is_missing_wherever_it_is_lost() {
        finds(Kind::Missing, |books| _ = books.ledger.remove(0));
        finds(Kind::Missing, |books| _ = books.charges.remove(0));
        finds(Kind::Missing, |books| _ = books.payments.remove(1));
        finds(Kind::Missing, |books| {
            books.charges.push((id(99), "succeeded".to_owned()));
        });
    }

    #[test]
    fn a_second_success_is_a_duplicate() {
        finds(Kind::Duplicate, |books| {
            books.payments[1].2 = "succeeded".to_owned();
        });
        finds(Kind::Duplicate, |books| {
            books.charges[1].1 = "succeeded".to_owned();
        });
    }

    #[test]
    fn what_has_not_ended_is_stuck() {
        finds(Kind::Stuck, |books| books.ledger[0].2 = "started".to_owned());
        finds(Kind::Stuck, |books| {
            books.payments[0].2 = "requested".to_owned();
            books.invoices[0].1 = "pending".to_owned();
        });
    }

    #[test]
    fn different_stories_are_a_mismatch() {
        finds(Kind::Mismatch, |books| books.ledger[0].1 = id(2));
        finds(Kind::Mismatch, |books| books.ledger[0].2 = "declined".to_owned());
        finds(Kind::Mismatch, |books| books.charges[0].1 = "declined".to_owned());
        finds(Kind::Mismatch, |books| books.invoices[0].1 = "unpaid".to_owned());
        finds(Kind::Mismatch, |books| books.invoices[2].1 = "paid".to_owned());
        finds(Kind::Mismatch, |books| books.invoices[2].1 = "pending".to_owned());
    }
}
