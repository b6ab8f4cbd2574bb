//! What is said about repeated measurements: medians with their spread, and percentiles of many latencies.

use std::time::Duration;

/// The median; of an even number of values the mean of the middle two. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The least and the greatest. `None` of nothing.
pub fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    Some((*sorted.first()?, *sorted.last()?))
}

/// The nearest-rank percentile, `per_mille` of a thousand: the least latency that at least so many do not exceed.
pub fn percentile(sorted: &[Duration], per_mille: usize) -> Option<Duration> {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied()
}

/// A count as a number to calculate with. Exact up to 2^53, which nothing here comes near.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
pub const fn number(count: u64) -> f64 {
    count as f64
}

/// How many a second.
pub fn rate(count: u64, elapsed: Duration) -> f64 {
    number(count) / elapsed.as_secs_f64()
}

/// Milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 4.0, 5.0]), Some(4.5));
        assert_eq!(spread(&[9.0, 1.0, 4.0]), Some((1.0, 9.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_percentile_is_a_latency_that_somebody_had() {
        let latencies: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        assert_eq!(percentile(&latencies, 500), Some(Duration::from_millis(500)));
        assert_eq!(percentile(&latencies, 990), Some(Duration::from_millis(990)));
        assert_eq!(percentile(&latencies, 999), Some(Duration::from_millis(999)));
        assert_eq!(percentile(&latencies, 1000), Some(Duration::from_secs(1)));
        let few: Vec<Duration> = (1..=3).map(Duration::from_millis).collect();
        assert_eq!(percentile(&few, 999), Some(Duration::from_millis(3)));
        assert_eq!(percentile(&few, 0), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 500), None);
    }
}
