//! Both services, NATS and the bank together, and what a transition does to them.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use invoice_app::payment;
use jetstream::delivery::decode;
use payment_contract::PaymentId;

use crate::{
    bank::Bank,
    invoice_app::InvoiceApp,
    ledger::Row,
    nats::Stream,
    payment_provider::{Effect, PaymentProvider},
    transition::{Luck, Plan, Side, Transition},
};

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    now: Duration,
    pub(crate) invoice_app: InvoiceApp,
    requests: Stream,
    outcomes: Stream,
    pub(crate) payment_provider: PaymentProvider,
    pub(crate) bank: Bank,
    /// How each payment was first seen to end; it must stay so.
    pub(crate) ended: HashMap<PaymentId, payment::Status>,
    /// What an operator ended.
    pub(crate) by_hand: HashSet<PaymentId>,
    /// What the ledger had finished and has forgotten.
    pub(crate) forgotten: HashSet<PaymentId>,
}

/// Rounds in which all that is open is sent, worked off and answered. An operator is needed when the bank may have
/// forgotten, and then it is one round more; a look-up may be one.
const ROUNDS: usize = 8;
/// The same after a restore, when each attempt that was forgotten is asked for once more.
const MORE_ROUNDS: usize = 14;

/// Then an operator may end what is held without the bank's word.
const UNTIL_NOTHING_COMES_LATE: Duration = Duration::from_hours(25);

