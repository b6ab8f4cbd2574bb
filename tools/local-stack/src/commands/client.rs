//! The few calls of invoice-app's API that commands and the control room make.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::stream;
use local_stack::{Error, Result, StackOptions, http_client, read_env};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

/// Read and sent on at once.
const CHUNK: usize = 64 * 1024;
/// A file of some million invoices takes minutes.
const IMPORT_LIMIT: Duration = Duration::from_mins(30);

/// A caller of invoice-app. Sends `STACK_TOKEN` when that is set.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn try_new(url: String) -> Result<Self> {
        // Longer than the longest wait that a pay call may be asked for.
        let http = http_client(Duration::from_mins(1))?;
        Ok(Self {
            http,
            url,
            token: std::env::var("STACK_TOKEN").ok(),
        })
    }

    pub(super) fn of_running_stack() -> Result<Self> {
        let directory = StackOptions::directory_from_env();
        let url = read_env(&directory)?
            .into_iter()
            .find(|(name, _)| name == "INVOICE_APP_URL");
        let (_, url) = url.ok_or_else(|| Error::Usage("the stack's env lacks INVOICE_APP_URL".to_owned()))?;
        Self::try_new(url)
    }

    pub(crate) async fn import(&self, lines: String) -> Result<Value> {
        let request = self.http.post(format!("{}/invoices/import", self.url));
        self.send(request.header("content-type", "application/x-ndjson").body(lines))
            .await
    }

    /// Of a file, as a stream: CSV by its name, else NDJSON. Tells meanwhile how much is sent.
    pub(super) async fn import_file(&self, path: &Path, told: Arc<AtomicU64>) -> Result<Value> {
        let file = tokio::fs::File::open(path).await.map_err(|source| Error::File {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        let chunks = stream::try_unfold(file, move |mut file| {
            let told = Arc::clone(&told);
            async move {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = file.read_buf(&mut chunk).await?;
                told.fetch_add(read as u64, Ordering::Relaxed);
                Ok::<_, std::io::Error>((read > 0).then_some((chunk, file)))
            }
        });
        let is_csv = path.extension().is_some_and(|extension| extension == "csv");
        let content_type = if is_csv {
            "text/csv"
        } else {
            "application/x-ndjson"
        };
        let request = self.http.post(format!("{}/invoices/import", self.url));
        let request = request.header("content-type", content_type).timeout(IMPORT_LIMIT);
        self.send(request.body(reqwest::Body::wrap_stream(chunks))).await
    }

    pub(crate) async fn pay(&self) -> Result<Value> {
        self.send(self.http.post(format!("{}/invoices/pay", self.url)))
            .await
    }

    pub(crate) async fn invoices(&self, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        let answer = self
            .send(self.http.get(format!("{}/invoices", self.url)).query(query))
            .await?;
        Ok(answer
            .get("invoices")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default())
    }

    /// A POST that is answered at once; what it asked for may still be pending.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.header("prefer", "respond-async");
        self.send(if body.is_null() {
            request
        } else {
            request.json(body)
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<Value> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let failed = |error: reqwest::Error| Error::Http(format!("invoice-app did not answer: {error}"));
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if !status.is_success() {
            let hint = if status == 401 {
                " (set STACK_TOKEN to a token that it knows)"
            } else {
                ""
            };
            return Err(Error::Http(format!(
                "invoice-app answered {status}{hint}: {text}"
            )));
        }
        serde_json::from_str(&text)
            .map_err(|error| Error::Http(format!("invoice-app answered with unreadable JSON: {error}")))
    }
}
