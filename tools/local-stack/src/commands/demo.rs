//! `local-stack demo`: three invoices from import to paid.

use std::{
    io::IsTerminal as _,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use local_stack::{Error, Ports, Result, Stack, StackOptions};
use serde_json::Value;

use super::{client::Client, invoices::table, progress, shutdown::Shutdown, up};
use crate::control_room::ControlRoom;

const INVOICES: [(&str, &str, &str); 3] = [
    ("I1", "12.15", "EUR"),
    ("I2", "10.25", "GBP"),
    ("I3", "66.13", "DKK"),
];
/// Paying takes milliseconds; this is for a machine that is very busy.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn run(once: bool) -> Result<ExitCode> {
    let mut shutdown = Shutdown::try_new()?;
    let mut options = StackOptions::from_env()?;
    // The control room cuts them.
    options.links = !once;
    let Some(stack) = up::start(options, &mut shutdown).await? else {
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
    let room = open_control_room(&stack).await;
    println!("\nThe stack is running:");
    up::print_addresses(&stack);
    println!();
    up::print_next(&stack);
    if let Some(room) = &room {
        println!("\nThe control room, to watch it and to break it: {}", room.url());
        show(&room.url());
    }
    println!("\nCtrl-C stops it.");
    up::stay(Arc::clone(&stack), room, &mut shutdown).await;
    Ok(ExitCode::SUCCESS)
}

/// The demo does without when it cannot be opened.
async fn open_control_room(stack: &Arc<Stack>) -> Option<ControlRoom> {
    let port = match Ports::from_env() {
        Ok(ports) => ports.control_room,
        Err(_) => return None,
    };
    ControlRoom::open(Arc::clone(stack), port)
        .await
        .inspect_err(|error| eprintln!("There is no control room: {error}"))
        .ok()
}

/// In the browser of whoever sits at a desktop; where that fails, the address has been printed.
fn show(url: &str) {
    let at_a_desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    if std::io::stdout().is_terminal() && (at_a_desktop || cfg!(target_os = "macos")) {
        // Dropped without waiting: it may run for as long as the browser does.
        drop(
            Command::new(opener)
                .arg(url)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn(),
        );
    }
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
    progress::pay(&client).await?;

    let waiting =
        |elapsed: Duration| format!("waiting for I1, I2 and I3 to be paid, {} s", elapsed.as_secs());
    let all_three = tokio::time::timeout(LIMIT, all_three_paid(&client));
    let invoices = match progress::during(all_three, waiting).await {
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
