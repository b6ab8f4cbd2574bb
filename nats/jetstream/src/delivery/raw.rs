//! The NATS protocol in as few words as taking messages needs: for messages whose headers the client cannot read.

use std::sync::Arc;

use async_nats::ServerAddr;
use base64::Engine as _;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};
use uuid::Uuid;

use crate::{
    BoxError,
    connection::{self, Settings},
};

/// The server's greeting is about a kilobyte.
const LONGEST_GREETING: u64 = 64 * 1024;
/// Read at a time.
const CHUNK: usize = 64 * 1024;
/// Commands written together.
const TOGETHER: usize = 512;

/// What came off the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message of the stream, its header block unread.
    Message {
        subject: String,
        reply: String,
        headers: Option<Bytes>,
        body: Bytes,
    },
    /// The server's word about a pull.
    Status(String),
    /// The server's complaint.
    Error(String),
    Ping,
    Other,
}

/// A connection that has its own inbox, logged in as the settings say.
pub(super) struct Raw {
    reader: ReadHalf<TlsStream<TcpStream>>,
    buffer: BytesMut,
    writer: Writer,
    inbox: String,
}

/// Sends commands over the connection as long as that lasts; the connection lasts as long as one of these.
#[derive(Clone, Debug)]
pub(super) struct Writer(UnboundedSender<Bytes>);

impl Writer {
    /// Publishes; false when the connection is gone. Bounded by the messages in flight.
    pub(super) fn publish(&self, subject: &str, reply: &str, body: &[u8]) -> bool {
        let mut command = format!("PUB {subject} {reply} {}\r\n", body.len()).into_bytes();
        command.extend_from_slice(body);
        command.extend_from_slice(b"\r\n");
        self.0.send(command.into()).is_ok()
    }
}

