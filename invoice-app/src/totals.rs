//! What invoices add up to, by currency: as answered, and as a caller expects it of what it is about to pay.

use std::collections::BTreeMap;

use payment_contract::Currency;

/// The invoices of one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    pub currency: Currency,
    pub count: i64,
    pub minor_units: i128,
}

/// What a caller was shown: it wants to pay exactly that, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// How many invoices, all currencies together.
    pub count: Option<i64>,
    /// Sums in minor units, by currency code.
    pub sums: Option<BTreeMap<&'static str, i128>>,
}

impl Expected {
    pub fn is_met(&self, totals: &[Total]) -> bool {
        let count: i64 = totals.iter().map(|total| total.count).sum();
        let sums = totals
            .iter()
            .map(|total| (total.currency.code(), total.minor_units))
            .collect();
        self.count.is_none_or(|expected| expected == count)
            && self.sums.as_ref().is_none_or(|expected| *expected == sums)
    }
}

/// In words: `3 invoices, 12.20 EUR and 7 JPY`.
pub fn summary(totals: &[Total]) -> String {
    let count: i64 = totals.iter().map(|total| total.count).sum();
    let sums: Vec<String> = totals
        .iter()
        .map(|total| format!("{} {}", total.currency.decimal(total.minor_units), total.currency))
        .collect();
    let invoices = if count == 1 { "invoice" } else { "invoices" };
    match sums.split_last() {
        None => format!("{count} {invoices}"),
        Some((last, [])) => format!("{count} {invoices}, {last}"),
        Some((last, others)) => format!("{count} {invoices}, {} and {last}", others.join(", ")),
    }
}
