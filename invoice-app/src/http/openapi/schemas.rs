//! The bodies that are taken, as exactly as they are checked, and what the answers' own types do not say.

use std::collections::BTreeMap;

use payment_contract::Currency;
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    event::Kind,
    invoice::{self, NUMBER_MAX_CHARS, is_invisible, new_amount},
    payment,
};

/// Names bodies that are written in [`refine`]: handlers read them field by field, so no type has their shape.
macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                Schema::default().into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

bodies! {
    /// An invoice to be created.
    NewInvoice
    /// What is to be paid.
    PayInvoices
    /// An object without fields.
    Nothing
}

/// Adds and completes.
pub(super) fn refine(schemas: &mut Map<String, Value>) {
    schemas.insert("NewInvoice".to_owned(), new_invoice());
    schemas.insert("PayInvoices".to_owned(), pay_invoices());
    schemas.insert(
        "Nothing".to_owned(),
        json!({"type": "object", "additionalProperties": false, "examples": [{}]}),
    );
    schemas.insert("Problem".to_owned(), problem());
    let statuses = invoice::Status::ALL.map(invoice::Status::as_str);
    let payments = payment::Status::ALL.map(payment::Status::as_str);
    let kinds = Kind::ALL.map(Kind::as_str);
    for (schema, property, words) in [
        ("Invoice", "status", statuses.as_slice()),
        ("LastPayment", "status", payments.as_slice()),
        ("Payment", "status", payments.as_slice()),
        ("Event", "type", kinds.as_slice()),
        ("HistoryEvent", "type", kinds.as_slice()),
    ] {
        if let Some(schema) = schemas.get_mut(schema) {
            schema["properties"][property]["enum"] = json!(words);
        }
    }
}

fn new_invoice() -> Value {
    json!({
        "type": "object",
        "required": ["amount"],
        "additionalProperties": false,
        "properties": {
            "number": {
                "type": ["string", "null"],
                "description": "The human reference, unique: visible characters of any script, compared in NFC. Without one, the next free I<n>",
                "pattern": format!("^[^{}]{{1,{NUMBER_MAX_CHARS}}}$", invisible()),
            },
            "amount": {"oneOf": by_exponent(|code| new_amount("1", code).is_ok(), false)},
        },
        "examples": [{"number": "I1", "amount": {"value": "12.15", "currency": "EUR"}}],
    })
}

/// The characters that a number must not have, as ranges of a regular expression.
fn invisible() -> String {
    let mut ranges: Vec<(char, char)> = Vec::new();
    for c in ('\0'..=char::MAX).filter(|c| is_invisible(*c)) {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(c) == u32::from(*last) + 1 => *last = c,
            _ => ranges.push((c, c)),
        }
    }
    let characters = ranges.into_iter().flat_map(|(first, last)| [first, '-', last]);
    characters.collect()
}

fn pay_invoices() -> Value {
    json!({
        "type": "object",
        "description": "Every unpaid invoice, those of a currency, or those named",
        "additionalProperties": false,
        "not": {"required": ["ids", "currency"]},
        "properties": {
            "ids": {"type": "array", "items": {"type": "string"}, "maxItems": 100_000},
            "currency": currency(),
            "expect": {
                "type": "object",
                "description": "What would be paid, as the caller was shown it: pays that, or nothing",
                "additionalProperties": false,
                "anyOf": [{"required": ["count"]}, {"required": ["totals"]}],
                "properties": {
                    "count": {"type": "integer", "minimum": 0, "maximum": i64::MAX},
                    "totals": {
                        "type": "array",
                        "description": "As GET /invoices/totals answers them, each currency once",
                        "items": {"oneOf": by_exponent(|code| Currency::try_new(code).is_ok(), true)},
                    },
                },
            },
        },
        "examples": [{"currency": "EUR", "expect": {"count": 1, "totals": [{"currency": "EUR", "value": "12.15"}]}}],
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "description": "The problem's name, and where a page tells more", "pattern": "^/problems/[a-z-]+$"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["field", "problem"],
                    "properties": {
                        "field": {"type": "string", "description": "Dotted: amount.value. Empty for the body itself"},
                        "problem": {"type": "string"},
                    },
                },
            },
        },
    })
}

/// Every currency's code.
pub(super) fn currency() -> Value {
    let codes: Vec<String> = codes(|code| Currency::try_new(code).is_ok())
        .into_values()
        .flatten()
        .collect();
    json!({"type": "string", "enum": codes})
}

/// Money of each number of decimals, since that decides which values there are: of one invoice, or sums of many.
fn by_exponent(is_taken: impl Fn(&str) -> bool, sum: bool) -> Vec<Value> {
    let of = |(exponent, codes): (u8, Vec<String>)| {
        let mut properties = json!({
            "value": {"type": "string", "pattern": if sum { sum_pattern(exponent) } else { amount_pattern(exponent) }},
            "currency": {"type": "string", "enum": codes},
        });
        if sum {
            properties["count"] =
                json!({"type": ["integer", "null"], "minimum": i64::MIN, "maximum": i64::MAX});
        }
        json!({
            "type": "object",
            "required": ["value", "currency"],
            "additionalProperties": false,
            "properties": properties,
        })
    };
    codes(is_taken).into_iter().map(of).collect()
}

fn codes(is_taken: impl Fn(&str) -> bool) -> BTreeMap<u8, Vec<String>> {
    let letters = || 'A'..='Z';
    let all = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])));
    let mut codes = BTreeMap::<u8, Vec<String>>::new();
    for code in all.map(String::from_iter).filter(|code| is_taken(code)) {
        if let Ok(currency) = Currency::try_new(&code) {
            codes.entry(currency.exponent()).or_default().push(code);
        }
    }
    codes
}

/// Above zero, and at most 10^15 minor units.
fn amount_pattern(exponent: u8) -> String {
    let exponent = usize::from(exponent);
    let decimals = |at_least: usize| match exponent {
        0 => String::new(),
        _ => format!("(\\.[0-9]{{{at_least},{exponent}}})?"),
    };
    let largest = format!("1{}", "0".repeat(15 - exponent));
    let zeros = match exponent {
        0 => String::new(),
        _ => format!("(\\.0{{1,{exponent}}})?"),
    };
    // Below one: some zeros, then another digit, then any.
    let below: Vec<String> = (0..exponent)
        .map(|zeros| format!("0{{{zeros}}}[1-9][0-9]{{0,{}}}", exponent - zeros - 1))
        .collect();
    let below = match exponent {
        0 => String::new(),
        _ => format!("|0\\.({})", below.join("|")),
    };
    format!(
        "^([1-9][0-9]{{0,{}}}{}|{largest}{zeros}{below})$",
        14 - exponent,
        decimals(1)
    )
}

/// Zero, or up to a million million of the largest amounts.
fn sum_pattern(exponent: u8) -> String {
    let decimals = match exponent {
        0 => String::new(),
        _ => format!("(\\.[0-9]{{1,{exponent}}})?"),
    };
    format!("^(0|[1-9][0-9]{{0,{}}}){decimals}$", 26 - exponent)
}
