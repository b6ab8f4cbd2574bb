//! What can go wrong with a call, and the one match that turns it into a problem document (RFC 9457).

use std::any::Any;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use service::database::{ErrorKind, error_kind};
use tracing::{error, warn};

use super::problem_texts::page;
use crate::{invoice::Status, tokens::Scope};

/// Before the slug, in `type`: the page that tells more.
pub const PREFIX: &str = "/problems/";

/// What can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Malformed(String),
    #[error("send a token as `Authorization: Bearer <token>`")]
    Unauthorized,
    #[error("the token is not known, or has expired; send a valid one as `Authorization: Bearer <token>`")]
    UnknownToken,
    #[error("the service waits for its database; send the call again in a moment")]
    Starting,
    /// The process ends, and the rest of the body would take longer than it has.
    #[error(
        "the service stops, and nothing was done; send the call again: another process takes it, or this one once it is back"
    )]
    Stopping,
    #[error("this token lacks the scope {}", .0.as_str())]
    Forbidden(Scope),
    #[error("there is nothing at this path")]
    NoRoute,
    #[error("no invoice has the id {0:?}; ids are UUIDs, as answered when it was created")]
    NoInvoice(String),
    #[error("no payment batch has the id {0:?}; ids are UUIDs, as answered by POST /invoices/pay")]
    NoBatch(String),
    /// Events after the place to go on from are no longer kept, or it is no place in this history.
    #[error(
        "events that came after this one are no longer kept, or the database was restored since; read the invoices again, and listen from the present, without Last-Event-ID and cursor"
    )]
    EventsForgotten,
    #[error("this path does not have this method; the Allow header names those it has")]
    MethodNotAllowed,
    /// The body paused for too long.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The invoice is not unpaid.
    #[error("the invoice is {}; only an unpaid invoice can be paid", .0.as_str())]
    NotPayable(Status),
    /// The invoice is pending or paid.
    #[error("the invoice is {}; only an unpaid invoice can be voided", .0.as_str())]
    NotVoidable(Status),
    #[error("another invoice has the number {0:?}")]
    NumberTaken(String),
    #[error("nothing was paid: what would be paid is not what was expected, but now {0}")]
    TotalsChanged(String),
    /// The invoice is not as `If-Match` says.
    #[error("the invoice has changed since you read it; read it again, and decide anew")]
    PreconditionFailed,
    #[error("a call with this Idempotency-Key is still running; send it again in a moment")]
    KeyInUse,
    #[error("this Idempotency-Key belongs to another call; use a new key for a new call")]
    KeyReused,
    #[error("the body must have at most {0} bytes")]
    TooLarge(usize),
    #[error("send the body as it is: no Content-Encoding is understood")]
    Encoded,
    #[error("send the body as {0}")]
    UnsupportedMediaType(&'static str),
    /// Well-formed, but not valid.
    #[error("some of what was sent is not valid; see errors")]
    Invalid(Vec<FieldError>),
    #[error("too many calls are being handled; send it again in a moment")]
    TooManyRequests,
    /// The caller calls more often than it may; in so many seconds it may again.
    #[error("this token sends more calls than it may; go on in {0} s, or more slowly")]
    TooOften(u64),
    #[error(
        "the call took too long and was given up; what it did so far may or may not stay: look before sending it again"
    )]
    TimedOut,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("a handler panicked: {0}")]
    Panicked(String),
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field, dotted: `amount.value`. Empty for the body itself.
    pub field: String,
    pub problem: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// A problem's lasting name: clients tell problems apart by it.
