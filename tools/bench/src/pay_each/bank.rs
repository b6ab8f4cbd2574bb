//! The bank of `pay_each.bank`: takes its time, times out after charging now and then, and declines some.

use std::time::Duration;

use acceptance::{BankProcess, Error, Result};
use bank_simulator::{Fault, Mix, Options};
use reconcile::BankBooks;
use tempfile::TempDir;

/// 50 ms to answer, give or take 30 %.
const LATENCY: (Duration, Duration) = (Duration::from_millis(35), Duration::from_millis(65));
/// Of a thousand calls, ten are charged and never answered, twenty declined, and the others answered in time.
const MIX: [(Fault, f64); 3] = [
    (Fault::TimeoutAfter, 0.01),
    (Fault::Decline, 0.02),
    (Fault::Slow, 0.97),
];

/// A running bank.
pub struct Bank {
    process: BankProcess,
    _journal: TempDir,
}

impl Bank {
    /// Starts one whose answers follow from `seed`.
    pub async fn start(seed: u64) -> Result<Self> {
        // Its disk is not ours: in memory, where there is a place for that.
        let directory = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?;
        let mut options = Options::new(directory.path().join("journal"));
        options.seed = seed;
        options.mix = Mix::try_new(MIX).map_err(|error| Error::new(error.to_string()))?;
        (options.fastest, options.slowest) = LATENCY;
        let log = directory.path().join("log");
        Ok(Self {
            process: BankProcess::start(&options, log).await?,
            _journal: directory,
        })
    }

    /// For `gateway.url`.
    #[must_use]
    pub fn url(&self) -> String {
        self.process.url()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.program().pid()
    }

    /// What it charged, unless callers did anything wrong.
    pub fn books(&self) -> Result<BankBooks> {
        if let Some(misuse) = self.process.record()?.misuses().first() {
            return Err(Error::new(format!("the bank complained: {misuse}")));
        }
        Ok(BankBooks::Record(self.process.charges()?))
    }
}
