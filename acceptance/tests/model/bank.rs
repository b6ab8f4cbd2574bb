//! The bank: charges once under a key as long as it remembers the key, may answer late or never, and keeps books that forget
//! nothing.

use std::{collections::HashMap, time::Duration};

use payment_provider::order::{Answer, CallError, Order};
use uuid::Uuid;

use crate::transition::Luck;

/// How long the bank remembers a key: an hour longer than payment-provider relies on.
const REMEMBERS: Duration = Duration::from_hours(24);
/// A late call is done, or was lost, by then: well within that hour.
const LATEST: Duration = Duration::from_mins(30);

/// An entry of its books, for ever.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) key: Uuid,
    pub(crate) invoice: String,
    pub(crate) answer: Answer,
}

#[derive(Clone, Debug)]
struct LateCall {
    key: Uuid,
    invoice: String,
    until: Duration,
}

/// A call on its way: what will become of it, and when its caller gives up. Its caller may be dead.
#[derive(Clone, Debug)]
struct OpenCall {
    key: Uuid,
    invoice: String,
    luck: Luck,
    until: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Bank {
    /// How often it refuses each invoice first.
    refusals: HashMap<String, u32>,
    charges: Vec<Charge>,
    /// What it remembers of keys, and since when.
    remembered: HashMap<Uuid, (Answer, Duration)>,
    late: Vec<LateCall>,
    open: Vec<OpenCall>,
    /// What callers did wrong.
    complaints: Vec<String>,
}

impl Bank {
    pub(crate) fn new(refusals: HashMap<String, u32>) -> Self {
        Self {
            refusals,
            ..Self::default()
        }
    }

    pub(crate) fn charges(&self) -> &[Charge] {
        &self.charges
    }

    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// A call begins. Nobody else may be calling under this key.
    pub(crate) fn call(&mut self, key: Uuid, order: &Order, luck: Luck, until: Duration) {
        if self.open.iter().any(|call| call.key == key) {
            self.complaints.push(format!("two calls at once under key {key}"));
        }
        let invoice = order.invoice_number.clone();
        self.open.push(OpenCall {
            key,
            invoice,
            luck,
            until,
        });
    }

    /// What the caller hears in the end.
    pub(crate) fn hear(&mut self, key: Uuid, now: Duration) -> Result<Answer, CallError> {
        match self.open.iter().position(|call| call.key == key) {
            Some(index) => self.work_off(index, now),
            None => Err(CallError::Unknown("no answer in time".to_owned())),
        }
    }

    fn work_off(&mut self, index: usize, now: Duration) -> Result<Answer, CallError> {
        let OpenCall {
            key,
            invoice,
            luck,
            until,
        } = self.open.remove(index);
        let unknown = || Err(CallError::Unknown("no answer".to_owned()));
        match luck {
            Luck::Answered => Ok(self.charge(key, &invoice, now)),
            Luck::LostAfter => {
                self.charge(key, &invoice, now);
                unknown()
            }
            Luck::Mumbled => {
                self.charge(key, &invoice, now);
                Ok(Answer::Pending)
            }
            Luck::Late => {
                self.late.push(LateCall {
                    key,
                    invoice,
                    until: until + LATEST,
                });
                unknown()
            }
            Luck::LostBefore => unknown(),
            Luck::TurnedAway => Err(CallError::Retryable("too many calls".to_owned())),
        }
    }

    /// What a look-up hears.
    pub(crate) fn find(&self, key: Uuid, luck: Luck, now: Duration) -> Result<Option<Answer>, CallError> {
        match luck {
            Luck::Answered | Luck::Late => Ok(self.remembers(key, now)),
            Luck::LostBefore | Luck::LostAfter => Err(CallError::Unknown("no answer".to_owned())),
            Luck::TurnedAway => Err(CallError::Retryable("too many calls".to_owned())),
            Luck::Mumbled => Ok(Some(Answer::Pending)),
        }
    }

    /// What its books say to an operator who asks in writing: they forget nothing.
    pub(crate) fn statement(&self, key: Uuid) -> Option<Answer> {
        self.charges
            .iter()
            .find(|charge| charge.key == key)
            .map(|charge| charge.answer.clone())
    }

    /// The keys it remembers or is about to see, and since when, or when at the latest.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (Uuid, Duration)> {
        let remembered = self.remembered.iter().map(|(key, (_, since))| (*key, *since));
        let late = self.late.iter().map(|call| (call.key, call.until));
        let open = self.open.iter().map(|call| (call.key, call.until));
        remembered.chain(late).chain(open)
    }

    pub(crate) fn late_calls(&self) -> usize {
        self.late.len()
    }

    /// A late call arrives.
    pub(crate) fn land(&mut self, index: usize, now: Duration) {
        let call = self.late.remove(index);
        self.charge(call.key, &call.invoice, now);
    }

    /// Calls whose callers have given up, or died, are done or lost by now, and so are late ones.
    pub(crate) fn time_passes(&mut self, now: Duration) {
        while let Some(index) = self.open.iter().position(|call| call.until < now) {
            let at = self.open.get(index).map_or(now, |call| call.until);
            // Nobody hears it.
            let _ = self.work_off(index, at);
        }
        while let Some(index) = self.late.iter().position(|call| call.until < now) {
            let at = self.late.get(index).map_or(now, |call| call.until);
            self.land(index, at);
        }
    }

    fn remembers(&self, key: Uuid, now: Duration) -> Option<Answer> {
        let (answer, since) = self.remembered.get(&key)?;
        (now < *since + REMEMBERS).then(|| answer.clone())
    }

    fn charge(&mut self, key: Uuid, invoice: &str, now: Duration) -> Answer {
        if let Some(answer) = self.remembers(key, now) {
            return answer;
        }
        let reference = Some(format!("charge-{}", self.charges.len()));
        let refused = self
            .charges
            .iter()
            .filter(|charge| charge.invoice == invoice)
            .count();
        let patience = self.refusals.get(invoice).copied().unwrap_or(0);
        let answer = if u32::try_from(refused).is_ok_and(|refused| refused < patience) {
            Answer::Declined {
                reason: "insufficient_funds".to_owned(),
                reference,
            }
        } else {
            Answer::Succeeded { reference }
        };
        self.charges.push(Charge {
            key,
            invoice: invoice.to_owned(),
            answer: answer.clone(),
        });
        self.remembered.insert(key, (answer.clone(), now));
        answer
    }
}
