//! The nats-server of a stack, or the cluster of three that takes its place.

use std::path::Path;

use futures_util::future::join_all;

use crate::{
    Error, Keys, NatsOptions, NatsServer, Result, StackDirectory, nats::Membership, ports::NatsPorts,
};

/// How many servers. Two would be worth less than one: both would be needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatsNodes {
    /// As on a laptop.
    #[default]
    One,
    /// As in production: streams and durables have a copy on each.
    Three,
}

impl NatsNodes {
    /// From `NATS_NODES`; one without it.
    pub fn from_env() -> Result<Self> {
        match std::env::var("NATS_NODES").as_deref() {
            Err(_) | Ok("1") => Ok(Self::One),
            Ok("3") => Ok(Self::Three),
            Ok(other) => Err(Error::Usage(format!("NATS_NODES is {other}, but must be 1 or 3"))),
        }
    }

    /// The number; also of a stream's copies.
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// All servers of a stack. They have the keys and the certificate in common; each has its own store.
#[derive(Debug)]
pub struct NatsServers {
    first: NatsServer,
    others: Vec<NatsServer>,
}

impl NatsServers {
    /// Starts them and waits until all are ready.
    pub(crate) async fn start(
        nodes: NatsNodes,
        configuration: &Path,
        directory: &StackDirectory,
        keys: &Keys,
        ports: &[NatsPorts; 3],
    ) -> Result<Self> {
        let options = |suffix: &str, ports: &NatsPorts| NatsOptions {
            directory: directory.path().join(format!("nats{suffix}")),
            log: directory.log(&format!("nats-server{suffix}")),
            port: ports.client,
            monitor_port: ports.monitor,
            keys: keys.clone(),
        };
        let member = |name: &str, ports_of_member: &NatsPorts| Membership {
            name: name.to_owned(),
            route_port: ports_of_member.route,
            all_route_ports: ports.iter().map(|ports| ports.route).collect(),
        };
        let [first, second, third] = ports;
        if nodes == NatsNodes::One {
            return Ok(Self {
                first: NatsServer::start_with(options("", first), configuration.to_owned()).await?,
                others: Vec::new(),
            });
        }
        // None is ready before a majority is there.
        let (first, second, third) = tokio::try_join!(
            NatsServer::start_member(options("", first), member("nats-1", first)),
            NatsServer::start_member(options("-2", second), member("nats-2", second)),
            NatsServer::start_member(options("-3", third), member("nats-3", third)),
        )?;
        Ok(Self {
            first,
            others: vec![second, third],
        })
    }

    /// The only one, or the first of the cluster.
    pub fn first(&self) -> &NatsServer {
        &self.first
    }

    /// Each of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &NatsServer> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// What clients are given: every address, with commas between.
    pub fn url(&self) -> String {
        self.listed(NatsServer::url)
    }

    /// Something of each, in the order of the addresses, with commas between.
    pub(crate) fn listed(&self, of: impl Fn(&NatsServer) -> String) -> String {
        self.iter().map(of).collect::<Vec<_>>().join(",")
    }

    /// Stops all in good order. At once: those that are left would only elect new leaders.
    pub(crate) async fn stop(&self) {
        join_all(self.iter().map(NatsServer::stop)).await;
    }
}
