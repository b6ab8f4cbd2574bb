//! Creating invoices: one at a time, or all lines of an import at once or none.

use std::sync::Arc;

use payment_contract::InvoiceId;
use service::{
    database::{LONG, SHORT, in_time, retry_conflicts},
    fail_point,
};
use sqlx::{Postgres, Transaction};
use tracing::warn;
use uuid::Uuid;

use crate::{
    idempotency::{Called, Claim, Key, KeyedCall, SavedResponse},
    invoice::{Invoice, New},
    metrics,
    store::{
        Store,
        idempotency::{check_in_tx, claim_in_tx, keep_in_tx},
        imports::{ImportLine, Imported, idle_in_tx, import_in_tx},
        invoices::create_in_tx,
        numbers,
    },
};

/// Lines put aside together.
const PAGE: usize = 2000;
/// Rejections that are told one by one; all are counted.
pub const TOLD: usize = 1000;
/// How often a free number may be taken away before it is used, by somebody who names numbers.
const NUMBER_TRIES: usize = 16;

/// What became of an invoice to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    Invoice(Box<Invoice>),
    NumberTaken(String),
}

/// Creates one invoice. `answer` is what a repeat of the call is told.
pub async fn create(
    store: &Store,
    new: &New,
    created_by: Option<&str>,
    call: Option<&KeyedCall>,
    answer: impl Fn(&Invoice) -> SavedResponse,
) -> Result<Called<Created>, sqlx::Error> {
    let _place = store.create_place().await?;
    let called = retry_conflicts(SHORT, async || {
        let mut tx = store.begin().await?;
        if let Some(why) = check_in_tx(&mut tx, call).await? {
            // Not left to the drop: that would hold the key for a moment longer than the answer takes.
            tx.rollback().await?;
            return Ok(Called::NotRun(why));
        }
        let created = try_create(&mut tx, new, created_by).await?;
        if let Created::Invoice(invoice) = &created {
            keep_in_tx(&mut tx, call, answer(invoice)).await?;
            fail_point!(InvoiceCreating);
            tx.commit().await?;
            fail_point!(InvoiceCreated);
        } else {
            tx.rollback().await?;
        }
        Ok(Called::Ran(created))
    })
    .await?;
    if let Called::Ran(Created::Invoice(_)) = &called {
        metrics::CREATED.add(1);
    }
    Ok(called)
}

async fn try_create(
    tx: &mut Transaction<'_, Postgres>,
    new: &New,
    created_by: Option<&str>,
) -> Result<Created, sqlx::Error> {
    let id = InvoiceId::generate();
    if let Some(number) = &new.number {
        let created = create_in_tx(tx, id, number.as_str(), new, created_by).await?;
        return Ok(match created {
            Some(invoice) => Created::Invoice(Box::new(invoice)),
            None => Created::NumberTaken(number.as_str().to_owned()),
        });
    }
    let mut number = numbers::next_in_tx(tx).await?;
    for _ in 0..NUMBER_TRIES {
        if let Some(invoice) = create_in_tx(tx, id, &number, new, created_by).await? {
            return Ok(Created::Invoice(Box::new(invoice)));
        }
        numbers::skip_taken_in_tx(tx).await?;
        number = numbers::next_in_tx(tx).await?;
    }
    Ok(Created::NumberTaken(number))
}

/// An import under way: lines come in, and become invoices when it is finished.
#[derive(Debug)]
pub struct Import {
    store: Store,
    id: Uuid,
    created_by: Option<Arc<str>>,
    line: i64,
    page: Vec<ImportLine>,
    rejected: Vec<(i64, String)>,
    rejected_total: i64,
    /// With a key: the transaction that holds it.
    keyed: Option<HeldKey>,
    /// How many lines of ours are lying aside.
    staged: i64,
}

#[derive(Debug)]
struct HeldKey {
    key: Key,
    claim: Claim,
    tx: Transaction<'static, Postgres>,
}

impl HeldKey {
    /// Nothing when another call holds it.
    async fn take(store: &Store, key: Key) -> Result<Option<Self>, sqlx::Error> {
        let mut tx = store.begin().await?;
        let claim = claim_in_tx(&mut tx, &key).await?;
        if claim == Claim::InUse {
            tx.rollback().await?;
            return Ok(None);
        }
        idle_in_tx(&mut tx).await?;
        Ok(Some(Self { key, claim, tx }))
    }
}

/// What an import came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub created: i64,
    /// The first rejected lines, in order, and why.
    pub rejected: Vec<(i64, String)>,
    pub rejected_total: i64,
}

