//! How long outcomes take at the moment: the sweep sends nothing again before that.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How many of the latest waits the median is taken over.
const LATEST: usize = 500;
/// The median is written down at most this often.
const WRITE_MEDIAN_EVERY: Duration = Duration::from_secs(1);

/// How long the latest outcomes took from the last send.
#[derive(Debug, Default)]
pub(super) struct OutcomeLatency {
    latest_ms: VecDeque<f64>,
    written: Option<Instant>,
}

impl OutcomeLatency {
    /// Adds waits; the median if it is time to write it down.
    pub(super) fn note(&mut self, waits_ms: impl Iterator<Item = f64>, now: Instant) -> Option<f64> {
        let before = self.latest_ms.len();
        self.latest_ms.extend(waits_ms);
        if self.latest_ms.len() == before {
            return None;
        }
        let surplus = self.latest_ms.len().saturating_sub(LATEST);
        self.latest_ms.drain(..surplus);
        if self
            .written
            .is_some_and(|written| now.duration_since(written) < WRITE_MEDIAN_EVERY)
        {
            return None;
        }
        self.written = Some(now);
        let mut sorted: Vec<f64> = self.latest_ms.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_latest_waits_and_written_once_a_second() {
        let start = Instant::now();
        let mut waits = OutcomeLatency::default();
        assert_eq!(waits.note(std::iter::empty(), start), None);
        assert_eq!(waits.note([30.0, 10.0, 20.0].into_iter(), start), Some(20.0));
        assert_eq!(waits.note(std::iter::repeat_n(7.0, LATEST), start), None);
        assert_eq!(
            waits.note([7.0].into_iter(), start + WRITE_MEDIAN_EVERY),
            Some(7.0)
        );
        assert_eq!(waits.latest_ms.len(), LATEST);
    }
}
