//! The ways from a service to what it depends on, each of which can be cut.

use futures_util::future::try_join_all;

use crate::{CutProxy, NatsServer, NatsServers, Postgres, Result};

/// A service's ways to every nats-server and to its database.
#[derive(Debug)]
pub struct Links {
    nats: Vec<CutProxy>,
    postgres: CutProxy,
}

impl Links {
    pub(crate) async fn start(postgres: &Postgres, nats: &NatsServers) -> Result<Self> {
        Ok(Self {
            nats: try_join_all(nats.iter().map(|server| CutProxy::start(server.port()))).await?,
            postgres: CutProxy::start(postgres.port()).await?,
        })
    }

    /// What a service that goes by these is given in place of [`NatsServers::url`].
    pub(crate) fn nats_url(&self) -> String {
        let url = |proxy: &CutProxy| NatsServer::url_at_port(proxy.port());
        self.nats.iter().map(url).collect::<Vec<_>>().join(",")
    }

    /// And in place of [`Postgres::url`].
    pub(crate) fn database_url(&self, postgres: &Postgres, database: &str) -> String {
        postgres.url_at_port(database, self.postgres.port())
    }

    /// Those to NATS: one for each server.
    pub fn to_nats(&self) -> &[CutProxy] {
        &self.nats
    }

    /// The one to its database.
    pub fn to_postgres(&self) -> &[CutProxy] {
        std::slice::from_ref(&self.postgres)
    }
}
