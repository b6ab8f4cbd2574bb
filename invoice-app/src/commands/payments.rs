//! `payments list|show`: what invoice-app knows of payments, without SQL.

use std::process::ExitCode;

use payment_contract::PaymentId;
use serde_json::{Value, json};
use service::{
    BoxError, database,
    output::{self, amount, line, or_dash, time, value},
};
use time::OffsetDateTime;

use crate::{
    app::NAME,
    config::Config,
    store::{Store, inspection::Inspected},
};

/// What `payments --help` ends with.
pub const EXAMPLES: &str = "Examples:
  invoice-app payments list --open
  invoice-app payments list --limit 20 --json
  invoice-app payments show 01f1c2d3-0000-8000-8000-000000000001
  invoice-app payments skip-numbers 12000";

/// `payments …`, for clap.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lists payments, those of the newest invoices first; with --open those without an outcome, oldest first.
    List {
        /// Only those without an outcome.
        #[arg(long)]
        open: bool,
        /// At most so many.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
        /// For programs: a JSON list.
        #[arg(long)]
        json: bool,
    },
    /// Shows one payment whole.
    Show {
        /// The payment's id.
        payment_id: PaymentId,
        /// For programs: a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// After a restore: invoices without a number of their own get numbers after this one, unless they do already.
    SkipNumbers {
        /// The last number that may have been given: 12000 for I12000.
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        last: i64,
    },
}

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, BoxError> {
    let store = Store::new(database::pool(&config.database, NAME)?);
    match command {
        Command::List { open, limit, json } => {
            let payments = store.inspect_payments(open, limit).await?;
            output::show(
                json,
                || payments.iter().map(object).collect(),
                || table(&payments),
            );
            if i64::try_from(payments.len()).is_ok_and(|payments| payments == limit) {
                eprintln!("there may be more: raise --limit");
            }
        }
        Command::Show { payment_id, json } => {
            let payment = store.inspect_payment(payment_id).await?;
            let payment = payment.ok_or(format!("there is no payment {payment_id}"))?;
            output::show(json, || object(&payment), || fields(&payment));
        }
        Command::SkipNumbers { last } => {
            let given = store.skip_numbers(last).await?;
            output::print(&format!("the next number is after I{given}\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(payments: &[Inspected]) -> String {
    let heading = [
        "PAYMENT", "INVOICE", "NUMBER", "AMOUNT", "STATUS", "SENDS", "CREATED", "REASON",
    ];
    let rows = payments.iter().map(|payment| {
        [
            payment.id.to_string(),
            payment.invoice_id.to_string(),
            line(&payment.invoice_number),
            amount(payment.amount_minor, &payment.currency),
            payment.status.clone(),
            payment.sends.to_string(),
            time(payment.created_at),
            or_dash(payment.reason.as_deref().map(line)),
        ]
    });
    output::table(heading, rows)
}

fn fields(payment: &Inspected) -> String {
    let at = |at: Option<OffsetDateTime>| or_dash(at.map(time));
    let open = payment.settled_at.is_none();
    output::fields(&[
        ("payment", payment.id.to_string()),
        ("invoice", payment.invoice_id.to_string()),
        ("invoice number", line(&payment.invoice_number)),
        ("amount", amount(payment.amount_minor, &payment.currency)),
        ("attempt", payment.attempt.to_string()),
        ("status", payment.status.clone()),
        ("reason", or_dash(payment.reason.as_deref().map(line))),
        (
            "provider reference",
            or_dash(payment.provider_reference.as_deref().map(line)),
        ),
        ("batch", or_dash(payment.batch_id.map(|id| id.to_string()))),
        ("requested by", or_dash(payment.requested_by.clone())),
        ("sends", payment.sends.to_string()),
        ("last sent", at(payment.last_sent_at)),
        ("sent again", at(open.then_some(payment.next_send_at))),
        ("trace", or_dash(payment.traceparent.clone())),
        ("created", time(payment.created_at)),
        ("settled", at(payment.settled_at)),
    ])
}

fn object(payment: &Inspected) -> Value {
    let open = payment.settled_at.is_none();
    json!({
        "payment_id": payment.id,
        "invoice_id": payment.invoice_id,
        "invoice_number": payment.invoice_number,
        "amount": {"value": value(payment.amount_minor, &payment.currency), "currency": payment.currency},
        "attempt": payment.attempt,
        "status": payment.status,
        "reason": payment.reason,
        "provider_reference": payment.provider_reference,
        "batch_id": payment.batch_id,
        "requested_by": payment.requested_by,
        "sends": payment.sends,
        "last_sent_at": payment.last_sent_at.map(time),
        "next_send_at": open.then(|| time(payment.next_send_at)),
        "created_at": time(payment.created_at),
        "settled_at": payment.settled_at.map(time),
        "traceparent": payment.traceparent,
    })
}
