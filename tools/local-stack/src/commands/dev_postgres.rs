//! `local-stack dev-postgres`: both databases, migrated, for work on queries and for `sqlx-prepare`.

use std::process::ExitCode;

use local_stack::{Error, Postgres, PostgresOptions, Result, StackDirectory, free_port, workspace_root};

use super::shutdown::Shutdown;

pub(crate) async fn run(port: u16, command: &[String]) -> Result<ExitCode> {
    let mut shutdown = Shutdown::try_new()?;
    tokio::select! {
        result = start_and_serve(port, command) => result,
        () = shutdown.requested() => Ok(ExitCode::SUCCESS),
    }
}

async fn start_and_serve(port: u16, command: &[String]) -> Result<ExitCode> {
    let temporary = tempfile::tempdir().map_err(|source| Error::File {
        action: "make a directory in",
        path: std::env::temp_dir(),
        source,
    })?;
    let directory = StackDirectory::try_new(temporary.path(), false)?;
    let postgres = Postgres::start(PostgresOptions {
        directory: directory.path().to_owned(),
        log: directory.log("postgres"),
        port: if port == 0 { free_port() } else { port },
        durable: false,
        max_connections: 200,
    })
    .await?;
    let mut env = Vec::new();
    for (variable, database, owner) in [
        ("INVOICE_DATABASE_URL", "invoices", "invoice-app"),
        ("PAYMENT_DATABASE_URL", "payments", "payment-provider"),
    ] {
        postgres.create_database(database).await?;
        let migrations = workspace_root().join(owner).join("migrations");
        if migrations.is_dir() {
            postgres.migrate(database, &migrations).await?;
        }
        env.push((variable.to_owned(), postgres.url(database)));
    }
    let Some((program, arguments)) = command.split_first() else {
        for (variable, url) in &env {
            println!("{variable}={url}");
        }
        std::future::pending::<()>().await;
        return Ok(ExitCode::SUCCESS);
    };
    // Not a process of the stack: it shares our terminal, so Ctrl-C reaches it too.
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .envs(env)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|source| Error::Spawn {
            name: program.clone(),
            source,
        })?;
    postgres.stop().await;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
