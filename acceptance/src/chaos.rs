//! Random decisions of a fault test, all from one printed seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A seeded source of faults.
#[derive(Debug)]
pub struct Chaos(StdRng);

impl Chaos {
    /// From `ACCEPTANCE_SEED`, to repeat a failed run, or from a fresh seed. Prints it.
    #[must_use]
    pub fn new(test: &str) -> Self {
        let given = std::env::var("ACCEPTANCE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(rand::random);
        eprintln!("{test}: ACCEPTANCE_SEED={seed}");
        Self(StdRng::seed_from_u64(seed))
    }

    /// When to strike, as numbers of paid invoices in ascending order: `faults` of them, each in a stretch of its own of
    /// the first three quarters, so that work is certainly under way.
    #[must_use]
    pub fn thresholds(&mut self, invoices: u64, faults: u64) -> Vec<u64> {
        let stretch = invoices * 3 / 4 / faults.max(1);
        (0..faults)
            .map(|i| i * stretch + self.0.random_range(0..stretch.max(1)))
            .collect()
    }

    /// A moment, to strike at any point of a step and not only after one.
    #[must_use]
    pub fn moment(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.0.random_range(0.0..1.0))
    }
}
