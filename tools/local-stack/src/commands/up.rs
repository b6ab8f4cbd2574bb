//! `local-stack up`: the stack, empty and quiet, until it is told to end.

use std::{process::ExitCode, sync::Arc, time::Duration};

use local_stack::{Result, Stack, StackOptions, Supervisor, quoted_path};

use super::{progress, shutdown::Shutdown};
use crate::control_room::ControlRoom;

pub(crate) async fn run() -> Result<ExitCode> {
    let mut shutdown = Shutdown::try_new()?;
    let Some(stack) = start(StackOptions::from_env()?, &mut shutdown).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    println!("The stack is up:");
    print_addresses(&stack);
    println!();
    print_next(&stack);
    println!("\nCtrl-C stops it.");
    stay(stack, None, &mut shutdown).await;
    Ok(ExitCode::SUCCESS)
}

/// `None` when it is told to end meanwhile; then everything is gone again.
pub(crate) async fn start(options: StackOptions, shutdown: &mut Shutdown) -> Result<Option<Arc<Stack>>> {
    eprintln!("Starting Postgres, NATS, invoice-app and payment-provider ...");
    let begun = options.progress.subscribe();
    let words = |elapsed: Duration| format!("waiting for {}, {} s", *begun.borrow(), elapsed.as_secs());
    // Large, since it starts everything.
    let starting = Box::pin(Stack::start(options));
    tokio::select! {
        stack = progress::during(starting, words) => Ok(Some(Arc::new(stack?))),
        () = shutdown.requested() => Ok(None),
    }
}

/// Keeps the stack running until a signal; a second one ends the wait for good order.
pub(crate) async fn stay(stack: Arc<Stack>, room: Option<ControlRoom>, shutdown: &mut Shutdown) {
    let supervisor = Supervisor::new(Arc::clone(&stack));
    shutdown.requested().await;
    eprintln!("Stopping ...");
    if let Some(room) = room {
        room.close().await;
    }
    tokio::select! {
        () = supervisor.stop() => (),
        () = shutdown.requested() => stack.kill(),
    }
}

pub(crate) fn print_addresses(stack: &Stack) {
    println!("  invoices            {}/invoices", stack.invoice_app().url());
    println!(
        "  health and metrics  {}/metrics",
        stack.invoice_app().admin_url()
    );
    println!(
        "                      {}/metrics",
        stack.payment_provider().admin_url()
    );
    println!(
        "  NATS                {} (monitoring: {})",
        stack.nats_servers().url(),
        stack.nats().monitor_url()
    );
    println!("  databases           {}", stack.invoice_database_url());
    println!("                      {}", stack.payment_database_url());
    println!(
        "  logs                {}",
        stack.directory().join("logs").display()
    );
    println!(
        "  all of this, to be sourced by a shell: {}",
        quoted_path(&stack.directory().join("env"))
    );
}

pub(crate) fn print_next(stack: &Stack) {
    let url = stack.invoice_app().url();
    let token = if stack
        .invoice_app()
        .options()
        .settings
        .get("auth.mode")
        .is_some_and(|mode| mode == "token")
    {
        r#" -H "Authorization: Bearer $STACK_TOKEN""#
    } else {
        ""
    };
    let keys = stack.nats().keys();
    println!("Try, in another terminal:");
    println!("  # another invoice; 4000.01 would be declined, 4000.06 times out at the bank after charging");
    println!("  curl -s{token} -H 'content-type: application/json' {url}/invoices \\");
    println!(r#"    -d '{{"amount":{{"value":"42.00","currency":"EUR"}}}}'"#);
    println!("  # pay everything that is unpaid, then look");
    println!("  curl -s{token} -X POST {url}/invoices/pay");
    println!("  curl -s{token} '{url}/invoices?status=paid'");
    println!("  # watch the messages: with the nats command, or without");
    println!("  nats sub 'pay.>' -s {} \\", stack.nats_servers().url());
    println!(
        "    --nkey {} \\",
        quoted_path(&keys.seed_file(local_stack::User::Debug))
    );
    println!("    --tlsca {}", quoted_path(&keys.ca_file()));
    let elsewhere = if std::env::var_os("STACK_DIR").is_some() {
        format!("STACK_DIR={} ", quoted_path(stack.directory()))
    } else {
        String::new()
    };
    println!("  {elsewhere}bin/just nats-sub");
}
