//! Follows the connection: one log line a change, metrics, and the `Link` that everything else looks at.

use std::{sync::atomic::Ordering, time::Duration};

use async_nats::{ClientError, Event, ServerError, connection::State};
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};

use super::Link;
use crate::{metrics, trouble::Trouble};

/// The client drops events when its queue of them is full (a flood of permission violations): its state is read as well.
const RECHECK: Duration = Duration::from_millis(500);

/// Runs until the connection is closed or nobody holds it any more.
pub(super) async fn run(
    client: async_nats::Client,
    url: String,
    mut events: mpsc::UnboundedReceiver<Event>,
    sender: watch::Sender<Link>,
) {
    let mut recheck = tokio::time::interval(RECHECK);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = Watcher {
        client,
        url,
        sender,
        trouble: Trouble::default(),
    };
    tracing::info!(nats.url = %watcher.url, "connecting to NATS");
    loop {
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(Event::Closed) => break,
                Some(event) => watcher.observe(event),
                None => {
                    // Whoever waits for the link sees it end for good, and takes the process down.
                    tracing::error!("the NATS client ended by itself");
                    break;
                }
            },
            () = watcher.sender.closed() => return,
            _ = recheck.tick() => watcher.set(watcher.client.connection_state() == State::Connected),
        }
    }
    watcher.set(false);
}

struct Watcher {
    client: async_nats::Client,
    url: String,
    sender: watch::Sender<Link>,
    trouble: Trouble,
}

impl Watcher {
    fn observe(&mut self, event: Event) {
        match event {
            Event::Connected => self.set(true),
            Event::Disconnected => self.set(false),
            Event::ServerError(error) => self.server_error(&error),
            Event::ClientError(ClientError::Other(error)) => self.failure(&error),
            Event::ClientError(error) => self.failure(&error.to_string()),
            Event::SlowConsumer(subscription) => {
                metrics::nats_error("slow_consumer");
                tracing::warn!(
                    nats.subscription = subscription,
                    "messages from NATS were dropped: read too slowly"
                );
            }
            Event::LameDuckMode => tracing::info!("the NATS server is about to stop; moving to another one"),
            Event::Draining | Event::Closed => {}
        }
    }

    fn set(&mut self, connected: bool) {
        let epoch = self.client.statistics().connects.load(Ordering::Relaxed);
        let link = Link { connected, epoch };
        let before = self.sender.send_replace(link);
        if before == link {
            return;
        }
        metrics::nats_connected(connected);
        if before.connected && connected {
            // A disconnect whose event was lost, or which was over before it was looked at.
            tracing::warn!(nats.epoch = epoch, "reconnected to NATS");
        } else if connected {
            self.trouble.is_over();
            let server = self.client.server_info();
            tracing::info!(nats.url = %self.url, nats.server = server.server_name, nats.version = server.version,
                nats.epoch = epoch, "connected to NATS");
        } else if before.connected {
            tracing::warn!(nats.url = %self.url, "disconnected from NATS; reconnecting");
        }
    }

    /// Each failed attempt to connect arrives here: one line while the reason stays the same.
    fn failure(&mut self, error: &str) {
        if self.trouble.is_news(error) {
            metrics::nats_error("connect");
            tracing::warn!(nats.url = %self.url, error, "could not connect to NATS; trying again until it works");
        }
    }

    fn server_error(&mut self, error: &ServerError) {
        let text = match error {
            ServerError::AuthorizationViolation => return self.failure("the NKEY was refused"),
            ServerError::SlowConsumer(_) => error.to_string(),
            ServerError::Other(text) => text.clone(),
        };
        let Some(subject) = violated_subject(&text) else {
            metrics::nats_error("server");
            tracing::warn!(error = text, "the NATS server reported an error");
            return;
        };
        metrics::nats_error("permission");
        tracing::error!(
            nats.subject = subject,
            error = text,
            "NATS refused a subject: the server's permissions do not fit this service"
        );
    }
}

/// The subject in `Permissions Violation for Publish to "x"`.
fn violated_subject(text: &str) -> Option<&str> {
    if !text.to_ascii_lowercase().contains("permissions violation") {
        return None;
    }
    text.split('"').nth(1).or(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_violation_names_its_subject() {
        let text = r#"Permissions Violation for Publish to "pay.v1.outcome.succeeded""#;
        assert_eq!(violated_subject(text), Some("pay.v1.outcome.succeeded"));
        assert_eq!(violated_subject("Stale Connection"), None);
    }
}
