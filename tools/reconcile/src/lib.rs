//! The check: joins invoices, payments, the provider's ledger and the bank's charges, and calls every payment a match, in
//! flight, or names what is wrong with it. Tests, chaos runs, benchmark and operators all run this one.
//!
//! Rows come as streams in order of their ids and are joined as they pass, so memory does not grow with the tables. The
//! snapshots are taken against the flow of a payment: payments first, then the ledger, then the bank. So on a live system
//! too, whatever an earlier book calls settled, the later ones must know.

#![warn(missing_docs)]

pub mod bank_record;
mod books;
mod cursor;
mod error;
mod judge;
mod report;
mod sums;

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

pub use self::{
    books::{BankBooks, Charge, Entry, Invoice, Payment, Status},
    error::{Error, Result},
    report::{Finding, Kind, Report},
    sums::Sums,
};
use self::{
    books::{Databases, Rows},
    cursor::Cursor,
    judge::{Verdict, judge, judge_invoice},
    sums::SumsByCurrency,
};

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What has not ended is in flight until it is older than this, and then stuck. Zero where nothing may be in flight.
    pub older_than: Duration,
}

impl Options {
    /// For a system in which nothing may be in flight any more.
    pub const AT_REST: Self = Self {
        older_than: Duration::ZERO,
    };
}

/// Hears of every finding at once; a report keeps only the first ones.
pub type Listener<'a> = &'a mut (dyn FnMut(&Finding) + Send);

/// Reads both databases and compares them with each other and with the bank's books.
pub async fn check(
    invoice_database_url: &str,
    payment_database_url: &str,
    bank: BankBooks,
    options: Options,
    tell: Listener<'_>,
) -> Result<Report> {
    let mut databases = Databases::open(invoice_database_url, payment_database_url).await?;
    let mut check = Check::new(options, !matches!(bank, BankBooks::Unknown), tell);
    let (invoices, ledger, charges) = databases.by_payment();
    check
        .payments(
            books::payments(invoices),
            books::ledger(ledger),
            books::charges(charges, bank),
        )
        .await?;
    check.invoices(books::invoices(databases.by_invoice())).await?;
    databases.close().await;
    Ok(check.finish())
}

/// The check of a system in which nothing may be in flight any more.
pub async fn check_at_rest(
    invoice_database_url: &str,
    payment_database_url: &str,
    bank: BankBooks,
) -> Result<Report> {
    check(
        invoice_database_url,
        payment_database_url,
        bank,
        Options::AT_REST,
        &mut |_| {},
    )
    .await
}

/// Books in memory: a model's.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Invoices, with what the payments say about them.
    pub invoices: Vec<Invoice>,
    /// invoice-app's payments.
    pub payments: Vec<Payment>,
    /// The provider's ledger.
    pub ledger: Vec<Entry>,
    /// The bank's charges.
    pub charges: Vec<Charge>,
}

/// The same check of books in memory.
pub async fn compare(mut books: Books, options: Options) -> Result<Report> {
    books.invoices.sort_unstable_by_key(|invoice| invoice.id);
    books.payments.sort_unstable_by_key(|payment| payment.id);
    books.ledger.sort_unstable_by_key(|entry| entry.id);
    books.charges.sort_unstable_by_key(|charge| charge.key);
    let tell = &mut |_: &Finding| {};
    let mut check = Check::new(options, true, tell);
    check
        .payments(
            books::in_memory(books.payments),
            books::in_memory(books.ledger),
            books::in_memory(books.charges),
        )
        .await?;
    check.invoices(books::in_memory(books.invoices)).await?;
    Ok(check.finish())
}

/// A check under way.
struct Check<'a> {
    older_than: Duration,
    bank_is_known: bool,
    report: Report,
    tell: Listener<'a>,
    /// Invoices charged under payments that did not succeed, and those payments: no more than there are findings.
    charged_otherwise: HashMap<Uuid, Vec<Uuid>>,
}

