//! A caller of invoice-app's API, over loopback HTTP.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, header::HeaderMap};
use serde_json::{Value, json};

use crate::{Error, Result, eventually};

/// Calls one replica.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it is empty or no JSON.
    pub body: Value,
}

impl Answer {
    /// The body, if the status is this one.
    pub fn expect(self, status: u16) -> Result<Value> {
        if self.status == status {
            return Ok(self.body);
        }
        Err(Error::new(format!(
            "expected {status}, got {}: {}",
            self.status, self.body
        )))
    }

    /// A header's text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Text in the body by JSON pointer; empty when it is missing.
    pub fn text(&self, pointer: &str) -> &str {
        text(&self.body, pointer)
    }

    /// Whether this is a problem document with this status.
    pub fn is_problem(&self, status: u16) -> bool {
        self.status == status
            && self
                .header("content-type")
                .starts_with("application/problem+json")
            && !self.text("/type").is_empty()
            && !self.text("/title").is_empty()
    }
}

/// Text by JSON pointer; empty when it is missing.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number by JSON pointer; `u64::MAX` when it is missing, so that no comparison holds by accident.
pub fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// Extra headers of a call.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// Answer at once, without waiting for outcomes.
pub const NO_WAIT: Headers<'static> = &[("prefer", "respond-async")];
/// Wait as long as a caller may ask for.
pub const WAIT: Headers<'static> = &[("prefer", "wait=30")];

impl Client {
    /// Calls the replica at this URL.
    pub fn try_new(url: &str) -> Result<Self> {
        Self::with_timeout(url, Duration::from_secs(150))
    }

    /// The same, and gives up after this long.
    pub fn with_timeout(url: &str, timeout: Duration) -> Result<Self> {
        let http = local_stack::http_client(timeout)?;
        Ok(Self {
            http,
            url: url.to_owned(),
            token: None,
        })
    }

    /// Calls with this token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// A stream of events, from after `last_id`; connected, or refused with a status.
    pub async fn events(&self, query: &str, last_id: Option<&str>) -> Result<Response> {
        let mut request = self.http.get(format!("{}/events{query}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(last_id) = last_id {
            request = request.header("last-event-id", last_id);
        }
        Ok(request.send().await?)
    }

    /// Any call at all.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: Headers<'_>,
        body: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = body(request).send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = serde_json::from_str(&answer.text().await?).unwrap_or_default();
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, &[], |request| request).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, headers: Headers<'_>, body: &Value) -> Result<Answer> {
        self.call(Method::POST, path, headers, |request| request.json(body))
            .await
    }

    /// POST without a body.
    pub async fn post_empty(&self, path: &str, headers: Headers<'_>) -> Result<Answer> {
        self.call(Method::POST, path, headers, |request| request).await
    }

    /// Creates an invoice; answers with its id.
    pub async fn create(&self, value: &str, currency: &str) -> Result<String> {
        let body = json!({"amount": {"value": value, "currency": currency}});
        let invoice = self.post("/invoices", &[], &body).await?.expect(201)?;
        Ok(text(&invoice, "/id").to_owned())
    }

    /// Imports NDJSON lines.
    pub async fn import(&self, lines: String) -> Result<Value> {
        let headers: Headers<'_> = &[("content-type", "application/x-ndjson")];
        self.call(Method::POST, "/invoices/import", headers, |request| {
            request.body(lines)
        })
        .await?
        .expect(200)
    }

    /// One page of invoices: `query` without the question mark.
    pub async fn list(&self, query: &str) -> Result<Vec<Value>> {
        let page = self.get(&format!("/invoices?{query}")).await?.expect(200)?;
        Ok(page
            .pointer("/invoices")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default())
    }

    /// An invoice with its payments.
    pub async fn invoice(&self, id: &str) -> Result<Value> {
        self.get(&format!("/invoices/{id}")).await?.expect(200)
    }

    /// Pays one invoice.
    pub async fn pay(&self, id: &str, headers: Headers<'_>) -> Result<Answer> {
        self.post_empty(&format!("/invoices/{id}/pay"), headers).await
    }

    /// Pays every unpaid invoice.
    pub async fn pay_all(&self, headers: Headers<'_>) -> Result<Answer> {
        self.post_empty("/invoices/pay", headers).await
    }

    /// Pays these.
    pub async fn pay_these(&self, ids: &[String], headers: Headers<'_>) -> Result<Answer> {
        self.post("/invoices/pay", headers, &json!({"ids": ids})).await
    }

    /// The counts of a batch now.
    pub async fn batch(&self, id: &str) -> Result<Value> {
        self.get(&format!("/payment-batches/{id}")).await?.expect(200)
    }

    /// Voids an invoice.
    pub async fn void(&self, id: &str) -> Result<Answer> {
        self.post_empty(&format!("/invoices/{id}/void"), &[]).await
    }
}

/// Waits until nothing of a batch is pending any more; answers with its counts.
pub async fn settled(client: &Client, batch_id: &str) -> Result<Value> {
    eventually("the batch is settled", || async {
        let batch = client.batch(batch_id).await?;
        Ok((count(&batch, "/pending") == 0).then_some(batch))
    })
    .await
}

/// Import lines `<prefix>1` to `<prefix><n>` in currencies of 0, 2 and 3 decimals. `trouble` of each thousand carry an
/// amount that makes the simulated bank fail, or time out before or after charging, once.
pub fn import_lines(prefix: &str, n: u32, trouble: u32) -> String {
    let line = |i: u32| {
        let (value, currency) = match (i % 1000 < trouble, i % 5) {
            (true, 0 | 3) => ("4000.04".to_owned(), "EUR"),
            (true, 1) => ("4000.05".to_owned(), "GBP"),
            (true, _) => ("4000.06".to_owned(), "DKK"),
            (false, 0) => (format!("{}", 1 + i % 977), "JPY"),
            (false, 1) => (format!("{}.{:03}", 1 + i % 97, i % 1000), "KWD"),
            (false, _) => (format!("{}.{:02}", 1 + i % 97, i % 100), "EUR"),
        };
        let amount = json!({"value": value, "currency": currency});
        json!({"number": format!("{prefix}{i}"), "amount": amount}).to_string()
    };
    (1..=n).map(line).collect::<Vec<_>>().join("\n")
}
