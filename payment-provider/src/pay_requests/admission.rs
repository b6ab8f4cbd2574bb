//! The first step: writes intents for a whole batch, and finds out what to do about the requests that have a row already.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jetstream::delivery::Decision;
use payment_contract::{
    InvoiceId, PaymentId,
    messages::{OutcomeStatus, PaymentOutcomeV1, REJECTED_REQUEST},
    trace::TraceParent,
};
use service::{batcher::isolate, database::ErrorKind, fail_point, telemetry::chain, traces};
use tokio::time::Instant;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    DeliveredRequest, PayRequests,
    bank_call::BankCall,
    intents::Written,
    lease::{Lease, jitter, spread, until_it_is_back},
};
use crate::{
    ledger::{
        Age, Ending, Entry, Held, NextStep, RequestHash, Settlement, may_have_been_called_before, next_step,
        wait_for_lease,
    },
    metrics,
    order::Order,
    store::{self, Inserted, Intent},
};

/// When to come back while the database is away.
pub(super) const DATABASE_AWAY: Duration = Duration::from_secs(2);
/// When to come back after an error that nobody foresaw.
const UNFORESEEN: Duration = Duration::from_secs(15);

/// What is left to do about a request.
#[derive(Debug)]
pub(super) enum Admitted {
    Call(Box<BankCall>),
    /// Call the bank about an earlier attempt at the same invoice; the request comes again.
    Earlier(Box<BankCall>),
    /// Publish a finished row's outcome.
    Publish(PaymentOutcomeV1, Option<TraceParent>),
    /// Publish a finished row's outcome, then keep the request as a dead letter.
    Conflict(Option<PaymentOutcomeV1>, Option<TraceParent>),
    /// Nothing: it is decided.
    Decided(Decision),
}

pub(super) type Admissions = Vec<(usize, Admitted)>;

impl PayRequests {
    /// Admits a batch; the numbers are positions in it.
    pub(super) async fn admit(&self, requests: Vec<DeliveredRequest>) -> Admissions {
        let requests: Vec<(usize, DeliveredRequest)> = requests.into_iter().enumerate().collect();
        let asked = Instant::now();
        let Ok(Written { token, mut rows }) = self.intents.submit(self.intents_of(&requests)).await else {
            error!(
                requests = requests.len(),
                "whether intents were written is unknown; their requests come again"
            );
            let again = requests
                .iter()
                .map(|(position, _)| (*position, retry(UNFORESEEN)));
            return again.collect();
        };
        let mut admissions = Vec::with_capacity(requests.len());
        let (mut met, mut refused) = (Vec::new(), Vec::new());
        for (position, request) in &requests {
            // `remove`, so that of two requests for one payment in a batch only the first counts as the new one.
            match rows.remove(&request.message.payment_id) {
                Some(Ok(row)) => {
                    let lease = Lease {
                        payment_id: row.payment_id,
                        token,
                        until: asked + self.store.lease(),
                    };
                    let held = self.policy.hold_new_payments;
                    let admitted = first_admission(request, row, lease, asked, held);
                    admissions.push((*position, admitted));
                }
                Some(Err(error)) => refused.push((*position, error)),
                None => met.push((*position, request)),
            }
        }
        metrics::requests("new", admissions.len());
        for (part, known) in isolate(&met, |part| self.admit_known(part)).await {
            match known {
                Ok(known) => admissions.extend(known),
                Err(error) => refused.extend(part.iter().map(|(position, _)| (*position, error.clone()))),
            }
        }
        if let Some((_, error)) = refused.first() {
            warn!(
                requests = refused.len(),
                error = chain(error),
                "requests could not be written to the ledger"
            );
        }
        admissions.extend(refused.iter().map(|(position, error)| (*position, refuse(error))));
        admissions
    }

