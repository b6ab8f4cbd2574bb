//! `local-stack nats-sub`: prints the messages of the running stack, where the `nats` command is not installed.

use std::process::ExitCode;

use futures_util::StreamExt;
use local_stack::{Error, Result, StackOptions, User, read_env};

use super::shutdown::Shutdown;

pub(crate) async fn run(subject: &str) -> Result<ExitCode> {
    let mut shutdown = Shutdown::try_new()?;
    let env = read_env(&StackOptions::directory_from_env())?;
    let value = |name: &str| {
        env.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| Error::Usage(format!("the stack's env lacks {name}")))
    };
    let client = local_stack::connect_nats(
        value("NATS_URL")?,
        value("NATS_CA")?.as_ref(),
        value("NATS_NKEY_DEBUG")?.as_ref(),
        User::Debug,
    )
    .await?;
    let nats =
        |error: &dyn std::fmt::Display| Error::Nats(format!("could not subscribe to {subject}: {error}"));
    let mut messages = client
        .subscribe(subject.to_owned())
        .await
        .map_err(|error| nats(&error))?;
    client.flush().await.map_err(|error| nats(&error))?;
    eprintln!("listening on {subject} at {}; Ctrl-C ends", value("NATS_URL")?);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => print(&message),
                None => return Ok(ExitCode::SUCCESS),
            },
            () = shutdown.requested() => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn print(message: &async_nats::Message) {
    println!("{}", message.subject);
    if let Some(headers) = &message.headers {
        for (name, values) in headers.iter() {
            for value in values {
                println!("  {name}: {value}");
            }
        }
    }
    println!("  {}", String::from_utf8_lossy(&message.payload));
}
