//! A TCP proxy that a test can break: cut all connections, swallow everything, and restore.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::Result;

/// What the proxy does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    /// Connections end, new ones at once.
    Cut,
    /// Connections stay open and nothing passes, as when a firewall drops packets.
    Swallow,
}

/// Listens on a free port and forwards to another. Ends when dropped.
#[derive(Debug)]
pub struct CutProxy {
    port: u16,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl CutProxy {
    /// Forwards to this port of the loopback address.
    pub async fn start(target: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mode = watch::Sender::new(Mode::Forward);
        let accepting = tokio::spawn(accept(
            listener,
            (Ipv4Addr::LOCALHOST, target).into(),
            mode.clone(),
        ));
        Ok(Self {
            port,
            mode,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection, and every new one, until `restore`.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Lets connections live, but nothing pass, until `restore`.
    pub fn swallow(&self) {
        self.mode.send_replace(Mode::Swallow);
    }

    /// Forwards again. What was swallowed is gone, so swallowed connections end, as TCP's would in the end.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Forward);
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.mode.send_replace(Mode::Cut);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, mode: watch::Sender<Mode>) {
    while let Ok((client, _)) = listener.accept().await {
        let mode = mode.subscribe();
        tokio::spawn(async move {
            // Dropping the connection is the error's report to both sides.
            let _ = carry(client, target, mode).await;
        });
    }
}

async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    mut mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let mut now = *mode.borrow_and_update();
    let mut server = None;
    if now == Mode::Forward {
        let server = server.insert(TcpStream::connect(target).await?);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut client, server) => return ended.map(drop),
            _ = mode.changed() => now = *mode.borrow_and_update(),
        }
    }
    if now == Mode::Swallow {
        // Both sides believe that they are connected. What they said is lost, so this connection cannot be resumed.
        let _ = mode.changed().await;
    }
    client.set_zero_linger()?;
    server.map_or(Ok(()), |server| server.set_zero_linger())
}
