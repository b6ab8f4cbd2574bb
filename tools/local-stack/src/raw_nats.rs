//! A NATS client that can send anything: headers that are no UTF-8, any reply subject, and it hears every refusal.
//!
//! Each command is followed by a ping. The server answers in order, so a refusal has arrived when the pong has: tests need
//! not wait for silence.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::Engine as _;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{NatsServer, User};
use reconcile::{Error, Result};

/// Longest wait for an answer that is due.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One blocking connection.
#[derive(Debug)]
pub struct RawNats {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Received, not yet read.
    buffer: Vec<u8>,
    /// Messages that came while something else was awaited.
    messages: Vec<Message>,
    subscriptions: u32,
}

/// A message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub subject: String,
    /// Where an answer goes.
    pub reply: Option<String>,
    /// Header block and body, unparsed.
    pub content: Vec<u8>,
}

/// A line of the protocol, or what it introduced.
enum Frame {
    Pong,
    Error(String),
    Message(Message),
    Other,
}

impl RawNats {
    /// Logs in as one of the users.
    pub fn connect(nats: &NatsServer, user: User) -> Result<Self> {
        let key = nkeys::KeyPair::from_seed(&nats.keys().seed(user)?)?;
        Self::connect_with(nats, Some(&key))
    }

    /// Logs in with this key, or without any.
    pub fn connect_with(nats: &NatsServer, key: Option<&nkeys::KeyPair>) -> Result<Self> {
        let mut tcp = TcpStream::connect(("127.0.0.1", nats.port()))?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        let info = greeting(&mut tcp)?;
        let mut login = serde_json::json!({
            "verbose": false, "pedantic": false, "tls_required": true, "name": "raw", "lang": "raw",
            "version": "0", "protocol": 1, "headers": true, "no_responders": true,
        });
        if let (Some(key), Some(login)) = (key, login.as_object_mut()) {
            let signature = key.sign(
                info.pointer("/nonce")
                    .and_then(|n| n.as_str())
                    .unwrap_or("")
                    .as_bytes(),
            )?;
            let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature);
            login.insert("nkey".to_owned(), key.public_key().into());
            login.insert("sig".to_owned(), signature.into());
        }
        let stream = encrypt(tcp, nats)?;
        let mut raw = Self {
            stream,
            buffer: Vec::new(),
            messages: Vec::new(),
            subscriptions: 0,
        };
        let refusals = raw.command(format!("CONNECT {login}\r\n").as_bytes())?;
        if refusals.is_empty() {
            Ok(raw)
        } else {
            Err(Error::new(refusals.join("; ")))
        }
    }

    /// Publishes; answers with the server's refusals, none when it was let through.
    pub fn publish(&mut self, subject: &str, reply: &str, body: &[u8]) -> Result<Vec<String>> {
        let mut command = format!("PUB {subject} {reply} {}\r\n", body.len()).into_bytes();
        command.extend_from_slice(body);
        command.extend_from_slice(b"\r\n");
        self.command(&command)
    }

    /// Publishes with a header block, `NATS/1.0` line and closing empty line included, which may be anything.
    pub fn publish_with_headers(
        &mut self,
        subject: &str,
        headers: &[u8],
        body: &[u8],
    ) -> Result<Vec<String>> {
        let total = headers.len() + body.len();
        let mut command = format!("HPUB {subject} {} {total}\r\n", headers.len()).into_bytes();
        for part in [headers, body, b"\r\n"] {
            command.extend_from_slice(part);
        }
        self.command(&command)
    }

    /// Subscribes; answers with the server's refusals.
    pub fn subscribe(&mut self, subject: &str) -> Result<Vec<String>> {
        self.subscriptions += 1;
        self.command(format!("SUB {subject} {}\r\n", self.subscriptions).as_bytes())
    }

    /// Asks, with the reply to an inbox that is subscribed to already; `None` when nobody answers or there is nobody.
    pub fn request(&mut self, subject: &str, inbox: &str, body: &[u8]) -> Result<Option<Message>> {
        let refusals = self.publish(subject, inbox, body)?;
        if !refusals.is_empty() {
            return Err(Error::new(refusals.join("; ")));
        }
        let message = self.next_message(TIMEOUT)?;
        Ok(message.filter(|message| !message.content.starts_with(b"NATS/1.0 503")))
    }

    /// The next message, if one comes in time.
    pub fn next_message(&mut self, limit: Duration) -> Result<Option<Message>> {
        let end = Instant::now() + limit;
        while self.messages.is_empty() {
            if Instant::now() > end {
                return Ok(None);
            }
            self.stream
                .sock
                .set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
            match self.frame() {
                Ok(Frame::Message(message)) => self.messages.push(message),
                Ok(_) => {}
                Err(_) if Instant::now() > end => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.stream.sock.set_read_timeout(Some(TIMEOUT))?;
        Ok(Some(self.messages.remove(0)))
    }

    /// Every message that had arrived when the server answered a ping sent now.
    pub fn messages_so_far(&mut self) -> Result<Vec<Message>> {
        self.command(b"")?;
        Ok(std::mem::take(&mut self.messages))
    }

    fn command(&mut self, command: &[u8]) -> Result<Vec<String>> {
        self.stream.write_all(command)?;
        self.stream.write_all(b"PING\r\n")?;
        self.stream.flush()?;
        let mut refusals = Vec::new();
        loop {
            match self.frame() {
                Ok(Frame::Pong) => return Ok(refusals),
                Ok(Frame::Error(text)) => refusals.push(text),
                Ok(Frame::Message(message)) => self.messages.push(message),
                Ok(Frame::Other) => {}
                // A refused login is an error line and the end of the connection.
                Err(_) if !refusals.is_empty() => return Ok(refusals),
                Err(error) => return Err(error),
            }
        }
    }

    fn frame(&mut self) -> Result<Frame> {
        let line = self.line()?;
        let mut words = line.split_whitespace();
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "PONG" => Ok(Frame::Pong),
            "PING" => {
                self.stream.write_all(b"PONG\r\n")?;
                Ok(Frame::Other)
            }
            "-ERR" => Ok(Frame::Error(line)),
            "MSG" => self.message(&words.collect::<Vec<_>>(), 1),
            "HMSG" => self.message(&words.collect::<Vec<_>>(), 2),
            _ => Ok(Frame::Other),
        }
    }

    /// `subject sid [reply] sizes…`
    fn message(&mut self, words: &[&str], sizes: usize) -> Result<Frame> {
        let size = words.last().and_then(|size| size.parse().ok());
        let size: usize =
            size.ok_or_else(|| Error::new(format!("a message line without a size: {words:?}")))?;
        while self.buffer.len() < size + 2 {
            self.fill()?;
        }
        let content = self.buffer.drain(..size + 2).take(size).collect();
        let reply = words.get(2).filter(|_| words.len() == 3 + sizes);
        Ok(Frame::Message(Message {
            subject: words.first().copied().unwrap_or_default().to_owned(),
            reply: reply.map(|reply| (*reply).to_owned()),
            content,
        }))
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes)? {
            0 => Err(Error::new("the server closed the connection")),
            n => {
                self.buffer.extend(bytes.iter().take(n));
                Ok(())
            }
        }
    }
}

/// The server's first line, which comes before encryption starts.
fn greeting(tcp: &mut TcpStream) -> Result<serde_json::Value> {
    let mut line = Vec::new();
    // Byte by byte: what follows the line belongs to TLS.
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte)?;
        line.extend(byte);
    }
    let json = line
        .strip_prefix(b"INFO ")
        .ok_or_else(|| Error::new("no greeting from the server"))?;
    Ok(serde_json::from_slice(json)?)
}

fn encrypt(tcp: TcpStream, nats: &NatsServer) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    crate::install_crypto_provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(nats.keys().ca_file())?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    Ok(StreamOwned::new(connection, tcp))
}
