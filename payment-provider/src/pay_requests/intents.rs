//! Intents of several batches written in one statement: what arrives while one commits is part of the next.

use std::collections::{HashMap, HashSet};

use futures_util::FutureExt as _;
use payment_contract::PaymentId;
use service::{batcher::Batcher, fail_point};
use uuid::Uuid;

use crate::{
    metrics,
    store::{self, Inserted, Intent, Store},
};

/// Batches in one statement at most: with full batches it is large enough, and the next is on its way meanwhile.
const LARGEST_GROUP: usize = 8;
const GROUPS: usize = 2;

/// A batch's rows that were not there before.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Who holds their leases.
    pub(super) token: Uuid,
    pub(super) rows: HashMap<PaymentId, Inserted>,
}

pub(super) type Intents = Batcher<Vec<Intent>, Result<Written, store::Error>>;

pub(super) fn intents(store: Store) -> Intents {
    Batcher::new(
        metrics::batcher_queue("intents"),
        LARGEST_GROUP,
        GROUPS,
        move |batches: Vec<Vec<Intent>>| {
            let store = store.clone();
            async move {
                fail_point!(IntentsWriting);
                let written = write(&store, &batches).await;
                fail_point!(IntentsWritten);
                written
            }
            .boxed()
        },
    )
}

async fn write(store: &Store, batches: &[Vec<Intent>]) -> Vec<Result<Written, store::Error>> {
    match write_together(store, batches).await {
        Ok(written) => written.into_iter().map(Ok).collect(),
        // One batch's bad data is not the others' fault.
        Err(error) if error.is_data() && batches.len() > 1 => {
            let mut written = Vec::with_capacity(batches.len());
            for batch in batches {
                let alone = write_together(store, std::slice::from_ref(batch)).await;
                written.push(alone.map(|mut one| one.pop().unwrap_or_default()));
            }
            written
        }
        Err(error) => vec![error; batches.len()].into_iter().map(Err).collect(),
    }
}

async fn write_together(store: &Store, batches: &[Vec<Intent>]) -> Result<Vec<Written>, store::Error> {
    let token = Uuid::new_v4();
    let mut seen = HashSet::new();
    let first_ones = batches
        .iter()
        .flatten()
        .filter(|intent| seen.insert(intent.payment_id));
    let intents: Vec<Intent> = first_ones.cloned().collect();
    let written = store.insert_intents(&intents, token).await?;
    let mut inserted: HashMap<PaymentId, Inserted> =
        written.into_iter().map(|row| (row.payment_id, row)).collect();
    // Of two requests for one payment only the first has made the row.
    let of = |batch: &Vec<Intent>| Written {
        token,
        rows: batch
            .iter()
            .filter_map(|intent| inserted.remove_entry(&intent.payment_id))
            .collect(),
    };
    Ok(batches.iter().map(of).collect())
}