    pub(super) fn intents_of(&self, requests: &[(usize, DeliveredRequest)]) -> Vec<Intent> {
        let mut seen = HashSet::with_capacity(requests.len());
        let first_ones = requests
            .iter()
            .filter(|(_, request)| seen.insert(request.message.payment_id));
        first_ones
            .map(|(_, DeliveredRequest { message, trace, .. })| Intent {
                payment_id: message.payment_id,
                invoice_id: message.invoice_id,
                request_hash: RequestHash::of(message),
                order: Order::of(message),
                attempt: message.attempt,
                requested_at: message.requested_at,
                trace: trace.clone(),
                rejected: !self.policy.currencies.is_empty()
                    && !self.policy.currencies.contains(&message.amount.currency()),
                held: self.policy.hold_new_payments.then_some(Held::NewPayments),
            })
            .collect()
    }

    /// Requests whose payments have rows already.
    async fn admit_known(&self, met: &[(usize, &DeliveredRequest)]) -> Result<Admissions, store::Error> {
        let ids: Vec<Uuid> = met
            .iter()
            .map(|(_, request)| request.message.payment_id.as_uuid())
            .collect();
        let read = Instant::now();
        let entries: HashMap<PaymentId, Entry> = self
            .store
            .entries(&ids)
            .await?
            .into_iter()
            .map(|entry| (entry.payment_id, entry))
            .collect();
        let mut admissions = Vec::with_capacity(met.len());
        let mut open = HashMap::new();
        let mut unwritten = Vec::new();
        for (position, request) in met {
            let Some(entry) = entries.get(&request.message.payment_id) else {
                unwritten.push((*position, (*request).clone()));
                continue;
            };
            match next_step(entry, RequestHash::of(&request.message)) {
                NextStep::TakeOver => {
                    if let Err(away) = self.bank.is_there() {
                        // No lease for a call that is not made.
                        metrics::requests("bank_away", 1);
                        let decision = Decision::Retry(until_it_is_back(away, entry.tries));
                        admissions.push((*position, Admitted::Decided(decision)));
                        continue;
                    }
                    // A second request for a row about to be taken over waits like for any row somebody holds.
                    if open
                        .insert(entry.payment_id, (*position, entry, Some(*request)))
                        .is_some()
                    {
                        admissions.push((*position, retry(DATABASE_AWAY)));
                    }
                }
                step => {
                    let trace = trace_of(Some(request), entry);
                    admissions.push((*position, settled_or_held(entry, step, trace)));
                }
            }
        }
        if !unwritten.is_empty() {
            admissions.extend(self.admit_behind_others(&unwritten).await?);
        }
        if !open.is_empty() {
            admissions.extend(self.take_over(open, read).await?);
        }
        Ok(admissions)
    }

    /// Takes the leases of rows that nobody held when they were read. Only those it got are looked up.
    pub(super) async fn take_over(
        &self,
        open: HashMap<PaymentId, (usize, &Entry, Option<&DeliveredRequest>)>,
        read: Instant,
    ) -> Result<Admissions, store::Error> {
        let token = Uuid::new_v4();
        let asked = Instant::now();
        let ids: Vec<Uuid> = open.keys().map(|payment_id| payment_id.as_uuid()).collect();
        fail_point!(LeasesTaking);
        let won: HashSet<Uuid> = self
            .store
            .take_leases(&ids, token, false)
            .await?
            .into_iter()
            .collect();
        fail_point!(LeasesTaken);
        metrics::requests("taken_over", won.len());
        let until = asked + self.store.lease();
        let admissions = open.into_iter().map(|(payment_id, (position, entry, request))| {
            if !won.contains(&payment_id.as_uuid()) {
                metrics::requests("leased", 1);
                return (position, retry(DATABASE_AWAY));
            }
            let call = BankCall {
                order: entry.order.clone(),
                lease: Lease {
                    payment_id,
                    token,
                    until,
                },
                invoice_id: entry.invoice_id,
                trace: trace_of(request, entry),
                tries: entry.tries,
                began: asked,
                age: Age::new(entry.age, read),
                look_up: true,
                deliveries: request.map_or(0, |request| request.deliveries),
                bank_took: Duration::ZERO,
            };
            (position, Admitted::Call(Box::new(call)))
        });
        Ok(admissions.collect())
    }
}

