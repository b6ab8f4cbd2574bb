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
pub struct SumsByCurrency(BTreeMap<&'static str, (u8, Sums)>);

impl SumsByCurrency {
    /// One currency's, to be added to.
    pub(super) fn of(&mut self, currency: Currency) -> &mut Sums {
        let (_, sums) = self
            .0
            .entry(currency.code())
            .or_insert((currency.exponent(), Sums::default()));
        sums
    }

    /// The currencies in which the books disagree.
    pub(super) fn differences(&self, bank_is_known: bool) -> Vec<String> {
        let differs = |sums: &Sums| {
            sums.invoices != sums.payments
                || sums.payments != sums.ledger
                || (bank_is_known && sums.ledger != sums.bank)
        };
        self.0
            .iter()
            .filter(|(_, (_, sums))| differs(sums))
            .map(|(code, (exponent, sums))| format!("the sums differ: {}", line(code, *exponent, sums)))
            .collect()
    }
}

/// One line for each currency.
impl fmt::Display for SumsByCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (code, (exponent, sums)) in &self.0 {
            writeln!(f, "{}", line(code, *exponent, sums))?;
        }
        Ok(())
    }
}

fn line(code: &str, exponent: u8, sums: &Sums) -> String {
    let [invoices, payments, ledger, bank] =
        [sums.invoices, sums.payments, sums.ledger, sums.bank].map(|minor| decimal(minor, exponent));
    format!("{code} invoices {invoices}, payments {payments}, ledger {ledger}, bank {bank}")
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
