//! `local-stack invoices|pay`: the few calls of invoice-app's API that demo and recipes make.

use std::{
    path::Path,
    process::ExitCode,
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

use super::progress;

/// Shows at most this many invoices; a table of more is of no use to anybody.
const SHOWN: usize = 50;
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

    fn of_running_stack() -> Result<Self> {
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
    async fn import_file(&self, path: &Path, told: Arc<AtomicU64>) -> Result<Value> {
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

pub(crate) async fn invoices() -> Result<ExitCode> {
    let invoices = Client::of_running_stack()?.invoices(&[("limit", "1000")]).await?;
    print!("{}", table(invoices.get(..SHOWN).unwrap_or(&invoices)));
    if let Some(more) = invoices.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("... and {more} more, or even more than that");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn pay() -> Result<ExitCode> {
    let answer = progress::pay(&Client::of_running_stack()?).await?;
    let count = |name| progress::count(&answer, name);
    println!(
        "requested {}, paid {}, declined {}, pending {}",
        count("requested"),
        count("paid"),
        count("declined"),
        count("pending")
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn import(path: &Path) -> Result<ExitCode> {
    let client = Client::of_running_stack()?;
    let all = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let told = Arc::new(AtomicU64::new(0));
    let importing = client.import_file(path, Arc::clone(&told));
    let words = |elapsed| progress::sent(told.load(Ordering::Relaxed), all, elapsed);
    let answer = progress::during(importing, words).await?;
    let rejected = progress::count(&answer, "rejected_total");
    println!(
        "created {}, rejected {rejected}",
        progress::count(&answer, "created")
    );
    let lines = answer.get("rejected").and_then(Value::as_array);
    for line in lines.into_iter().flatten().take(SHOWN) {
        println!("  {line}");
    }
    Ok(if rejected == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Invoices as aligned lines under a headline.
pub(crate) fn table(invoices: &[Value]) -> String {
    let text = |invoice: &Value, pointer: &str| {
        invoice
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    let rows: Vec<[String; 5]> = invoices
        .iter()
        .map(|invoice| {
            [
                text(invoice, "/number"),
                text(invoice, "/amount/value"),
                text(invoice, "/amount/currency"),
                text(invoice, "/status"),
                text(invoice, "/last_payment/id"),
            ]
        })
        .collect();
    let width = |name: &str, column: fn(&[String; 5]) -> &String| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .chain([name.len()])
            .max()
            .unwrap_or_default()
    };
    let (number, value, status) = (
        width("invoice", |row| &row[0]),
        width("amount", |row| &row[1]),
        width("status", |row| &row[3]),
    );
    let mut lines = vec![format!(
        "{:<number$}  {:>value$}      {:<status$}  payment\n",
        "invoice", "amount", "status"
    )];
    lines.extend(
        rows.iter()
            .map(|[n, v, c, s, p]| format!("{n:<number$}  {v:>value$} {c}  {s:<status$}  {p}\n")),
    );
    lines.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_lines_up_and_says_what_is_missing() {
        let invoices = [
            json!({"number": "I1", "amount": {"value": "12.15", "currency": "EUR"}, "status": "paid",
                   "last_payment": {"id": "p1"}}),
            json!({"number": "I-1000", "amount": {"value": "4000.01", "currency": "GBP"}, "status": "unpaid",
                   "last_payment": null}),
        ];
        let expected = "\
invoice   amount      status  payment
I1         12.15 EUR  paid    p1
I-1000   4000.01 GBP  unpaid  -
";
        assert_eq!(table(&invoices), expected);
    }
}
