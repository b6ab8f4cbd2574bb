//! invoice-app: its two tables with the rules that its statements keep, and its own functions over them.

use std::time::Duration;

use bytes::Bytes;
use invoice_app::{
    invoice,
    payment::{self, Conflict, Former, OutboxRequest, OutcomeEffect, settle},
};
use payment_contract::{InvoiceId, PaymentId, messages::PaymentOutcomeV1};
use time::OffsetDateTime;
use uuid::Uuid;

/// `sender.resend_after_s` and the longest pause between two sends.
const RESEND_AFTER: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

#[derive(Clone, Debug)]
pub(crate) struct Invoice {
    pub(crate) id: InvoiceId,
    pub(crate) number: String,
    pub(crate) status: invoice::Status,
    attempts: i32,
    last_payment: Option<PaymentId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) id: PaymentId,
    pub(crate) invoice_id: InvoiceId,
    pub(crate) attempt: i32,
    pub(crate) status: payment::Status,
    requested_at: Duration,
    sends: u32,
    next_send_at: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct InvoiceApp {
    pub(crate) invoices: Vec<Invoice>,
    pub(crate) payments: Vec<Payment>,
    /// Asked for and committed, with the sender, not sent: lost when the process dies.
    with_sender: Vec<OutboxRequest>,
    /// Outcomes that could not be applied.
    pub(crate) dead_letters: Vec<String>,
    copy: Option<Copy>,
    pub(crate) went_back: bool,
}

/// The database as it was.
#[derive(Clone, Debug)]
struct Copy {
    at: Duration,
    invoices: Vec<Invoice>,
    payments: Vec<Payment>,
}

impl InvoiceApp {
    pub(crate) fn new(invoices: usize) -> Self {
        let invoice = |n: usize| Invoice {
            // A payment's id has its attempt in the last bits.
            id: Uuid::from_u128((n as u128 + 1) << 16).into(),
            number: format!("I{n}"),
            status: invoice::Status::Unpaid,
            attempts: 0,
            last_payment: None,
        };
        Self {
            invoices: (0..invoices).map(invoice).collect(),
            ..Self::default()
        }
    }

    /// SQL: `store::paying`, one statement: of an unpaid invoice, locked, a payment is made, leased to this process.
    pub(crate) fn ask(&mut self, index: usize, now: Duration) {
        let Some(invoice) = self.invoices.get_mut(index) else {
            return;
        };
        if invoice.status != invoice::Status::Unpaid {
            return;
        }
        // SQL: the index `payments_one_live`.
        let live = |payment: &Payment| {
            payment.invoice_id == invoice.id
                && matches!(
                    payment.status,
                    payment::Status::Requested | payment::Status::Succeeded
                )
        };
        if self.payments.iter().any(live) {
            return;
        }
        invoice.status = invoice::Status::Pending;
        invoice.attempts += 1;
        // SQL: the function `payment_id`.
        let id = PaymentId::of(invoice.id, u16::try_from(invoice.attempts).unwrap());
        invoice.last_payment = Some(id);
        self.payments.push(Payment {
            id,
            invoice_id: invoice.id,
            attempt: invoice.attempts,
            status: payment::Status::Requested,
            requested_at: now,
            sends: 1,
            next_send_at: now + RESEND_AFTER,
        });
        self.with_sender
            .extend(self.payments.last().map(|payment| self.request(payment)));
    }

    /// What the sender had in flight, as messages.
    pub(crate) fn send(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.with_sender)
            .into_iter()
            .map(encoded)
            .collect()
    }

    /// SQL: `store::outbox::claim_due`: what is due is counted as sent, and put off for twice as long.
    pub(crate) fn sweep(&mut self, now: Duration) -> Vec<Bytes> {
        let is_due = |payment: &&mut Payment| {
            payment.status == payment::Status::Requested && payment.next_send_at <= now
        };
        for payment in self.payments.iter_mut().filter(is_due) {
            payment.next_send_at = now + (RESEND_AFTER * 2_u32.pow(payment.sends.min(12))).min(LONGEST_PAUSE);
            payment.sends += 1;
        }
        let sent =
            |payment: &&Payment| payment.status == payment::Status::Requested && payment.next_send_at > now;
        let requests = self
            .payments
            .iter()
            .filter(sent)
            .map(|payment| self.request(payment));
        requests.map(encoded).collect()
    }

    /// SQL: `store::nats_incarnation::compare_incarnation`: NATS has forgotten, so everything without an outcome is due.
    pub(crate) fn nats_forgot(&mut self, now: Duration) {
        for payment in &mut self.payments {
            payment.next_send_at = payment.next_send_at.min(now);
        }
    }

    pub(crate) fn die(&mut self) {
        self.with_sender.clear();
    }

    /// A copy of the database is put aside.
    pub(crate) fn back_up(&mut self, now: Duration) {
        self.copy = Some(Copy {
            at: now,
            invoices: self.invoices.clone(),
            payments: self.payments.clone(),
        });
    }

    pub(crate) fn copied_at(&self) -> Option<Duration> {
        self.copy.as_ref().map(|copy| copy.at)
    }

    /// The copy takes the database's place. The process goes on with what it has in flight.
    pub(crate) fn go_back(&mut self) {
        if let Some(copy) = self.copy.clone() {
            (self.invoices, self.payments) = (copy.invoices, copy.payments);
            self.went_back = true;
        }
    }

    /// Applies an outcome; true when its message is done with.
    pub(crate) fn take(&mut self, outcome: &PaymentOutcomeV1) {
        let found = self
            .payments
            .iter_mut()
            .find(|payment| payment.id == outcome.payment_id);
        let former = found.as_ref().map(|payment| Former {
            invoice_id: payment.invoice_id,
            status: payment.status,
        });
        let effect = settle(outcome, former.as_ref());
        // SQL: `store::settling::settle`: over a requested payment of the named invoice only, and the invoice only when it
        // is the invoice's latest payment.
        let mut applied = false;
        if let Some(payment) = found
            && payment.invoice_id == outcome.invoice_id
            && payment.status == payment::Status::Requested
        {
            applied = true;
            payment.status = outcome.status.into();
            let (id, status) = (payment.id, payment.status);
            let latest = |invoice: &&mut Invoice| invoice.last_payment == Some(id);
            if let Some(invoice) = self.invoices.iter_mut().find(latest) {
                invoice.status = match status {
                    payment::Status::Succeeded => invoice::Status::Paid,
                    payment::Status::Declined | payment::Status::Requested => invoice::Status::Unpaid,
                };
            }
        }
        assert_eq!(
            effect == OutcomeEffect::Applied,
            applied,
            "the rule and the statement agree about {outcome:?} over {former:?}"
        );
        if let OutcomeEffect::Conflict(conflict) = effect
            && !(conflict == Conflict::UnknownPayment && self.went_back)
        {
            self.dead_letters
                .push(format!("{}: {outcome:?}", conflict.as_str()));
        }
    }

    fn request(&self, payment: &Payment) -> OutboxRequest {
        let invoice = self
            .invoices
            .iter()
            .find(|invoice| invoice.id == payment.invoice_id);
        OutboxRequest {
            payment_id: payment.id,
            invoice_id: payment.invoice_id,
            invoice_number: invoice.unwrap().number.clone(),
            amount_minor: 1215,
            currency: "EUR".to_owned(),
            attempt: payment.attempt,
            send: payment.sends.cast_signed(),
            traceparent: None,
            requested_at: OffsetDateTime::UNIX_EPOCH + payment.requested_at,
        }
    }
}

fn encoded(request: OutboxRequest) -> Bytes {
    request.outgoing().unwrap().body
}
