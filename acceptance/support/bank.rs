//! A bank over HTTP that keeps its promise about idempotency keys and otherwise does what a test tells it to.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use payment_contract::Money;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

use crate::Result;
use reconcile::{BankBooks, Status};

/// What becomes of one call to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Charges and says so.
    Succeed,
    /// Charges and says so, slowly.
    SucceedAfter(Duration),
    /// Declines for this reason.
    Decline(&'static str),
    /// Charges nothing and answers with this status.
    Fail(u16),
    /// Charges, and answers with this status all the same.
    ChargeAndFail(u16),
    /// Charges, and never answers.
    ChargeAndHang,
    /// Charges, and answers what nobody can read.
    ChargeAndMumble,
    /// Charges, and answers about another payment.
    ChargeAndConfuse,
    /// Takes the order; it succeeds once it has been looked up this often.
    Pend(u32),
}

/// An order as it arrived, and what came of it.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The idempotency key.
    pub key: Uuid,
    /// The invoice on the statement.
    pub invoice: String,
    /// The amount, as it was sent.
    pub amount: (String, String),
    /// `succeeded`, `declined` or `pending`.
    pub status: &'static str,
    reason: Option<&'static str>,
    /// Look-ups until a pending one has succeeded.
    look_ups: u32,
}

/// Decides about the n-th call (from 1) to pay this invoice, over all keys.
type Script = Box<dyn Fn(&str, u32) -> Behaviour + Send + Sync>;

struct Shared {
    script: Script,
    charges: Mutex<HashMap<Uuid, Charge>>,
    calls: Mutex<HashMap<String, u32>>,
    complaints: Mutex<Vec<String>>,
    /// Answers nothing but 503.
    failing: AtomicBool,
    /// Calls and look-ups, by key.
    arrivals: Mutex<HashMap<Uuid, Vec<Instant>>>,
}

/// A running bank. Ends when dropped.
pub struct Bank {
    shared: Arc<Shared>,
    port: u16,
    serving: JoinHandle<()>,
}

impl Bank {
    /// Opens.
    pub async fn start(script: impl Fn(&str, u32) -> Behaviour + Send + Sync + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            charges: Mutex::default(),
            calls: Mutex::default(),
            complaints: Mutex::default(),
            failing: AtomicBool::new(false),
            arrivals: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let router = Router::new()
            .route("/api/payments/pay", post(pay))
            .route("/api/payments/{id}", get(find))
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            // Ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            shared,
            port,
            serving,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api", self.port)
    }

    /// Everything it did.
    #[must_use]
    pub fn charges(&self) -> Vec<Charge> {
        lock(&self.shared.charges).values().cloned().collect()
    }

    /// The same, as the check takes it.
    pub fn books(&self) -> Result<BankBooks> {
        let charges = self.charges().into_iter().map(|charge| {
            let (value, currency) = &charge.amount;
            Ok(reconcile::Charge {
                key: charge.key,
                status: Status::try_new(charge.status, "pending")?,
                amount: Money::parse(value, currency)?,
                reference: format!("bank-{}", charge.key),
                age: Duration::ZERO,
            })
        });
        Ok(BankBooks::Record(charges.collect::<Result<_>>()?))
    }

    /// How many calls to pay there were for this invoice.
    #[must_use]
    pub fn calls(&self, invoice: &str) -> u32 {
        lock(&self.shared.calls).get(invoice).copied().unwrap_or(0)
    }

    /// From now on every call and look-up fails, with 503 and without effect, or none does.
    pub fn fail_everything(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }

    /// When it was called or looked up, of each payment.
    #[must_use]
    pub fn arrivals(&self) -> HashMap<Uuid, Vec<Instant>> {
        lock(&self.shared.arrivals).clone()
    }

    /// What was wrong with the calls it got.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.shared.complaints).clone()
    }
}

impl Shared {
    /// Notes a call; true when it fails.
    fn turns_away(&self, key: Uuid) -> bool {
        lock(&self.arrivals).entry(key).or_default().push(Instant::now());
        self.failing.load(Ordering::Relaxed)
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has reached a bank is worked off, whether or not the caller still listens.
async fn pay(bank: State<Arc<Shared>>, headers: HeaderMap, order: Json<Value>) -> Response {
    let worked_off = tokio::spawn(work_off(bank, headers, order)).await;
    worked_off.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn work_off(State(bank): State<Arc<Shared>>, headers: HeaderMap, Json(order): Json<Value>) -> Response {
    let text = |name: &str| {
        order
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .unwrap_or_default();
    let Ok(key) = key.parse::<Uuid>() else {
        lock(&bank.complaints).push(format!("no usable key: {order}"));
        return StatusCode::BAD_REQUEST.into_response();
    };
    if bank.turns_away(key) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (invoice, amount) = (text("invoice"), (text("value"), text("currency")));
    if key.to_string() != text("id") {
        lock(&bank.complaints).push(format!("key {key} for {order}"));
    }
    let call = {
        let mut calls = lock(&bank.calls);
        let call = calls.entry(invoice.clone()).or_default();
        *call += 1;
        *call
    };
    let behaviour = (bank.script)(&invoice, call);
    if let Behaviour::Fail(status) = behaviour {
        return status_code(status).into_response();
    }
    if let Behaviour::SucceedAfter(delay) = behaviour {
        tokio::time::sleep(delay).await;
    }
    let charge = enter(&bank, &Charge::new(key, invoice, amount, behaviour));
    match behaviour {
        Behaviour::ChargeAndFail(status) => status_code(status).into_response(),
        Behaviour::ChargeAndHang => std::future::pending().await,
        Behaviour::ChargeAndMumble => "<html>thank you for banking with us</html>".into_response(),
        Behaviour::ChargeAndConfuse => Json(answer(Uuid::nil(), &charge)).into_response(),
        _ => Json(answer(key, &charge)).into_response(),
    }
}

/// The first order under a key counts; a later one gets its answer.
fn enter(bank: &Shared, charge: &Charge) -> Charge {
    let mut charges = lock(&bank.charges);
    let entered = charges.entry(charge.key).or_insert_with(|| charge.clone());
    if (&entered.invoice, &entered.amount) != (&charge.invoice, &charge.amount) {
        lock(&bank.complaints).push(format!(
            "key {} was used for {entered:?} and {charge:?}",
            charge.key
        ));
    }
    entered.clone()
}

async fn find(State(bank): State<Arc<Shared>>, Path(id): Path<Uuid>) -> Response {
    if bank.turns_away(id) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut charges = lock(&bank.charges);
    let Some(charge) = charges.get_mut(&id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if charge.status == "pending" {
        charge.look_ups = charge.look_ups.saturating_sub(1);
        if charge.look_ups == 0 {
            charge.status = "succeeded";
        }
    }
    Json(answer(id, charge)).into_response()
}

fn answer(id: Uuid, charge: &Charge) -> Value {
    json!({"id": id, "status": charge.status, "reason": charge.reason, "reference": format!("bank-{id}")})
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl Charge {
    fn new(key: Uuid, invoice: String, amount: (String, String), behaviour: Behaviour) -> Self {
        let (status, reason, look_ups) = match behaviour {
            Behaviour::Decline(reason) => ("declined", Some(reason), 0),
            Behaviour::Pend(look_ups) => ("pending", None, look_ups),
            _ => ("succeeded", None, 0),
        };
        Self {
            key,
            invoice,
            amount,
            status,
            reason,
            look_ups,
        }
    }
}