struct Kind {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Error {
    /// What it is called, and answered with; the rest is its page's.
    fn kind(&self) -> Kind {
        match self {
            Self::Malformed(_) => kind("malformed-request"),
            Self::Unauthorized => kind("unauthorized").challenge(NO_TOKEN),
            Self::UnknownToken => kind("unauthorized").challenge(UNKNOWN_TOKEN),
            Self::Forbidden(scope) => kind("forbidden").challenge(lacks(*scope)),
            Self::NoRoute => kind("not-found"),
            Self::NoInvoice(_) => kind("invoice-not-found"),
            Self::NoBatch(_) => kind("payment-batch-not-found"),
            Self::EventsForgotten => kind("events-forgotten"),
            Self::MethodNotAllowed => kind("method-not-allowed"),
            Self::BodyTimeout => kind("request-timeout").closing(),
            Self::NotPayable(_) => kind("invoice-not-payable"),
            Self::NotVoidable(_) => kind("invoice-not-voidable"),
            Self::NumberTaken(_) => kind("number-taken"),
            Self::PreconditionFailed => kind("precondition-failed"),
            Self::TotalsChanged(_) => kind("totals-changed"),
            Self::KeyInUse => kind("idempotency-key-in-use").retry(1),
            Self::KeyReused => kind("idempotency-key-reused"),
            Self::TooLarge(_) => kind("body-too-large").closing(),
            Self::UnsupportedMediaType(_) => kind("unsupported-media-type"),
            // Says what is taken (RFC 9110, 12.5.3).
            Self::Encoded => kind("unsupported-media-type")
                .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            Self::Starting => kind("starting").retry(2),
            Self::Stopping => kind("stopping").retry(1),
            Self::Invalid(_) => kind("invalid-request"),
            Self::TooManyRequests => kind("too-many-requests").retry(1),
            Self::TooOften(seconds) => {
                let seconds = u16::try_from(*seconds).unwrap_or(u16::MAX);
                kind("too-many-requests").retry(seconds)
            }
            Self::TimedOut => kind("timed-out").retry(5),
            Self::Database(error) => match error_kind(error) {
                ErrorKind::Away | ErrorKind::Conflict => kind("database-unavailable").retry(2),
                ErrorKind::Schema => kind("schema-missing").retry(5),
                ErrorKind::Data | ErrorKind::Other => kind("internal"),
            },
            Self::Panicked(_) => kind("internal"),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// The header that comes with it, if one does.
    pub(super) fn header_name(&self) -> Option<HeaderName> {
        self.kind().header.map(|(name, _)| name)
    }

    /// The document that is answered.
    pub(super) fn document(&self) -> Value {
        let Kind {
            status, slug, title, ..
        } = self.kind();
        let errors = match self {
            Self::Invalid(errors) => errors.as_slice(),
            _ => &[],
        };
        let document = Document {
            kind: format!("{PREFIX}{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.detail(status),
            errors,
        };
        // Strings always serialize.
        serde_json::to_value(&document).unwrap_or_default()
    }

    /// What the caller is told: never anything internal.
    fn detail(&self, status: StatusCode) -> String {
        match status {
            StatusCode::INTERNAL_SERVER_ERROR => "something went wrong on our side and was logged".to_owned(),
            StatusCode::SERVICE_UNAVAILABLE if matches!(self, Self::Database(_)) => {
                "the database is not available; nothing was done, or it will be visible once it is back"
                    .to_owned()
            }
            _ => self.to_string(),
        }
    }
}

/// What is asked of whoever may not call (RFC 6750, 3).
const NO_TOKEN: &str = "Bearer realm=\"invoices\"";
const UNKNOWN_TOKEN: &str =
    "Bearer realm=\"invoices\", error=\"invalid_token\", error_description=\"unknown or expired\"";

const fn lacks(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "Bearer realm=\"invoices\", error=\"insufficient_scope\", scope=\"invoices:read\"",
        Scope::Write => "Bearer realm=\"invoices\", error=\"insufficient_scope\", scope=\"invoices:write\"",
        Scope::Pay => "Bearer realm=\"invoices\", error=\"insufficient_scope\", scope=\"invoices:pay\"",
    }
}

fn kind(slug: &'static str) -> Kind {
    // Each has a page: a test makes every error there is.
    let (status, title) = page(slug).map_or((500, ""), |page| (page.status, page.title));
    Kind {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        slug,
        title,
        header: None,
    }
}

impl Kind {
    fn challenge(self, challenge: &'static str) -> Self {
        self.with(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self {
            header: Some((name, value)),
            ..self
        }
    }

    fn retry(self, seconds: u16) -> Self {
        self.with(header::RETRY_AFTER, seconds.into())
    }

    /// The rest of the body is not read: the connection cannot be used again.
    fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let Kind { status, header, .. } = self.kind();
        let chain = || service::telemetry::chain(&self);
        match &self {
            Self::Database(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
                warn!(error = %chain(), "answered 503: the database is not available");
            }
            Self::Database(_) | Self::Panicked(_) => error!(error = %chain(), "answered 500"),
            Self::TimedOut => warn!("a call took too long and was given up"),
            _ => {}
        }
        let body = self.document().to_string();
        let mut response = (status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some((name, value)) = header {
            headers.insert(name, value);
        }
        response
    }
}

/// The answer of a handler that panicked.
#[expect(clippy::needless_pass_by_value, reason = "the signature tower-http wants")]
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Error::Panicked(text.unwrap_or_else(|| "no text".to_owned())).into_response()
}
