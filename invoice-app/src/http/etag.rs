//! Entity tags of invoices and the conditions about them (RFC 9110, 8.8.3 and 13.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Error;
use crate::invoice::{IfMatch, Invoice};

/// The tag of an invoice, strong: the version of its state.
pub fn etag(invoice: &Invoice) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{}\"", invoice.version())).ok()
}

/// What must be so for a call to be carried out.
pub fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Error> {
    let Some(tags) = Tags::of(headers, &header::IF_MATCH)? else {
        return Ok(None);
    };
    Ok(Some(match tags {
        Tags::Any => IfMatch::Any,
        // A weak tag never matches strongly.
        Tags::These(tags) => {
            let strong = tags.into_iter().filter(|(_, weak)| !weak);
            IfMatch::Versions(strong.map(|(tag, _)| tag).collect())
        }
    }))
}

/// Whether the caller has this version already.
pub fn is_known(headers: &HeaderMap, version: &str) -> Result<bool, Error> {
    Ok(match Tags::of(headers, &header::IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => tags.iter().any(|(tag, _)| tag == version),
    })
}

/// What such a header lists.
enum Tags {
    Any,
    /// Each without its quotes, and whether it is weak.
    These(Vec<(String, bool)>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Error> {
        let mut tags = Vec::new();
        for value in headers.get_all(name) {
            let text = value.to_str().map_err(|_| malformed(name))?.trim();
            if text == "*" {
                return Ok(Some(Self::Any));
            }
            let mut rest = text;
            while !rest.is_empty() {
                let (tag, weak, left) = first(rest).ok_or_else(|| malformed(name))?;
                tags.push((tag.to_owned(), weak));
                rest = left;
            }
        }
        match (headers.contains_key(name), tags.is_empty()) {
            (false, _) => Ok(None),
            (true, false) => Ok(Some(Self::These(tags))),
            (true, true) => Err(malformed(name)),
        }
    }
}

/// The first tag of a list, whether it is weak, and what follows its comma.
fn first(list: &str) -> Option<(&str, bool, &str)> {
    let (weak, quoted) = list.strip_prefix("W/").map_or((false, list), |rest| (true, rest));
    let (tag, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Some((tag, weak, rest));
    }
    Some((tag, weak, rest.strip_prefix(',')?.trim_start()))
}

fn malformed(name: &HeaderName) -> Error {
    Error::Malformed(format!(
        "the {name} header must be * or tags in quotes, as an ETag header had them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_condition_lists_strong_tags_or_all() {
        let of = |value| if_match(&headers(header::IF_MATCH, value));
        let versions = |tags: &[&str]| IfMatch::Versions(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("*").unwrap(), Some(IfMatch::Any));
        assert_eq!(
            of("\"a\", W/\"b\" ,\"c,d\"").unwrap(),
            Some(versions(&["a", "c,d"]))
        );
        assert_eq!(of("W/\"a\"").unwrap(), Some(versions(&[])));
        for bad in ["a", "\"a", "\"a\" \"b\"", "'a'", "w/\"a\""] {
            assert!(matches!(of(bad), Err(Error::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn a_version_is_known_by_a_weak_tag_too() {
        for (value, known) in [("\"a\"", true), ("W/\"a\"", true), ("\"b\"", false), ("*", true)] {
            assert_eq!(
                is_known(&headers(header::IF_NONE_MATCH, value), "a").unwrap(),
                known
            );
        }
    }
}
