//! Configuration: compiled-in defaults, then a file, then the environment. Every mistake is reported at once, with its key.

use std::{io::Write as _, process::ExitCode};

mod reader;
mod sections;
mod shown;

pub use reader::{Reader, without_quote};
pub use sections::{Common, Database, LogFormat, Nats, NatsError, listen};

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, dotted: `database.url`.
    pub key: String,
    /// What is wrong, what to write instead, and where the value came from.
    pub problem: String,
}

/// Everything wrong with the configuration; the process ends with exit code 64.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [_] => write!(f, "the configuration has a mistake:")?,
            mistakes => write!(f, "the configuration has {} mistakes:", mistakes.len())?,
        }
        for Mistake { key, problem } in &self.0 {
            write!(f, "\n  {key}: {problem}")?;
        }
        Ok(())
    }
}

/// Prints the values in effect (from [`Reader::effective`]), and that there is no mistake; the exit code to end with.
#[must_use]
pub fn report(effective: &str) -> ExitCode {
    // Nobody may be listening any more, as behind `| head`: that is no reason to fail.
    let _ = writeln!(std::io::stdout(), "configuration is valid\n\n{effective}");
    ExitCode::SUCCESS
}

/// Prints the mistakes to standard error; the exit code to end with.
#[must_use]
pub fn refuse(mistakes: &Mistakes) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{mistakes}");
    ExitCode::from(crate::shutdown::EXIT_CONFIG)
}