impl<'a> Check<'a> {
    fn new(options: Options, bank_is_known: bool, tell: Listener<'a>) -> Self {
        Self {
            older_than: options.older_than,
            bank_is_known,
            report: Report::new(SumsByCurrency::new(bank_is_known)),
            tell,
            charged_otherwise: HashMap::new(),
        }
    }

    /// Joins three books by payment, which is also the bank's key.
    async fn payments(
        &mut self,
        payments: Rows<'_, Payment>,
        ledger: Rows<'_, Entry>,
        charges: Rows<'_, Charge>,
    ) -> Result<()> {
        let mut payments = Cursor::try_new("payments", payments).await?;
        let mut ledger = Cursor::try_new("ledger", ledger).await?;
        let mut charges = Cursor::try_new("charges", charges).await?;
        while let Some(id) = [payments.id(), ledger.id(), charges.id()]
            .into_iter()
            .flatten()
            .min()
        {
            let payment = payments.take_one(id).await?;
            let entry = ledger.take_one(id).await?;
            let charges = charges.take_all(id).await?;
            self.payment(id, payment.as_ref(), entry.as_ref(), &charges);
        }
        Ok(())
    }

    fn payment(&mut self, id: Uuid, payment: Option<&Payment>, entry: Option<&Entry>, charges: &[Charge]) {
        let known_charges = self.bank_is_known.then_some(charges);
        let invoice = payment.map(|p| p.invoice).or(entry.map(|e| e.invoice));
        let verdict = judge(payment, entry, known_charges, self.older_than);
        let succeeded = payment.is_some_and(|p| p.status == Status::Succeeded);
        let carried_out = || charges.iter().filter(|charge| charge.status == Status::Succeeded);
        self.report.charges += charges.len();
        self.report.charged += carried_out().count();
        match verdict {
            Verdict::Match => {
                self.report.matches += 1;
                self.report.succeeded += usize::from(succeeded);
            }
            // Their amounts are in some books and not yet in others.
            Verdict::InFlight => {
                self.report.in_flight += 1;
                return;
            }
            Verdict::Wrong(kind, why) => {
                if let Some(invoice) = invoice
                    && !succeeded
                    && carried_out().next().is_some()
                {
                    self.charged_otherwise.entry(invoice).or_default().push(id);
                }
                self.find(Finding {
                    kind,
                    payment: Some(id),
                    invoice,
                    why,
                });
            }
        }
        let sums = &mut self.report.sums;
        if let Some(amount) = payment.filter(|_| succeeded).and_then(|p| p.amount) {
            sums.of(amount.currency()).payments += i128::from(amount.minor_units());
        }
        if let Some(entry) = entry.filter(|entry| entry.status == Status::Succeeded) {
            sums.of(entry.amount.currency()).ledger += i128::from(entry.amount.minor_units());
        }
        for charge in carried_out() {
            sums.of(charge.amount.currency()).bank += i128::from(charge.amount.minor_units());
        }
    }

    async fn invoices(&mut self, invoices: Rows<'_, Invoice>) -> Result<()> {
        let mut invoices = Cursor::try_new("invoices", invoices).await?;
        while let Some(id) = invoices.id() {
            let Some(invoice) = invoices.take_one(id).await? else {
                break;
            };
            self.report.invoices += 1;
            if invoice.status == "paid" {
                let sums = self.report.sums.of(invoice.amount.currency());
                sums.invoices += i128::from(invoice.amount.minor_units());
            }
            let otherwise = self.charged_otherwise.get(&id).map_or(&[][..], Vec::as_slice);
            if let Err((kind, why)) = judge_invoice(&invoice, otherwise) {
                self.find(Finding {
                    kind,
                    payment: None,
                    invoice: Some(id),
                    why,
                });
            }
        }
        Ok(())
    }

    fn find(&mut self, finding: Finding) {
        (self.tell)(&finding);
        self.report.keep(finding);
    }

    fn finish(mut self) -> Report {
        for why in self.report.sums.differences() {
            self.find(Finding {
                kind: Kind::Mismatch,
                payment: None,
                invoice: None,
                why,
            });
        }
        self.report
    }
}

#[cfg(test)]
mod tests;
