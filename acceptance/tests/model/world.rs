//! Both services, NATS and the bank together; and what must be true of their books, at any time and in the end.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::FutureExt as _;
use invoice_app::{invoice, payment};
use jetstream::delivery::decode;
use payment_contract::{Money, PaymentId, messages::OutcomeStatus};
use payment_provider::gateway::Answer;
use reconcile::{Books, Report, Status};
use uuid::Uuid;

use crate::{
    bank::Bank,
    invoice_app::InvoiceApp,
    nats::Stream,
    payment_provider::{Effect, PaymentProvider},
    transition::{Luck, Plan, Transition},
};

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    now: Duration,
    invoice_app: InvoiceApp,
    requests: Stream,
    outcomes: Stream,
    payment_provider: PaymentProvider,
    bank: Bank,
    /// How each payment was first seen to end; it must stay so.
    ended: HashMap<PaymentId, payment::Status>,
    /// What an operator ended.
    by_hand: HashSet<PaymentId>,
}

/// Rounds in which all that is open is sent, worked off and answered. An operator is needed when the bank may have
/// forgotten, and then it is one round more; a look-up may be one.
const ROUNDS: usize = 8;

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
                if let Some(index) = which.of(self.payment_provider.in_hand()) {
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
                if let Some(index) = which.of(self.payment_provider.ledger.len()) {
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
        if let Some(outcome) = self.payment_provider.resolve(index, &self.bank, self.now) {
            self.by_hand.insert(outcome.payment_id);
            self.outcomes.publish(outcome.encode());
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.bank.time_passes(self.now);
    }

    /// No fault happens any more, and time passes: everything open is sent again, worked off and answered. Whatever is in
    /// hand goes on as well: nobody has died.
    pub(crate) fn come_to_rest(&mut self) {
        for _ in 0..ROUNDS {
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
            for index in 0..self.payment_provider.ledger.len() {
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
        while self.payment_provider.in_hand() > 0 {
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

    /// What must be true at any time.
    pub(crate) fn expect_sound(&self) {
        // Whatever is open may be under way still.
        let report = self.report(reconcile::Options {
            older_than: Duration::MAX,
        });
        assert!(report.is_clean(), "{report}\n{self:#?}");
        for payment in &self.invoice_app.payments {
            let first = self
                .ended
                .get(&payment.id)
                .copied()
                .unwrap_or(payment::Status::Requested);
            assert_eq!(payment.status, first, "an ending stays: {payment:?}");
            if let Some(status) = settled(payment.status) {
                let told = self.payment_provider.ledger.iter().any(|row| {
                    row.payment_id == payment.id
                        && row
                            .ending
                            .as_ref()
                            .is_some_and(|ending| ending.settlement.status == status)
                });
                assert!(
                    told,
                    "an outcome comes from a finished row: {payment:?}\n{self:#?}"
                );
            }
        }
        assert_eq!(self.bank.complaints(), [] as [&str; 0], "{self:#?}");
        assert_eq!(self.payment_provider.conflicts, [] as [&str; 0], "{self:#?}");
        assert_eq!(self.invoice_app.dead_letters, [] as [&str; 0], "{self:#?}");
    }

    /// What must be true once nothing goes wrong any more: the check is clean, and each invoice is paid if and only if it
    /// was asked for once more than the bank refused it.
    pub(crate) fn expect_all_done(&self, plan: &Plan) {
        let report = self.report(reconcile::Options::AT_REST);
        assert!(report.clone().expect_clean().is_ok(), "{report}\n{self:#?}");
        let asked = |invoice: &str| {
            let charges = self
                .bank
                .charges()
                .iter()
                .filter(|charge| charge.invoice == invoice);
            u32::try_from(charges.count()).unwrap()
        };
        for (invoice, refusals) in self.invoice_app.invoices.iter().zip(&plan.refusals) {
            let paid = invoice.status == invoice::Status::Paid;
            assert_eq!(paid, asked(&invoice.number) > *refusals, "{invoice:?}\n{self:#?}");
        }
    }

    fn report(&self, options: reconcile::Options) -> Report {
        let books = Books {
            invoices: self
                .invoice_app
                .invoices
                .iter()
                .map(|i| self.invoice(i))
                .collect(),
            payments: self.invoice_app.payments.iter().map(payment_row).collect(),
            ledger: self
                .payment_provider
                .ledger
                .iter()
                .map(|row| self.ledger_row(row))
                .collect(),
            charges: self.bank.charges().iter().map(charge_row).collect(),
        };
        reconcile::compare(books, options)
            .now_or_never()
            .unwrap()
            .unwrap()
    }

    fn invoice(&self, invoice: &crate::invoice_app::Invoice) -> reconcile::Invoice {
        let of_invoice = |status| {
            let payments = self.invoice_app.payments.iter();
            payments.filter(move |p| p.invoice_id == invoice.id && p.status == status)
        };
        reconcile::Invoice {
            id: invoice.id.as_uuid(),
            status: invoice.status.as_str().to_owned(),
            amount: amount(),
            paid_by: of_invoice(payment::Status::Succeeded)
                .map(|payment| payment.id.as_uuid())
                .collect(),
            open: i64::try_from(of_invoice(payment::Status::Requested).count()).unwrap(),
        }
    }

    fn ledger_row(&self, row: &crate::payment_provider::Row) -> reconcile::Entry {
        let status = match row.ending.as_ref().map(|ending| ending.settlement.status) {
            None => Status::Open,
            Some(OutcomeStatus::Succeeded) => Status::Succeeded,
            Some(OutcomeStatus::Declined) => Status::Declined,
        };
        let id = row.payment_id.as_uuid();
        reconcile::Entry {
            id,
            invoice: row.invoice_id.as_uuid(),
            status,
            amount: amount(),
            reason: reason(status),
            reference: (status != Status::Open).then(|| reference(id)),
            by_hand: self.by_hand.contains(&row.payment_id),
            age: Duration::ZERO,
        }
    }
}

/// The model is about states: every amount is the same, and so are the words about an ending.
fn amount() -> Money {
    Money::parse("12.15", "EUR").unwrap()
}

fn reason(status: Status) -> Option<String> {
    (status == Status::Declined).then(|| "refused".to_owned())
}

fn reference(key: Uuid) -> String {
    format!("bank-{key}")
}

fn payment_row(payment: &crate::invoice_app::Payment) -> reconcile::Payment {
    let status = Status::try_new(payment.status.as_str(), "requested").unwrap();
    let id = payment.id.as_uuid();
    reconcile::Payment {
        id,
        invoice: payment.invoice_id.as_uuid(),
        status,
        amount: Some(amount()),
        reason: reason(status),
        reference: (status != Status::Open).then(|| reference(id)),
        age: Duration::ZERO,
    }
}

fn charge_row(charge: &crate::bank::Charge) -> reconcile::Charge {
    reconcile::Charge {
        key: charge.key,
        status: match charge.answer {
            Answer::Succeeded { .. } => Status::Succeeded,
            Answer::Declined { .. } => Status::Declined,
            Answer::Pending => Status::Open,
        },
        amount: amount(),
        reference: reference(charge.key),
        age: Duration::ZERO,
    }
}

fn settled(status: payment::Status) -> Option<OutcomeStatus> {
    match status {
        payment::Status::Requested => None,
        payment::Status::Succeeded => Some(OutcomeStatus::Succeeded),
        payment::Status::Declined => Some(OutcomeStatus::Declined),
    }
}