impl Raw {
    /// Connects to the first server that can be reached.
    pub(super) async fn init(settings: &Settings) -> Result<Self, BoxError> {
        let mut failure = BoxError::from("no server");
        for address in connection::parse_urls(&settings.url)? {
            match Self::connect(settings, &address).await {
                Ok(raw) => return Ok(raw),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect(settings: &Settings, address: &ServerAddr) -> Result<Self, BoxError> {
        let mut tcp = TcpStream::connect((address.host(), address.port())).await?;
        tcp.set_nodelay(true)?;
        let greeting = greeting(&mut tcp).await?;
        let name = ServerName::try_from(address.host().to_owned())?;
        let connector = TlsConnector::from(Arc::new(tls(settings).await?));
        let (reader, half) = split(connector.connect(name, tcp).await?);
        let (writer, commands) = unbounded_channel();
        tokio::spawn(write(half, commands));
        let inbox = format!(
            "{}.{}",
            connection::inbox_prefix(settings.name),
            Uuid::new_v4().simple()
        );
        writer.send(format!("{}SUB {inbox} 1\r\n", login(settings, &greeting)?).into())?;
        Ok(Self {
            reader,
            buffer: BytesMut::new(),
            writer: Writer(writer),
            inbox,
        })
    }

    pub(super) fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Asks for messages. They, and word of their end, come as frames.
    pub(super) fn ask(&self, subject: &str, question: &serde_json::Value) -> bool {
        self.writer
            .publish(subject, &self.inbox, question.to_string().as_bytes())
    }

    /// The next frame. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Frame, BoxError> {
        loop {
            if let Some(frame) = self.arrived()? {
                return Ok(frame);
            }
            self.buffer.reserve(CHUNK);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }

    /// The next frame that has arrived already.
    pub(super) fn arrived(&mut self) -> Result<Option<Frame>, BoxError> {
        while let Some(frame) = take_frame(&mut self.buffer)? {
            match frame {
                Frame::Ping => {
                    let _ = self.writer.0.send(Bytes::from_static(b"PONG\r\n"));
                }
                Frame::Other => {}
                frame => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }
}

async fn write(mut half: WriteHalf<TlsStream<TcpStream>>, mut commands: UnboundedReceiver<Bytes>) {
    let mut together = Vec::with_capacity(TOGETHER);
    while commands.recv_many(&mut together, TOGETHER).await > 0 {
        let bytes = together.concat();
        together.clear();
        if half.write_all(&bytes).await.is_err() || half.flush().await.is_err() {
            return;
        }
    }
    let _ = half.shutdown().await;
}

/// The server's first line, which comes before encryption starts.
async fn greeting(tcp: &mut TcpStream) -> Result<serde_json::Value, BoxError> {
    let mut line = Vec::new();
    // Byte by byte: what follows the line belongs to TLS.
    let mut limited = tcp.take(LONGEST_GREETING);
    while !line.ends_with(b"\r\n") {
        line.push(limited.read_u8().await?);
    }
    let json = line.strip_prefix(b"INFO ").ok_or("no greeting from the server")?;
    Ok(serde_json::from_slice(json)?)
}

async fn tls(settings: &Settings) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            let pem = tokio::fs::read(path).await?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate?)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn login(settings: &Settings, greeting: &serde_json::Value) -> Result<String, BoxError> {
    let user = settings.user()?;
    let nonce = greeting.get("nonce").and_then(|nonce| nonce.as_str());
    let signature = user.sign(nonce.unwrap_or_default().as_bytes())?;
    let login = serde_json::json!({
        "verbose": false, "pedantic": false, "tls_required": true, "name": settings.name, "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true,
        "nkey": user.public_key(), "sig": base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature),
    });
    Ok(format!("CONNECT {login}\r\n"))
}

/// Takes one whole frame off the buffer, if it holds one.
fn take_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, BoxError> {
    let Some(end) = buffer.windows(2).position(|bytes| bytes == b"\r\n") else {
        return Ok(None);
    };
    let line = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (subject, reply, header_size, size) = match *words.as_slice() {
        ["MSG", subject, _, size] => (subject, None, None, size),
        ["MSG", subject, _, reply, size] => (subject, Some(reply), None, size),
        ["HMSG", subject, _, headers, size] => (subject, None, Some(headers), size),
        ["HMSG", subject, _, reply, headers, size] => (subject, Some(reply), Some(headers), size),
        _ => {
            buffer.advance(end + 2);
            return Ok(Some(match words.first() {
                Some(&"PING") => Frame::Ping,
                Some(&"-ERR") => Frame::Error(line),
                _ => Frame::Other,
            }));
        }
    };
    let size: usize = size.parse()?;
    let header_size = header_size.map(str::parse::<usize>).transpose()?;
    if header_size.is_some_and(|header_size| header_size > size) {
        return Err("a message with more headers than bytes".into());
    }
    if buffer.len() < end + 2 + size + 2 {
        return Ok(None);
    }
    buffer.advance(end + 2);
    let headers = header_size.map(|header_size| buffer.split_to(header_size).freeze());
    let body = buffer.split_to(size - header_size.unwrap_or_default()).freeze();
    buffer.advance(2);
    Ok(Some(match reply {
        Some(reply) => Frame::Message {
            subject: subject.to_owned(),
            reply: reply.to_owned(),
            headers,
            body,
        },
        // Messages of a stream say where their ack goes; the server's own words do not.
        None => Frame::Status(
            String::from_utf8_lossy(&headers.unwrap_or(body))
                .trim()
                .to_owned(),
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        // Byte by byte: wherever the network cuts.
        for byte in bytes {
            buffer.extend_from_slice(&[*byte]);
            frames.extend(take_frame(&mut buffer).unwrap());
        }
        assert!(buffer.is_empty());
        frames
    }

    #[test]
    fn frames_are_taken_whole_wherever_they_are_cut() {
        let wire = b"PING\r\nMSG s 1 r 4\r\n\r\n\xff\x00\r\nHMSG s 1 r 12 14\r\nNATS/1.0\xff\r\r\nxy\r\n\
                     HMSG i 1 17 17\r\nNATS/1.0 404 \r\n\r\n\r\n-ERR 'no'\r\n+OK\r\n";
        let message = |headers: Option<&'static [u8]>, body: &'static [u8]| Frame::Message {
            subject: "s".to_owned(),
            reply: "r".to_owned(),
            headers: headers.map(Bytes::from_static),
            body: Bytes::from_static(body),
        };
        let expected = [
            Frame::Ping,
            message(None, b"\r\n\xff\x00"),
            message(Some(b"NATS/1.0\xff\r\r\n"), b"xy"),
            Frame::Status("NATS/1.0 404".to_owned()),
            Frame::Error("-ERR 'no'".to_owned()),
            Frame::Other,
        ];
        assert_eq!(frames(wire), expected);
    }

    #[test]
    fn nonsense_about_sizes_is_an_error() {
        for wire in [
            &b"MSG s 1 r x\r\n"[..],
            b"HMSG s 1 r 5 4\r\n",
            b"MSG s 1 r -1\r\n",
        ] {
            assert!(take_frame(&mut BytesMut::from(wire)).is_err());
        }
    }
}
