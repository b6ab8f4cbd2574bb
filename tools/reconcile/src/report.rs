//! The verdict on a whole system: counts, sums, and the findings with their ids.

use std::{collections::BTreeMap, fmt};

use uuid::Uuid;

use super::sums::SumsByCurrency;
use crate::{Error, Result};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two books tell different stories.
    Mismatch,
    /// One book has never heard of it.
    Missing,
    /// An invoice was paid, or charged, more than once.
    Duplicate,
    /// It has not ended, and should have.
    Stuck,
}

impl Kind {
    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mismatch => "mismatch",
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::Stuck => "stuck",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// In which way.
    pub kind: Kind,
    /// The payment, if it is about one.
    pub payment: Option<Uuid>,
    /// The invoice, if one is known.
    pub invoice: Option<Uuid>,
    /// In words.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_one = self.payment.is_some() || self.invoice.is_some();
        let width = if of_one { 9 } else { 0 };
        write!(f, "{:<width$}", self.kind.as_str())?;
        if let Some(payment) = self.payment {
            write!(f, " payment {payment}")?;
        }
        if let Some(invoice) = self.invoice {
            write!(f, " invoice {invoice}")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Findings of one kind.
#[derive(Clone, Debug, Default)]
struct Found {
    count: usize,
    first: Vec<Finding>,
}

/// A report keeps this many findings of a kind; thousands would hide the first, and fill memory.
const KEPT: usize = 20;

/// The verdict.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Payments that have ended and on which all books agree.
    pub matches: usize,
    /// Of these, succeeded ones; each has exactly one charge and one paid invoice.
    pub succeeded: usize,
    /// Payments that have not ended and are young.
    pub in_flight: usize,
    /// Invoices looked at.
    pub invoices: usize,
    /// Entries of the bank looked at.
    pub charges: usize,
    /// Of these, the ones that succeeded.
    pub charged: usize,
    /// What moved, by currency.
    pub sums: SumsByCurrency,
    findings: BTreeMap<Kind, Found>,
}

impl Report {
    pub(super) fn new(sums: SumsByCurrency) -> Self {
        Self {
            sums,
            ..Self::default()
        }
    }

    pub(super) fn keep(&mut self, finding: Finding) {
        let found = self.findings.entry(finding.kind).or_default();
        found.count += 1;
        if found.first.len() < KEPT {
            found.first.push(finding);
        }
    }

    /// How many findings there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.findings.get(&kind).map_or(0, |found| found.count)
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The counts and sums, without the findings.
    pub fn summary(&self) -> String {
        let counted = format!(
            "{} invoices; {} payments match ({} succeeded), {} in flight",
            self.invoices, self.matches, self.succeeded, self.in_flight
        );
        let wrong = self
            .findings
            .iter()
            .map(|(kind, found)| format!("{} {}", found.count, kind.as_str()));
        std::iter::once(counted)
            .chain(wrong)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Fails unless everything matches.
    pub fn expect_clean(self) -> Result<Self> {
        if self.is_clean() {
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
        f.write_str(&self.summary())?;
        for found in self.findings.values() {
            for finding in &found.first {
                write!(f, "\n  {finding}")?;
            }
            if found.count > found.first.len() {
                write!(f, "\n  … and {} more", found.count - found.first.len())?;
            }
        }
        Ok(())
    }
}
