//! One error for every step of a test: text that a failed `unwrap` prints as it is.

use std::fmt;

/// Why a step of a test failed, with its causes.
pub struct Error(String);

/// The result of a test's step.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Says it in words.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Puts what was being done in front.
    #[must_use]
    pub fn during(self, action: &str) -> Self {
        Self(format!("{action}: {self}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_says = cause.to_string();
            // Some say in their own words already what their causes say.
            if !text.ends_with(&cause_says) {
                text = format!("{text}: {cause_says}");
            }
            source = cause.source();
        }
        Self(text)
    }
}
