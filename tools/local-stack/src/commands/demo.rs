//! `local-stack demo`: three invoices from import to paid.

use std::{process::ExitCode, sync::Arc, time::Duration};

use local_stack::{Error, Result, Stack};
use serde_json::Value;

use super::{
    client::{Client, table},
    shutdown::Shutdown,
    up,
};

const INVOICES: [(&str, &str, &str); 3] = [
    ("I1", "12.15", "EUR"),
    ("I2", "10.25", "GBP"),
    ("I3", "66.13", "DKK"),
];
/// Paying takes milliseconds; this is for a machine that is very busy.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn run(once: bool) -> Result<ExitCode> {
    let mut shutdown = Shutdown::try_new()?;
    let Some(stack) = up::start(&mut shutdown).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let paid = tokio::select! {
        paid = pay_three(&stack) => paid,
        () = shutdown.requested() => {
            stack.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let all_paid = match paid {
        Ok(all_paid) => all_paid,
        Err(error) => {
            stack.stop().await;
            return Err(error);
        }
    };
    if once {
        stack.stop().await;
        return Ok(if all_paid {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    println!("\nThe stack is running:");
    up::print_addresses(&stack);
    println!();
    up::print_next(&stack);
    println!("\nCtrl-C stops it.");
    up::stay(Arc::clone(&stack), &mut shutdown).await;
    Ok(ExitCode::SUCCESS)
}

async fn pay_three(stack: &Stack) -> Result<bool> {
    let client = Client::try_new(stack.invoice_app().url())?;
    let lines = INVOICES.map(|(number, value, currency)| {
        let amount = serde_json::json!({"value": value, "currency": currency});
        serde_json::json!({"number": number, "amount": amount}).to_string()
    });
    println!("Importing I1, I2 and I3 ...");
    let imported = client.import(lines.join("\n")).await?;
    // A kept stack has them already.
    for rejected in imported
        .get("rejected")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        println!("  not imported: {rejected}");
    }
    println!("Paying every unpaid invoice ...\n");
    client.pay().await?;

    let invoices = match tokio::time::timeout(LIMIT, all_three_paid(&client)).await {
        Ok(invoices) => invoices?,
        Err(_) => three(&client).await?,
    };
    print!("{}", table(&invoices));
    let paid = invoices.iter().filter(|invoice| is_paid(invoice)).count();
    if paid < INVOICES.len() {
        println!(
            "\nOnly {paid} of {} are paid; the logs are in {}.",
            INVOICES.len(),
            stack.directory().join("logs").display()
        );
    }
    Ok(paid == INVOICES.len())
}

async fn all_three_paid(client: &Client) -> Result<Vec<Value>> {
    loop {
        let invoices = three(client).await?;
        if invoices.iter().all(is_paid) {
            return Ok(invoices);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn three(client: &Client) -> Result<Vec<Value>> {
    let mut invoices = Vec::new();
    for (number, ..) in INVOICES {
        let found = client.invoices(&[("number", number)]).await?.into_iter().next();
        invoices.push(found.ok_or_else(|| Error::Http(format!("invoice-app does not know {number}")))?);
    }
    Ok(invoices)
}

fn is_paid(invoice: &Value) -> bool {
    invoice.get("status").and_then(Value::as_str) == Some("paid")
}
