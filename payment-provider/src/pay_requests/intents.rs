//! Intents of several batches written in one statement: what arrives while one commits is part of the next.

use std::collections::{HashMap, HashSet};

use futures_util::FutureExt as _;
use payment_contract::PaymentId;
use service::{
    batcher::{Batcher, isolate},
    fail_point,
};
use uuid::Uuid;

use crate::{
    metrics,
    store::{self, Inserted, Intent, Store},
};

/// Delivered batches in one statement at most: when they are full it is large enough, and the next is on its way meanwhile.
const LARGEST_BATCH: usize = 8;
const BATCHES: usize = 2;

/// What became of a batch's intents.
#[derive(Debug)]
pub(super) struct Written {
    /// Who holds the leases.
    pub(super) token: Uuid,
    /// The rows that were not there before, or why there is none.
    pub(super) rows: HashMap<PaymentId, Result<Inserted, store::Error>>,
}

pub(super) type Intents = Batcher<Vec<Intent>, Written>;

pub(super) fn intents(store: Store) -> Intents {
    Batcher::new(
        metrics::batcher_queue("intents"),
        LARGEST_BATCH,
        BATCHES,
        store,
        |store, batches| write(store, batches).boxed(),
    )
}

async fn write(store: &Store, batches: Vec<Vec<Intent>>) -> Vec<Written> {
    let token = Uuid::new_v4();
    let mut seen = HashSet::new();
    let first_ones = batches
        .iter()
        .flatten()
        .filter(|intent| seen.insert(intent.payment_id));
    let intents: Vec<Intent> = first_ones.cloned().collect();
    fail_point!(IntentsWriting);
    let written = isolate(&intents, |part| store.insert_intents(part, token)).await;
    fail_point!(IntentsWritten);
    let mut rows = HashMap::with_capacity(intents.len());
    for (part, written) in written {
        match written {
            Ok(written) => rows.extend(written.into_iter().map(|row| (row.payment_id, Ok(row)))),
            Err(error) => rows.extend(part.iter().map(|intent| (intent.payment_id, Err(error.clone())))),
        }
    }
    // Of two requests for one payment only the first has made the row.
    let of = |batch: &Vec<Intent>| Written {
        token,
        rows: batch
            .iter()
            .filter_map(|intent| rows.remove_entry(&intent.payment_id))
            .collect(),
    };
    batches.iter().map(of).collect()
}
