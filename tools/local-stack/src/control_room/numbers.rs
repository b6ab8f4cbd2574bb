//! What moves, in numbers, and the rates that counters have.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::jetstream::Queues;

/// Rates are over this long.
const WINDOW: Duration = Duration::from_secs(2);

/// What moves.
#[derive(Clone, Default, Serialize)]
pub(super) struct Numbers {
    pub(super) requested_per_s: f64,
    pub(super) charged_per_s: f64,
    pub(super) settled_per_s: f64,
    pub(super) queues: Option<Queues>,
    pub(super) unpaid: Option<i64>,
    pub(super) open: Option<i64>,
    pub(super) ledger_open: Option<i64>,
    /// Settled in each of the last seconds.
    pub(super) history: VecDeque<u32>,
}

/// Counters of the services, at one moment.
#[derive(Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) requested: f64,
    pub(super) charged: f64,
    pub(super) settled: f64,
}

/// What counters did within the window. A process that starts again counts from zero.
#[derive(Default)]
pub(super) struct Rates {
    steps: VecDeque<(Instant, Counters)>,
    last: Option<Counters>,
    second: Option<(Instant, f64)>,
    full: Vec<u32>,
}

impl Rates {
    pub(super) fn add(&mut self, counters: Counters) {
        let now = Instant::now();
        // A service that did not answer says nothing, and is not taken to have begun again.
        let last = self.last.unwrap_or(counters);
        let step = |new: f64, old: f64| {
            if new == 0.0 {
                (0.0, old)
            } else if new < old {
                (new, new)
            } else {
                (new - old, new)
            }
        };
        let (requested, last_requested) = step(counters.requested, last.requested);
        let (charged, last_charged) = step(counters.charged, last.charged);
        let (settled, last_settled) = step(counters.settled, last.settled);
        self.last = Some(Counters {
            requested: last_requested,
            charged: last_charged,
            settled: last_settled,
        });
        let done = Counters {
            requested,
            charged,
            settled,
        };
        self.steps.push_back((now, done));
        while self.steps.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.steps.pop_front();
        }
        let (since, sum) = self.second.get_or_insert((now, 0.0));
        *sum += settled;
        if now - *since >= Duration::from_secs(1) {
            self.full.push(whole(*sum));
            self.second = None;
        }
    }

    pub(super) fn now(&self) -> [f64; 3] {
        let per_second = |of: fn(&Counters) -> f64| {
            let sum: f64 = self.steps.iter().map(|(_, step)| of(step)).sum();
            (sum / WINDOW.as_secs_f64() * 10.0).round() / 10.0
        };
        [
            per_second(|step| step.requested),
            per_second(|step| step.charged),
            per_second(|step| step.settled),
        ]
    }

    /// Seconds that have become full since the last call.
    pub(super) fn seconds(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.full)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of one second"
)]
fn whole(count: f64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(settled: f64) -> Counters {
        Counters {
            settled,
            ..Counters::default()
        }
    }

    #[test]
    fn a_process_that_starts_again_or_does_not_answer_takes_nothing_away() {
        let mut rates = Rates::default();
        for count in [100.0, 110.0, 0.0, 0.0, 112.0, 4.0, 5.0] {
            rates.add(settled(count));
        }
        // 10 + 2, then 4 + 1 from zero, over two seconds.
        assert!((rates.now()[2] - 8.5).abs() < f64::EPSILON, "{:?}", rates.now());
    }
}
