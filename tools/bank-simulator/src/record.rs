//! The bank's record as others read it: what it charged, and what it saw that must not be.

use std::{collections::BTreeMap, path::Path};

use uuid::Uuid;

use super::{
    faults::{CallKind, Fault},
    journal::{self, Event},
};
use crate::Result;

/// A journal, read.
#[derive(Clone, Debug)]
pub struct Record(Vec<Event>);

/// Two calls in flight at once under one key. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Their key.
    pub key: Uuid,
    /// When the first arrived.
    pub since: u64,
    /// When the second arrived.
    pub at: u64,
    /// What the first was, and the second.
    pub calls: [CallKind; 2],
}

impl Record {
    /// Reads a journal, of a bank that may be open.
    pub fn read(journal: &Path) -> Result<Self> {
        let text =
            std::fs::read(journal).map_err(|error| format!("reading {}: {error}", journal.display()))?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        journal::parse(text.get(..whole).unwrap_or_default()).map(Self)
    }

    /// Everything in it.
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// Every time two calls were in flight under one key.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let overlaps = self.0.iter().filter_map(|event| match event {
            Event::Overlap {
                at,
                since,
                key,
                first,
                second,
            } => Some(Overlap {
                key: *key,
                since: *since,
                at: *at,
                calls: [*first, *second],
            }),
            Event::Call { .. } | Event::Pending { .. } | Event::Charge { .. } | Event::Misuse { .. } => None,
        });
        overlaps.collect()
    }

    /// How callers broke the protocol.
    pub fn misuses(&self) -> Vec<&str> {
        let misuses = self.0.iter().filter_map(|event| match event {
            Event::Misuse { what, .. } => Some(what.as_str()),
            Event::Call { .. } | Event::Pending { .. } | Event::Charge { .. } | Event::Overlap { .. } => None,
        });
        misuses.collect()
    }

    /// How many calls to pay there were for this invoice.
    pub fn calls_to_pay(&self, of: &str) -> usize {
        let calls = self.0.iter().filter(
            |event| matches!(event, Event::Call { call: CallKind::Pay, invoice, .. } if invoice == of),
        );
        calls.count()
    }

    /// Calls by kind and by what went wrong with them.
    pub fn calls(&self) -> BTreeMap<(CallKind, Option<Fault>), usize> {
        let mut calls = BTreeMap::new();
        for event in &self.0 {
            if let Event::Call { call, fault, .. } = event {
                *calls.entry((*call, *fault)).or_default() += 1;
            }
        }
        calls
    }
}
