//! Whether the bank is there. After a few calls in a row without an answer it is taken to be away: then one call now and then asks
//! whether it is back, and all others wait without a call, however many they are.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::metrics;

/// Calls in a row without an answer. A bank that is there answers some in between, and one payment alone has waited for some
/// seconds by then.
const AWAY_AFTER: u32 = 5;
/// Between two calls that ask whether it is back: a quarter of the time that it has been away, within these limits. The longest
/// is also how late its return may be noticed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The bank itself may ask for longer ones.
const LONGEST_WISH: Duration = Duration::from_mins(1);

/// The bank has not answered for a while: no call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bank does not answer; the next call is made in {} ms", next_call.as_millis())]
pub struct Away {
    /// When there will be another call.
    pub next_call: Duration,
}

/// Counts calls without an answer. One for each process: replicas find out by themselves.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    unanswered: u32,
    away: Option<Outage>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    next_call: Instant,
}

impl Outage {
    fn pause(&self, now: Instant) -> Duration {
        (now.saturating_duration_since(self.since) / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }
}

impl Breaker {
    /// Whether a call would be made now.
    pub(super) fn look(&self, now: Instant) -> Result<(), Away> {
        match self.state().away {
            Some(outage) if outage.next_call > now => Err(Away {
                next_call: outage.next_call - now,
            }),
            _ => Ok(()),
        }
    }

    /// The same for a call that is made if it may be: of those that come while the bank is away, one passes after each pause.
    pub(super) fn pass(&self, now: Instant) -> Result<(), Away> {
        self.look(now)?;
        if let Some(outage) = &mut self.state().away {
            outage.next_call = now + outage.pause(now);
        }
        Ok(())
    }

    /// The bank has answered, whatever it said.
    pub(super) fn answered(&self, now: Instant) {
        let mut state = self.state();
        state.unanswered = 0;
        if let Some(outage) = state.away.take() {
            drop(state);
            metrics::bank_away(false);
            info!(
                away_s = now.saturating_duration_since(outage.since).as_secs(),
                "the bank answers again"
            );
        }
    }

    /// It has not, or would rather not be called for a while.
    pub(super) fn unanswered(&self, now: Instant, wish: Option<Duration>) {
        let mut state = self.state();
        state.unanswered = state.unanswered.saturating_add(1);
        let known = state.away.is_some();
        if !known && state.unanswered < AWAY_AFTER && wish.is_none() {
            return;
        }
        let mut outage = state.away.unwrap_or(Outage {
            since: now,
            next_call: now,
        });
        let pause = wish.map_or_else(|| outage.pause(now), |wish| wish.min(LONGEST_WISH));
        outage.next_call = outage.next_call.max(now + pause);
        state.away = Some(outage);
        drop(state);
        if !known {
            metrics::bank_away(true);
            warn!(
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "the bank does not answer; payments wait, and one call now and then asks whether it is back"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn away(breaker: &Breaker, now: Instant) {
        for _ in 0..AWAY_AFTER {
            breaker.pass(now).unwrap();
            breaker.unanswered(now, None);
        }
    }

    #[test]
    fn answers_in_between_keep_the_bank_there() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            for _ in 1..AWAY_AFTER {
                breaker.unanswered(now, None);
            }
            breaker.answered(now);
        }
        assert_eq!(breaker.pass(now), Ok(()));
    }

    #[test]
    fn while_it_is_away_one_call_passes_after_each_pause_and_none_is_too_long() {
        let (breaker, began) = (Breaker::default(), Instant::now());
        away(&breaker, began);
        let (mut now, mut calls) = (began, 0);
        while now < began + 600 * SECOND {
            // A thousand at once, and not all of them come to an end.
            let passed = (0..1000).filter(|_| breaker.pass(now).is_ok()).count();
            assert!(passed <= 1);
            if passed == 1 {
                calls += 1;
                if calls % 2 == 0 {
                    breaker.unanswered(now, None);
                }
            }
            assert!(breaker.look(now).unwrap_err().next_call <= LONGEST_PAUSE);
            now += Duration::from_millis(100);
        }
        assert!((120..200).contains(&calls), "{calls} calls in ten minutes");
        let back = now + LONGEST_PAUSE;
        breaker.pass(back).unwrap();
        breaker.answered(back);
        assert!((0..1000).all(|_| breaker.pass(back).is_ok()));
    }

    #[test]
    fn bank_is_left_alone_for_as_long_as_it_asks_but_not_for_ever() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.unanswered(now, Some(7 * SECOND));
        assert_eq!(breaker.pass(now).unwrap_err().next_call, 7 * SECOND);
        assert_eq!(breaker.pass(now + 7 * SECOND), Ok(()));
        breaker.unanswered(now + 7 * SECOND, Some(Duration::from_hours(24)));
        let left = breaker.look(now + 7 * SECOND).unwrap_err().next_call;
        assert_eq!(left, LONGEST_WISH);
    }
}
