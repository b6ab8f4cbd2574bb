//! The Idempotency-Key header: a call's key, if it has one.

use axum::http::HeaderMap;

use super::Error;
use crate::idempotency::Key;

/// Reads the header.
pub(super) fn from_headers(headers: &HeaderMap, principal: &str) -> Result<Option<Key>, Error> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(|text| Key::parse(principal, text));
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(Error::Malformed(
            "Idempotency-Key must be sent once, as 1 to 255 visible ASCII characters, with or without double quotes"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<String>, Error> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                "idempotency-key",
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        from_headers(&headers, "ci").map(|key| key.map(|key| key.text().to_owned()))
    }

    #[test]
    fn a_call_has_one_key_or_none_and_a_bad_or_second_one_is_refused() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["\"a\""]).unwrap().as_deref(), Some("a"));
        for bad in [&["a b"][..], &["é"], &["a", "b"]] {
            assert!(matches!(read(bad), Err(Error::Malformed(_))), "{bad:?}");
        }
    }
}
