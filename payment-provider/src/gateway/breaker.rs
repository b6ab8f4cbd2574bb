//! Whether the bank is there. After a few calls in a row without an answer it is taken to be away: then one call now and then asks
//! whether it is back, and all others wait without a call, however many they are.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use service::lock;
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
#[derive(Debug)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug)]
struct State {
    unanswered: u32,
    away: Option<Outage>,
    /// When that was last decided. How a call ends that was begun before says nothing about what has been since.
    decided: Instant,
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

impl State {
    fn look(&self, now: Instant) -> Result<(), Away> {
        match self.away {
            Some(outage) if outage.next_call > now => Err(Away {
                next_call: outage.next_call - now,
            }),
            _ => Ok(()),
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self(Mutex::new(State {
            unanswered: 0,
            away: None,
            decided: Instant::now(),
        }))
    }
}

impl Breaker {
    /// Whether a call would be made now.
    pub(super) fn look(&self) -> Result<(), Away> {
        self.state().look(Instant::now())
    }

    /// The same for a call that is made if it may be: of those that come while the bank is away, one passes after each pause.
    pub(super) fn pass(&self) -> Result<(), Away> {
        let (mut state, now) = (self.state(), Instant::now());
        state.look(now)?;
        if let Some(outage) = &mut state.away {
            outage.next_call = now + outage.pause(now);
        }
        Ok(())
    }

    /// A call that was begun then was answered, whatever the bank said.
    pub(super) fn answered(&self, begun: Instant) {
        let mut state = self.state();
        if begun < state.decided {
            return;
        }
        state.unanswered = 0;
        let Some(outage) = state.away.take() else { return };
        state.decided = Instant::now();
        drop(state);
        metrics::BANK_AWAY.set(false);
        info!(
            away_s = outage.since.elapsed().as_secs(),
            "the bank answers again"
        );
    }

    /// It was not, or the bank would rather not be called for a while.
    pub(super) fn unanswered(&self, begun: Instant, wish: Option<Duration>) {
        let (mut state, now) = (self.state(), Instant::now());
        if begun < state.decided {
            return;
        }
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
        if known {
            return;
        }
        state.decided = now;
        drop(state);
        metrics::BANK_AWAY.set(true);
        warn!(
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the bank does not answer; payments wait, and one call now and then asks whether it is back"
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// As many calls as it takes.
    fn goes_away(breaker: &Breaker) {
        for _ in 0..AWAY_AFTER {
            breaker.pass().unwrap();
            breaker.unanswered(Instant::now(), None);
        }
        assert!(breaker.look().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_in_between_keep_the_bank_there() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..AWAY_AFTER {
                breaker.unanswered(Instant::now(), None);
            }
            breaker.answered(Instant::now());
        }
        assert_eq!(breaker.pass(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_away_one_call_passes_after_each_pause_and_none_is_too_long() {
        let (breaker, began, mut calls) = (Breaker::default(), Instant::now(), 0);
        goes_away(&breaker);
        while began.elapsed() < 600 * SECOND {
            // A thousand at once, and not all of them come to an end.
            let passed = (0..1000).filter(|_| breaker.pass().is_ok()).count();
            assert!(passed <= 1);
            if passed == 1 {
                calls += 1;
                if calls % 2 == 0 {
                    breaker.unanswered(Instant::now(), None);
                }
            }
            assert!(breaker.look().unwrap_err().next_call <= LONGEST_PAUSE);
            advance(Duration::from_millis(100)).await;
        }
        assert!((120..200).contains(&calls), "{calls} calls in ten minutes");
        advance(LONGEST_PAUSE).await;
        breaker.pass().unwrap();
        breaker.answered(Instant::now());
        assert!((0..1000).all(|_| breaker.pass().is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn bank_is_left_alone_for_as_long_as_it_asks_but_not_for_ever() {
        let breaker = Breaker::default();
        breaker.unanswered(Instant::now(), Some(7 * SECOND));
        assert_eq!(breaker.pass().unwrap_err().next_call, 7 * SECOND);
        advance(7 * SECOND).await;
        assert_eq!(breaker.pass(), Ok(()));
        breaker.unanswered(Instant::now(), Some(Duration::from_hours(24)));
        assert_eq!(breaker.look().unwrap_err().next_call, LONGEST_WISH);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_before_neither_end_an_outage_nor_begin_another() {
        let (breaker, before) = (Breaker::default(), Instant::now());
        advance(SECOND).await;
        goes_away(&breaker);
        breaker.answered(before);
        assert!(breaker.look().is_err());
        let during = Instant::now();
        advance(SECOND).await;
        breaker.pass().unwrap();
        breaker.answered(Instant::now());
        advance(SECOND).await;
        for _ in 0..AWAY_AFTER {
            breaker.unanswered(during, None);
        }
        assert_eq!(breaker.pass(), Ok(()));
    }
}
