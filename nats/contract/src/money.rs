//! Money: whole minor units of an ISO 4217 currency. Never a float, on the wire or in memory.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct as _};

/// The largest amount accepted, in minor units. Keeps sums of a thousand such invoices inside `i64`.
pub const MAX_MINOR_UNITS: i64 = 1_000_000_000_000_000;
/// More than a million million of the largest amounts.
const MAX_SUM: i128 = 1_000_000_000_000 * MAX_MINOR_UNITS as i128;

/// An ISO 4217 currency that people pay in. Codes without a minor unit (metals, test codes, `XXX`) are not: the standard
/// gives them no smallest amount, so whole units would be our invention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency {
    inner: iso_currency::Currency,
    exponent: u8,
}

/// An amount above zero. JSON: `{"value": "12.15", "currency": "EUR"}`, always with all of the currency's decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor_units: i64,
    currency: Currency,
}

/// Why text is not money. The text says what to send instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not three upper-case letters of ISO 4217.
    #[error("currency must be an ISO 4217 code of three upper-case letters, like EUR")]
    UnknownCurrency,
    /// Not `(0|[1-9][0-9]*)(\.[0-9]+)?`.
    #[error("value must be a decimal number in a string, like \"12.15\"")]
    Malformed,
    /// More decimals than the currency has.
    #[error("value has more decimals than {currency} allows ({allowed})")]
    TooManyDecimals {
        /// The currency's code.
        currency: &'static str,
        /// How many decimals it has.
        allowed: u8,
    },
    /// Zero.
    #[error("value must be above zero")]
    NotPositive,
    /// Above [`MAX_MINOR_UNITS`].
    #[error("value must be at most 10^15 minor units")]
    TooLarge,
}

impl Currency {
    /// Parses an upper-case ISO 4217 code.
    pub fn try_new(code: &str) -> Result<Self, Error> {
        if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Error::UnknownCurrency);
        }
        let inner = iso_currency::Currency::from_code(code).ok_or(Error::UnknownCurrency)?;
        let exponent = inner
            .exponent()
            .and_then(|exponent| u8::try_from(exponent).ok())
            .ok_or(Error::UnknownCurrency)?;
        Ok(Self { inner, exponent })
    }

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.inner.code()
    }

    /// How many decimals amounts have: JPY 0, EUR 2, KWD 3.
    pub const fn exponent(self) -> u8 {
        self.exponent
    }
}

impl Currency {
    /// Reads decimal text into minor units: of one amount, or of a sum of any number of them. Zero is a sum, too.
    pub fn minor_units(self, value: &str) -> Result<i128, Error> {
        let (whole, decimals) = split(value)?;
        let missing =
            usize::from(self.exponent)
                .checked_sub(decimals.len())
                .ok_or(Error::TooManyDecimals {
                    currency: self.code(),
                    allowed: self.exponent,
                })?;
        let digits = whole
            .bytes()
            .chain(decimals.bytes())
            .chain(std::iter::repeat_n(b'0', missing));
        sum(digits)
    }

    /// A sum of minor units as decimal text, with all of the currency's decimals.
    pub fn decimal(self, minor_units: i128) -> String {
        Decimal(minor_units, self.exponent).to_string()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::str::FromStr for Currency {
    type Err = Error;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        Self::try_new(code)
    }
}

impl Money {
    /// From minor units, as stored.
    pub const fn try_from_minor_units(minor_units: i64, currency: Currency) -> Result<Self, Error> {
        if minor_units <= 0 {
            return Err(Error::NotPositive);
        }
        if minor_units > MAX_MINOR_UNITS {
            return Err(Error::TooLarge);
        }
        Ok(Self {
            minor_units,
            currency,
        })
    }

    /// From decimal text, as received.
    pub fn parse(value: &str, currency: &str) -> Result<Self, Error> {
        let currency = Currency::try_new(currency)?;
        let minor_units = currency.minor_units(value)?;
        Self::try_from_minor_units(i64::try_from(minor_units).map_err(|_| Error::TooLarge)?, currency)
    }

    /// The amount in minor units.
    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Decimal text with all of the currency's decimals: `12.15`, `100` (JPY), `1.500` (KWD).
    pub fn value(self) -> String {
        self.decimal().to_string()
    }

    fn decimal(self) -> Decimal {
        Decimal(self.minor_units.into(), self.currency.exponent)
    }
}

/// `12.15 EUR`, for people.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

/// Splits `12.15` into `12` and `15`, refusing all that the grammar does not allow.
fn split(value: &str) -> Result<(&str, &str), Error> {
    let (whole, decimals) = match value.split_once('.') {
        Some((_, "")) => return Err(Error::Malformed),
        Some(parts) => parts,
        None => (value, ""),
    };
    let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leading_zero || !digits_only(whole) || !digits_only(decimals) {
        return Err(Error::Malformed);
    }
    Ok((whole, decimals))
}

/// Adds up digits, giving up as soon as the limit is passed: the text may be of any length.
fn sum(digits: impl Iterator<Item = u8>) -> Result<i128, Error> {
    let mut minor_units = 0_i128;
    for digit in digits {
        minor_units = minor_units * 10 + i128::from(digit - b'0');
        if minor_units > MAX_SUM {
            return Err(Error::TooLarge);
        }
    }
    Ok(minor_units)
}

/// The decimal text of an amount, written without an allocation.
struct Decimal(i128, u8);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10_i128.pow(self.1.into());
        let (whole, decimals) = (self.0 / scale, self.0 % scale);
        if self.1 == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{decimals:0width$}", width = usize::from(self.1))
        }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Money", 2)?;
        fields.serialize_field("value", &self.decimal())?;
        fields.serialize_field("currency", self.currency.code())?;
        fields.end()
    }
}

