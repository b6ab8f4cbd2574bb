//! Random decisions of a fault test, all from one printed seed.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Draws numbers and moments.
#[derive(Debug)]
pub struct SeededRng(StdRng);

impl SeededRng {
    /// From `ACCEPTANCE_SEED`, to repeat a failed run, or from a fresh seed. Prints it.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("ACCEPTANCE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(rand::random);
        eprintln!("{test}: ACCEPTANCE_SEED={seed}");
        Self::seeded(seed)
    }

    /// From this seed.
    pub fn seeded(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `end`, which is above zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end.max(1))
    }

    /// A moment, to strike at any point of a step and not only after one.
    pub fn moment(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.0.random_range(0.0..1.0))
    }
}
