//! `limit`: what Postgres and NATS alone allow on the same cores, each with exactly the work that paying needs of it.
//! In the system both run on the same cores, so their times add up.

pub mod nats;
pub mod postgres;

/// The rate of doing both: the times of an invoice add up.
pub fn combined(postgres: f64, nats: f64) -> f64 {
    1.0 / (1.0 / postgres + 1.0 / nats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_equal_limits_halve_the_rate() {
        assert!((combined(10_000.0, 10_000.0) - 5_000.0).abs() < 1e-6);
        assert!((combined(30_000.0, 15_000.0) - 10_000.0).abs() < 1e-6);
    }
}
