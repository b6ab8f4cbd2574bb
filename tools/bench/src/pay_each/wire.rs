//! The least HTTP that load needs: kept-open connections, one request at a time on each. A full client would take more of
//! the cores that are being measured than the services do for small calls.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use acceptance::{Error, Result};

/// The server closes connections that are idle for long: those this old are not used again.
const FRESH: Duration = Duration::from_secs(2);
/// Far above what the calls here are answered with.
const LARGEST_HEAD: usize = 16 * 1024;

/// Connections to one server; as many as there are calls at a time.
#[derive(Debug)]
pub struct Wires {
    address: SocketAddr,
    idle: Mutex<Vec<Wire>>,
}

#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    used: Instant,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireAnswer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Wires {
    /// To the server that listens there. Connects when needed.
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// POST without a body.
    pub async fn post(&self, path: &str, headers: &str) -> Result<WireAnswer> {
        let mut wire = match self.idle() {
            Some(wire) => wire,
            None => Wire::connect(self.address).await?,
        };
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n{headers}\r\n");
        wire.stream.write_all(request.as_bytes()).await?;
        let answer = wire.answer().await?;
        wire.used = Instant::now();
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(wire);
        Ok(answer)
    }

    /// The connection used last. When that is too old, all are.
    fn idle(&self) -> Option<Wire> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = idle.pop()?;
        if latest.used.elapsed() < FRESH {
            return Some(latest);
        }
        idle.clear();
        None
    }
}

impl Wire {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(2048),
            used: Instant::now(),
        })
    }

    async fn answer(&mut self) -> Result<WireAnswer> {
        self.received.clear();
        loop {
            if let Some(head) = Head::parse(&self.received)? {
                while self.received.len() < head.length + head.body {
                    self.receive().await?;
                }
                let body = self.received.split_off(head.length);
                return Ok(WireAnswer {
                    status: head.status,
                    body,
                });
            }
            if self.received.len() > LARGEST_HEAD {
                return Err(Error::new("an answer without end"));
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(Error::new("the connection was closed before the answer")),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes until the body.
    length: usize,
    /// Bytes of the body.
    body: usize,
}

impl Head {
    /// `None` while it is incomplete.
    fn parse(received: &[u8]) -> Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = received.get(..end).unwrap_or_default();
        let head = std::str::from_utf8(head)?;
        let unreadable = || Error::new(format!("an answer that this client cannot read: {head}"));
        let (first, fields) = head.split_once("\r\n").ok_or_else(unreadable)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = fields.lines().find_map(|field| {
            let (name, value) = field.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        });
        Ok(Some(Self {
            status: status.ok_or_else(unreadable)?,
            length: end + 4,
            body: body.ok_or_else(unreadable)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 202 Accepted\r\nx: y\r\nContent-Length: 12\r\n\r\n{";
        assert_eq!(Head::parse(&text[..40]).unwrap(), None);
        let head = Head::parse(text).unwrap().unwrap();
        assert_eq!((head.status, head.body, head.length), (202, 12, text.len() - 1));
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn a_connection_serves_one_call_after_another_however_its_bytes_arrive() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wires = Wires::new(listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for part in ["first", "second"] {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", part.len());
                for byte in head.bytes().chain(part.bytes()) {
                    stream.write_all(&[byte]).await.unwrap();
                }
            }
        });
        for expected in ["first", "second"] {
            let answer = wires.post("/", "prefer: wait=1\r\n").await.unwrap();
            assert_eq!(answer.body, expected.as_bytes());
        }
        serving.await.unwrap();
        assert!(wires.post("/", "").await.is_err());
    }
}
