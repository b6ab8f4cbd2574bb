//! How often one caller may call: an even rate, and a number of calls at once beyond it. Off unless it is configured.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use service::lock;
use tokio::time::Instant;

use super::{Api, Error};
use crate::config::Rate;

/// When each caller will have used up nothing (the generic cell rate algorithm): one moment a caller, whatever it sends. Callers
/// are names of the tokens file, so there are no more moments than names; who has no token is refused, and not remembered.
#[derive(Debug)]
pub(super) struct RateLimit {
    rate: Rate,
    idle_at: Mutex<HashMap<Arc<str>, Instant>>,
}

/// What becomes of one call.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// How long to wait, where it is too early.
    wait: Option<Duration>,
    /// How many more are allowed at once.
    left: u32,
    /// When all of them will be again.
    reset: Duration,
}

impl RateLimit {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            idle_at: Mutex::default(),
        }
    }

    fn judge(&self, caller: &Arc<str>, now: Instant) -> Verdict {
        let every = Duration::from_secs(1) / self.rate.per_second.get();
        let whole = every * self.rate.burst.get();
        let mut idle_at = lock(&self.idle_at);
        let idle = idle_at.entry(Arc::clone(caller)).or_insert(now);
        let used = idle.saturating_duration_since(now);
        let wait = (used + every).checked_sub(whole).filter(|wait| !wait.is_zero());
        let used = if wait.is_some() { used } else { used + every };
        *idle = now + used;
        let left = whole.saturating_sub(used).as_nanos() / every.as_nanos().max(1);
        Verdict {
            wait,
            left: u32::try_from(left).unwrap_or(u32::MAX),
            reset: used,
        }
    }

    /// As draft-ietf-httpapi-ratelimit-headers-10 has them.
    fn tell(&self, headers: &mut HeaderMap, verdict: &Verdict) {
        let Rate { per_second, burst } = self.rate;
        let window = burst.get().div_ceil(per_second.get());
        let policy = format!("\"caller\";q={burst};w={window}");
        let state = format!("\"caller\";r={};t={}", verdict.left, seconds(verdict.reset));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            headers.extend(HeaderValue::try_from(value).ok().map(|value| {
                let name = axum::http::HeaderName::from_static(name);
                (name, value)
            }));
        }
    }
}

/// Whole seconds, rounded up: whoever waits for them is not too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Answers 429 to a caller that calls too often, and tells every caller what is left to it.
pub(super) async fn limit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Some(limit) = &api.rate_limit else {
        return next.run(request).await;
    };
    let Some(caller) = api.access.name(request.headers()) else {
        return next.run(request).await;
    };
    let verdict = limit.judge(&caller, Instant::now());
    let mut response = match verdict.wait {
        None => next.run(request).await,
        Some(wait) => Error::TooOften(seconds(wait)).into_response(),
    };
    limit.tell(response.headers_mut(), &verdict);
    response
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_an_even_rate_for_each_caller_by_itself() {
        let rate = Rate {
            per_second: NonZeroU32::new(10).unwrap(),
            burst: NonZeroU32::new(3).unwrap(),
        };
        let limit = RateLimit::new(rate);
        let (caller, other) = (Arc::from("a"), Arc::from("b"));
        let start = Instant::now();
        for left in [2, 1, 0] {
            let verdict = limit.judge(&caller, start);
            assert_eq!((verdict.wait, verdict.left), (None, left));
        }
        let verdict = limit.judge(&caller, start);
        assert_eq!(verdict.wait, Some(Duration::from_millis(100)));
        assert_eq!(verdict.reset, Duration::from_millis(300));
        assert_eq!(
            limit.judge(&other, start).wait,
            None,
            "another caller has its own"
        );
        let later = start + Duration::from_millis(100);
        assert_eq!(limit.judge(&caller, later).wait, None);
        assert!(limit.judge(&caller, later).wait.is_some());
        let idle = start + Duration::from_mins(1);
        assert_eq!(limit.judge(&caller, idle).left, 2, "idle time is not saved up");
        let mut headers = HeaderMap::new();
        limit.tell(&mut headers, &verdict);
        assert_eq!(headers["ratelimit-policy"], "\"caller\";q=3;w=1");
        assert_eq!(headers["ratelimit"], "\"caller\";r=0;t=1");
    }
}
