//! `crowd`: all at once that takes memory: every invoice of a large table is being paid, and the bank is away; as many calls wait as
//! may; listeners hear every change; one file is imported that is as large as allowed, and everything is exported meanwhile.

use std::{
    iter,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Response;
use tokio::task::JoinSet;

use super::{numbers::mebibytes, proc, results::Results, testbed::Testbed};
use acceptance::{
    Client, Error, Result,
    client::{NO_WAIT, count},
};

/// Calls that wait at once: as many as the defaults allow.
const CALLS: u32 = 2048;
const LISTENERS: usize = 500;
/// The file that is imported: so many lines of so many bytes are as much as the defaults allow.
const LINE_BYTES: usize = 256;
const FILE_BYTES: usize = 256 << 20;
/// As long as a caller may wait. The bank is away, so that all of them do.
const PATIENT: &str = "prefer: wait=30\r\n";
/// As the answer 429 says.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Before the rest begins: all calls wait by then.
const GATHERING: Duration = Duration::from_secs(10);
/// Everything together takes no longer, or something is stuck.
const LIMIT: Duration = Duration::from_mins(10);

/// Makes all of it happen at once, with `invoices` open payments, and tells what both services held at most. The bank has to be away.
pub async fn measure(testbed: &Testbed, invoices: u32, results: &mut Results) -> Result<()> {
    testbed.import("M", invoices).await?;
    testbed
        .import_of("W", CALLS, |_| ("1.00".to_owned(), "SEK"))
        .await?;
    testbed.settle_databases().await?;
    let waiting = testbed.unpaid("W").await?;
    let client = Client::with_timeout(&testbed.stack().invoice_app().url(), LIMIT)?;
    let listeners = stream::iter(iter::repeat_n((), LISTENERS))
        .then(|()| client.events("", None))
        .map_ok(hear)
        .try_collect::<Vec<_>>()
        .await?;
    let mut hearing = JoinSet::from_iter(listeners);
    // The others of everything: those that wait are asked for one by one.
    for currency in ["EUR", "GBP", "DKK"] {
        let body = serde_json::json!({ "currency": currency });
        client.post("/invoices/pay", NO_WAIT, &body).await?.expect(202)?;
    }
    let together = async {
        let lines = file();
        tokio::try_join!(
            wait(testbed, waiting),
            async {
                tokio::time::sleep(GATHERING).await;
                client.import(lines).await
            },
            async {
                tokio::time::sleep(GATHERING).await;
                export(testbed).await
            }
        )
    };
    let began = Instant::now();
    let ((), imported, exported) = tokio::time::timeout(LIMIT, together)
        .await
        .map_err(|_| Error::new("the crowd did not come to its end"))??;
    if count(&imported, "/created") != u64::try_from(FILE_BYTES / LINE_BYTES)? || exported < invoices as usize
    {
        return Err(Error::new(format!(
            "imported {imported}, exported {exported} lines"
        )));
    }
    if let Some(ended) = hearing.try_join_next() {
        return Err(Error::new(format!("a listener was given up: {ended:?}")));
    }
    hearing.shutdown().await;
    results.note("crowd", "s", began.elapsed().as_secs_f64());
    let stack = testbed.stack();
    for (figure, service) in [
        ("crowd.invoice-app", stack.invoice_app()),
        ("crowd.payment-provider", stack.payment_provider()),
    ] {
        let peak = proc::memory(service.program().pid())?.peak;
        results.note(figure, "MiB", mebibytes(peak));
    }
    Ok(())
}

/// Reads what comes, for as long as it does.
async fn hear(events: Response) -> Result<()> {
    let mut events = events.error_for_status()?.bytes_stream();
    while events.try_next().await?.is_some() {}
    Ok(())
}

/// All calls at once, each to its end: that nobody knows yet what became of the payment. Those that get no turn are answered 429,
/// and come again.
async fn wait(testbed: &Testbed, ids: Vec<String>) -> Result<()> {
    let wires = testbed.wires();
    let mut calls: JoinSet<Result<u16>> = JoinSet::new();
    for id in ids {
        let wires = wires.clone();
        calls.spawn(async move {
            loop {
                let status = wires.post(&format!("/invoices/{id}/pay"), PATIENT).await?.status;
                if status != 429 {
                    return Ok(status);
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        });
    }
    while let Some(status) = calls.join_next().await {
        let status = status??;
        if status != 202 {
            return Err(Error::new(format!("a waiting call was answered with {status}")));
        }
    }
    Ok(())
}

/// Lines for an import, as many bytes as one may have.
fn file() -> String {
    use std::fmt::Write as _;
    let mut file = String::with_capacity(FILE_BYTES);
    for n in 0..FILE_BYTES / LINE_BYTES {
        let line = format!(r#"{{"number":"F{n}","amount":{{"value":"1.00","currency":"NOK"}}}}"#);
        // Space is allowed before a line's end. Writing into a string cannot fail.
        let _ = writeln!(file, "{line:<width$}", width = LINE_BYTES - 1);
    }
    file
}

/// How many lines there are of everything.
async fn export(testbed: &Testbed) -> Result<usize> {
    let http = local_stack::http_client(LIMIT)?;
    let url = format!("{}/invoices", testbed.stack().invoice_app().url());
    let export = http.get(url).header("accept", "text/csv").send().await?;
    let mut pages = export.error_for_status()?.bytes_stream();
    let mut lines = 0;
    while let Some(page) = pages.try_next().await? {
        lines += page.split(|byte| *byte == b'\n').count() - 1;
    }
    Ok(lines)
}
