//! What a restore lost for good, which the check must name and nobody can heal; and everything else that it names, which is wrong.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::SystemTime,
};

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{plan::Database, restores::Restores, world::World};
use acceptance::{Report, Result};
use bank_simulator::{Event, Record};
use reconcile::{BankBooks, Charge, Finding, Kind, Options, Status, Sums};

/// The reason of a letter about a payment that invoice-app does not know.
const NEVER_REQUESTED: &str = "conflict: this payment was never requested";

/// Which book has lost a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LostBy {
    InvoiceApp,
    Ledger,
    Both,
}

/// What the check found, told apart.
#[derive(Debug, Default)]
pub(super) struct Losses {
    payments: HashMap<Uuid, LostBy>,
    /// Letters about payments that were paid again, or are lost.
    letters: usize,
    /// Numbers charged once more under new ids, since nobody remembered the first charge but the bank.
    charged_again: usize,
    /// What no restore explains.
    pub(super) complaints: Vec<String>,
}

/// What the books have about one payment.
#[derive(Default)]
struct Traces {
    /// When it was settled in invoice-app's books, if it is there.
    #[expect(
        clippy::option_option,
        reason = "a payment that is there may have no time yet"
    )]
    payment: Option<Option<OffsetDateTime>>,
    entry: Option<Entry>,
    charge: Option<Charge>,
}

#[derive(sqlx::FromRow)]
struct Entry {
    payment_id: Uuid,
    invoice_id: Uuid,
    status: String,
    requested_at: OffsetDateTime,
}

/// The check, and its findings told apart.
pub(super) async fn check(world: &World, restores: &Restores) -> Result<(Report, Losses)> {
    let stack = world.system.stack();
    let (invoices, payments) = (stack.invoice_database_url(), stack.payment_database_url());
    let charges = world.bank.charges()?;
    let mut findings: Vec<Finding> = Vec::new();
    let mut report = reconcile::check(
        &invoices,
        &payments,
        BankBooks::Record(charges.clone()),
        Options::AT_REST,
        &mut |finding: &Finding| findings.push(finding.clone()),
    )
    .await?;
    let mut invoices = PgConnection::connect(&invoices).await?;
    let mut payments = PgConnection::connect(&payments).await?;
    let ids: Vec<Uuid> = findings.iter().filter_map(|finding| finding.payment).collect();
    let traces = traces(&ids, &mut invoices, &mut payments, charges).await?;
    let payable = payable(&traces, &mut invoices).await?;
    let mut losses = Losses::default();
    for finding in findings {
        let traces = finding.payment.and_then(|id| traces.get(&id));
        match traces.and_then(|traces| lost_by(traces, restores, &payable)) {
            Some(by) if finding.kind == Kind::Missing => {
                losses.payments.extend(finding.payment.map(|id| (id, by)));
            }
            // The sums are looked at below.
            _ if finding.payment.or(finding.invoice).is_none() => {}
            _ => losses.complaints.push(finding.to_string()),
        }
    }
    losses.add_to_sums(&mut report, &traces);
    losses.complaints.extend(report.sums.differences());
    losses.numbers(&world.bank.record()?);
    losses.letters(restores, &mut invoices, &mut payments).await?;
    Ok((report, losses))
}

async fn traces(
    ids: &[Uuid],
    invoices: &mut PgConnection,
    payments: &mut PgConnection,
    charges: Vec<Charge>,
) -> Result<HashMap<Uuid, Traces>> {
    let mut traces: HashMap<Uuid, Traces> = ids.iter().map(|id| (*id, Traces::default())).collect();
    let rows: Vec<(Uuid, Option<OffsetDateTime>)> =
        sqlx::query_as("select id, settled_at from payments where id = any($1)")
            .bind(ids)
            .fetch_all(invoices)
            .await?;
    for (id, settled_at) in rows {
        traces.entry(id).or_default().payment = Some(settled_at);
    }
    let rows: Vec<Entry> = sqlx::query_as(
        "select payment_id, invoice_id, status, requested_at from ledger where payment_id = any($1)",
    )
    .bind(ids)
    .fetch_all(payments)
    .await?;
    for entry in rows {
        let traces = traces.entry(entry.payment_id).or_default();
        traces.entry = Some(entry);
    }
    for charge in charges {
        if let Some(traces) = traces.get_mut(&charge.key) {
            traces.charge = Some(charge);
        }
    }
    Ok(traces)
}

/// Those of the invoices that paying again would heal.
async fn payable(traces: &HashMap<Uuid, Traces>, invoices: &mut PgConnection) -> Result<HashSet<Uuid>> {
    let entries = traces.values().filter_map(|traces| traces.entry.as_ref());
    let named: Vec<Uuid> = entries.map(|entry| entry.invoice_id).collect();
    let payable = sqlx::query_scalar(
        "select id from invoices where id = any($1) and status <> 'void' and not exists
             (select from payments where invoice_id = invoices.id and payments.status = 'succeeded')",
    );
    let payable: Vec<Uuid> = payable.bind(named).fetch_all(invoices).await?;
    Ok(payable.into_iter().collect())
}

