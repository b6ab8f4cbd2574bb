//! How a payment ended, for messages and subjects alike.

use serde::{Deserialize, Serialize};

crate::words! {
    /// How a payment ended. Its word is that on the wire, in subjects and in both databases.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum OutcomeStatus {
        /// The money moved.
        Succeeded = "succeeded",
        /// The bank refused, for a documented reason; no money moved.
        Declined = "declined",
    }
}

impl std::fmt::Display for OutcomeStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
