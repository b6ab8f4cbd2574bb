//! What only monitoring tells: how many messages a stream holds, and how far they are delivered.

use local_stack::NatsServer;
use serde_json::Value;

use crate::{Error, Result, client};

/// A stream as the server's monitoring shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Messages it holds.
    pub messages: u64,
    /// The sequence given to the last message stored: grows with every one.
    pub last_sequence: u64,
    /// How many durables and other consumers it has.
    pub consumers: usize,
    /// Messages delivered to the first of them and not acknowledged.
    pub ack_pending: u64,
    /// Deliveries of messages that had been delivered before and are not acknowledged.
    pub redelivered: u64,
    /// Messages never delivered to it.
    pub pending: u64,
    /// How far everything is acknowledged, by stream sequence.
    pub ack_floor: u64,
    /// Deliveries made through it.
    pub deliveries: u64,
}

/// What the server itself says about a stream; `None` when there is none. Needs no user and disturbs nobody.
pub async fn stream_state(nats: &NatsServer, stream: &str) -> Result<Option<StreamState>> {
    let Some(detail) = stream_detail(nats, stream).await? else {
        return Ok(None);
    };
    let consumers = list(&detail, "/consumer_detail");
    let first = consumers.first().cloned().unwrap_or_default();
    let of_first = |pointer: &str| first.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    Ok(Some(StreamState {
        messages: client::count(&detail, "/state/messages"),
        last_sequence: client::count(&detail, "/state/last_seq"),
        consumers: consumers.len(),
        ack_pending: of_first("/num_ack_pending"),
        redelivered: of_first("/num_redelivered"),
        pending: of_first("/num_pending"),
        ack_floor: of_first("/ack_floor/stream_seq"),
        deliveries: of_first("/delivered/consumer_seq"),
    }))
}

/// The same, as the server writes it.
pub async fn stream_detail(nats: &NatsServer, stream: &str) -> Result<Option<Value>> {
    let http = local_stack::http_client(std::time::Duration::from_secs(5))?;
    let url = format!(
        "{}/jsz?accounts=true&streams=true&consumers=true&config=true",
        nats.monitor_url()
    );
    let jsz: Value = serde_json::from_str(&http.get(url).send().await?.text().await?)?;
    let accounts = list(&jsz, "/account_details");
    let mut details = accounts
        .iter()
        .flat_map(|account| list(account, "/stream_detail"));
    Ok(details.find(|detail| client::text(detail, "/name") == stream))
}

fn list(value: &Value, pointer: &str) -> Vec<Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The same, for a stream that must exist.
pub async fn existing_stream(nats: &NatsServer, stream: &str) -> Result<StreamState> {
    stream_state(nats, stream)
        .await?
        .ok_or_else(|| Error::new(format!("there is no stream {stream}")))
}
