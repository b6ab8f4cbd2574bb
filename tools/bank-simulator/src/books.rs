//! What the bank knows while it runs, all of it from its journal: charges by key, calls by invoice, calls in flight.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use super::{
    faults::CallKind,
    journal::{Event, now_ms},
};

/// What a caller wants charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) key: Uuid,
    pub(super) invoice: String,
    pub(super) value: String,
    pub(super) currency: String,
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending { due: u64 },
    Succeeded { reference: String },
    Declined { reason: String, reference: String },
}

#[derive(Clone, Debug)]
struct Known {
    order: Order,
    state: State,
    /// When the key was first used, which is when its time to be forgotten begins.
    since: u64,
}

#[derive(Clone, Debug)]
struct InFlight {
    call: u64,
    kind: CallKind,
    since: u64,
    /// Calls that arrived meanwhile, under the same key.
    met: Vec<(u64, CallKind)>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The bank answered.
    Answered,
    /// The caller hung up.
    HungUp,
}

/// A caller who hangs up this soon after another call has arrived had done so before it: its call, and the end of its line,
/// came late, as they do when a machine is busy or a connection took a second try.
const HUNG_UP_BEFORE_MS: u64 = 500;

/// Everything by key and invoice.
#[derive(Debug)]
pub(super) struct Books {
    patience_ms: u64,
    forget_after_ms: Option<u64>,
    known: HashMap<Uuid, Known>,
    /// How often each key was charged or declined; a key that was forgotten may be so again.
    entries: HashMap<Uuid, u32>,
    calls: HashMap<(String, CallKind), u32>,
    in_flight: HashMap<Uuid, Vec<InFlight>>,
    next_call: u64,
}

/// What became of an order that was handed in.
#[derive(Clone, Debug)]
pub(super) enum Entered {
    /// It stands so now; the events say what is new.
    Status(State, Vec<Event>),
    /// The key was used for this other order.
    OtherOrder(Order),
}

