//! What a user of NATS may do.

use std::{path::Path, str::FromStr, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerError};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep, timeout_at},
};

/// After this long without a refusal, the server agreed. It refuses at once, so this is many times what it takes.
const SILENCE: Duration = Duration::from_secs(2);

/// How long to try to connect. A network takes a while to apply its policies to a pod that is new.
const CONNECTING: Duration = Duration::from_mins(1);
/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(500);

/// One thing to try.
#[derive(Clone, Debug)]
pub(crate) struct Try {
    kind: Kind,
    subject: String,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Publish,
    Subscribe,
}

impl FromStr for Try {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, subject) = text
            .split_once(':')
            .ok_or("must be publish:SUBJECT or subscribe:SUBJECT")?;
        let kind = match kind {
            "publish" => Kind::Publish,
            "subscribe" => Kind::Subscribe,
            _ => return Err(format!("{kind:?} is neither publish nor subscribe")),
        };
        Ok(Self {
            kind,
            subject: subject.to_owned(),
        })
    }
}

/// Tries one after another over one connection.
pub(crate) async fn run(url: &str, seed_file: &Path, ca_file: &Path, tries: &[Try]) -> Result<(), String> {
    // Nothing to do if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let seed =
        std::fs::read_to_string(seed_file).map_err(|error| format!("{}: {error}", seed_file.display()))?;
    let (told, mut refusals) = unbounded_channel();
    let deadline = Instant::now() + CONNECTING;
    let client = loop {
        let told = told.clone();
        let connecting = ConnectOptions::with_nkey(seed.trim().to_owned())
            .add_root_certificates(ca_file.to_owned())
            .require_tls(true)
            .event_callback(move |event| {
                let told = told.clone();
                async move {
                    if let Event::ServerError(ServerError::Other(text)) = event {
                        // The receiver is gone only when the program ends.
                        let _ = told.send(text);
                    }
                }
            })
            .connect(url);
        match connecting.await {
            Ok(client) => break client,
            Err(error) if Instant::now() > deadline => {
                return Err(format!("could not connect to {url}: {error}"));
            }
            Err(_) => sleep(PAUSE).await,
        }
    };
    for Try { kind, subject } in tries {
        let (word, refused) = match kind {
            Kind::Publish => ("publish", publish(&client, subject, &mut refusals).await?),
            Kind::Subscribe => ("subscribe", subscribe(&client, subject, &mut refusals).await?),
        };
        println!("{word}:{subject} {}", if refused { "refused" } else { "allowed" });
    }
    Ok(())
}

async fn publish(
    client: &Client,
    subject: &str,
    refusals: &mut UnboundedReceiver<String>,
) -> Result<bool, String> {
    let failed = |error: &dyn std::fmt::Display| format!("publish to {subject}: {error}");
    client
        .publish(subject.to_owned(), "probe".into())
        .await
        .map_err(|error| failed(&error))?;
    client.flush().await.map_err(|error| failed(&error))?;
    Ok(is_refused(refusals, subject).await)
}

async fn subscribe(
    client: &Client,
    subject: &str,
    refusals: &mut UnboundedReceiver<String>,
) -> Result<bool, String> {
    let failed = |error: &dyn std::fmt::Display| format!("subscribe to {subject}: {error}");
    // Held until the answer is in: dropping it would end the subscription.
    let _subscriber = client
        .subscribe(subject.to_owned())
        .await
        .map_err(|error| failed(&error))?;
    client.flush().await.map_err(|error| failed(&error))?;
    Ok(is_refused(refusals, subject).await)
}

/// A server says no, and says nothing when it agrees.
async fn is_refused(refusals: &mut UnboundedReceiver<String>, subject: &str) -> bool {
    let deadline = Instant::now() + SILENCE;
    while let Ok(Some(text)) = timeout_at(deadline, refusals.recv()).await {
        if text.to_lowercase().contains("permissions violation") && text.contains(subject) {
            return true;
        }
    }
    false
}
