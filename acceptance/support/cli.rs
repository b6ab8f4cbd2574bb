//! Runs the services' other commands as an operator would, configured like a running replica.

use std::process::{Output, Stdio};

use local_stack::{ServiceKind, ServiceOptions, built_binary};
use tokio::process::Command;

use crate::{Error, Result};

/// A command of a service's binary, with that replica's configuration in its environment.
pub fn command(options: &ServiceOptions, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(built_binary(options.kind.as_str())?);
    let prefix = options.kind.env_prefix();
    let mut set = |key: &str, value: &str| {
        command.env(
            format!("{prefix}{}", key.to_uppercase().replace('.', "__")),
            value,
        );
    };
    if options.kind == ServiceKind::InvoiceApp {
        set("http.listen", &format!("127.0.0.1:{}", options.http_port));
    }
    set("admin.listen", &format!("127.0.0.1:{}", options.admin_port));
    for (key, value) in &options.settings {
        set(key, value);
    }
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs it to its end.
pub async fn run(options: &ServiceOptions, args: &[&str]) -> Result<Output> {
    Ok(command(options, args)?.output().await?)
}

/// Runs it, and fails unless it exits with 0. Answers with what it printed.
pub async fn run_ok(options: &ServiceOptions, args: &[&str]) -> Result<String> {
    let output = run(options, args).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::new(format!(
        "{args:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )))
}