impl Books {
    pub(super) fn new(patience: Duration, forget_after: Option<Duration>) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            patience_ms: ms(patience),
            forget_after_ms: forget_after.map(ms),
            known: HashMap::new(),
            entries: HashMap::new(),
            calls: HashMap::new(),
            in_flight: HashMap::new(),
            next_call: 0,
        }
    }

    /// Takes up what an earlier process wrote.
    pub(super) fn replay(&mut self, event: &Event) {
        match event {
            Event::Call { call, invoice, n, .. } => {
                self.calls.insert((invoice.clone(), *call), *n);
            }
            Event::Pending {
                at,
                key,
                invoice,
                value,
                currency,
                due,
            } => self.know(
                Order {
                    key: *key,
                    invoice: invoice.clone(),
                    value: value.clone(),
                    currency: currency.clone(),
                },
                State::Pending { due: *due },
                *at,
            ),
            Event::Charge {
                at,
                key,
                invoice,
                value,
                currency,
                reason,
                reference,
                ..
            } => {
                *self.entries.entry(*key).or_default() += 1;
                let state = match reason {
                    None => State::Succeeded {
                        reference: reference.clone(),
                    },
                    Some(reason) => State::Declined {
                        reason: reason.clone(),
                        reference: reference.clone(),
                    },
                };
                let order = Order {
                    key: *key,
                    invoice: invoice.clone(),
                    value: value.clone(),
                    currency: currency.clone(),
                };
                self.know(order, state, *at);
            }
            Event::Overlap { .. } | Event::Misuse { .. } => {}
        }
    }

    fn know(&mut self, order: Order, state: State, at: u64) {
        let key = order.key;
        let since = self.remembered(key, at).map_or(at, |known| known.since);
        self.known.insert(key, Known { order, state, since });
    }

    /// Orders that were to be charged later and have not been, with the time.
    pub(super) fn waiting(&self) -> Vec<(Order, u64)> {
        let pending = self.known.values().filter_map(|known| match known.state {
            State::Pending { due } => Some((known.order.clone(), due)),
            State::Succeeded { .. } | State::Declined { .. } => None,
        });
        pending.collect()
    }

    fn remembered(&self, key: Uuid, now: u64) -> Option<&Known> {
        self.known.get(&key).filter(|known| match self.forget_after_ms {
            // A pending order is not forgotten: it is still to be charged.
            Some(after) if !matches!(known.state, State::Pending { .. }) => now < known.since + after,
            _ => true,
        })
    }

    /// The invoice that a key was used for, even if it has been forgotten.
    pub(super) fn invoice_of(&self, key: Uuid) -> String {
        let known = self.known.get(&key);
        known.map(|known| known.order.invoice.clone()).unwrap_or_default()
    }

    /// Counts a call about an invoice, from 1.
    pub(super) fn count_call(&mut self, kind: CallKind, invoice: &str) -> u32 {
        let n = self.calls.entry((invoice.to_owned(), kind)).or_default();
        *n += 1;
        *n
    }

    /// A call under this key is in flight from now on.
    pub(super) fn begin(&mut self, key: Uuid, kind: CallKind) -> u64 {
        let now = now_ms();
        let call = self.next_call;
        self.next_call += 1;
        let calls = self.in_flight.entry(key).or_default();
        for other in calls.iter_mut() {
            if now < other.since + self.patience_ms {
                other.met.push((now, kind));
            }
        }
        calls.push(InFlight {
            call,
            kind,
            since: now,
            met: Vec::new(),
        });
        call
    }

    /// A call has ended; tells of the calls that arrived while it was certainly in flight.
    pub(super) fn end(&mut self, key: Uuid, call: u64, ended: Ended) -> Vec<Event> {
        let now = now_ms();
        let Some(calls) = self.in_flight.get_mut(&key) else {
            return Vec::new();
        };
        let ending: Vec<InFlight> = calls.extract_if(.., |other| other.call == call).collect();
        if calls.is_empty() {
            self.in_flight.remove(&key);
        }
        let overlaps = ending.iter().flat_map(|first| {
            let certain = move |(at, _): &&(u64, CallKind)| match ended {
                Ended::Answered => true,
                Ended::HungUp => now >= at + HUNG_UP_BEFORE_MS,
            };
            first
                .met
                .iter()
                .filter(certain)
                .map(|(at, second)| Event::Overlap {
                    at: *at,
                    since: first.since,
                    key,
                    first: first.kind,
                    second: *second,
                })
        });
        overlaps.collect()
    }

    /// What a look-up finds.
    pub(super) fn find(&self, key: Uuid) -> Option<State> {
        self.remembered(key, now_ms()).map(|known| known.state.clone())
    }

    /// Takes an order to be charged when it is due. The first order under a key counts.
    pub(super) fn postpone(&mut self, order: &Order, due: u64) -> Entered {
        if let Some(entered) = self.repeated(order) {
            return entered;
        }
        let pending = Event::Pending {
            at: now_ms(),
            key: order.key,
            invoice: order.invoice.clone(),
            value: order.value.clone(),
            currency: order.currency.clone(),
            due,
        };
        self.replay(&pending);
        Entered::Status(State::Pending { due }, vec![pending])
    }

    /// Charges an order, or declines it. The first order under a key counts, and a pending one that is due is ended.
    pub(super) fn charge(&mut self, order: &Order, declined: Option<&str>) -> Entered {
        match self.repeated(order) {
            Some(Entered::Status(State::Pending { due }, _)) if due <= now_ms() => {}
            Some(entered) => return entered,
            None => {}
        }
        let key = order.key;
        let n = self.entries.get(&key).copied().unwrap_or_default();
        let again = if n == 0 {
            String::new()
        } else {
            format!("-{}", n + 1)
        };
        let charge = Event::Charge {
            at: now_ms(),
            key,
            invoice: order.invoice.clone(),
            value: order.value.clone(),
            currency: order.currency.clone(),
            status: if declined.is_some() {
                "declined"
            } else {
                "succeeded"
            }
            .to_owned(),
            reason: declined.map(str::to_owned),
            reference: format!("bank-{key}{again}"),
        };
        self.replay(&charge);
        match self.known.get(&key) {
            Some(known) => Entered::Status(known.state.clone(), vec![charge]),
            None => Entered::OtherOrder(order.clone()),
        }
    }

    fn repeated(&self, order: &Order) -> Option<Entered> {
        let known = self.remembered(order.key, now_ms())?;
        Some(if known.order == *order {
            Entered::Status(known.state.clone(), Vec::new())
        } else {
            Entered::OtherOrder(known.order.clone())
        })
    }
}

#[cfg(test)]
mod tests;
