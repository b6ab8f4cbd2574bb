//! Whether a system keeps up: its backlog stays flat, or it grows for as long as requests keep coming.

use std::time::Duration;

/// How many requests were open, at equal intervals.
pub type Samples = [usize];

/// The last part may hold this much more than the one before, for chance.
const TOLERATED_GROWTH: f64 = 1.2;
/// And as many more as arrive in this time: a few at low rates are no backlog.
const TOLERATED_DELAY: Duration = Duration::from_millis(50);

/// Judges by the last third against the second: the first is warming up. A rate that is too high by half a percent adds more
/// than is tolerated in half a minute.
pub fn is_flat(samples: &Samples, rate: f64) -> bool {
    let third = samples.len() / 3;
    let mut thirds = samples.rchunks(third.max(1));
    let (Some(last), Some(middle)) = (thirds.next(), thirds.next()) else {
        return false;
    };
    mean(last) <= mean(middle) * TOLERATED_GROWTH + rate * TOLERATED_DELAY.as_secs_f64()
}

fn mean(samples: &Samples) -> f64 {
    let sum: usize = samples.iter().sum();
    let (sum, count) = (sum.try_into().unwrap_or(u64::MAX), samples.len().max(1));
    super::super::statistics::rate(sum, Duration::from_secs(count.try_into().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 30 s, looked at every 50 ms.
    fn growing(start: f64, each_second: f64) -> Vec<usize> {
        let at = |n: u32| start + each_second * f64::from(n) / 20.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small and positive"
        )]
        (0..600).map(|n| at(n) as usize).collect()
    }

    #[test]
    fn a_steady_backlog_is_flat_however_large() {
        assert!(is_flat(&growing(10.0, 0.0), 1000.0));
        assert!(is_flat(&growing(500.0, 0.0), 1000.0));
    }

    #[test]
    fn one_percent_too_many_is_not_flat() {
        assert!(!is_flat(&growing(10.0, 10.0), 1000.0));
        assert!(!is_flat(&growing(10.0, 100.0), 10_000.0));
    }

    #[test]
    fn filling_up_at_first_and_a_short_stall_are_forgiven() {
        let mut samples = growing(40.0, 0.0);
        samples[..200]
            .iter_mut()
            .zip(0..)
            .for_each(|(sample, n)| *sample = n / 5);
        samples[500..505].fill(400);
        assert!(is_flat(&samples, 1000.0));
    }

    #[test]
    fn nothing_seen_proves_nothing() {
        assert!(!is_flat(&[], 1000.0));
        assert!(!is_flat(&[3], 1000.0));
    }
}
