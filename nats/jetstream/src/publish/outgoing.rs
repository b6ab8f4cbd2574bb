//! A message on its way out, and why it may not have got there.

use async_nats::{HeaderMap, header};
use bytes::Bytes;
use uuid::Uuid;

use crate::BoxError;

/// Names the sender's span.
pub(crate) const TRACEPARENT: &str = "traceparent";
const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";

/// A message ready to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub subject: String,
    /// The same with what differs from message to message left open: `pay.v1.request.{currency}`.
    pub template: &'static str,
    /// `Nats-Msg-Id`.
    pub message_id: String,
    /// What this message and the answers to it have in common.
    pub conversation_id: Uuid,
    /// Which send of it this is.
    pub sent: Sent,
    /// `traceparent`, W3C trace context: whose work sending it is part of. Where traces are on, the span of sending it goes out instead.
    pub traceparent: Option<String>,
    /// The JSON body.
    pub body: Bytes,
}

/// Which send of a message this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The only one that has its id.
    Once,
    /// The first of those that each have an id of their own.
    First,
    /// A later one.
    Again {
        /// The id of the first, which may never have got as far as this.
        first: String,
    },
}

/// Why a message is not known to be stored. It may be all the same: send it again, never assume.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not connected, or not any more; nothing was sent, or only some of it.
    #[error("not connected to NATS")]
    Disconnected,
    /// The server did not confirm.
    #[error("the message was not confirmed by the stream")]
    Unconfirmed(#[source] BoxError),
}

impl Error {
    /// Its name in spans.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Unconfirmed(_) => "unconfirmed",
        }
    }
}

impl Outgoing {
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Both are made of letters, digits and punctuation, so nothing here can break the header block.
        headers.insert(header::NATS_MESSAGE_ID, self.message_id.as_str());
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT, traceparent.as_str());
        }
        headers
    }
}