/// Where both databases went back, only the bank remembers some payments, and each must be asked for again before it has
/// forgotten the key: from no older copies, and not later than this.
const OLDEST_COPY: Duration = Duration::from_hours(6);
const ASKED_AGAIN_WITHIN: Duration = Duration::from_hours(12);

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        let refusals = plan.refusals.iter().enumerate();
        Self {
            now: Duration::ZERO,
            invoice_app: InvoiceApp::new(plan.refusals.len()),
            requests: Stream::default(),
            outcomes: Stream::default(),
            payment_provider: PaymentProvider::new(),
            bank: Bank::new(
                refusals
                    .map(|(n, refusals)| (format!("I{n}"), *refusals))
                    .collect(),
            ),
            ended: HashMap::new(),
            by_hand: HashSet::new(),
            forgotten: HashSet::new(),
        }
    }

    pub(crate) fn apply(&mut self, transition: Transition) {
        match transition {
            Transition::Ask(which) => {
                if let Some(index) = which.of(self.invoice_app.invoices.len()) {
                    self.invoice_app.ask(index, self.now);
                }
            }
            Transition::Send { lost } => self.send(lost),
            Transition::Sweep { lost } => self.sweep(lost),
            Transition::DeliverRequest { which, to } => {
                if let Some(index) = which.of(self.requests.len()) {
                    self.deliver_request(index, to);
                }
            }
            Transition::LoseRequest(which) => {
                if let Some(index) = which.of(self.requests.len()) {
                    self.requests.lose(index);
                }
            }
            Transition::Work(which, luck) => {
                if let Some(index) = which.of(self.payment_provider.in_flight()) {
                    self.work(index, luck);
                }
            }
            Transition::DeliverOutcome { which, ack_lost } => {
                if let Some(index) = which.of(self.outcomes.len()) {
                    self.deliver_outcome(index, ack_lost);
                }
            }
            Transition::LoseOutcome(which) => {
                if let Some(index) = which.of(self.outcomes.len()) {
                    self.outcomes.lose(index);
                }
            }
            Transition::Land(which) => {
                if let Some(index) = which.of(self.bank.late_calls()) {
                    self.bank.land(index, self.now);
                }
            }
            Transition::Operate(which) => {
                if let Some(index) = which.of(self.payment_provider.ledger.rows.len()) {
                    self.operate(index);
                }
            }
            Transition::CrashInvoiceApp => self.invoice_app.die(),
            Transition::CrashPaymentProvider { which } => self.payment_provider.die(which),
            Transition::Forget => {
                self.requests.forget();
                self.outcomes.forget();
                self.invoice_app.nats_forgot(self.now);
            }
            Transition::LookUpUnasked(which) => {
                if let Some(index) = which.of(self.payment_provider.ledger.rows.len()) {
                    self.payment_provider.look_up_unasked(index, self.now);
                }
            }
            Transition::BackUp(Side::InvoiceApp) => self.invoice_app.back_up(self.now),
            Transition::BackUp(Side::PaymentProvider) => self.payment_provider.ledger.back_up(self.now),
            Transition::GoBack(side) => self.go_back(side),
            Transition::Pass(time) if self.bank_would_forget(time) => {}
            Transition::Pass(time) => self.pass(time),
        }
        self.note_endings();
    }

    fn send(&mut self, lost: bool) {
        for body in self.invoice_app.send() {
            if !lost {
                self.requests.publish(body);
            }
        }
    }

    fn sweep(&mut self, lost: bool) {
        for body in self.invoice_app.sweep(self.now) {
            if !lost {
                self.requests.publish(body);
            }
        }
    }

    fn deliver_request(&mut self, index: usize, to: bool) {
        if let Some((sequence, body)) = self.requests.deliver(index) {
            self.payment_provider.take(to, sequence, &body);
        }
    }

    fn work(&mut self, index: usize, luck: Luck) {
        match self.payment_provider.step(index, luck, &mut self.bank, self.now) {
            Effect::Nothing => {}
            Effect::Publish(outcome) => self.outcomes.publish(outcome.encode()),
            Effect::Ack(sequence) => self.requests.ack(sequence),
        }
    }

    fn deliver_outcome(&mut self, index: usize, ack_lost: bool) {
        if let Some((sequence, body)) = self.outcomes.deliver(index) {
            self.invoice_app.take(&decode(&body).unwrap());
            if !ack_lost {
                self.outcomes.ack(sequence);
            }
        }
    }

    fn operate(&mut self, index: usize) {
        let ledger = &mut self.payment_provider.ledger;
        if let Some(outcome) = ledger.resolve(index, &self.bank, self.now) {
            self.by_hand.insert(outcome.payment_id);
            self.outcomes.publish(outcome.encode());
        }
    }

    fn go_back(&mut self, side: Side) {
        let (app, ledger) = (&mut self.invoice_app, &mut self.payment_provider.ledger);
        let (copied_at, other) = match side {
            Side::InvoiceApp => (app.copied_at(), ledger.went_back),
            Side::PaymentProvider => (ledger.copied_at(), app.went_back),
        };
        if copied_at.is_none_or(|at| other && self.now > at + OLDEST_COPY) {
            return;
        }
        match side {
            Side::InvoiceApp => app.go_back(),
            Side::PaymentProvider => self.forgotten.extend(ledger.go_back()),
        }
    }

    /// Whether by then the bank might no longer know what nobody else knows.
    fn bank_would_forget(&self, time: Duration) -> bool {
        let (app, ledger) = (&self.invoice_app, &self.payment_provider.ledger);
        let is_known = |id: PaymentId| ledger.row(id).is_some() || self.has_settled(id);
        app.went_back
            && ledger.went_back
            && self
                .bank
                .keys()
                .any(|(key, since)| !is_known(key.into()) && self.now + time > since + ASKED_AGAIN_WITHIN)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.bank.time_passes(self.now);
    }

    /// No fault happens any more, and time passes: everything open is sent again, worked off and answered. Whatever is in
    /// hand goes on as well: nobody has died.
    pub(crate) fn come_to_rest(&mut self) {
        let went_back = self.invoice_app.went_back || self.payment_provider.ledger.went_back;
        let rounds = if went_back { MORE_ROUNDS } else { ROUNDS };
        self.go_on(rounds);
        if self.payment_provider.ledger.rows.iter().any(Row::is_held) {
            self.pass(UNTIL_NOTHING_COMES_LATE);
            self.go_on(rounds);
        }
    }

    fn go_on(&mut self, rounds: usize) {
        for _ in 0..rounds {
            if self.invoice_app.went_back {
                for index in 0..self.invoice_app.invoices.len() {
                    self.invoice_app.ask(index, self.now);
                }
            }
            self.send(false);
            self.sweep(false);
            self.work_off();
            while self.requests.len() > 0 {
                let waiting = self.requests.len();
                self.deliver_request(0, true);
                self.work_off();
                if self.requests.len() == waiting {
                    // Put off, or done without an acknowledgement: it is sent again while it has no outcome.
                    self.requests.lose(0);
                }
            }
            for index in 0..self.payment_provider.ledger.rows.len() {
                self.payment_provider.look_up_unasked(index, self.now);
                self.work_off();
                self.operate(index);
            }
            while self.outcomes.len() > 0 {
                self.deliver_outcome(0, false);
                self.note_endings();
            }
            self.expect_sound();
            // Longer than any lease, and than any pause between two sends.
            self.pass(Duration::from_mins(31));
        }
    }

    fn work_off(&mut self) {
        while self.payment_provider.in_flight() > 0 {
            self.work(0, Luck::Answered);
            self.note_endings();
        }
    }

    fn note_endings(&mut self) {
        for payment in &self.invoice_app.payments {
            if payment.status != payment::Status::Requested {
                self.ended.entry(payment.id).or_insert(payment.status);
            }
        }
    }

    pub(crate) fn has_settled(&self, id: PaymentId) -> bool {
        let settled = |p: &crate::invoice_app::Payment| p.id == id && p.status != payment::Status::Requested;
        self.invoice_app.payments.iter().any(settled)
    }
}
