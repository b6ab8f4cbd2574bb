//! `reconcile`: the check for operators. Reads both databases, changes nothing, and tells which payments do not agree.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use local_stack::{StackOptions, read_env};
use reconcile::{BankBooks, Error, Finding, Options, Report, Result};

/// Compares invoices, payments, the provider's ledger and the bank's charges, payment by payment and in sums. Exits with
/// 0 when all agree, 1 when anything does not, 2 when it could not look.
#[derive(Debug, Parser)]
struct Arguments {
    /// invoice-app's database, as a URL; without it, that of the running stack.
    #[arg(long, value_name = "URL")]
    invoices: Option<String>,
    /// payment-provider's database, likewise.
    #[arg(long, value_name = "URL")]
    payments: Option<String>,
    /// A payment that has not ended is stuck once it is older than this, and in flight before: 90s, 15m, 2h.
    #[arg(long, value_name = "AGE", default_value = "15m", value_parser = parse_age)]
    older_than: Duration,
    /// The journal of a bank-simulator, in place of the simulated bank's books.
    #[arg(long, value_name = "FILE", conflicts_with = "no_bank")]
    bank_record: Option<PathBuf>,
    /// Nobody has the bank's books: believe the ledger.
    #[arg(long)]
    no_bank: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("reconcile: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<Report> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(reconcile(arguments))
}

async fn reconcile(arguments: Arguments) -> Result<Report> {
    let (invoices, payments) = database_urls(arguments.invoices, arguments.payments)?;
    let bank = match arguments.bank_record {
        Some(journal) => BankBooks::Record(reconcile::bank_record::read(&journal)?),
        None if arguments.no_bank => BankBooks::Unknown,
        None => BankBooks::Simulated,
    };
    let bank_is_simulated = matches!(bank, BankBooks::Simulated);
    let options = Options {
        older_than: arguments.older_than,
    };
    let mut tell = |finding: &Finding| println!("{finding}");
    let report = reconcile::check(&invoices, &payments, bank, options, &mut tell).await?;
    print!("{}", report.sums);
    println!("{}", report.summary());
    if bank_is_simulated && report.charges == 0 && !report.is_clean() {
        eprintln!(
            "reconcile: the simulated bank has no books here; where gateway.kind is http, use --bank-record or --no-bank"
        );
    }
    Ok(report)
}

fn database_urls(invoices: Option<String>, payments: Option<String>) -> Result<(String, String)> {
    if let (Some(invoices), Some(payments)) = (&invoices, &payments) {
        return Ok((invoices.clone(), payments.clone()));
    }
    let running = read_env(&StackOptions::directory_from_env())?;
    let of_running_stack = |name: &str| {
        let found = running.iter().find(|(variable, _)| variable == name);
        found
            .map(|(_, url)| url.clone())
            .ok_or_else(|| Error::new(format!("the running stack's env lacks {name}")))
    };
    Ok((
        invoices.map_or_else(|| of_running_stack("INVOICE_DATABASE_URL"), Ok)?,
        payments.map_or_else(|| of_running_stack("PAYMENT_DATABASE_URL"), Ok)?,
    ))
}

fn parse_age(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let seconds = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "a number with s, m or h, such as 90s or 15m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        assert_eq!(parse_age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_age("0"), Ok(Duration::ZERO));
        assert_eq!(parse_age("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(parse_age("2h"), Ok(Duration::from_hours(2)));
        for wrong in ["", "m", "-1s", "1d", "1.5h", "99999999999999999h"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
