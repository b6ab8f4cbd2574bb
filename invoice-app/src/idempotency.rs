//! Idempotency-Key: what identifies a call, and what a repeat of it is answered.

use payment_contract::PaymentId;
use sha2::{Digest, Sha256};

use crate::batch_id::BatchId;

const MAX_CHARS: usize = 255;

/// A key as one caller sent it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    principal: String,
    text: String,
}

/// A call with a key: what makes a repeat of it recognisable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedCall {
    pub key: Key,
    /// SHA-256 over method, path and body.
    pub fingerprint: Vec<u8>,
}

/// What claiming a key found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has used it: go on.
    Fresh,
    /// A call with it is running.
    InUse,
    /// A call with it took effect.
    Known {
        /// Of that call.
        fingerprint: Vec<u8>,
        /// How it was answered.
        answer: SavedResponse,
    },
}

/// What became of a call that may have a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called<T> {
    Ran(T),
    NotRun(NotRun),
}

/// Why a call was not to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRun {
    /// It ran before.
    Repeated(SavedResponse),
    /// It is running.
    InUse,
    /// Another call had this key.
    OtherCall,
}

impl<T> Called<T> {
    /// The same with another result, if it ran.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Called<U> {
        match self {
            Self::Ran(ran) => Called::Ran(change(ran)),
            Self::NotRun(why) => Called::NotRun(why),
        }
    }
}

impl Claim {
    /// Why a call with this fingerprint may not run; nothing if it may.
    pub fn check(self, call: &[u8]) -> Option<NotRun> {
        match self {
            Self::Fresh => None,
            Self::InUse => Some(NotRun::InUse),
            Self::Known { fingerprint, answer } if fingerprint == call => Some(NotRun::Repeated(answer)),
            Self::Known { .. } => Some(NotRun::OtherCall),
        }
    }
}

/// What a repeat is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavedResponse {
    /// What was answered then.
    Whole {
        status: u16,
        location: Option<String>,
        /// JSON.
        body: String,
    },
    /// The payment, as it is now.
    Payment(PaymentId),
    /// The batch, as it is now.
    Batch(BatchId),
}

impl Key {
    /// A key as its caller wrote it; `None` when it cannot be one. The quoted form is the standard draft's; the bare one is what
    /// people send.
    pub fn parse(principal: &str, text: &str) -> Option<Self> {
        let text = text.trim();
        let text = match text.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"')?,
            None => text,
        };
        let good = (1..=MAX_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        good.then(|| Self {
            principal: principal.to_owned(),
            text: text.to_owned(),
        })
    }

    pub fn principal(&self) -> &str {
        &self.principal
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The advisory lock that stands for the key. Two keys sharing one would at worst be told to come back later.
    pub fn lock(&self) -> i64 {
        let digest = Sha256::new()
            .chain_update(b"idempotency-key\0")
            .chain_update(self.principal.as_bytes())
            .chain_update(b"\0")
            .chain_update(self.text.as_bytes())
            .finalize();
        digest
            .iter()
            .take(8)
            .fold(0, |lock, byte| (lock << 8) | i64::from(*byte))
    }
}

/// Begins the fingerprint of a call; the body is fed into it.
pub fn fingerprint(method: &str, path: &str) -> Sha256 {
    Sha256::new()
        .chain_update(method.as_bytes())
        .chain_update(b"\n")
        .chain_update(path.as_bytes())
        .chain_update(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<String> {
        Key::parse("ci", text).map(|key| key.text)
    }

    #[test]
    fn quoted_and_bare_keys_are_the_same() {
        assert_eq!(key("\"8e03978e\""), key("8e03978e"));
        assert_eq!(key("8e03978e").as_deref(), Some("8e03978e"));
    }

    #[test]
    fn keys_have_1_to_255_visible_ascii_characters() {
        assert_eq!(key(&"k".repeat(255)), Some("k".repeat(255)));
        for bad in ["", "\"\"", "\"open", "a b", "é", "a\"b", &"k".repeat(256)] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_same_key_of_two_callers_is_two_keys() {
        let lock = |principal| Key::parse(principal, "k").map(|key| key.lock());
        assert_ne!(lock("a"), lock("b"));
    }
}
