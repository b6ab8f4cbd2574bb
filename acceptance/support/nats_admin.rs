//! What nobody may do in the real configuration: delete a stream or a durable; and what only monitoring tells: how many
//! messages a stream holds.

use std::path::Path;

use async_nats::jetstream;
use local_stack::{NatsServer, Program, User, connect_nats, workspace_root};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Error, Result, client, eventually};

/// The accounts that own a stream, by the line that begins them in the configuration.
const ACCOUNTS: [&str; 2] = ["INVOICE", "PAYMENT"];

/// A server that took the place of a stack's own, with the same store, port and users, and one more user in each service's
/// account, who may do everything there.
#[derive(Debug)]
pub struct NatsAdmin {
    program: Program,
    url: String,
    ca: std::path::PathBuf,
    directory: TempDir,
}

impl NatsAdmin {
    /// Stops the stack's server and starts this one.
    pub async fn take_over(nats: &NatsServer) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut spec = nats.program().spec().clone();
        let source = workspace_root().join("nats");
        let mut text = std::fs::read_to_string(source.join("nats-server.conf"))?;
        for account in ACCOUNTS {
            let pair = nkeys::KeyPair::new_user();
            std::fs::write(seed_file(directory.path(), account), pair.seed()?)?;
            text = add_user(&text, account, &pair.public_key())?;
        }
        let configuration = directory.path().join("nats-server.conf");
        std::fs::write(&configuration, text)?;
        std::fs::copy(source.join("cluster.conf"), directory.path().join("cluster.conf"))?;
        spec.args = vec!["--config".into(), configuration.into_os_string()];
        nats.stop().await;
        let program = Program::new(spec);
        program.start().await?;
        let health = format!("{}/healthz", nats.monitor_url());
        eventually("the other server is ready", || async {
            local_stack::wait_for_ok(&health).await?;
            Ok(Some(()))
        })
        .await?;
        Ok(Self {
            program,
            url: nats.url(),
            ca: nats.keys().ca_file(),
            directory,
        })
    }

    /// The running server.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// `JetStream` of the account that owns this stream, with every right.
    pub async fn jetstream(&self, stream: &str) -> Result<jetstream::Context> {
        let account = if stream == "PAY_REQUESTS" {
            "INVOICE"
        } else {
            "PAYMENT"
        };
        let seed = seed_file(self.directory.path(), account);
        // The user only names the inbox, and this one may read any.
        Ok(jetstream::new(
            connect_nats(&self.url, &self.ca, &seed, User::Sys).await?,
        ))
    }
}

fn seed_file(directory: &Path, account: &str) -> std::path::PathBuf {
    directory.join(format!("{account}.seed"))
}

/// Puts a user without restrictions into an account of the configuration.
fn add_user(configuration: &str, account: &str, public_key: &str) -> Result<String> {
    let missing = || {
        Error::new(format!(
            "nats-server.conf has no users of account {account} where expected"
        ))
    };
    let begin = configuration
        .find(&format!("\n    {account} {{"))
        .ok_or_else(missing)?;
    let (before, after) = configuration.split_at_checked(begin).ok_or_else(missing)?;
    let users = "users: [{";
    if !after.contains(users) {
        return Err(missing());
    }
    Ok(format!(
        "{before}{}",
        after.replacen(users, &format!("users: [{{ nkey: {public_key} }}, {{"), 1)
    ))
}

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
