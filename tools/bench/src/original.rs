//! `original`: what the challenge does, made anew: invoices in the memory of one process, and for each a call over HTTP to
//! a provider in another process, one after the other. Nothing is kept when either ends; that is its advantage.

use std::{net::Ipv4Addr, sync::Arc, time::Duration, time::Instant};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use local_stack::{Process, Spec, built_binary, free_port, wait_for_ok};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Mutex};

use super::{
    proc,
    statistics::rate,
    usage::{Cost, Run, Usage},
};
use acceptance::{Client, Error, Result, client::count};

/// Starting takes milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Starts both processes, has `invoices` paid by one call, and ends them.
pub async fn measure(invoices: u32) -> Result<Run> {
    let directory = TempDir::new()?;
    let (provider_port, app_port) = (free_port(), free_port());
    let provider = start(&directory, provider_port, &["original-payments"]).await?;
    let options = [
        "original-invoices".to_owned(),
        format!("--provider-port={provider_port}"),
        format!("--invoices={invoices}"),
    ];
    let app = start(&directory, app_port, &options).await?;
    let client = Client::try_new(&format!("http://127.0.0.1:{app_port}"))?;

    let names = [("original invoices", &app), ("original payments", &provider)];
    let cpu = |process: &Process| proc::cpu_seconds(process.pid(), false);
    let before = [cpu(&app)?, cpu(&provider)?];
    let machine = proc::machine_cpu_seconds()?;
    let began = Instant::now();
    let paid = client.post_empty("/invoices/pay", &[]).await?.expect(200)?;
    let elapsed = began.elapsed();
    let mut usage = Usage {
        seconds: elapsed.as_secs_f64(),
        elsewhere_cpu_seconds: proc::machine_cpu_seconds()? - machine,
        ..Usage::default()
    };
    for ((name, process), before) in names.into_iter().zip(before) {
        let cost = Cost {
            cpu_seconds: cpu(process)? - before,
            peak_bytes: proc::memory(process.pid())?.peak,
        };
        usage.elsewhere_cpu_seconds -= cost.cpu_seconds;
        usage.processes.insert(name, cost);
    }
    let calls = client.get("/invoices").await?.expect(200)?;
    if count(&paid, "/paid") != u64::from(invoices) || count(&calls, "/unpaid") != 0 {
        return Err(Error::new(format!(
            "the original left invoices unpaid: {paid} {calls}"
        )));
    }
    Ok(Run {
        rate: rate(u64::from(invoices), elapsed),
        usage,
    })
}

/// One of its two processes: this binary in another role.
async fn start(directory: &TempDir, port: u16, args: &[impl AsRef<str>]) -> Result<Process> {
    let program = built_binary("bench")?;
    let mut spec = Spec::new("bench", program, directory.path().join("log"));
    spec.args = args.iter().map(|arg| arg.as_ref().into()).collect();
    spec.args.push(format!("--port={port}").into());
    let process = Process::init(spec).await?;
    let ready = wait_for_ok(&format!("http://127.0.0.1:{port}/healthz")).await;
    process.ready_within(START_LIMIT, async { ready }).await?;
    Ok(process)
}

/// An invoice, as the challenge has it, float and all.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Invoice {
    id: String,
    value: f64,
    currency: String,
    #[serde(default)]
    paid: bool,
}

struct App {
    invoices: Mutex<Vec<Invoice>>,
    http: reqwest::Client,
    provider: String,
}

/// The role of its provider: takes a payment, keeps nothing, answers.
pub async fn serve_payments(port: u16) -> Result<()> {
    let pay = |Json(invoice): Json<Invoice>| async move { Json(json!({"id": invoice.id, "status": "paid"})) };
    let router = Router::new()
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/payments/pay", post(pay));
    serve(port, router).await
}

/// The role of its invoice-app.
pub async fn serve_invoices(port: u16, provider_port: u16, invoices: u32) -> Result<()> {
    let invoices = (1..=invoices).map(|n| Invoice {
        id: format!("I{n}"),
        value: f64::from(100 + n % 99_900) / 100.0,
        currency: "EUR".to_owned(),
        paid: false,
    });
    let app = App {
        invoices: Mutex::new(invoices.collect()),
        http: local_stack::http_client(Duration::from_secs(10))?,
        provider: format!("http://127.0.0.1:{provider_port}/payments/pay"),
    };
    let router = Router::new()
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/invoices", get(count_unpaid))
        .route("/invoices/pay", post(pay_invoices))
        .with_state(Arc::new(app));
    serve(port, router).await
}

async fn serve(port: u16, router: Router) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn count_unpaid(State(app): State<Arc<App>>) -> Json<Value> {
    let invoices = app.invoices.lock().await;
    Json(json!({"unpaid": invoices.iter().filter(|invoice| !invoice.paid).count()}))
}

/// One after the other, and an invoice is paid when the provider says so.
async fn pay_invoices(State(app): State<Arc<App>>) -> Json<Value> {
    let mut invoices = app.invoices.lock().await;
    let mut paid = 0;
    for invoice in invoices.iter_mut().filter(|invoice| !invoice.paid) {
        if pay(&app, invoice).await.is_ok_and(|status| status == "paid") {
            invoice.paid = true;
            paid += 1;
        }
    }
    Json(json!({"paid": paid}))
}

async fn pay(app: &App, invoice: &Invoice) -> reqwest::Result<String> {
    #[derive(Deserialize)]
    struct Answer {
        status: String,
    }
    let answer = app.http.post(&app.provider).json(invoice).send().await?;
    let answer: Answer = answer.error_for_status()?.json().await?;
    Ok(answer.status)
}
