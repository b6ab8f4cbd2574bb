//! A TCP proxy that tests and the control room can break: cut all connections, delay or swallow what passes, one way or both, and restore.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{Error, Result};

/// Read and passed on at once.
const CHUNK: usize = 64 * 1024;

/// What the proxy does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    /// Everything passes, this much later.
    Delay(Duration),
    /// Connections end, new ones at once.
    Cut,
    /// Connections stay open and nothing passes, as when a firewall drops packets.
    Swallow,
    /// What the client says arrives, and what the server says is lost.
    SwallowAnswers,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
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
        let failed = |source| Error::Spawn {
            name: format!("a proxy for port {target}"),
            source,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
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
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection, and every new one, until `restore`.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Passes everything on this much later, until `restore`.
    pub fn delay(&self, by: Duration) {
        self.mode.send_replace(Mode::Delay(by));
    }

    /// Lets connections live, but nothing pass, until `restore`.
    pub fn swallow(&self) {
        self.mode.send_replace(Mode::Swallow);
    }

    /// Lets everything pass to the server, but nothing back, until `restore`.
    pub fn swallow_answers(&self) {
        self.mode.send_replace(Mode::SwallowAnswers);
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
    let now = *mode.borrow_and_update();
    match now {
        Mode::Cut => {}
        // The client believes that it is connected, and that is all that ever happens.
        Mode::Swallow => _ = mode.changed().await,
        Mode::Forward | Mode::Delay(_) | Mode::SwallowAnswers => {
            let mut server = TcpStream::connect(target).await?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            let (to_server, to_client) = (mode.clone(), mode.clone());
            let (from_client, into_client) = client.split();
            let (from_server, into_server) = server.split();
            tokio::select! {
                ended = async {
                    tokio::try_join!(
                        pump(from_client, into_server, Way::ToServer, to_server),
                        pump(from_server, into_client, Way::ToClient, to_client),
                    )
                } => return ended.map(drop),
                () = broken(&mut mode) => server.set_zero_linger()?,
            }
        }
    }
    client.set_zero_linger()
}

/// Returns when a connection cannot go on: it is cut, or what it said was lost and that is over.
async fn broken(mode: &mut watch::Receiver<Mode>) {
    loop {
        let now = *mode.borrow_and_update();
        let changed = match now {
            Mode::Cut => return,
            Mode::Swallow | Mode::SwallowAnswers => {
                let _ = mode.changed().await;
                return;
            }
            Mode::Forward | Mode::Delay(_) => mode.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Carries one way until its end. An end is passed on like everything before it.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut into: impl AsyncWrite + Unpin,
    way: Way,
    mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        let now = *mode.borrow();
        let swallowed = match (now, way) {
            (Mode::Delay(by), _) => {
                tokio::time::sleep(by).await;
                false
            }
            (Mode::Forward, _) | (Mode::SwallowAnswers, Way::ToServer) => false,
            (Mode::Cut | Mode::Swallow, _) | (Mode::SwallowAnswers, Way::ToClient) => true,
        };
        match (swallowed, read) {
            // The end is lost on the other side too, until the connection is broken off.
            (true, 0) => return std::future::pending().await,
            (true, _) => {}
            (false, 0) => return into.shutdown().await,
            (false, read) => into.write_all(chunk.get(..read).unwrap_or_default()).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A server that says everything back, and a client of it through a proxy.
    async fn echo() -> (CutProxy, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut into) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut into).await;
                });
            }
        });
        let proxy = CutProxy::start(port).await.unwrap();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
            .await
            .unwrap();
        (proxy, client)
    }

    async fn say(client: &mut TcpStream) -> std::io::Result<Duration> {
        let started = Instant::now();
        client.write_all(b"hello").await?;
        let mut heard = [0; 5];
        client.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"hello");
        Ok(started.elapsed())
    }

    #[tokio::test]
    async fn delayed_bytes_arrive_late_and_whole() {
        let (proxy, mut client) = echo().await;
        say(&mut client).await.unwrap();
        let by = Duration::from_millis(60);
        proxy.delay(by);
        assert!(say(&mut client).await.unwrap() >= 2 * by);
        proxy.restore();
        say(&mut client).await.unwrap();
    }

    #[tokio::test]
    async fn a_swallowing_link_is_silent_until_it_is_restored_and_then_broken() {
        for one_way in [false, true] {
            let (proxy, mut client) = echo().await;
            say(&mut client).await.unwrap();
            if one_way {
                proxy.swallow_answers();
            } else {
                proxy.swallow();
            }
            let silence = tokio::time::timeout(Duration::from_millis(100), say(&mut client));
            assert!(silence.await.is_err());
            proxy.restore();
            assert!(say(&mut client).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_cut_link_breaks_connections_and_takes_new_ones_when_restored() {
        let (proxy, mut client) = echo().await;
        say(&mut client).await.unwrap();
        proxy.cut();
        assert!(say(&mut client).await.is_err());
        let through = (Ipv4Addr::LOCALHOST, proxy.port());
        assert!(
            say(&mut TcpStream::connect(through).await.unwrap())
                .await
                .is_err()
        );
        proxy.restore();
        say(&mut TcpStream::connect(through).await.unwrap())
            .await
            .unwrap();
    }
}