/// Unknown fields are ignored: messages may come from a newer sender. Where they are to be refused (HTTP), a type of its
/// own does it and then calls [`Money::parse`].
impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Money")]
        struct Wire<'a> {
            #[serde(borrow)]
            value: Cow<'a, str>,
            #[serde(borrow)]
            currency: Cow<'a, str>,
        }

        let wire = Wire::deserialize(deserializer)?;
        Self::parse(&wire.value, &wire.currency).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_becomes_minor_units_and_comes_back_with_all_decimals() {
        let cases = [
            ("12.15", "EUR", 1215, "12.15"),
            ("12", "EUR", 1200, "12.00"),
            ("12.1", "EUR", 1210, "12.10"),
            ("0.01", "EUR", 1, "0.01"),
            ("0.1", "EUR", 10, "0.10"),
            ("100", "JPY", 100, "100"),
            ("1.5", "KWD", 1500, "1.500"),
            ("0.001", "KWD", 1, "0.001"),
            ("0.0001", "CLF", 1, "0.0001"),
            ("10000000000000.00", "EUR", MAX_MINOR_UNITS, "10000000000000.00"),
            ("1000000000000000", "JPY", MAX_MINOR_UNITS, "1000000000000000"),
        ];
        for (value, currency, minor_units, shown) in cases {
            let money = Money::parse(value, currency).unwrap();
            assert_eq!(money.minor_units(), minor_units, "{value} {currency}");
            assert_eq!(money.value(), shown, "{value} {currency}");
            assert_eq!(money.to_string(), format!("{shown} {currency}"));
        }
    }

    #[test]
    fn text_outside_the_grammar_is_refused() {
        let texts = [
            "",
            " ",
            ".",
            "1.",
            ".5",
            "01",
            "00",
            "00.5",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "1_000",
            " 1",
            "1 ",
            "1\n",
            "1.2.3",
            "0x10",
            "NaN",
            "inf",
            "١٢",
            "１",
            "1.-5",
            "1\u{0}",
            "12.15 EUR",
        ];
        for text in texts {
            assert_eq!(Money::parse(text, "EUR"), Err(Error::Malformed), "{text:?}");
        }
    }

    #[test]
    fn amounts_outside_the_limits_are_refused() {
        let huge = "9".repeat(100_000);
        let huge_with_decimals = format!("{huge}.00");
        let too_many = Error::TooManyDecimals {
            currency: "EUR",
            allowed: 2,
        };
        let cases = [
            ("0", "EUR", Error::NotPositive),
            ("0.00", "EUR", Error::NotPositive),
            ("0", "JPY", Error::NotPositive),
            ("10000000000000.01", "EUR", Error::TooLarge),
            ("1000000000000001", "JPY", Error::TooLarge),
            ("92233720368547758.08", "EUR", Error::TooLarge),
            (&huge, "EUR", Error::TooLarge),
            (&huge_with_decimals, "EUR", Error::TooLarge),
            ("12.150", "EUR", too_many.clone()),
            ("0.001", "EUR", too_many),
            (
                "100.0",
                "JPY",
                Error::TooManyDecimals {
                    currency: "JPY",
                    allowed: 0,
                },
            ),
        ];
        for (value, currency, error) in cases {
            assert_eq!(
                Money::parse(value, currency),
                Err(error),
                "{value:.30} {currency}"
            );
        }
        let eur = Currency::try_new("EUR").unwrap();
        assert_eq!(Money::try_from_minor_units(0, eur), Err(Error::NotPositive));
        assert_eq!(Money::try_from_minor_units(-1, eur), Err(Error::NotPositive));
        assert_eq!(Money::try_from_minor_units(i64::MAX, eur), Err(Error::TooLarge));
    }

    #[test]
    fn only_upper_case_codes_with_a_minor_unit_are_currencies() {
        for (code, exponent) in [("EUR", 2), ("GBP", 2), ("DKK", 2), ("JPY", 0), ("KWD", 3)] {
            let currency = Currency::try_new(code).unwrap();
            assert_eq!((currency.code(), currency.exponent()), (code, exponent));
        }
        for code in [
            "", "eur", "Eur", "EU", "EURO", "ZZZ", "€", "EU ", "XAU", "XXX", "XTS", "E\u{0}R",
        ] {
            assert_eq!(Currency::try_new(code), Err(Error::UnknownCurrency), "{code:?}");
        }
    }

    #[test]
    fn json_is_an_object_of_two_strings() {
        let money = Money::parse("12.1", "EUR").unwrap();
        let json = serde_json::to_string(&money).unwrap();
        assert_eq!(json, r#"{"value":"12.10","currency":"EUR"}"#);
        assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        let escaped = r#"{"currency":"\u0045UR","value":"12\u002e1","rounding":"none"}"#;
        assert_eq!(serde_json::from_str::<Money>(escaped).unwrap(), money);
        for json in [
            r#"{"value":12.1,"currency":"EUR"}"#,
            r#"{"value":12,"currency":"EUR"}"#,
            r#"{"value":null,"currency":"EUR"}"#,
            r#"{"value":"12.1"}"#,
            r#"{"currency":"EUR"}"#,
            r#"{"value":"12.1","value":"12.1","currency":"EUR"}"#,
            r#""12.1""#,
        ] {
            assert!(serde_json::from_str::<Money>(json).is_err(), "{json}");
        }
    }
}
