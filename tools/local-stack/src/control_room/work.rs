//! Work at a switch: one payment, a trickle, a call for very many.
//!
//! What is paid here was imported beforehand, and a copy of the database made then: so when the database goes back in time,
//! it has forgotten payments, which heal, and no invoice, which would be lost.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use local_stack::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::AbortHandle};

use super::{Room, backup, lock};

/// An ordinary amount.
pub(super) const PLAIN: &str = "12.15";
/// A page of a list, at most.
const STOCK: u32 = 1000;
const STOCK_OF_TROUBLE: u32 = 50;
/// Nobody else uses it here, so that a call can pay these and nothing else.
const CURRENCY_OF_MANY: &str = "SEK";
const TRICKLE: Duration = Duration::from_millis(100);
/// Calls of the trickle that wait for an answer, at most.
const WAITING: usize = 20;

/// What is under way.
pub(super) struct Work {
    /// Numbers are unique, also where a stack is kept.
    run: u32,
    imports: AtomicU32,
    /// Ids of unpaid invoices by amount.
    stock: tokio::sync::Mutex<HashMap<&'static str, Vec<String>>>,
    trickle: Mutex<Option<AbortHandle>>,
    many: Mutex<Option<Many>>,
}

/// A call for very many.
#[derive(Clone, Serialize)]
pub(super) struct Many {
    #[serde(skip)]
    pub(super) batch: Option<String>,
    /// In words.
    pub(super) doing: &'static str,
    pub(super) requested: u64,
    pub(super) done: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            run: rand::random(),
            imports: AtomicU32::new(0),
            stock: tokio::sync::Mutex::default(),
            trickle: Mutex::default(),
            many: Mutex::default(),
        }
    }
}

impl Work {
    pub(super) fn trickles(&self) -> bool {
        lock(&self.trickle).is_some()
    }

    pub(super) fn many(&self) -> Option<Many> {
        lock(&self.many).clone()
    }

    pub(super) fn set_many(&self, many: Option<Many>) {
        *lock(&self.many) = many;
    }

    /// Whether it trickled.
    pub(super) fn stop(&self) -> bool {
        let trickle = lock(&self.trickle).take();
        trickle.map(|trickle| trickle.abort()).is_some()
    }

    fn prefix(&self) -> String {
        let import = self.imports.fetch_add(1, Ordering::Relaxed);
        format!("room-{:08x}-{import}-", self.run)
    }
}

/// Pays an invoice of this amount.
pub(super) async fn pay_one(room: &Room, amount: &'static str) -> Result<String> {
    let id = take(room, amount).await?;
    let path = format!("/invoices/{id}/pay");
    // With a key, it may be said again: invoice-app may just be starting.
    let payment = room.client.post(&path, &Value::Null).await?;
    let payment = payment.get("id").and_then(Value::as_str).unwrap_or("?");
    Ok(format!(
        "asked for payment {payment} of {amount} EUR; invoice-app has written it down"
    ))
}

/// Ten a second, until it is switched off.
pub(super) fn switch_trickle(room: &Arc<Room>) -> String {
    if room.work.stop() {
        return "the trickle has stopped".to_owned();
    }
    let trickling = tokio::spawn(trickle(Arc::clone(room)));
    *lock(&room.work.trickle) = Some(trickling.abort_handle());
    "ten payments a second from now on, until you press again".to_owned()
}

async fn trickle(room: Arc<Room>) {
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut ticks = tokio::time::interval(TRICKLE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let (Ok(id), Ok(permit)) = (
            take(&room, PLAIN).await,
            Arc::clone(&waiting).acquire_owned().await,
        ) else {
            // Nothing can be taken while invoice-app or its database is away.
            continue;
        };
        let room = Arc::clone(&room);
        tokio::spawn(async move {
            let _permit = permit;
            let path = format!("/invoices/{id}/pay");
            if room.client.post(&path, &Value::Null).await.is_err() {
                // Asked for or not, nobody knows: to ask again later is harmless.
                give_back(&room, id).await;
            }
        });
    }
}

/// Imports that many, and pays them all in one call.
pub(super) async fn pay_many(room: &Arc<Room>, count: u32) -> Result<String> {
    if let Some(many) = room.work.many()
        && many.done < many.requested
    {
        return Err(Error::Usage("a large call is under way already".to_owned()));
    }
    let doing = |doing| {
        room.work.set_many(Some(Many {
            batch: None,
            doing,
            requested: count.into(),
            done: 0,
        }));
    };
    doing("importing");
    let batch = async {
        import(room, count, "1.00", CURRENCY_OF_MANY).await?;
        doing("copying the database");
        backup::copy_with_new_invoices(room).await?;
        doing("asking");
        let currency = json!({"currency": CURRENCY_OF_MANY});
        room.client.post("/invoices/pay", &currency).await
    }
    .await;
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => {
            room.work.set_many(None);
            return Err(error);
        }
    };
    let requested = batch.get("requested").and_then(Value::as_u64).unwrap_or_default();
    let id = batch.get("batch_id").and_then(Value::as_str);
    room.work.set_many(Some(Many {
        batch: id.map(str::to_owned),
        doing: "paying",
        requested,
        done: 0,
    }));
    Ok(format!("one call asked for {requested} payments at once"))
}

/// An unpaid invoice of this amount.
async fn take(room: &Room, amount: &'static str) -> Result<String> {
    let mut stock = room.work.stock.lock().await;
    let ids = stock.entry(amount).or_default();
    if ids.is_empty() {
        let count = if amount == PLAIN { STOCK } else { STOCK_OF_TROUBLE };
        let prefix = import(room, count, amount, "EUR").await?;
        let imported = format!("/invoices?number_prefix={prefix}&limit={STOCK}");
        let page = room.client.get(&imported).await?;
        let invoices = page.get("invoices").and_then(Value::as_array);
        let id = |invoice: &Value| invoice.get("id").and_then(Value::as_str).map(str::to_owned);
        // Before any is paid: what no copy has would be lost when the database goes back.
        backup::copy_with_new_invoices(room).await?;
        ids.extend(invoices.into_iter().flatten().filter_map(id));
    }
    ids.pop()
        .ok_or_else(|| Error::Http("invoice-app does not know what it has imported".to_owned()))
}

async fn give_back(room: &Room, id: String) {
    let mut stock = room.work.stock.lock().await;
    stock.entry(PLAIN).or_default().insert(0, id);
}

/// How their numbers begin.
async fn import(room: &Room, count: u32, amount: &str, currency: &str) -> Result<String> {
    let prefix = room.work.prefix();
    let mut lines = String::new();
    for n in 0..count {
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            r#"{{"number":"{prefix}{n}","amount":{{"value":"{amount}","currency":"{currency}"}}}}"#
        );
    }
    room.client.import(lines).await?;
    Ok(prefix)
}
