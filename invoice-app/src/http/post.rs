//! What POST handlers read first: the caller's key, the trace, and a JSON body.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderMap, header, request::Parts},
};
use payment_contract::trace::TraceParent;
use sha2::Digest as _;

use super::{
    Api, Error,
    body::{Incoming, check_type, essence},
    etag,
    fields::Fields,
    idempotency_key,
    prefer::Prefer,
    problem::FieldError,
};
use crate::{
    idempotency::{self, Key, KeyedCall},
    invoice::IfMatch,
    tokens::Caller,
};

/// A POST whose body has not been read.
pub struct Post {
    parts: Parts,
    body: Body,
}

/// A POST with its body.
pub struct ReadPost {
    /// The body; empty when there is none.
    pub body: Vec<u8>,
    /// Its key, if it has one, and its fingerprint.
    pub call: Option<KeyedCall>,
    pub trace: TraceParent,
    /// How its caller wants to wait.
    pub prefer: Prefer,
    /// Its place among those in flight.
    pub slot: super::limits::Slot,
}

impl FromRequest<Arc<Api>> for Post {
    type Rejection = Error;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        // What is not understood is refused, in queries as in bodies: ignored, `?currency=EUR` would pay everything.
        match parts.uri.query().filter(|query| !query.is_empty()) {
            None => Ok(Self { parts, body }),
            Some(query) => Err(Error::Invalid(vec![unknown_query(query)])),
        }
    }
}

impl Post {
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Whether it says that its body is JSON, which zero bytes are not (RFC 8259, 2).
    pub fn claims_json(&self) -> bool {
        let claims = self.parts.headers.get(header::CONTENT_TYPE);
        claims.is_some_and(|value| essence(value) == "application/json")
    }

    pub fn is_empty(&self) -> bool {
        self.body.is_end_stream()
    }

    /// What must be so for the call to be carried out. No other condition is understood by any call, nor this one by calls that
    /// do not ask for it: see `no_condition`.
    pub fn if_match(&mut self) -> Result<Option<IfMatch>, Error> {
        let condition = etag::if_match(&self.parts.headers)?;
        self.parts.headers.remove(header::IF_MATCH);
        Ok(condition)
    }

    /// Refuses a condition that nobody has looked at: ignored, the call would be carried out although it must not be (RFC 9110, 13.1).
    fn no_condition(&self) -> Result<(), Error> {
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            if self.parts.headers.contains_key(&name) {
                let problem = "is a condition that this call does not know";
                return Err(Error::Invalid(vec![FieldError::new(name.as_str(), problem)]));
            }
        }
        Ok(())
    }

    /// Its key, if it has one.
    pub fn key(&self, caller: &Caller) -> Result<Option<Key>, Error> {
        idempotency_key::from_headers(&self.parts.headers, &caller.name)
    }

    /// The fingerprint as far as it goes without the body.
    pub fn fingerprint(&self) -> sha2::Sha256 {
        idempotency::fingerprint(self.parts.method.as_str(), self.parts.uri.path())
    }

    /// The body of a call that may take `time`, not read yet.
    pub fn incoming(self, limit: usize, time: Duration, api: &Api) -> Result<Incoming, Error> {
        self.no_condition()?;
        let (stall, total) = (api.limits.body_stall, time / 2);
        Incoming::try_new(&self.parts.headers, self.body, limit, stall, total)
    }

    /// Reads the body, JSON of up to `limit` bytes. An empty one is none, whatever type it claims.
    pub async fn read(self, caller: &Caller, limit: usize, api: &Api) -> Result<ReadPost, Error> {
        self.no_condition()?;
        let key = self.key(caller)?;
        let fingerprint = self.fingerprint();
        let Parts {
            headers,
            mut extensions,
            ..
        } = self.parts;
        let (stall, total) = (api.limits.body_stall, api.limits.request / 2);
        let body = Incoming::try_new(&headers, self.body, limit, stall, total)?
            .whole()
            .await?;
        if !body.is_empty() {
            check_type(&headers, &["application/json"], "application/json")?;
        }
        let call = key.map(|key| {
            let fingerprint = fingerprint.chain_update(&body).finalize().to_vec();
            KeyedCall { key, fingerprint }
        });
        let trace = extensions.remove().unwrap_or_else(TraceParent::generate);
        let slot = extensions.remove().unwrap_or_default();
        Ok(ReadPost {
            body,
            call,
            trace,
            // The headers end here: they hold the connection's buffer, and a call may wait for long.
            prefer: Prefer::from_headers(&headers),
            slot,
        })
    }
}

fn unknown_query(query: &str) -> FieldError {
    let name = query.split(['=', '&']).next().unwrap_or_default();
    FieldError::new(
        name.chars().take(64).collect::<String>(),
        "is not known: this call takes no query string, only a body",
    )
}

/// Refuses a body that asks for something this call does not know.
pub(super) fn no_fields(body: &[u8]) -> Result<(), Error> {
    if body.is_empty() {
        return Ok(());
    }
    let errors = Fields::parse(body)?.finish();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(errors))
    }
}
