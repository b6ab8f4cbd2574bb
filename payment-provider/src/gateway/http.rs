//! A bank over HTTP. Only what the protocol documents is believed; whatever else comes back is an unknown result.

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header, redirect, retry};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use service::telemetry::chain;

mod client_span;

use client_span::ClientSpan;

use super::{
    Gateway,
    credentials::{self, Credentials, Token},
};
use crate::order::{Answer, CallError, IdempotencyKey, Order};

/// An answer is a few hundred bytes; more than this is not one.
const LARGEST_ANSWER: usize = 64 * 1024;
/// A connection that was idle for longer is not used again. Many servers close theirs after five seconds, and a call on one that
/// is being closed has no known result.
const IDLE: Duration = Duration::from_secs(4);
/// The longest reason or reference that is kept.
const LONGEST_TEXT: usize = 200;
/// The reason shown when the bank declines without one.
const NO_REASON: &str = "unspecified";

pub struct Http {
    client: Client,
    url: Url,
    token: Option<Token>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// For a reason of its own.
    #[error("the bank's HTTP client could not be set up")]
    Client(#[from] reqwest::Error),
    /// For want of credentials.
    #[error("the bank's credentials cannot be used")]
    Credentials(#[from] credentials::Error),
}

#[derive(Serialize)]
struct PaymentRequest<'a> {
    id: String,
    value: String,
    currency: &'static str,
    invoice: &'a str,
}

#[derive(Deserialize)]
struct Payment {
    id: String,
    status: String,
    reason: Option<String>,
    reference: Option<String>,
}

impl Http {
    /// A client of the bank at `url`. Connecting may take `connect_timeout`, which must be below the timeout of a whole
    /// call: only a connection that was surely never made is known not to have charged.
    pub fn try_new(url: &Url, connect_timeout: Duration, credentials: &Credentials) -> Result<Self, Error> {
        let client = Client::builder()
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE)
            // A redirected payment would be a second one somewhere else.
            .redirect(redirect::Policy::none())
            // The configuration alone says where the bank is; an inherited HTTP_PROXY does not.
            .no_proxy()
            // The ledger repeats, after a look-up; nothing else may.
            .retry(retry::never())
            .user_agent(concat!("payment-provider/", env!("CARGO_PKG_VERSION")));
        let client = credentials.apply(client)?.build()?;
        let token = credentials.token_file.as_deref().map(Token::read).transpose()?;
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self { client, url, token })
    }

    fn request(&self, method: Method, path: &str) -> Result<(RequestBuilder, ClientSpan), CallError> {
        let url = self
            .url
            .join(path)
            .map_err(|error| CallError::Retryable(chain(&error)))?;
        let span = ClientSpan::begin(&method, &url);
        let request = self
            .client
            .request(method, url)
            .header(header::ACCEPT, "application/json");
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.current().expose_secret()),
            None => request,
        };
        Ok((request, span))
    }

    async fn pay_over_http(&self, key: IdempotencyKey, order: &Order) -> Result<Answer, CallError> {
        let body = PaymentRequest {
            id: key.to_string(),
            value: order.amount.value(),
            currency: order.amount.currency().code(),
            invoice: &order.invoice_number,
        };
        let (request, mut span) = self.request(Method::POST, "payments/pay")?;
        let request = request.header("Idempotency-Key", key.to_string()).json(&body);
        answer(key, send(request, &mut span).await?).await
    }

    async fn find_over_http(&self, key: IdempotencyKey) -> Result<Option<Answer>, CallError> {
        let (request, mut span) = self.request(Method::GET, &format!("payments/{key}"))?;
        let response = send(request, &mut span).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer(key, response).await.map(Some)
    }
}

impl Gateway for Http {
    fn pay<'a>(&'a self, key: IdempotencyKey, order: &'a Order) -> BoxFuture<'a, Result<Answer, CallError>> {
        self.pay_over_http(key, order).boxed()
    }

    fn find(&self, key: IdempotencyKey) -> BoxFuture<'_, Result<Option<Answer>, CallError>> {
        self.find_over_http(key).boxed()
    }
}

async fn send(request: RequestBuilder, span: &mut ClientSpan) -> Result<Response, CallError> {
    let sent = request.send().await;
    span.answered(sent.as_ref().map(Response::status));
    sent.map_err(|error| {
        // Until the connection stands, no byte of the request has left. After that nobody knows what arrived.
        let never_made = error.is_connect();
        let text = chain(&error.without_url());
        if never_made {
            CallError::Retryable(text)
        } else {
            CallError::Unknown(text)
        }
    })
}

async fn answer(key: IdempotencyKey, response: Response) -> Result<Answer, CallError> {
    if response.status() != StatusCode::OK {
        return Err(no_answer(&response));
    }
    let body = read(response).await?;
    let payment: Payment = serde_json::from_slice(&body)
        .map_err(|error| CallError::Undocumented(format!("the answer is not a payment: {error}")))?;
    if payment.id != key.to_string() {
        return Err(CallError::Undocumented(
            "the answer is about another payment".to_owned(),
        ));
    }
    let reference = payment.reference.as_deref().and_then(clean);
    match payment.status.as_str() {
        "succeeded" => Ok(Answer::Succeeded { reference }),
        "declined" => {
            let reason = payment
                .reason
                .as_deref()
                .and_then(clean)
                .unwrap_or_else(|| NO_REASON.to_owned());
            Ok(Answer::Declined { reason, reference })
        }
        "pending" => Ok(Answer::Pending),
        _ => Err(CallError::Undocumented(
            "the answer has an undocumented status".to_owned(),
        )),
    }
}

/// What another status means.
fn no_answer(response: &Response) -> CallError {
    let why = format!("status {}", response.status().as_u16());
    match (response.status(), pause(response)) {
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(pause)) => {
            CallError::Busy { pause, why }
        }
        (StatusCode::TOO_MANY_REQUESTS, None) => CallError::Retryable("too many requests".to_owned()),
        (status, _) if status.is_server_error() || status == StatusCode::UNAUTHORIZED => {
            CallError::Unknown(why)
        }
        _ => CallError::Undocumented(why),
    }
}

/// `Retry-After` in seconds; a date is left unread, since the bank's clock may be another.
fn pause(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

async fn read(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| CallError::Unknown(chain(&error.without_url())))?
    {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(CallError::Undocumented("the answer is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The bank's words as they can be stored and shown: a definite result must not be lost to a stray control character.
fn clean(text: &str) -> Option<String> {
    let clean: String = text
        .chars()
        .filter(|char| !char.is_control())
        .take(LONGEST_TEXT)
        .collect();
    Some(clean.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    //! Cleaning; the protocol itself is tested against a real server.

    use super::*;

    #[test]
    fn banks_words_lose_what_cannot_be_stored_and_nothing_else() {
        assert_eq!(clean("r\u{0}ef-1\n"), Some("ref-1".to_owned()));
        assert_eq!(clean("\u{0}\t "), None);
        assert_eq!(
            clean(&"é".repeat(1_000)).map(|text| text.chars().count()),
            Some(LONGEST_TEXT)
        );
    }
}
