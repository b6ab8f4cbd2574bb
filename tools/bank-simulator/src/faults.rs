//! What can go wrong at the bank, how often, and when: drawn from a seed, so that a run can be had again.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Not a mix of faults; says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MixError(String);

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Declines.
    Decline,
    /// Charges, and takes its time.
    Slow,
    /// Answers 500, 502 or 503, and charges nothing.
    ErrorBefore,
    /// Charges, and answers 500, 502 or 503.
    ErrorAfter,
    /// Resets the connection, and charges nothing.
    ResetBefore,
    /// Charges, and resets the connection.
    ResetAfter,
    /// Never answers, and charges nothing.
    TimeoutBefore,
    /// Charges, and never answers.
    TimeoutAfter,
    /// Answers `pending`, and charges later.
    Late,
    /// Charges, and sends its answer twice.
    Twice,
    /// Answers 429, and charges nothing.
    TooMany,
    /// Answers 307, 409 or 422, which the protocol does not know, and charges nothing.
    UndocumentedBefore,
    /// Charges, and answers 307, 409 or 422.
    UndocumentedAfter,
    /// Charges, and answers what nobody can read.
    Unreadable,
    /// Charges, and answers about another payment.
    OtherPayment,
}

/// What meets the first calls to pay these invoices, by their numbers and in order. Later ones meet what the mix says.
pub type Script = BTreeMap<String, Vec<Fault>>;

impl Fault {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Decline,
        Self::Slow,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::Late,
        Self::Twice,
        Self::TooMany,
        Self::UndocumentedBefore,
        Self::UndocumentedAfter,
        Self::Unreadable,
        Self::OtherPayment,
    ];

    /// As it is written in a mix.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decline => "decline",
            Self::Slow => "slow",
            Self::ErrorBefore => "error_before",
            Self::ErrorAfter => "error_after",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::TimeoutBefore => "timeout_before",
            Self::TimeoutAfter => "timeout_after",
            Self::Late => "late",
            Self::Twice => "twice",
            Self::TooMany => "too_many",
            Self::UndocumentedBefore => "undocumented_before",
            Self::UndocumentedAfter => "undocumented_after",
            Self::Unreadable => "unreadable",
            Self::OtherPayment => "other_payment",
        }
    }
}

/// How often what goes wrong: shares of all calls, together at most 1. Written `decline=0.05,slow=0.1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mix(BTreeMap<Fault, f64>);

impl Mix {
    /// From shares.
    pub fn try_new(shares: impl IntoIterator<Item = (Fault, f64)>) -> Result<Self, MixError> {
        let mix = Self(shares.into_iter().collect());
        mix.validated()
    }

    /// Itself, unless its shares are no shares.
    pub fn validated(self) -> Result<Self, MixError> {
        let sum: f64 = self.0.values().sum();
        if self.0.values().all(|share| (0.0..=1.0).contains(share)) && sum <= 1.0 + f64::EPSILON {
            return Ok(self);
        }
        Err(MixError(format!(
            "shares of faults are between 0 and 1, together too: {self}"
        )))
    }

    /// Every fault, none too rare to occur in a short run.
    pub fn everything() -> Result<Self, MixError> {
        Self::try_new(Fault::ALL.map(|fault| {
            let share = match fault {
                Fault::Slow => 0.08,
                Fault::Decline | Fault::Late | Fault::TimeoutAfter => 0.03,
                Fault::ErrorBefore
                | Fault::ErrorAfter
                | Fault::ResetBefore
                | Fault::ResetAfter
                | Fault::TimeoutBefore
                | Fault::Twice
                | Fault::TooMany
                | Fault::UndocumentedBefore
                | Fault::UndocumentedAfter
                | Fault::Unreadable
                | Fault::OtherPayment => 0.02,
            };
            (fault, share)
        }))
    }

