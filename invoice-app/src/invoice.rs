//! What an invoice is: its number, its amount, and the states it goes through. No I/O.

use payment_contract::{InvoiceId, Money, PaymentId, money, words};
use time::OffsetDateTime;
use unicode_normalization::UnicodeNormalization as _;

use crate::payment;

words! {
    /// `unpaid → pending → paid`, back to `unpaid` when declined; `unpaid → void`. Words of the API and of the database.
    #[derive(sqlx::Type)]
    #[sqlx(type_name = "text", rename_all = "lowercase")]
    pub enum Status {
        /// Nobody has asked for its payment, or the last payment was declined.
        Unpaid = "unpaid",
        /// A payment was requested and has no outcome yet.
        Pending = "pending",
        /// Paid. Final.
        Paid = "paid",
        /// Not to be paid. Final.
        Void = "void",
    }
}

impl Status {
    /// The status of that name, or what names there are.
    pub fn try_new(word: &str) -> Result<Self, &'static str> {
        Self::parse(word).ok_or("must be unpaid, pending, paid or void")
    }
}

/// The human reference: 1 to 64 visible characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(String);

/// The longest number, in characters.
pub const NUMBER_MAX_CHARS: usize = 64;

/// Why text is not an invoice number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Empty or too long.
    #[error("must have 1 to 64 characters")]
    Length,
    /// White space, a control character, or something else that shows nothing.
    #[error("must have visible characters only, without spaces")]
    Invisible,
}

impl Number {
    /// Accepts 1 to 64 visible characters of any script, in whichever way they are composed: two spellings of one name are one
    /// number (NFC, UAX 15).
    pub fn try_new(text: impl AsRef<str>) -> Result<Self, NumberError> {
        let text: String = text.as_ref().nfc().collect();
        if !(1..=NUMBER_MAX_CHARS).contains(&text.chars().count()) {
            return Err(NumberError::Length);
        }
        if text.chars().any(is_invisible) {
            return Err(NumberError::Invisible);
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// White space and control characters, and those that only steer how others are shown: two numbers that look alike must
/// not differ in something nobody sees.
pub fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2800}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Codes that people no longer pay in: our library knows them, and ISO 4217's list one of 2026-01-01 does not. What was
/// created in them before stays as it is.
const WITHDRAWN: [&str; 5] = ["BGN", "CUC", "HRK", "SLL", "ZWL"];

/// The amount of an invoice to be created.
pub fn new_amount(value: &str, currency: &str) -> Result<Money, money::Error> {
    if WITHDRAWN.contains(&currency) {
        return Err(money::Error::UnknownCurrency);
    }
    Money::parse(value, currency)
}

/// An invoice to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Its number; without one it gets the next free `I<n>`.
    pub number: Option<Number>,
    pub amount: Money,
}

/// An invoice as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    pub id: InvoiceId,
    pub number: String,
    pub amount: Money,
    pub status: Status,
    pub created_at: OffsetDateTime,
    /// When its status changed last.
    pub updated_at: OffsetDateTime,
    pub paid_at: Option<OffsetDateTime>,
    pub last_payment: Option<LastPayment>,
}

/// The latest attempt to pay an invoice, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastPayment {
    pub id: PaymentId,
    pub status: payment::Status,
    pub reason: Option<String>,
}

impl Invoice {
    /// Names its state: another one whenever anything about it, or about its payments, is another. The store writes the same
    /// text (`store::invoices::version_in_tx`).
    pub fn version(&self) -> String {
        let micros = self.updated_at.unix_timestamp_nanos() / 1_000;
        format!("{}-{micros}", self.status.as_str())
    }
}

/// In which states a caller wants something done (`If-Match`, RFC 9110, 13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// In any, if only the invoice exists.
    Any,
    /// In these versions.
    Versions(Vec<String>),
}

impl IfMatch {
    /// Whether it is to be done.
    pub fn is_met(&self, version: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.iter().any(|wanted| wanted == version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_to_64_visible_characters() {
        for good in ["I1", "2026/0815", "Ré-№7", "x".repeat(64).as_str(), "発票1"] {
            assert_eq!(
                Number::try_new(good).map(Number::into_string),
                Ok(good.to_owned()),
                "{good:?}"
            );
        }
        for (bad, why) in [
            ("", NumberError::Length),
            ("x".repeat(65).as_str(), NumberError::Length),
            ("I 1", NumberError::Invisible),
            ("I1\n", NumberError::Invisible),
            ("I\u{0}1", NumberError::Invisible),
            ("I\u{200B}1", NumberError::Invisible),
            ("\u{202E}1I", NumberError::Invisible),
            ("I\u{A0}1", NumberError::Invisible),
            ("Q\u{1D173}1", NumberError::Invisible),
            ("\u{2800}\u{2800}", NumberError::Invisible),
        ] {
            assert_eq!(Number::try_new(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn two_spellings_of_one_name_are_one_number() {
        assert_eq!(Number::try_new("R\u{C9}-7"), Number::try_new("RE\u{301}-7"));
    }

    #[test]
    fn nothing_is_created_in_a_currency_that_was_withdrawn() {
        for code in WITHDRAWN {
            assert_eq!(
                new_amount("1", code),
                Err(money::Error::UnknownCurrency),
                "{code}"
            );
        }
        assert!(new_amount("1", "EUR").is_ok());
    }

    #[test]
    fn every_status_is_found_by_its_word() {
        for status in Status::ALL {
            assert_eq!(Status::try_new(status.as_str()), Ok(status));
        }
        assert!(Status::try_new("Paid").is_err());
    }
}
