//! Prometheus itself, with the rules of the deployment made fast.

use std::{env, fs, path::PathBuf, time::Duration};

use acceptance::{Error, Result, System, eventually};
use k8s_checks::Rendered;
use local_stack::{Ports, Process, Spec};
use regex::{Captures, Regex};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::nats_exporter;

/// As often Prometheus looks; on a crowded machine an answer may take as long.
const EVERY: &str = "2s";
/// Seconds that stand for a minute of the rules, and what no window is shorter or longer than: there have to be some looks in it, and
/// nobody waits for days.
const SECONDS_A_MINUTE: u64 = 2;
const SHORTEST: u64 = 12;
const LONGEST: u64 = 30;

/// The program, if there is one.
pub(crate) fn program() -> Option<PathBuf> {
    let given = env::var_os("PROMETHEUS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let found = || {
        env::split_paths(&path)
            .map(|directory| directory.join("prometheus"))
            .find(|program| program.is_file())
    };
    given.or_else(found)
}

pub(crate) struct Prometheus {
    url: String,
    /// How many it looks at.
    pub(crate) targets: usize,
    http: reqwest::Client,
    // Ended before its files are removed.
    _process: Process,
    _directory: TempDir,
}

impl Prometheus {
    pub(crate) async fn start(program: PathBuf, system: &System) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let targets = targets(system).await;
        // The labels that a PodMonitor gives.
        let jobs: Vec<Value> = targets
            .iter()
            .map(|(namespace, pod, url)| {
                let target = url.trim_start_matches("http://");
                json!({"job_name": pod, "static_configs": [{"targets": [target], "labels": {"namespace": namespace, "pod": pod}}]})
            })
            .collect();
        let config = json!({
            "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": "1s"},
            "rule_files": [directory.path().join("*.rules")],
            "scrape_configs": jobs,
        });
        // JSON is YAML, which is what Prometheus reads.
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config.to_string()).unwrap();
        for (name, rules) in fast_rules() {
            fs::write(directory.path().join(format!("{name}.rules")), rules.to_string()).unwrap();
        }
        let address = format!("127.0.0.1:{}", Ports::free().control_room);
        let logs = system.stack().directory().join("logs");
        let mut spec = Spec::new("prometheus", program, logs.join("prometheus.log"));
        spec.args = vec![
            format!("--config.file={}", file.display()).into(),
            format!("--storage.tsdb.path={}", directory.path().join("data").display()).into(),
            format!("--web.listen-address={address}").into(),
        ];
        let prometheus = Self {
            url: format!("http://{address}"),
            targets: targets.len(),
            http: local_stack::http_client(Duration::from_secs(10)).unwrap(),
            _process: Process::init(spec).await.unwrap(),
            _directory: directory,
        };
        eventually("Prometheus is ready", || async {
            let answer = prometheus
                .http
                .get(format!("{}/-/ready", prometheus.url))
                .send()
                .await?;
            Ok(answer.status().is_success())
        })
        .await
        .unwrap();
        prometheus
    }

    /// The series that an expression has now.
    pub(crate) async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let url = format!("{}/api/v1/query", self.url);
        let url = reqwest::Url::parse_with_params(&url, [("query", expression)]).unwrap();
        let answer = self.http.get(url).send().await?;
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        match answer.pointer("/data/result").and_then(Value::as_array) {
            Some(series) => Ok(series.clone()),
            None => Err(Error::new(format!("{expression}: {answer}"))),
        }
    }

    /// Waits until all these alerts fire, or none of them.
    pub(crate) async fn expect(&self, alerts: &[&str], firing: bool) {
        for alert in alerts {
            let expression = format!(r#"ALERTS{{alertname="{alert}", alertstate="firing"}}"#);
            let what = format!("{alert} {}", if firing { "fires" } else { "clears" });
            eventually(&what, || async {
                let series = self.query(&expression).await?;
                Ok(series.is_empty() != firing)
            })
            .await
            .unwrap();
        }
    }
}

/// Namespace, pod and address of what Prometheus looks at.
async fn targets(system: &System) -> Vec<(&'static str, String, String)> {
    let stack = system.stack();
    let (app, provider) = (stack.invoice_app(), stack.payment_provider());
    let mut targets = vec![
        ("invoices", "invoice-app-0".to_owned(), app.admin_url()),
        ("payments", "payment-provider-0".to_owned(), provider.admin_url()),
    ];
    for (number, nats) in stack.nats_servers().iter().enumerate() {
        let exporter = nats_exporter::start(number, nats.monitor_url()).await;
        let pod = format!("nats-exporter-{number}");
        targets.push(("messaging", pod, format!("http://{exporter}")));
    }
    targets
}

/// The rules of the deployment: the same expressions, over shorter times.
fn fast_rules() -> Vec<(String, Value)> {
    let rendered = Rendered::overlay("k8s/overlays/production").unwrap();
    let window = Regex::new(r"\[(\d+)([mhd])\]").unwrap();
    let mut all = Vec::new();
    for document in rendered.of_kind("monitoring.coreos.com/v1", "PrometheusRule") {
        let name = document
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap();
        let mut spec = document["spec"].clone();
        for rule in spec["groups"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .flat_map(|group| group["rules"].as_array_mut().unwrap())
        {
            let expression = rule["expr"].as_str().unwrap();
            rule["expr"] = window
                .replace_all(expression, |found: &Captures<'_>| format!("[{}s]", fast(found)))
                .into();
            if rule.get("for").is_some() {
                rule["for"] = "1s".into();
            }
        }
        all.push((name.to_owned(), spec));
    }
    assert!(!all.is_empty());
    all
}

fn fast(window: &Captures<'_>) -> u64 {
    let minutes = match &window[2] {
        "m" => 1,
        "h" => 60,
        _ => 24 * 60,
    };
    let minutes = minutes * window[1].parse::<u64>().unwrap();
    (minutes * SECONDS_A_MINUTE).clamp(SHORTEST, LONGEST)
}
