//! JSON objects read field by field, so that everything wrong is told at once, with its field: unknown fields, fields given
//! twice, and values of the wrong kind included.

use payment_contract::{Money, money};
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{Error, problem::FieldError};
use crate::invoice::{New, Number, new_amount};

/// An object's fields as they came, and what has been found wrong so far.
#[derive(Debug)]
pub struct Fields {
    within: &'static str,
    left: Vec<(String, Box<RawValue>)>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Parses a body. An error when it is not JSON at all; what is no object is noted as invalid.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let text =
            std::str::from_utf8(body).map_err(|_| Error::Malformed("the body is not UTF-8".to_owned()))?;
        let parsed = match kind(text) {
            "an object" => serde_json::from_str(text).map(|Entries(fields)| Ok(fields)),
            "an array" => serde_json::from_str(text).map(|IgnoredAny| Err("an array")),
            scalar => serde_json::from_str(text).map(|_: Value| Err(scalar)),
        };
        let parsed = parsed.map_err(|error| Error::Malformed(format!("the body is not JSON: {error}")))?;
        Ok(Self::new("", parsed))
    }

    /// Of a value that is JSON. What is no object is noted as invalid.
    fn nested(name: &'static str, value: &RawValue) -> Self {
        let parsed = serde_json::from_str(value.get()).map(|Entries(fields)| fields);
        Self::new(name, parsed.map_err(|_| kind(value.get())))
    }

    /// An object's fields, or what there is instead of one.
    fn new(within: &'static str, parsed: Result<Vec<(String, Box<RawValue>)>, &str>) -> Self {
        let (left, errors) = match parsed {
            Ok(fields) => (fields, Vec::new()),
            Err(what) => {
                let problem = format!("must be an object, not {what}");
                (Vec::new(), vec![FieldError::new(within, problem)])
            }
        };
        Self { within, left, errors }
    }

    /// Takes a field's value; `null` is none.
    pub fn take(&mut self, name: &'static str) -> Option<Box<RawValue>> {
        self.take_even_null(name).filter(|value| value.get() != "null")
    }

    /// Takes a field's value, `null` included.
    pub fn take_even_null(&mut self, name: &'static str) -> Option<Box<RawValue>> {
        let mut found = None;
        while let Some(place) = self.left.iter().position(|(field, _)| field == name) {
            let (_, value) = self.left.swap_remove(place);
            if found.is_some() {
                self.wrong(name, "is given twice");
            }
            found = Some(value);
        }
        found
    }

    /// Takes a field that must be an object, to be read by itself and [merged](Self::merge) afterwards.
    pub fn object(&mut self, name: &'static str) -> Option<Self> {
        let value = self.take_even_null(name)?;
        Some(Self::nested(name, &value))
    }

    /// Takes over what was found wrong with an object, fields that nobody took included.
    pub fn merge(&mut self, object: Self) {
        self.errors.extend(object.finish());
    }

    /// Takes a field that must be text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        match (kind(value.get()), serde_json::from_str(value.get())) {
            (_, Ok(text)) => Some(text),
            ("a string", Err(_)) => {
                self.wrong(name, "is not valid Unicode");
                None
            }
            (other, Err(_)) => {
                self.wrong(name, format!("must be a string, not {other}"));
                None
            }
        }
    }

    /// The same, where there must be one.
    pub fn required_text(&mut self, name: &'static str) -> Option<String> {
        let before = self.errors.len();
        let text = self.text(name);
        if text.is_none() && self.errors.len() == before {
            self.wrong(name, "is missing");
        }
        text
    }

    /// Notes what is wrong with a field.
    pub fn wrong(&mut self, name: &str, problem: impl Into<String>) {
        self.errors.push(FieldError::new(self.path(name), problem));
    }

    fn path(&self, name: &str) -> String {
        if self.within.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.within)
        }
    }

    /// Everything wrong, fields nobody took included.
    pub fn finish(mut self) -> Vec<FieldError> {
        for (field, _) in std::mem::take(&mut self.left) {
            // What is echoed stays short, however long the name sent.
            let field: String = field.chars().take(64).collect();
            self.wrong(&field, "is not known");
        }
        self.errors
    }

    /// Reads an invoice to be created.
    pub fn into_invoice(mut self) -> Result<New, Vec<FieldError>> {
        // No object: nothing can be said about its fields.
        if !self.errors.is_empty() {
            return Err(self.finish());
        }
        let number = self.text("number").and_then(|text| match Number::try_new(text) {
            Ok(number) => Some(number),
            Err(error) => {
                self.wrong("number", error.to_string());
                None
            }
        });
        let amount = self.amount();
        let errors = self.finish();
        match amount {
            Some(amount) if errors.is_empty() => Ok(New { number, amount }),
            _ => Err(errors),
        }
    }

    fn amount(&mut self) -> Option<Money> {
        let Some(value) = self.take("amount") else {
            self.wrong("amount", "is missing");
            return None;
        };
        let mut fields = Self::nested("amount", &value);
        if !fields.errors.is_empty() {
            self.errors.extend(fields.finish());
            return None;
        }
        let money = match (fields.required_text("value"), fields.required_text("currency")) {
            (Some(value), Some(currency)) => match new_amount(&value, &currency) {
                Ok(money) => Some(money),
                Err(error) => {
                    let field = match error {
                        money::Error::UnknownCurrency => "currency",
                        money::Error::Malformed
                        | money::Error::TooManyDecimals { .. }
                        | money::Error::NotPositive
                        | money::Error::TooLarge => "value",
                    };
                    fields.wrong(field, without_name(field, &error.to_string()));
                    None
                }
            },
            _ => None,
        };
        self.errors.extend(fields.finish());
        money
    }
}

