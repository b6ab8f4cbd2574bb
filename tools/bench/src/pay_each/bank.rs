//! The bank of `pay_each.bank`: takes its time, times out after charging now and then, and declines some.

use std::time::Duration;

use acceptance::{BankProcess, Result};
use bank_simulator::{Fault, Mix};

/// 50 ms to answer, give or take 30 %.
const LATENCY: (Duration, Duration) = (Duration::from_millis(35), Duration::from_millis(65));
/// Of a thousand calls, ten are charged and never answered, twenty declined, and the others answered in time.
const MIX: [(Fault, f64); 3] = [
    (Fault::TimeoutAfter, 0.01),
    (Fault::Decline, 0.02),
    (Fault::Slow, 0.97),
];

/// Starts one whose answers follow from `seed`.
pub async fn start(seed: u64) -> Result<BankProcess> {
    let mix = Mix::try_new(MIX)?;
    BankProcess::start_with(|options| {
        options.seed = seed;
        options.mix = mix;
        (options.fastest, options.slowest) = LATENCY;
    })
    .await
}
