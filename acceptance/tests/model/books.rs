//! The model's books, as the check reads them.

use std::{collections::HashSet, time::Duration};

use ::invoice_app::payment;
use futures_util::FutureExt as _;
use payment_contract::{Money, PaymentId, messages::OutcomeStatus};
use payment_provider::order::Answer;
use reconcile::{Books, Options, Report, Status};
use uuid::Uuid;

use crate::{bank::Charge, invoice_app, invoice_app::Invoice, ledger::Row, world::World};

/// The check, without what a restored ledger has lost, and the invoices paid by that.
pub(crate) fn report(world: &World, options: Options, lost: &HashSet<PaymentId>) -> Report {
    let app = &world.invoice_app;
    let left_out: HashSet<_> = app
        .payments
        .iter()
        .filter(|payment| payment.status == payment::Status::Succeeded && lost.contains(&payment.id))
        .map(|payment| payment.invoice_id)
        .collect();
    let keys: HashSet<Uuid> = lost.iter().map(|payment| payment.as_uuid()).collect();
    let books = Books {
        invoices: app
            .invoices
            .iter()
            .filter(|invoice| !left_out.contains(&invoice.id))
            .map(|invoice| invoice_row(app, invoice))
            .collect(),
        payments: app
            .payments
            .iter()
            .filter(|payment| !lost.contains(&payment.id))
            .map(payment_row)
            .collect(),
        ledger: world
            .payment_provider
            .ledger
            .rows
            .iter()
            .filter(|row| !lost.contains(&row.request.payment_id))
            .map(|row| ledger_row(row, &world.by_hand))
            .collect(),
        charges: world
            .bank
            .charges()
            .iter()
            .filter(|charge| !keys.contains(&charge.key))
            .map(charge_row)
            .collect(),
    };
    reconcile::compare(books, options)
        .now_or_never()
        .unwrap()
        .unwrap()
}

fn invoice_row(app: &invoice_app::InvoiceApp, invoice: &Invoice) -> reconcile::Invoice {
    let of_invoice = |status| {
        let payments = app.payments.iter();
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

fn ledger_row(row: &Row, by_hand: &HashSet<PaymentId>) -> reconcile::Entry {
    let status = match row.ending.as_ref().map(|ending| ending.settlement.status) {
        None => Status::Open,
        Some(OutcomeStatus::Succeeded) => Status::Succeeded,
        Some(OutcomeStatus::Declined) => Status::Declined,
    };
    let id = row.request.payment_id.as_uuid();
    reconcile::Entry {
        id,
        invoice: row.request.invoice_id.as_uuid(),
        status,
        amount: amount(),
        reason: reason(status),
        reference: (status != Status::Open).then(|| reference(id)),
        by_hand: by_hand.contains(&row.request.payment_id),
        age: Duration::ZERO,
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

fn payment_row(payment: &invoice_app::Payment) -> reconcile::Payment {
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

fn charge_row(charge: &Charge) -> reconcile::Charge {
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
