//! Both services, NATS and the bank together; and what must be true of their books, at any time and in the end.

use std::{collections::HashMap, time::Duration};

use acceptance::check::{Books, Kind, Report, compare};
use invoice_app::{invoice, payment};
use payment_contract::{PaymentId, delivery::decode, messages::OutcomeStatus};
use payment_provider::gateway::Answer;

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
        let report = self.report();
        let unsound = report.findings.keys().any(|kind| *kind != Kind::Stuck);
        assert!(!unsound, "{report}\n{self:#?}");
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
        let report = self.report();
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

    fn report(&self) -> Report {
        let invoices = &self.invoice_app.invoices;
        let charges = self.bank.charges().iter().filter_map(|charge| {
            let status = match charge.answer {
                Answer::Succeeded { .. } => "succeeded",
                Answer::Declined { .. } => "declined",
                Answer::Pending => return None,
            };
            Some((charge.key, status.to_owned()))
        });
        let row = |row: &crate::payment_provider::Row| {
            let status = row
                .ending
                .as_ref()
                .map_or("started", |ending| ending.settlement.status.as_str());
            (
                row.payment_id.as_uuid(),
                row.invoice_id.as_uuid(),
                status.to_owned(),
            )
        };
        let payment = |payment: &crate::invoice_app::Payment| {
            let status = payment.status.as_str().to_owned();
            (payment.id.as_uuid(), payment.invoice_id.as_uuid(), status)
        };
        compare(&Books {
            invoices: invoices
                .iter()
                .map(|i| (i.id.as_uuid(), i.status.as_str().to_owned()))
                .collect(),
            payments: self.invoice_app.payments.iter().map(payment).collect(),
            ledger: self.payment_provider.ledger.iter().map(row).collect(),
            charges: charges.collect(),
        })
    }
}

fn settled(status: payment::Status) -> Option<OutcomeStatus> {
    match status {
        payment::Status::Requested => None,
        payment::Status::Succeeded => Some(OutcomeStatus::Succeeded),
        payment::Status::Declined => Some(OutcomeStatus::Declined),
    }
}