    /// The fault at this place of the unit interval.
    fn at(&self, place: f64) -> Option<Fault> {
        let mut end = 0.0;
        self.0.iter().find_map(|(fault, share)| {
            end += share;
            (place < end).then_some(*fault)
        })
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        let shares: Result<Vec<(Fault, f64)>, MixError> = parts
            .map(|part| {
                let (name, share) = part.split_once('=').unwrap_or((part, ""));
                let fault = Fault::ALL.into_iter().find(|fault| fault.as_str() == name);
                let fault = fault.ok_or_else(|| MixError(format!("there is no fault {name:?}")))?;
                let share = share
                    .parse()
                    .map_err(|error| MixError(format!("{name}={share}: {error}")))?;
                Ok((fault, share))
            })
            .collect();
        Self::try_new(shares?)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(fault, share)| format!("{}={share}", fault.as_str()))
            .collect();
        f.write_str(&parts.join(","))
    }
}

/// Which of the two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// An order.
    Pay,
    /// A look-up.
    Find,
}

/// Chance from a seed. About invoices and the count of their calls, not about keys: keys are new in every run, and the
/// same run is to be had again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice {
    seed: u64,
}

/// What was drawn for one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    pub(super) fault: Option<Fault>,
    /// From 0 to 1: how slow, how late, which status.
    pub(super) degree: f64,
}

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// For the n-th call of its kind about an invoice.
    pub(super) fn draw(self, mix: &Mix, kind: CallKind, invoice: &str, n: u32) -> Draw {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(match kind {
            CallKind::Pay => b"pay ",
            CallKind::Find => b"find",
        });
        hash.update(n.to_be_bytes());
        hash.update(invoice.as_bytes());
        let bytes: [u8; 32] = hash.finalize().into();
        let [place, degree] = [0, 4].map(|at| {
            let word: [u8; 4] = std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or_default());
            f64::from(u32::from_be_bytes(word)) / (f64::from(u32::MAX) + 1.0)
        });
        Draw {
            fault: mix.at(place),
            degree,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_for_the_same_call_and_other_things_otherwise() {
        let mix = Mix::everything().unwrap();
        let draws = |seed, kind| -> Vec<Draw> {
            (0..200)
                .map(|i| Dice::new(seed).draw(&mix, kind, &format!("I{}", i % 50), i / 50))
                .collect()
        };
        assert_eq!(draws(7, CallKind::Pay), draws(7, CallKind::Pay));
        assert_ne!(draws(7, CallKind::Pay), draws(8, CallKind::Pay));
        assert_ne!(draws(7, CallKind::Pay), draws(7, CallKind::Find));
        let of_one: Vec<f64> = draws(7, CallKind::Pay)
            .iter()
            .step_by(50)
            .map(|draw| draw.degree)
            .collect();
        assert!(
            of_one
                .windows(2)
                .all(|pair| (pair[0] - pair[1]).abs() > f64::EPSILON)
        );
    }

    #[test]
    fn every_fault_is_drawn_about_as_often_as_its_share_says() {
        let mix = Mix::everything().unwrap();
        for (fault, share) in &mix.0 {
            let drawn = (0..20_000)
                .filter(|n| Dice::new(1).draw(&mix, CallKind::Pay, "I1", *n).fault == Some(*fault))
                .count();
            let expected = share * 20_000.0;
            let drawn = f64::from(u32::try_from(drawn).unwrap());
            assert!((drawn - expected).abs() < expected / 4.0, "{fault:?}: {drawn}");
        }
    }

    #[test]
    fn a_mix_is_read_as_it_is_written_and_refused_when_it_is_none() {
        let mix: Mix = "decline=0.5,too_many=0.25".parse().unwrap();
        assert_eq!(mix.to_string().parse::<Mix>().unwrap(), mix);
        assert_eq!(mix.at(0.49), Some(Fault::Decline));
        assert_eq!(mix.at(0.74), Some(Fault::TooMany));
        assert_eq!(mix.at(0.76), None);
        for wrong in ["decline", "theft=0.1", "decline=0.6,slow=0.6", "decline=-1"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
