//! A reader of events that comes back wherever it is cut off, and remembers what it was told.

use std::time::Duration;

use serde_json::Value;

use crate::{Client, Error, Result};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// No comment or event for this long is a stream that hangs.
const SILENCE: Duration = Duration::from_secs(40);

/// An invoice's event, in short.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// Its id.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// To which invoice.
    pub subject: String,
}

/// What a reader has heard so far.
#[derive(Debug, Default)]
pub struct EventReader {
    last_id: Option<String>,
    unread: Vec<u8>,
    /// Every event of an invoice, in order.
    pub told: Vec<Told>,
}

impl EventReader {
    /// Connects once to know from where on it listens, and hangs up.
    pub async fn from_now_on(client: &Client) -> Result<Self> {
        let mut reader = Self::default();
        let mut stream = client.events("", None).await?.error_for_status()?;
        while reader.last_id.is_none() {
            let chunk = stream.chunk().await?;
            reader.take(&chunk.ok_or_else(|| Error::new("the stream ended at once"))?)?;
        }
        Ok(reader)
    }

    /// Reads until `done`, from one of the clients after the other, going on where it was cut off.
    pub async fn read_until(&mut self, clients: &[Client], done: impl Fn(&[Told]) -> bool) -> Result<()> {
        for client in clients.iter().cycle() {
            if done(&self.told) {
                break;
            }
            let mut stream = match client.events("", self.last_id.as_deref()).await {
                Ok(stream) if stream.status() == 200 => stream,
                Ok(refused) if !refused.status().is_server_error() => {
                    return Err(Error::new(format!("refused with {}", refused.status())));
                }
                Ok(_) | Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // What had come of an event that was cut off comes again.
            self.unread.clear();
            while let Ok(Some(chunk)) = tokio::time::timeout(SILENCE, stream.chunk()).await? {
                self.take(&chunk)?;
                if done(&self.told) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads everything that is kept, to its end.
    pub async fn everything(client: &Client) -> Result<Vec<Told>> {
        let mut reader = Self::default();
        let mut stream = client.events("?follow=false", None).await?.error_for_status()?;
        while let Some(chunk) = stream.chunk().await? {
            reader.take(&chunk)?;
        }
        Ok(reader.told)
    }

    fn take(&mut self, chunk: &[u8]) -> Result<()> {
        self.unread.extend(chunk);
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.unread.drain(..end + 2).collect();
            let (mut name, mut data) = ("", "");
            for (field, value) in std::str::from_utf8(&block)?
                .lines()
                .filter_map(|line| line.split_once(": "))
            {
                match field {
                    "event" => name = value,
                    "id" => self.last_id = Some(value.to_owned()),
                    "data" => data = value,
                    _ => {}
                }
            }
            if name == "invoice" {
                let event: Value = serde_json::from_str(data)?;
                let text = |name| {
                    event
                        .get(name)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                self.told.push(Told {
                    id: text("id"),
                    kind: text("type"),
                    subject: text("subject"),
                });
            }
        }
        Ok(())
    }
}
