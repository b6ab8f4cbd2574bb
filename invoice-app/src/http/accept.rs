//! Which kind of content a caller would rather have (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// How much a kind is wanted: from 0, not at all or not named, to 1.
pub(super) fn quality(headers: &HeaderMap, kind: &str) -> f32 {
    let values = headers.get_all(header::ACCEPT).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().filter(|named| named.eq_ignore_ascii_case(kind))?;
            let quality = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.eq_ignore_ascii_case("q").then(|| value.parse().ok())?
            });
            Some(quality.unwrap_or(1.0))
        })
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn kinds_are_wanted_by_their_names_and_weights() {
        for (accept, expected) in [
            ("text/csv", 1.0),
            ("Text/CSV; header=present", 1.0),
            ("application/json, text/csv;q=0.1", 0.1),
            ("text/csv; Q=0", 0.0),
            ("*/*", 0.0),
            ("text/csvx, application/json", 0.0),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            let found = quality(&headers, "text/csv");
            assert!((found - expected).abs() < f32::EPSILON, "{accept}: {found}");
        }
    }
}