impl Import {
    /// Starts an import. With a key, the key is taken now and held by an idle transaction until the end; `None` when
    /// another call holds it.
    pub async fn init(
        store: &Store,
        created_by: Option<Arc<str>>,
        key: Option<Key>,
    ) -> Result<Option<Self>, sqlx::Error> {
        let keyed = match key {
            None => None,
            Some(key) => match in_time(SHORT, HeldKey::take(store, key)).await? {
                None => return Ok(None),
                held => held,
            },
        };
        Ok(Some(Self {
            store: store.clone(),
            id: Uuid::now_v7(),
            created_by,
            line: 0,
            page: Vec::with_capacity(PAGE),
            rejected: Vec::new(),
            rejected_total: 0,
            keyed,
            staged: 0,
        }))
    }

    /// Takes the next line: an invoice, why it is none, or nothing where the line is blank.
    pub async fn take(&mut self, parsed: Option<Result<New, String>>) -> Result<(), sqlx::Error> {
        self.line += 1;
        match parsed {
            None => {}
            Some(Ok(invoice)) => self.page.push(ImportLine {
                line: self.line,
                invoice,
            }),
            Some(Err(why)) => {
                self.rejected_total += 1;
                if self.rejected.len() < TOLD {
                    self.rejected.push((self.line, why));
                }
            }
        }
        if self.page.len() >= PAGE {
            self.put_aside().await
        } else {
            Ok(())
        }
    }

    async fn put_aside(&mut self) -> Result<(), sqlx::Error> {
        let repeat = self
            .keyed
            .as_ref()
            .is_some_and(|keyed| keyed.claim != Claim::Fresh);
        let page = std::mem::replace(&mut self.page, Vec::with_capacity(PAGE));
        if repeat || page.is_empty() {
            return Ok(());
        }
        // Before they are: a statement that fails may have been carried out.
        self.staged += i64::try_from(page.len()).unwrap_or(i64::MAX);
        self.store.stage_lines(self.id, page).await?;
        fail_point!(ImportStaged);
        Ok(())
    }

    /// Makes the lines into invoices, and commits. `answer` is what a repeat of the call is told.
    pub async fn finish(
        mut self,
        fingerprint: Vec<u8>,
        answer: impl Fn(&Summary) -> SavedResponse,
    ) -> Result<Called<Summary>, sqlx::Error> {
        self.put_aside().await?;
        in_time(LONG, Box::pin(self.create_all(fingerprint, answer))).await
    }

    async fn create_all(
        &mut self,
        fingerprint: Vec<u8>,
        answer: impl Fn(&Summary) -> SavedResponse,
    ) -> Result<Called<Summary>, sqlx::Error> {
        let (mut tx, call) = match self.keyed.take() {
            Some(HeldKey { key, claim, tx }) => {
                if let Some(why) = claim.check(&fingerprint) {
                    tx.rollback().await?;
                    return Ok(Called::NotRun(why));
                }
                (tx, Some(KeyedCall { key, fingerprint }))
            }
            None => (self.store.begin().await?, None),
        };
        let most_taken = i64::try_from(TOLD).unwrap_or(i64::MAX);
        let imported = import_in_tx(&mut tx, self.id, self.created_by.as_deref(), most_taken).await?;
        if imported.created + imported.taken_total != self.staged {
            // A database that crashed meanwhile has emptied the table they lay in. All or nothing: nothing, then.
            return Err(sqlx::Error::Io(std::io::Error::other(
                "the database lost lines of an import under way",
            )));
        }
        let summary = self.summary(imported);
        keep_in_tx(&mut tx, call.as_ref(), answer(&summary)).await?;
        fail_point!(ImportCommitting);
        tx.commit().await?;
        fail_point!(ImportCommitted);
        self.staged = 0;
        metrics::CREATED.add(summary.created.unsigned_abs());
        Ok(Called::Ran(summary))
    }

    fn summary(&mut self, imported: Imported) -> Summary {
        let mut rejected = std::mem::take(&mut self.rejected);
        let taken = imported.taken.into_iter();
        rejected.extend(taken.map(|(line, number)| (line, format!("number {number:?} is taken"))));
        rejected.sort_unstable_by_key(|(line, _)| *line);
        rejected.truncate(TOLD);
        Summary {
            created: imported.created,
            rejected,
            rejected_total: self.rejected_total + imported.taken_total,
        }
    }
}

impl Drop for Import {
    /// An import that was cut off leaves nothing behind; should this be cut off too, the lines are pruned by their age.
    fn drop(&mut self) {
        if self.staged == 0 {
            return;
        }
        let (store, id) = (self.store.clone(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.forget_lines(id).await {
                    warn!(error = %service::telemetry::chain(&error), "could not forget the lines of an import that was cut off");
                }
            });
        }
    }
}