/// `None` if no restore explains it.
fn lost_by(traces: &Traces, restores: &Restores, payable: &HashSet<Uuid>) -> Option<LostBy> {
    let charged = traces.charge.as_ref().map(|charge| charge.status);
    match (traces.payment, &traces.entry) {
        (None, Some(entry)) => {
            let told = entry.status != "succeeded" || charged == Some(Status::Succeeded);
            let forgotten = restores.forgot(Database::Invoices, entry.requested_at.into());
            (told && forgotten && !payable.contains(&entry.invoice_id)).then_some(LostBy::InvoiceApp)
        }
        (Some(Some(settled_at)), None) => {
            let forgotten = restores.forgot(Database::Payments, settled_at.into());
            (charged.is_some() && forgotten).then_some(LostBy::Ledger)
        }
        (None, None) => {
            let at = SystemTime::now() - traces.charge.as_ref()?.age;
            restores.forgot_charge(at).then_some(LostBy::Both)
        }
        _ => None,
    }
}

impl Losses {
    /// With what was lost, the books must add up.
    fn add_to_sums(&self, report: &mut Report, traces: &HashMap<Uuid, Traces>) {
        for (id, by) in &self.payments {
            let charge = traces.get(id).and_then(|traces| traces.charge.as_ref());
            let Some(charge) = charge.filter(|charge| charge.status == Status::Succeeded) else {
                continue;
            };
            let amount = i128::from(charge.amount.minor_units());
            let sums: &mut Sums = report.sums.of(charge.amount.currency());
            if *by != LostBy::Ledger {
                sums.invoices += amount;
                sums.payments += amount;
            }
            if *by != LostBy::InvoiceApp {
                sums.ledger += amount;
            }
        }
    }

    /// A number is charged once, under whatever id, unless nobody but the bank remembers that.
    fn numbers(&mut self, record: &Record) {
        let mut charged: BTreeMap<&str, HashSet<Uuid>> = BTreeMap::new();
        for event in record.events() {
            if let Event::Charge {
                key, invoice, status, ..
            } = event
                && status == "succeeded"
            {
                charged.entry(invoice).or_default().insert(*key);
            }
        }
        for (number, keys) in charged.into_iter().filter(|(_, keys)| keys.len() > 1) {
            let is_known = |key: &&Uuid| self.payments.get(*key) != Some(&LostBy::Both);
            if keys.iter().filter(is_known).count() > 1 {
                let complaint = format!("invoice number {number} was charged under {keys:?}");
                self.complaints.push(complaint);
            } else {
                self.charged_again += 1;
            }
        }
    }

    /// An outcome may arrive when its payment is forgotten. It is paid again, or lost, and the letter can be discarded.
    async fn letters(
        &mut self,
        restores: &Restores,
        invoices: &mut PgConnection,
        payments: &mut PgConnection,
    ) -> Result<()> {
        const LETTERS: &str = "select reason, body, received_at from dead_letters where resolved_at is null";
        type Letter = (String, Vec<u8>, OffsetDateTime);
        let of_provider: Vec<Letter> = sqlx::query_as(LETTERS).fetch_all(payments).await?;
        let of_app: Vec<Letter> = sqlx::query_as(LETTERS).fetch_all(&mut *invoices).await?;
        let complaint = |reason: &str, body: &[u8]| {
            let body = String::from_utf8_lossy(body);
            format!("a dead letter: {reason}: {body}")
        };
        for (reason, body, _) in of_provider {
            self.complaints.push(complaint(&reason, &body));
        }
        for (reason, body, received_at) in of_app {
            let outcome: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let payment: Option<Uuid> = acceptance::client::text(&outcome, "/payment_id").parse().ok();
            let asked_again: bool = sqlx::query_scalar("select exists (select from payments where id = $1)")
                .bind(payment)
                .fetch_one(&mut *invoices)
                .await?;
            let is_lost = payment.is_some_and(|payment| self.payments.contains_key(&payment));
            if reason == NEVER_REQUESTED
                && restores.went_back_before(Database::Invoices, received_at.into())
                && (asked_again || is_lost)
            {
                self.letters += 1;
            } else {
                self.complaints.push(complaint(&reason, &body));
            }
        }
        Ok(())
    }

    /// In words.
    pub(super) fn facts(&self) -> String {
        let by = |book| self.payments.values().filter(|by| **by == book).count();
        format!(
            "lost by a restore, and named by the check: {} payments by invoice-app, {} by the ledger, {} by both ({} numbers \
             charged again under new ids); {} letters about forgotten payments",
            by(LostBy::InvoiceApp),
            by(LostBy::Ledger),
            by(LostBy::Both),
            self.charged_again,
            self.letters
        )
    }
}
