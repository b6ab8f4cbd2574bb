//! Header blocks: read as the client reads them, but without failing the connection, and put together again.

use std::str::FromStr as _;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::{BufMut as _, Bytes, BytesMut};

const VERSION: &str = "NATS/1.0";

/// Reads a header block; `None` where the client could not read it, or would take the message for word from the server.
pub(super) fn parse(block: &[u8]) -> Option<HeaderMap> {
    let mut lines = std::str::from_utf8(block).ok()?.lines().peekable();
    if lines.next()?.strip_prefix(VERSION)?.trim() != "" {
        return None;
    }
    let mut headers = HeaderMap::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        headers.append(
            HeaderName::from_str(name).ok()?,
            HeaderValue::from_str(value.trim_end()).ok()?,
        );
    }
    Some(headers)
}

/// The block of these headers, sorted by name, so that the same headers always have the same bytes.
pub(super) fn block(headers: &HeaderMap) -> Bytes {
    if headers.is_empty() {
        return Bytes::new();
    }
    let mut fields = headers
        .iter()
        .map(|(name, values)| (name.to_string(), values))
        .collect::<Vec<_>>();
    fields.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut block = BytesMut::from(VERSION);
    block.put_slice(b"\r\n");
    for (name, values) in fields {
        for value in values {
            block.put_slice(name.as_bytes());
            block.put_slice(b": ");
            block.put_slice(value.as_str().as_bytes());
            block.put_slice(b"\r\n");
        }
    }
    block.put_slice(b"\r\n");
    block.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_was_read_is_put_together_again() {
        let usual = b"NATS/1.0\r\na: 1\r\na: 2\r\nb: x:y\r\n\r\n";
        assert_eq!(block(&parse(usual).unwrap()), &usual[..]);
        assert!(parse(b"NATS/1.0\r\n\r\n").unwrap().is_empty());
    }

    #[test]
    fn a_block_that_the_client_cannot_read_is_malformed() {
        let blocks: [&[u8]; 8] = [
            b"",
            b"HTTP/1.1\r\n\r\n",
            b"NATS/1.0\r\na: \xff\r\n\r\n",
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\nim possible: 1\r\n\r\n",
            b"NATS/1.0\r\na: 1\rb: 2\r\n\r\n",
            b"NATS/1.0 404 No Messages\r\n\r\n",
            b"NATS/1.0 x\r\n\r\n",
        ];
        for block in blocks {
            assert!(parse(block).is_none(), "{}", String::from_utf8_lossy(block));
        }
    }
}
