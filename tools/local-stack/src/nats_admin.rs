//! What nobody may do in the real configuration: read, change and delete a stream or a durable of whatever service.

use std::path::{Path, PathBuf};

use async_nats::jetstream;
use tempfile::TempDir;

use crate::{Error, NatsOptions, NatsServer, Result, User, connect_nats, nats_configuration};

/// The accounts that own a stream, by the line that begins them in the configuration.
const ACCOUNTS: [&str; 2] = ["INVOICE", "PAYMENT"];

/// A server with the real configuration and users, and one more user in each service's account, who may do everything there.
#[derive(Debug)]
pub struct NatsAdmin {
    server: NatsServer,
    directory: TempDir,
}

impl NatsAdmin {
    /// Stops a stack's own server and starts this one in its place, with the same store and port.
    pub async fn take_over(nats: &NatsServer) -> Result<Self> {
        nats.stop().await;
        Self::start(nats.options().clone(), |configuration| configuration).await
    }

    /// Starts one, with what `change` makes of the configuration.
    pub async fn start(options: NatsOptions, change: impl FnOnce(String) -> String) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(Error::file("make", "a temporary directory"))?;
        let deployed = nats_configuration();
        let mut text = std::fs::read_to_string(&deployed).map_err(Error::file("read", &deployed))?;
        for account in ACCOUNTS {
            let pair = nkeys::KeyPair::new_user();
            let seed = pair.seed().map_err(|error| Error::Keys(error.to_string()))?;
            let file = seed_file(directory.path(), account);
            std::fs::write(&file, seed).map_err(Error::file("write", &file))?;
            text = add_user(&text, account, &pair.public_key())?;
        }
        let configuration = directory.path().join("nats-server.conf");
        std::fs::write(&configuration, change(text)).map_err(Error::file("write", &configuration))?;
        let cluster = deployed.with_file_name("cluster.conf");
        std::fs::copy(&cluster, directory.path().join("cluster.conf"))
            .map_err(Error::file("copy", &cluster))?;
        Ok(Self {
            server: NatsServer::start_with(options, configuration).await?,
            directory,
        })
    }

    /// The running server.
    pub fn server(&self) -> &NatsServer {
        &self.server
    }

    /// `JetStream` of the account that owns this stream, with every right.
    pub async fn jetstream(&self, stream: &str) -> Result<jetstream::Context> {
        let account = if stream == "PAY_REQUESTS" {
            "INVOICE"
        } else {
            "PAYMENT"
        };
        let (url, ca) = (self.server.url(), self.server.keys().ca_file());
        let seed = seed_file(self.directory.path(), account);
        // The user only names the inbox, and this one may read any.
        Ok(jetstream::new(connect_nats(&url, &ca, &seed, User::Sys).await?))
    }
}

fn seed_file(directory: &Path, account: &str) -> PathBuf {
    directory.join(format!("{account}.seed"))
}

/// Puts a user without restrictions into an account of the configuration.
fn add_user(configuration: &str, account: &str, public_key: &str) -> Result<String> {
    let users = "users: [{";
    let account = format!("\n    {account} {{");
    let place = configuration
        .find(&account)
        .and_then(|begin| configuration.split_at_checked(begin));
    match place {
        Some((before, after)) if after.contains(users) => {
            let more = format!("users: [{{ nkey: {public_key} }}, {{");
            Ok(format!("{before}{}", after.replacen(users, &more, 1)))
        }
        _ => Err(Error::Nats(format!(
            "nats-server.conf has no users of account{account} where expected"
        ))),
    }
}
