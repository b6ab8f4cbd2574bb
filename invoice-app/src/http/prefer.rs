//! The Prefer header (RFC 7240): how long a pay call waits for the outcome.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use tokio::time::Instant;

use super::{Api, limits::Slot};
use crate::paying::Deadline;

/// Without a preference.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// Whoever asks for more gets this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefer {
    pub wait: Duration,
    /// `Preference-Applied`, if a preference was.
    pub applied: Option<String>,
}

impl Prefer {
    /// Reads the header. What is unknown or unreadable is ignored, as the standard asks; the first of each counts.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let (mut wait, mut respond_async) = (None, false);
        for value in headers
            .get_all("prefer")
            .iter()
            .filter_map(|value| value.to_str().ok())
        {
            for preference in split(value, ',') {
                let preference = split(preference, ';').next().unwrap_or_default();
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                let (name, value) = (name.trim(), value.trim().trim_matches('"'));
                if name.eq_ignore_ascii_case("wait") && wait.is_none() {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    wait = value.parse().ok().filter(|_| digits);
                }
                respond_async |= name.eq_ignore_ascii_case("respond-async");
            }
        }
        match (wait, respond_async) {
            (Some(seconds), _) => {
                let wait = Duration::from_secs(seconds).min(LONGEST_WAIT);
                Self {
                    wait,
                    applied: Some(format!("wait={}", wait.as_secs())),
                }
            }
            (None, true) => Self {
                wait: Duration::ZERO,
                applied: Some("respond-async".to_owned()),
            },
            (None, false) => Self {
                wait: DEFAULT_WAIT,
                applied: None,
            },
        }
    }

    /// How long this call waits, from now. It leaves those in flight for those waiting; when too many wait, it does not.
    pub fn deadline(&self, api: &Arc<Api>, slot: &Slot) -> Deadline {
        let waits = !self.wait.is_zero() && slot.wait(&api.waiting);
        let wait = if waits { self.wait } else { Duration::ZERO };
        Deadline {
            until: Instant::now() + wait,
            stop: api.stop.clone(),
        }
    }
}

/// Splits where `at` stands outside quoted text.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => return c == at && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(values: &[&'static str]) -> (u64, Option<String>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", axum::http::HeaderValue::from_static(value));
        }
        let prefer = Prefer::from_headers(&headers);
        (prefer.wait.as_secs(), prefer.applied)
    }

    #[test]
    fn preferences_are_read_as_the_standard_says_and_nonsense_is_ignored() {
        for (values, wait, applied) in [
            (&[][..], 5, None),
            (&["respond-async"][..], 0, Some("respond-async")),
            (&["wait=12"][..], 12, Some("wait=12")),
            (&["Wait = \"7\"; foo=bar"][..], 7, Some("wait=7")),
            (&["respond-async, wait=3"][..], 3, Some("wait=3")),
            (&["respond-async", "wait=3"][..], 3, Some("wait=3")),
            (&["wait=0"][..], 0, Some("wait=0")),
            (&["wait=31"][..], 30, Some("wait=30")),
            (&["wait=99999999999999999999"][..], 5, None),
            (&["wait=+1"][..], 5, None),
            (&["foo=\"a, wait=0, \\\" wait=1\", wait=2"][..], 2, Some("wait=2")),
            (&["foo=bar; wait=1"][..], 5, None),
            (&["wait=-1", "wait=x", "wait", "return=minimal"][..], 5, None),
        ] {
            assert_eq!(prefer(values), (wait, applied.map(str::to_owned)), "{values:?}");
        }
    }
}
