//! `local-stack invoices|import|pay`: what recipes do with the invoices of the running stack.

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use local_stack::Result;
use serde_json::Value;

use super::{client::Client, progress};

/// Shows at most this many invoices; a table of more is of no use to anybody.
const SHOWN: usize = 50;

pub(crate) async fn invoices() -> Result<ExitCode> {
    let invoices = Client::of_running_stack()?.invoices(&[("limit", "1000")]).await?;
    print!("{}", table(invoices.get(..SHOWN).unwrap_or(&invoices)));
    if let Some(more) = invoices.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("... and {more} more, or even more than that");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn pay() -> Result<ExitCode> {
    let answer = progress::pay(&Client::of_running_stack()?).await?;
    let count = |name| progress::count(&answer, name);
    println!(
        "requested {}, paid {}, declined {}, pending {}",
        count("requested"),
        count("paid"),
        count("declined"),
        count("pending")
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn import(path: &Path) -> Result<ExitCode> {
    let client = Client::of_running_stack()?;
    let all = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let told = Arc::new(AtomicU64::new(0));
    let importing = client.import_file(path, Arc::clone(&told));
    let words = |elapsed| progress::sent(told.load(Ordering::Relaxed), all, elapsed);
    let answer = progress::during(importing, words).await?;
    let rejected = progress::count(&answer, "rejected_total");
    println!(
        "created {}, rejected {rejected}",
        progress::count(&answer, "created")
    );
    let lines = answer.get("rejected").and_then(Value::as_array);
    for line in lines.into_iter().flatten().take(SHOWN) {
        println!("  {line}");
    }
    Ok(if rejected == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Invoices as aligned lines under a headline.
pub(crate) fn table(invoices: &[Value]) -> String {
    let text = |invoice: &Value, pointer: &str| {
        invoice
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    let rows: Vec<[String; 5]> = invoices
        .iter()
        .map(|invoice| {
            [
                text(invoice, "/number"),
                text(invoice, "/amount/value"),
                text(invoice, "/amount/currency"),
                text(invoice, "/status"),
                text(invoice, "/last_payment/id"),
            ]
        })
        .collect();
    let width = |name: &str, column: fn(&[String; 5]) -> &String| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .chain([name.len()])
            .max()
            .unwrap_or_default()
    };
    let (number, value, status) = (
        width("invoice", |row| &row[0]),
        width("amount", |row| &row[1]),
        width("status", |row| &row[3]),
    );
    let mut lines = vec![format!(
        "{:<number$}  {:>value$}      {:<status$}  payment\n",
        "invoice", "amount", "status"
    )];
    lines.extend(
        rows.iter()
            .map(|[n, v, c, s, p]| format!("{n:<number$}  {v:>value$} {c}  {s:<status$}  {p}\n")),
    );
    lines.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_lines_up_and_says_what_is_missing() {
        let invoices = [
            json!({"number": "I1", "amount": {"value": "12.15", "currency": "EUR"}, "status": "paid",
                   "last_payment": {"id": "p1"}}),
            json!({"number": "I-1000", "amount": {"value": "4000.01", "currency": "GBP"}, "status": "unpaid",
                   "last_payment": null}),
        ];
        let expected = "\
invoice   amount      status  payment
I1         12.15 EUR  paid    p1
I-1000   4000.01 GBP  unpaid  -
";
        assert_eq!(table(&invoices), expected);
    }
}
