//! Bodies: read within a size and without long pauses, and checked for their type.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, HeaderValue, header},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::Error;

/// The largest body of a plain call.
pub const PLAIN: usize = 1024 * 1024;
/// The largest body of a call that names many ids: 100,000 and then some.
pub const MANY_IDS: usize = 8 * 1024 * 1024;

/// A body on its way.
pub struct Incoming {
    chunks: BodyDataStream,
    left: usize,
    limit: usize,
    stall: Duration,
    time_left: Duration,
}

impl Incoming {
    /// Refuses at once what says that it is too large. Waits for the client no longer than `stall` at a time and `total`
    /// in all: one that sends a byte now and then is slow, and not the service.
    pub fn try_new(
        headers: &HeaderMap,
        body: Body,
        limit: usize,
        stall: Duration,
        total: Duration,
    ) -> Result<Self, Error> {
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(Error::TooLarge(limit));
        }
        Ok(Self {
            chunks: body.into_data_stream(),
            left: limit,
            limit,
            stall,
            time_left: total,
        })
    }

    /// The next piece; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let begin = Instant::now();
        let next = tokio::time::timeout(self.stall.min(self.time_left), self.chunks.next()).await;
        self.time_left = self.time_left.saturating_sub(begin.elapsed());
        let Some(chunk) = next.map_err(|_| Error::BodyTimeout)? else {
            return Ok(None);
        };
        let chunk = chunk.map_err(|_| Error::Malformed("the body broke off".to_owned()))?;
        self.left = self
            .left
            .checked_sub(chunk.len())
            .ok_or(Error::TooLarge(self.limit))?;
        Ok(Some(chunk))
    }

    pub async fn whole(mut self) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

/// Refuses a body that says it is of another type, or compressed. One that says nothing is taken for what it should be.
pub fn check_type(headers: &HeaderMap, types: &[&str], wanted: &'static str) -> Result<(), Error> {
    let all = |name, fit: &[&str]| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| fit.contains(&essence(value).as_str()))
    };
    if !all(header::CONTENT_ENCODING, &["identity"]) {
        return Err(Error::Encoded);
    }
    if all(header::CONTENT_TYPE, types) {
        Ok(())
    } else {
        Err(Error::UnsupportedMediaType(wanted))
    }
}

/// A header's value without its parameters.
pub fn essence(value: &HeaderValue) -> String {
    let text = value.to_str().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_lowercase()
}