/// What is wrong, without the field's name at its beginning: that is told beside it.
pub(super) fn without_name(field: &str, problem: &str) -> String {
    let rest = problem.strip_prefix(field).map_or(problem, str::trim_start);
    rest.to_owned()
}

/// What a JSON value is, by its first character.
fn kind(text: &str) -> &'static str {
    match text.trim_ascii_start().bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// An object's fields in order, those given twice included.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Entries(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(body: &str) -> Vec<(String, String)> {
        let errors = Fields::parse(body.as_bytes())
            .unwrap()
            .into_invoice()
            .unwrap_err();
        errors
            .into_iter()
            .map(|error| (error.field, error.problem))
            .collect()
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_field() {
        let errors = wrong(
            r#"{"numbr": "I1", "number": 7, "amount": {"value": 12.15, "currency": "eur", "unit": 1}}"#,
        );
        let fields: Vec<&str> = errors.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["number", "amount.value", "amount.unit", "numbr"]);
    }

    #[test]
    fn fields_given_twice_are_refused() {
        let errors =
            wrong(r#"{"number": "A", "number": "B", "amount": {"value": "1.00", "currency": "EUR"}}"#);
        assert_eq!(errors, [("number".to_owned(), "is given twice".to_owned())]);
        let errors = wrong(r#"{"amount": {"value": "1.00", "value": "2.00", "currency": "EUR"}}"#);
        assert_eq!(errors, [("amount.value".to_owned(), "is given twice".to_owned())]);
    }

    #[test]
    fn what_is_no_object_says_what_it_is() {
        for (body, what) in [
            ("[]", "an array"),
            ("\"x\"", "a string"),
            ("1.5", "a number"),
            ("null", "null"),
        ] {
            let errors = wrong(body);
            assert_eq!(
                errors,
                [(String::new(), format!("must be an object, not {what}"))],
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = "[".repeat(100_000);
        for body in ["", "{", "{\"a\":1,}", "\u{0}", deep.as_str(), "{\"a\": 1}}"] {
            assert!(
                matches!(Fields::parse(body.as_bytes()), Err(Error::Malformed(_))),
                "{body:.10}"
            );
        }
        assert!(matches!(
            Fields::parse(b"{\"number\":\"\xff\"}"),
            Err(Error::Malformed(_))
        ));
    }

    #[test]
    fn numbers_of_any_size_and_halves_of_characters_are_no_text() {
        for (value, problem) in [
            ("1e999", "must be a string, not a number"),
            ("123456789012345678901234567890", "must be a string, not a number"),
            ("\"\\ud800\"", "is not valid Unicode"),
        ] {
            let body = format!(
                "{{\"number\": {value}, \"amount\": {{\"value\": \"1.00\", \"currency\": \"EUR\"}}}}"
            );
            assert_eq!(wrong(&body), [("number".to_owned(), problem.to_owned())]);
        }
    }

    #[test]
    fn null_counts_as_absent() {
        let new =
            Fields::parse(br#"{"number": null, "amount": {"value": "12.15", "currency": "EUR"}}"#).unwrap();
        assert_eq!(new.into_invoice().unwrap().number, None);
    }
}
