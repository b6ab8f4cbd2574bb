//! The protocol: orders and look-ups, each with whatever goes wrong with it; and a way to change what goes wrong.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use payment_contract::Money;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Mix, Options, Script, Simulator,
    books::{self, Ended, Entered, Order},
    faults::{CallKind, Draw, Fault},
    journal::{Event, now_ms},
    lock,
    wire::Trick,
};

/// Why a decline is declined.
const DECLINED: &str = "insufficient_funds";
const ERRORS: [StatusCode; 3] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
];
/// What the protocol says nothing about.
const UNDOCUMENTED: [StatusCode; 3] = [
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::CONFLICT,
    StatusCode::UNPROCESSABLE_ENTITY,
];

pub(super) fn router(bank: Simulator) -> Router {
    Router::new()
        .route("/payments/pay", post(pay))
        .route("/payments/{id}", get(find))
        .route("/admin/faults", get(faults).put(set_faults))
        .route("/admin/script", put(set_script))
        .with_state(bank)
}

#[derive(Deserialize)]
struct PayBody {
    id: Uuid,
    value: String,
    currency: String,
    invoice: String,
}

/// A call in flight, until this is dropped: when it was answered, or when its caller hung up.
struct InFlight {
    bank: Simulator,
    key: Uuid,
    call: u64,
    ended: Ended,
}

impl InFlight {
    /// The caller gets this answer.
    fn answered(mut self, answer: Response) -> Response {
        self.ended = Ended::Answered;
        answer
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut books = lock(&self.bank.books);
        let overlaps = books.end(self.key, self.call, self.ended);
        if !overlaps.is_empty() {
            drop(self.bank.journal.append(&overlaps));
        }
    }
}

async fn pay(
    State(bank): State<Simulator>,
    Extension(trick): Extension<Trick>,
    headers: HeaderMap,
    Json(body): Json<PayBody>,
) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    if key != Some(body.id.to_string().as_str()) {
        return bank.misuse(format!("key {key:?} for payment {}", body.id)).await;
    }
    if let Err(error) = Money::parse(&body.value, &body.currency) {
        return bank
            .misuse(format!("{} {}: {error}", body.value, body.currency))
            .await;
    }
    let order = Order {
        key: body.id,
        invoice: body.invoice,
        value: body.value,
        currency: body.currency,
    };
    let (draw, in_flight) = bank.begin(order.key, CallKind::Pay, Some(&order.invoice));
    // What has reached a bank is worked off, whether or not the caller still listens.
    let worked_off = tokio::spawn(async move { bank.work_off(order, draw, trick).await });
    let answer = worked_off.await;
    in_flight.answered(answer.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()))
}

async fn find(
    State(bank): State<Simulator>,
    Extension(trick): Extension<Trick>,
    Path(key): Path<Uuid>,
) -> Response {
    let (draw, in_flight) = bank.begin(key, CallKind::Find, None);
    if let Some(answer) = bank.fail_before(draw, &trick).await {
        return in_flight.answered(answer);
    }
    let found = lock(&bank.books).find(key);
    // Nobody hears of a charge that is not on the disk.
    if bank.journal.append(&[]).await.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    in_flight.answered(found.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |state| answer(key, &state),
    ))
}

async fn faults(State(bank): State<Simulator>) -> Json<Mix> {
    Json(lock(&bank.mix).clone())
}

