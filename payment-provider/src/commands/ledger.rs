//! `ledger list|show|resolve`.

use std::{process::ExitCode, time::Duration};

use clap::{Subcommand, ValueEnum};
use jetstream::{connection::Connection, publish::Publisher};
use payment_contract::{Currency, Money, PaymentId, messages::OutcomeStatus, timestamp::Display};
use tokio::time::timeout;

use super::resolve::{Decision, resolve};
use crate::{
    app::{self, Error, Parts},
    config::Config,
    outcomes::Outcomes,
    store::{Listed, Shown, Store},
};

/// How long a command waits for NATS.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest reason; it is shown in invoice-app too.
const LONGEST_REASON: usize = 200;

/// `ledger …`, for clap.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Lists the latest payments, newest first; with --open those that are not finished, oldest first.
    List {
        /// Only those whose result is not known.
        #[arg(long)]
        open: bool,
        /// At most so many.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Shows one payment whole, and what operators decided about it.
    Show {
        /// The payment's id.
        payment_id: PaymentId,
    },
    /// Ends an open payment by hand. Asks the bank first, and refuses what the bank contradicts.
    Resolve {
        /// The payment's id.
        payment_id: PaymentId,
        /// How it ended.
        status: Status,
        /// On what grounds: kept, and shown as the reason of a declined payment.
        #[arg(long, value_parser = reason)]
        reason: String,
        /// Who decides; kept. Without it $USER, or else the database user.
        #[arg(long)]
        by: Option<String>,
        /// The bank says nothing that proves it, and yet it is so. Recorded with the decision.
        #[arg(long)]
        force: bool,
    },
}

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// The money moved.
    Succeeded,
    /// No money moved.
    Declined,
}

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, Error> {
    let parts = Parts::try_new(config)?;
    match command {
        Command::List { open, limit } => list(&parts.store, open, limit).await?,
        Command::Show { payment_id } => show(&parts.store, payment_id).await?,
        Command::Resolve {
            payment_id,
            status,
            reason,
            by,
            force,
        } => {
            let status = match status {
                Status::Succeeded => OutcomeStatus::Succeeded,
                Status::Declined => OutcomeStatus::Declined,
            };
            let resolved_by = by
                .or_else(|| std::env::var("USER").ok())
                .filter(|by| !by.trim().is_empty());
            let decision = Decision {
                payment_id,
                status,
                reason,
                resolved_by,
                force,
            };
            resolve_and_publish(config, &parts, decision).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A connection that is up; an error when NATS is away.
pub(super) async fn connected(config: &Config) -> Result<Connection, Error> {
    let connection = app::connect(config).await?;
    let mut link = connection.link();
    let up = timeout(CONNECT, link.wait_for(|link| link.connected)).await;
    if matches!(up, Ok(Ok(_))) {
        Ok(connection)
    } else {
        Err("NATS is away".into())
    }
}

async fn resolve_and_publish(config: &Config, parts: &Parts, decision: Decision) -> Result<(), Error> {
    let resolved = resolve(parts, decision).await?;
    let outcome = &resolved.outcome;
    println!(
        "payment {} is {} now; asked first, the bank said: {}",
        outcome.payment_id,
        outcome.status.as_str(),
        resolved.bank_said
    );
    let published = match connected(config).await {
        Err(error) => Err(error),
        Ok(connection) => {
            let outcomes = Outcomes::new(Publisher::new(connection.clone()));
            let published = outcomes.publish(outcome, resolved.trace.as_ref()).await;
            connection.close(CONNECT).await;
            published.map_err(Error::from)
        }
    };
    match published {
        Ok(()) => println!("its outcome is published"),
        Err(error) => {
            println!("its outcome is not published yet ({error}): that happens when its request comes again");
        }
    }
    Ok(())
}

async fn list(store: &Store, open: bool, limit: i64) -> Result<(), Error> {
    let rows = if open {
        store.list_open(limit).await?
    } else {
        store.list_latest(limit).await?
    };
    println!(
        "{:36}  {:36}  {:>20}  {:9}  {:>5}  {:27}  REASON",
        "PAYMENT", "INVOICE", "AMOUNT", "STATUS", "TRIES", "CREATED"
    );
    for row in &rows {
        println!(
            "{:36}  {:36}  {:>20}  {:9}  {:>5}  {:27}  {}",
            row.payment_id.to_string(),
            row.invoice_id.to_string(),
            amount(row),
            row.status,
            row.tries,
            Display(row.created_at).to_string(),
            row.reason.as_deref().unwrap_or("-"),
        );
    }
    if i64::try_from(rows.len()).is_ok_and(|rows| rows == limit) {
        eprintln!("there may be more: raise --limit");
    }
    Ok(())
}

async fn show(store: &Store, payment_id: PaymentId) -> Result<(), Error> {
    let row = store
        .show(payment_id)
        .await?
        .ok_or(format!("there is no payment {payment_id} in the ledger"))?;
    for (name, value) in fields(&row) {
        println!("{name:18} {value}");
    }
    for resolved in store.resolutions(payment_id).await? {
        println!(
            "resolved           {} by {} at {}: {} (the bank had said: {})",
            resolved.status,
            resolved.resolved_by,
            Display(resolved.resolved_at),
            resolved.reason,
            resolved.bank_said,
        );
    }
    Ok(())
}

fn fields(row: &Shown) -> Vec<(&'static str, String)> {
    let listed = &row.listed;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let time = |time: Option<time::OffsetDateTime>| or_dash(time.map(|time| Display(time).to_string()));
    vec![
        ("payment", listed.payment_id.to_string()),
        ("invoice", listed.invoice_id.to_string()),
        ("invoice number", listed.invoice_number.escape_debug().to_string()),
        ("amount", amount(listed)),
        ("attempt", row.attempt.to_string()),
        ("status", listed.status.clone()),
        ("reason", or_dash(listed.reason.clone())),
        ("gateway reference", or_dash(row.gateway_reference.clone())),
        ("tries", listed.tries.to_string()),
        ("held until", time(row.leased_until)),
        ("trace", or_dash(row.traceparent.clone())),
        ("created", time(Some(listed.created_at))),
        ("updated", time(Some(row.updated_at))),
        ("settled", time(row.settled_at)),
    ]
}

fn amount(row: &Listed) -> String {
    let money = Currency::try_new(&row.currency)
        .and_then(|currency| Money::try_from_minor_units(row.amount_minor, currency));
    let value = money.map_or_else(|_| format!("{} minor units of", row.amount_minor), Money::value);
    format!("{value} {}", row.currency)
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) {
        return Err(format!("must be 1 to {LONGEST_REASON} characters on one line"));
    }
    Ok(text.to_owned())
}
