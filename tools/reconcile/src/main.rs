//! `reconcile`: the check for operators. Reads both databases, changes nothing, and tells which payments do not agree.

mod running_stack;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use reconcile::{BankBooks, Error, Finding, Options, Report, Result};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};

const EXAMPLES: &str = "Examples:
  reconcile
  reconcile --older-than 1h --no-bank
  reconcile --invoices \"$INVOICE_DATABASE_URL\" --payments \"$PAYMENT_DATABASE_URL\" --no-bank
  reconcile --bank-record statement.ndjson";

/// Compares invoices, payments, the provider's ledger and the bank's charges, payment by payment and in sums. Exits with
/// 0 when all agree, 1 when anything does not, 2 when it could not look.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// invoice-app's database, as a URL; without it, that of the running stack.
    #[arg(long, value_name = "URL")]
    invoices: Option<String>,
    /// payment-provider's database, likewise.
    #[arg(long, value_name = "URL")]
    payments: Option<String>,
    /// A file with the password for the first, which then stands in no list of processes.
    #[arg(long, value_name = "FILE", requires = "invoices")]
    invoices_password_file: Option<PathBuf>,
    /// Likewise for the second.
    #[arg(long, value_name = "FILE", requires = "payments")]
    payments_password_file: Option<PathBuf>,
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
    let invoices = with_password(invoices, arguments.invoices_password_file.as_deref())?;
    let payments = with_password(payments, arguments.payments_password_file.as_deref())?;
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
    let running = running_stack::env()?;
    let of_running_stack = |name: &str| {
        let url = running.get(name).cloned();
        url.ok_or_else(|| Error::new(format!("the running stack's env lacks {name}")))
    };
    Ok((
        invoices.map_or_else(|| of_running_stack("INVOICE_DATABASE_URL"), Ok)?,
        payments.map_or_else(|| of_running_stack("PAYMENT_DATABASE_URL"), Ok)?,
    ))
}

/// The password in the file wins over the URL's.
fn with_password(url: String, file: Option<&Path>) -> Result<String> {
    let Some(file) = file else { return Ok(url) };
    let password = std::fs::read_to_string(file)
        .map_err(|error| Error::new(format!("the password in {}: {error}", file.display())))?;
    let options: PgConnectOptions = url.parse()?;
    let options = options.password(password.trim_end_matches(['\r', '\n']));
    Ok(options.to_url_lossy().into())
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
    fn passwords_in_files_win_whatever_is_in_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "p@ss/w%20rd:\n").unwrap();
        let url =
            "postgres://reconcile:other@db.example.net:5433/invoices?sslmode=verify-full&sslrootcert=/ca.crt";
        let with = with_password(url.to_owned(), Some(file.path())).unwrap();
        let options: PgConnectOptions = with.parse().unwrap();
        assert_eq!(options.get_host(), "db.example.net");
        assert_eq!(options.get_database(), Some("invoices"));
        assert!(
            with.contains("sslmode=verify-full") && with.contains("ca.crt"),
            "{with}"
        );
        let again = options.clone().password("p@ss/w%20rd:");
        assert_eq!(options.to_url_lossy(), again.to_url_lossy());
        assert_eq!(with_password(url.to_owned(), None).unwrap(), url);
        let nowhere = with_password(url.to_owned(), Some(Path::new("/nowhere"))).unwrap_err();
        assert!(nowhere.to_string().contains("/nowhere"));
    }

    #[test]
    fn examples_in_help_can_be_typed() {
        let examples: Vec<&str> = EXAMPLES.lines().skip(1).collect();
        assert!(examples.len() > 2, "{examples:?}");
        for example in examples {
            let parsed = Arguments::try_parse_from(example.split_whitespace());
            assert!(parsed.is_ok(), "{example:?}: {}", parsed.err().unwrap());
        }
    }

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
