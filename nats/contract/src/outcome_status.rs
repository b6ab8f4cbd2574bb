//! How a payment ended, for messages and subjects alike.

use serde::{Deserialize, Serialize};

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeStatus {
    /// The money moved.
    Succeeded,
    /// The bank refused, for a documented reason; no money moved.
    Declined,
}

impl OutcomeStatus {
    /// The word on the wire, in subjects and in both databases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
        }
    }
}

impl std::fmt::Display for OutcomeStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