/// A request whose row was written just now.
fn first_admission(
    request: &DeliveredRequest,
    row: Inserted,
    lease: Lease,
    began: Instant,
    held: bool,
) -> Admitted {
    let DeliveredRequest {
        message,
        trace,
        deliveries,
    } = request;
    if let Some(settled_at) = row.settled_at {
        let settlement = Settlement {
            status: OutcomeStatus::Declined,
            reason: Some(REJECTED_REQUEST.to_owned()),
            reference: None,
        };
        metrics::requests("rejected", 1);
        metrics::settled(settlement.status.as_str());
        warn!(
            payment.id = %message.payment_id,
            invoice.id = %message.invoice_id,
            trace_id = trace.as_ref().map(TraceParent::trace_id),
            currency = message.amount.currency().code(),
            "a payment was declined unasked: the bank does not take its currency"
        );
        let outcome = Ending {
            settlement,
            settled_at,
        }
        .outcome(message.payment_id, message.invoice_id);
        return Admitted::Publish(outcome, trace.clone());
    }
    if held {
        return hold(message.payment_id, message.invoice_id, Held::NewPayments);
    }
    Admitted::Call(Box::new(BankCall {
        order: Order::of(message),
        lease,
        invoice_id: message.invoice_id,
        trace: trace.clone(),
        tries: 0,
        began,
        age: Age::new(row.age, began),
        look_up: may_have_been_called_before(row.age),
        deliveries: *deliveries,
        bank_took: Duration::ZERO,
    }))
}

/// The work on this request, or, while traces are off, the trace that its payment began in.
fn trace_of(request: Option<&DeliveredRequest>, entry: &Entry) -> Option<TraceParent> {
    match request {
        Some(request) if traces::are_on() => request.trace.clone(),
        _ => entry.trace.clone(),
    }
}

fn settled_or_held(entry: &Entry, step: NextStep, trace: Option<TraceParent>) -> Admitted {
    match (step, entry.outcome()) {
        (NextStep::Answer, Some(outcome)) => {
            metrics::requests("finished", 1);
            Admitted::Publish(outcome, trace)
        }
        (NextStep::Conflict, outcome) => {
            metrics::requests("conflict", 1);
            metrics::CONFLICTS.add(1);
            error!(
                payment.id = %entry.payment_id,
                invoice.id = %entry.invoice_id,
                "a request contradicts the one its ledger row was written for; the row stays as it is"
            );
            Admitted::Conflict(outcome, trace)
        }
        (NextStep::Wait(left), _) => {
            metrics::requests("leased", 1);
            Admitted::Decided(Decision::Retry(wait_for_lease(left, jitter())))
        }
        (NextStep::Hold(held), _) => hold(entry.payment_id, entry.invoice_id, held),
        (NextStep::Answer, None) | (NextStep::TakeOver, _) => retry(DATABASE_AWAY),
    }
}

/// A payment that waits for an operator. Its row says so, and invoice-app asks again: nothing is gained by keeping the message, and
/// very many that are put off would come again in front of others.
pub(super) fn hold(payment_id: PaymentId, invoice_id: InvoiceId, held: Held) -> Admitted {
    metrics::requests("held", 1);
    warn!(
        payment.id = %payment_id,
        invoice.id = %invoice_id,
        why = held.as_str(),
        "a payment is held: look at `ledger list --held`, then `ledger release` or `ledger resolve` it"
    );
    Admitted::Decided(Decision::Done)
}

pub(super) fn retry(after: Duration) -> Admitted {
    Admitted::Decided(Decision::Retry(spread(after)))
}

/// A request that could not be admitted. One whose data the database refuses is never tried again.
fn refuse(error: &store::Error) -> Admitted {
    match error.kind {
        ErrorKind::Data => {
            let reason = format!("the ledger cannot hold it: {}", chain(error));
            Admitted::Decided(Decision::Reject(reason))
        }
        ErrorKind::Conflict | ErrorKind::Away | ErrorKind::Schema => retry(DATABASE_AWAY),
        ErrorKind::Other => retry(UNFORESEEN),
    }
}
