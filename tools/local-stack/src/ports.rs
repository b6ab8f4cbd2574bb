//! Which port each part of a stack listens on, and whether it is free.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use crate::{Error, Result};

/// How often, and how far apart, a port is looked at before it counts as taken.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The ports of one stack, all on the loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// invoice-app's API.
    pub http: u16,
    /// invoice-app's health and metrics.
    pub invoice_app_admin: u16,
    /// payment-provider's health and metrics.
    pub payment_provider_admin: u16,
    /// Of each nats-server there may be.
    pub nats: [NatsPorts; 3],
    /// Postgres. Not 5432, where a machine's own server may run.
    pub postgres: u16,
    /// The control room of `demo`.
    pub control_room: u16,
}

/// The ports of one nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatsPorts {
    /// For clients.
    pub client: u16,
    /// Monitoring.
    pub monitor: u16,
    /// For the other servers of its cluster; unused by a single one.
    pub route: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            http: 8081,
            invoice_app_admin: 9081,
            payment_provider_admin: 9082,
            nats: [0, 1, 2].map(|node| NatsPorts {
                client: 4222 + node,
                monitor: 8222 + node,
                route: 6222 + node,
            }),
            postgres: 15433,
            control_room: 8090,
        }
    }
}

impl Ports {
    /// Six ports in a row, the control room's at 9, and seven more for a cluster of NATS.
    pub const fn from_base(base: u16) -> Self {
        const fn nats(base: u16, client: u16, route: u16) -> NatsPorts {
            NatsPorts {
                client: base.saturating_add(client),
                monitor: base.saturating_add(client + 1),
                route: base.saturating_add(route),
            }
        }
        Self {
            http: base,
            invoice_app_admin: base.saturating_add(1),
            payment_provider_admin: base.saturating_add(2),
            nats: [nats(base, 3, 10), nats(base, 6, 11), nats(base, 13, 12)],
            postgres: base.saturating_add(5),
            control_room: base.saturating_add(9),
        }
    }

    /// From `STACK_PORT_BASE`, or the default ports.
    pub fn from_env() -> Result<Self> {
        let Ok(base) = std::env::var("STACK_PORT_BASE") else {
            return Ok(Self::default());
        };
        match base.parse() {
            Ok(base @ 1..=65520) => Ok(Self::from_base(base)),
            _ => Err(Error::Usage(format!(
                "STACK_PORT_BASE is {base}, but must be between 1 and 65520"
            ))),
        }
    }

    /// Ports nobody uses now and nobody else in this process is given.
    pub fn free() -> Self {
        loop {
            let ports = Self::from_base(BLOCKS.next() * 20);
            if ports.check_free(ports.nats.len()).is_ok() {
                return ports;
            }
        }
    }

    /// Fails for the first port that another process holds; with one nats-server, the others' ports are of no interest.
    pub fn check_free(&self, nats_nodes: usize) -> Result<()> {
        let mut ports = vec![
            (self.http, "invoice-app"),
            (self.invoice_app_admin, "invoice-app's health and metrics"),
            (
                self.payment_provider_admin,
                "payment-provider's health and metrics",
            ),
            (self.postgres, "Postgres"),
        ];
        for node in self.nats.iter().take(nats_nodes) {
            ports.push((node.client, "NATS"));
            ports.push((node.monitor, "NATS monitoring"));
            if nats_nodes > 1 {
                ports.push((node.route, "NATS servers among themselves"));
            }
        }
        for (port, purpose) in ports {
            if !is_free_soon(port) {
                return Err(Error::PortInUse { port, purpose });
            }
        }
        Ok(())
    }
}

/// Looks more than once: a process that another thread is just starting holds copies of our sockets until it runs its program,
/// among them one that an earlier look had open.
fn is_free_soon(port: u16) -> bool {
    (0..LOOKS).any(|look| {
        if look > 0 {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    })
}

/// Blocks of twenty ports, and below single ones: outside the range from which the system takes ports for outgoing connections
/// (it usually begins at 32768), one of which would otherwise sit on a port while its listener is being started again.
static BLOCKS: Turn = Turn::new(600, 800);
static SINGLE: Turn = Turn::new(28_000, 4000);

/// Hands out the numbers of a range in turn. Each process begins somewhere else.
struct Turn {
    first: u16,
    count: u16,
    begin: OnceLock<u16>,
    taken: AtomicU16,
}

impl Turn {
    const fn new(first: u16, count: u16) -> Self {
        Self {
            first,
            count,
            begin: OnceLock::new(),
            taken: AtomicU16::new(0),
        }
    }

    fn next(&self) -> u16 {
        let begin = self.begin.get_or_init(rand::random);
        self.first + begin.wrapping_add(self.taken.fetch_add(1, Ordering::Relaxed)) % self.count
    }
}

/// A port nobody uses now and nobody else in this process is given.
pub fn free_port() -> u16 {
    loop {
        let port = SINGLE.next();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
