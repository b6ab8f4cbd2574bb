//! Which rates to try: rising quickly until one is too high, then closing in on the highest that is not.

/// Rates closer than this, as a ratio, are not told apart: runs differ more.
const CLOSE: f64 = 1.12;
/// Nothing is expected to reach this many a second on one machine; a ladder without end is a mistake.
const HIGHEST: f64 = 64_000.0;

/// What is known so far.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    first: f64,
    passed: Option<f64>,
    failed: Option<f64>,
    confirmed: Option<f64>,
}

/// What to try next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Requests a second.
    pub rate: f64,
    /// For the whole time; otherwise a short run tells enough.
    pub whole: bool,
}

impl Ladder {
    /// Begins with `first` requests a second.
    pub const fn new(first: f64) -> Self {
        Self {
            first,
            passed: None,
            failed: None,
            confirmed: None,
        }
    }

    /// The next trial; `None` when the highest rate is known.
    pub fn next(&self) -> Option<Trial> {
        let (rate, whole) = match (self.passed, self.failed) {
            (None, None) => (self.first, false),
            (Some(passed), None) => (passed * 2.0, false),
            (None, Some(failed)) => (failed / 2.0, true),
            (Some(passed), Some(failed)) if failed / passed > CLOSE => ((passed * failed).sqrt(), true),
            // Close enough; but a short run is no proof.
            (Some(passed), Some(_)) => (passed, true),
        };
        let known = self.confirmed.is_some_and(|confirmed| rate <= confirmed);
        (!known && (1.0..HIGHEST).contains(&rate)).then_some(Trial { rate, whole })
    }

    /// Takes in how a trial went.
    pub fn note(&mut self, trial: Trial, kept_up: bool) {
        if !kept_up {
            self.failed = Some(trial.rate);
            // What passed in a short run only, at this rate or above, did not really.
            self.passed = self
                .passed
                .filter(|passed| *passed < trial.rate)
                .or(self.confirmed);
            return;
        }
        self.passed = Some(trial.rate);
        if trial.whole {
            self.confirmed = Some(trial.rate);
        }
    }

    /// The highest rate that was kept up for the whole time.
    pub const fn highest(&self) -> Option<f64> {
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Climbs on a system that keeps up with `short` for a short time and with `whole` for long.
    fn climb(short: f64, whole: f64) -> (Option<f64>, usize) {
        let mut ladder = Ladder::new(250.0);
        let mut trials = 0;
        while let Some(trial) = ladder.next() {
            trials += 1;
            assert!(trials < 30, "{ladder:?}");
            ladder.note(trial, trial.rate <= if trial.whole { whole } else { short });
        }
        (ladder.highest(), trials)
    }

    #[test]
    fn the_highest_rate_is_found_within_an_eighth_in_few_trials() {
        for capacity in [30.0, 260.0, 990.0, 1000.0, 3333.0, 7500.0] {
            let (highest, trials) = climb(capacity, capacity);
            let highest = highest.unwrap();
            assert!(
                highest <= capacity && highest > capacity / CLOSE,
                "{capacity}: {highest}"
            );
            assert!(trials <= 12, "{capacity}: {trials}");
        }
    }

    #[test]
    fn what_is_kept_up_only_shortly_does_not_count() {
        let highest = climb(2000.0, 1200.0).0.unwrap();
        assert!(highest <= 1200.0 && highest > 1200.0 / CLOSE, "{highest}");
        let highest = climb(2000.0, 100.0).0.unwrap();
        assert!(highest <= 100.0, "{highest}");
    }

    #[test]
    fn a_system_that_keeps_up_with_nothing_has_no_highest_rate() {
        assert_eq!(climb(0.0, 0.0).0, None);
    }

    #[test]
    fn the_ladder_ends_even_if_nothing_is_too_much() {
        assert_eq!(climb(f64::MAX, f64::MAX).0, None);
    }
}