async fn set_faults(State(bank): State<Simulator>, Json(mix): Json<Mix>) -> Response {
    match mix.validated() {
        Ok(mix) => {
            *lock(&bank.mix) = mix.clone();
            Json(mix).into_response()
        }
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}

async fn set_script(State(bank): State<Simulator>, Json(script): Json<Script>) {
    *lock(&bank.script) = script;
}

impl Simulator {
    /// Writes the call down and draws what goes wrong with it.
    fn begin(&self, key: Uuid, kind: CallKind, invoice: Option<&str>) -> (Draw, InFlight) {
        let mut books = lock(&self.books);
        let invoice = invoice.map_or_else(|| books.invoice_of(key), str::to_owned);
        let n = books.count_call(kind, &invoice);
        let mut draw = self.dice.draw(&lock(&self.mix), kind, &invoice, n);
        if kind == CallKind::Pay {
            draw.fault = self.scripted(&invoice, n).or(draw.fault);
        }
        let call = books.begin(key, kind);
        let arrived = Event::Call {
            at: now_ms(),
            call: kind,
            key,
            invoice,
            n,
            fault: draw.fault,
        };
        // Handed over under the lock, so that the journal has the order in which things happened.
        drop(self.journal.append(&[arrived]));
        let in_flight = InFlight {
            bank: self.clone(),
            key,
            call,
            ended: Ended::HungUp,
        };
        (draw, in_flight)
    }

    /// What the script says of the n-th call to pay this invoice.
    fn scripted(&self, invoice: &str, n: u32) -> Option<Fault> {
        let before = usize::try_from(n).ok()?.checked_sub(1)?;
        lock(&self.script).get(invoice)?.get(before).copied()
    }

    /// What goes wrong before anything is charged or looked up; `None` when nothing does.
    async fn fail_before(&self, draw: Draw, trick: &Trick) -> Option<Response> {
        match draw.fault? {
            Fault::ErrorBefore => Some(one_of(ERRORS, draw.degree)),
            Fault::UndocumentedBefore => Some(one_of(UNDOCUMENTED, draw.degree)),
            Fault::TooMany => Some((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response()),
            Fault::ResetBefore => {
                trick.reset();
                Some(StatusCode::OK.into_response())
            }
            Fault::TimeoutBefore => std::future::pending().await,
            Fault::Slow => {
                let Options { fastest, slowest, .. } = *self.options;
                tokio::time::sleep(fastest + slowest.saturating_sub(fastest).mul_f64(draw.degree)).await;
                None
            }
            Fault::Decline
            | Fault::ErrorAfter
            | Fault::ResetAfter
            | Fault::TimeoutAfter
            | Fault::Late
            | Fault::Twice
            | Fault::UndocumentedAfter
            | Fault::Unreadable
            | Fault::OtherPayment => None,
        }
    }

    /// Charges, unless it is to fail before, to decline or to wait, and answers with whatever goes wrong afterwards.
    async fn work_off(&self, order: Order, draw: Draw, trick: Trick) -> Response {
        if let Some(answer) = self.fail_before(draw, &trick).await {
            return answer;
        }
        let key = order.key;
        let state = match draw.fault {
            Some(Fault::Late) => {
                self.charge_late(order, self.options.latest.mul_f64(draw.degree))
                    .await
            }
            Some(Fault::Decline) => self.charge(&order, Some(DECLINED)).await,
            _ => self.charge(&order, None).await,
        };
        let about = match draw.fault {
            Some(Fault::OtherPayment) => Uuid::nil(),
            _ => key,
        };
        let answer = match state {
            Some(state) => answer(about, &state),
            None => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        };
        match draw.fault {
            Some(Fault::ErrorAfter) => one_of(ERRORS, draw.degree),
            Some(Fault::UndocumentedAfter) => one_of(UNDOCUMENTED, draw.degree),
            Some(Fault::Unreadable) => "<html>thank you for banking with us</html>".into_response(),
            Some(Fault::TimeoutAfter) => std::future::pending().await,
            Some(Fault::ResetAfter) => {
                trick.reset();
                answer
            }
            Some(Fault::Twice) => {
                trick.twice();
                answer
            }
            _ => answer,
        }
    }

    async fn charge_late(&self, order: Order, after: Duration) -> Option<books::State> {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let state = self
            .enter(|books| books.postpone(&order, now_ms() + after_ms))
            .await;
        if matches!(state, Some(books::State::Pending { .. })) {
            self.charge_later(order, after_ms);
        }
        state
    }

    /// Charges or declines. `None` when the key was used for another order.
    pub(super) async fn charge(&self, order: &Order, declined: Option<&str>) -> Option<books::State> {
        self.enter(|books| books.charge(order, declined)).await
    }

    /// Returns when what was entered, now or before, is on the disk.
    async fn enter(&self, enter: impl FnOnce(&mut books::Books) -> Entered) -> Option<books::State> {
        let (entered, on_disk) = self.enter_and_hand_over(enter);
        // The writer ends only with the process.
        let _ = on_disk.await;
        entered
    }

    fn enter_and_hand_over(
        &self,
        enter: impl FnOnce(&mut books::Books) -> Entered,
    ) -> (Option<books::State>, oneshot::Receiver<()>) {
        let mut books = lock(&self.books);
        match enter(&mut books) {
            Entered::Status(state, events) => (Some(state), self.journal.append(&events)),
            Entered::OtherOrder(other) => {
                let what = format!("key {} was used before, for {other:?}", other.key);
                let misuse = Event::Misuse { at: now_ms(), what };
                (None, self.journal.append(&[misuse]))
            }
        }
    }

    async fn misuse(&self, what: String) -> Response {
        let misuse = Event::Misuse { at: now_ms(), what };
        // As above.
        let _ = self.journal.append(&[misuse]).await;
        StatusCode::BAD_REQUEST.into_response()
    }
}

fn answer(key: Uuid, state: &books::State) -> Response {
    let (status, reason, reference) = match state {
        books::State::Pending { .. } => ("pending", None, None),
        books::State::Succeeded { reference } => ("succeeded", None, Some(reference)),
        books::State::Declined { reason, reference } => ("declined", Some(reason), Some(reference)),
    };
    Json(json!({"id": key, "status": status, "reason": reason, "reference": reference})).into_response()
}

fn one_of([low, middle, high]: [StatusCode; 3], degree: f64) -> Response {
    let status = match degree {
        d if d < 1.0 / 3.0 => low,
        d if d < 2.0 / 3.0 => middle,
        _ => high,
    };
    status.into_response()
}

#[cfg(test)]
mod tests;
