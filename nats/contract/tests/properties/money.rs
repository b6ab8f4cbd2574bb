//! What must hold for any text that is taken for money: `value currency`, with one space between.

use payment_contract::{Currency, Money, money::MAX_MINOR_UNITS};

/// Panics where it does not hold.
pub(crate) fn holds_for(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (value, code) = text.rsplit_once(' ').unwrap_or((text, "EUR"));
    let parsed = Money::parse(value, code);
    let Ok(currency) = Currency::try_new(code) else {
        assert!(parsed.is_err(), "{text:?} has no currency");
        return;
    };
    let minor_units = minor_units(value, usize::from(currency.exponent()));
    let Ok(money) = parsed else {
        assert_eq!(minor_units, None, "{text:?} was refused");
        return;
    };
    assert_eq!(Some(money.minor_units()), minor_units, "{text:?}");
    assert_eq!(money.currency(), currency);
    assert_eq!(
        Money::try_from_minor_units(money.minor_units(), currency),
        Ok(money)
    );
    assert_eq!(
        Money::parse(&money.value(), code),
        Ok(money),
        "{text:?} comes back as {money}"
    );
    let json = serde_json::to_string(&money).unwrap();
    assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money, "{json}");
}

/// The same by other means: the grammar letter by letter, and the number by whoever wrote the standard library.
fn minor_units(value: &str, exponent: usize) -> Option<i64> {
    let (whole, decimals) = value
        .find('.')
        .map_or((value, ""), |point| (&value[..point], &value[point + 1..]));
    let digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    let well_formed = !whole.is_empty()
        && digits(whole)
        && digits(decimals)
        && (whole == "0" || !whole.starts_with('0'))
        && !value.ends_with('.')
        && decimals.len() <= exponent;
    if !well_formed {
        return None;
    }
    let units: i64 = format!("{whole}{decimals:0<exponent$}").parse().ok()?;
    (1..=MAX_MINOR_UNITS).contains(&units).then_some(units)
}
