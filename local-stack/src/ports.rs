//! Which port each part of a stack listens on, and whether it is free.

use std::net::{Ipv4Addr, TcpListener};

use crate::{Error, Result};

/// The ports of one stack, all on the loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// invoice-app's API.
    pub http: u16,
    /// invoice-app's health and metrics.
    pub invoice_app_admin: u16,
    /// payment-provider's health and metrics.
    pub payment_provider_admin: u16,
    /// nats-server for clients.
    pub nats: u16,
    /// nats-server's monitoring.
    pub nats_monitor: u16,
    /// Postgres. Not 5432, where a machine's own server may run.
    pub postgres: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            http: 8081,
            invoice_app_admin: 9081,
            payment_provider_admin: 9082,
            nats: 4222,
            nats_monitor: 8222,
            postgres: 15433,
        }
    }
}

impl Ports {
    /// Six ports in a row.
    #[must_use]
    pub const fn from_base(base: u16) -> Self {
        Self {
            http: base,
            invoice_app_admin: base.saturating_add(1),
            payment_provider_admin: base.saturating_add(2),
            nats: base.saturating_add(3),
            nats_monitor: base.saturating_add(4),
            postgres: base.saturating_add(5),
        }
    }

    /// From `STACK_PORT_BASE`, or the default ports.
    pub fn from_env() -> Result<Self> {
        let Ok(base) = std::env::var("STACK_PORT_BASE") else {
            return Ok(Self::default());
        };
        match base.parse() {
            Ok(base @ 1..=65530) => Ok(Self::from_base(base)),
            _ => Err(Error::Usage(format!(
                "STACK_PORT_BASE is {base}, but must be between 1 and 65530"
            ))),
        }
    }

    /// Ports nobody uses now.
    pub fn free() -> Result<Self> {
        Ok(Self {
            http: free_port()?,
            invoice_app_admin: free_port()?,
            payment_provider_admin: free_port()?,
            nats: free_port()?,
            nats_monitor: free_port()?,
            postgres: free_port()?,
        })
    }

    /// Fails for the first port that another process holds.
    pub fn check_free(&self) -> Result<()> {
        let ports = [
            (self.http, "invoice-app"),
            (self.invoice_app_admin, "invoice-app's health and metrics"),
            (
                self.payment_provider_admin,
                "payment-provider's health and metrics",
            ),
            (self.nats, "NATS"),
            (self.nats_monitor, "NATS monitoring"),
            (self.postgres, "Postgres"),
        ];
        for (port, purpose) in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|_| Error::PortInUse { port, purpose })?;
        }
        Ok(())
    }
}

/// A port nobody uses now. The kernel hands out ports in turn, so another caller gets another one.
pub fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Spawn {
            name: "a listener on a free port".to_owned(),
            source,
        })
}
