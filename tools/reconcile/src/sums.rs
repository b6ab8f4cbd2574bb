//! What moved, by currency, added up in each book on its own: a second look that shares nothing with the join but the rows.

use std::{collections::BTreeMap, fmt};

use payment_contract::Currency;

/// One currency, in minor units. What is in flight is in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Paid invoices.
    pub invoices: i128,
    /// Payments that succeeded in invoice-app's books.
    pub payments: i128,
    /// Entries that succeeded in the ledger.
    pub ledger: i128,
    /// Charges.
    pub bank: i128,
}

/// All currencies.
#[derive(Clone, Debug, Default)]
pub struct SumsByCurrency {
    by_code: BTreeMap<&'static str, (u8, Sums)>,
    /// Nobody has the bank's books.
    bank_is_unknown: bool,
}

impl SumsByCurrency {
    pub(super) fn new(bank_is_known: bool) -> Self {
        Self {
            bank_is_unknown: !bank_is_known,
            ..Self::default()
        }
    }

    /// One currency's, to be added to.
    pub fn of(&mut self, currency: Currency) -> &mut Sums {
        let (_, sums) = self
            .by_code
            .entry(currency.code())
            .or_insert((currency.exponent(), Sums::default()));
        sums
    }

    /// The currencies in which the books disagree.
    pub fn differences(&self) -> Vec<String> {
        let differs = |sums: &Sums| {
            sums.invoices != sums.payments
                || sums.payments != sums.ledger
                || (!self.bank_is_unknown && sums.ledger != sums.bank)
        };
        self.by_code
            .iter()
            .filter(|(_, (_, sums))| differs(sums))
            .map(|(code, (exponent, sums))| format!("the sums differ: {}", self.line(code, *exponent, sums)))
            .collect()
    }

    fn line(&self, code: &str, exponent: u8, sums: &Sums) -> String {
        let [invoices, payments, ledger, bank] =
            [sums.invoices, sums.payments, sums.ledger, sums.bank].map(|minor| decimal(minor, exponent));
        // Nothing is zero that nobody has looked at.
        let bank = if self.bank_is_unknown {
            "not asked".to_owned()
        } else {
            bank
        };
        format!("{code} invoices {invoices}, payments {payments}, ledger {ledger}, bank {bank}")
    }
}

/// One line for each currency.
impl fmt::Display for SumsByCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (code, (exponent, sums)) in &self.by_code {
            writeln!(f, "{}", self.line(code, *exponent, sums))?;
        }
        Ok(())
    }
}

/// Never a float: a sum may have more digits than one holds.
fn decimal(minor: i128, exponent: u8) -> String {
    let scale = 10_i128.pow(u32::from(exponent));
    let (whole, rest) = (minor / scale, minor % scale);
    match exponent {
        0 => whole.to_string(),
        decimals => format!("{whole}.{rest:0width$}", width = usize::from(decimals)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_shown_with_the_decimals_of_their_currency() {
        assert_eq!(decimal(123_456, 2), "1234.56");
        assert_eq!(decimal(5, 3), "0.005");
        assert_eq!(decimal(77, 0), "77");
    }
}
