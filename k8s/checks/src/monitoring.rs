//! Alerts and dashboards watch something that exists.

use serde_json::Value;

use crate::{Error, Findings, Rendered, Result, workspace_root};

/// Whom an alert is for: wake somebody up, the same day, or whoever looks already.
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// Where the metrics of ours are named, and how their names begin. Those of others are not for us to know.
const SOURCES: [&str; 3] = [
    "invoice-app/src/metrics.rs",
    "payment-provider/src/metrics.rs",
    "nats/jetstream/src/metrics.rs",
];
const OURS: [&str; 6] = [
    "invoice_app_",
    "payment_provider_",
    "http_server_",
    "messaging_client_",
    "messaging_process_",
    "nats_client_",
];

/// Every metric of ours that an alert names is one that the services have, and every alert says how bad it is, what it is, what it
/// means, and where it is told what to do: a heading of the runbook, under an address that a pager can open. The list in the runbook
/// has the same alerts, and says the same of them.
pub(crate) fn alerts_name_real_metrics(rendered: &Rendered) -> Result<Findings> {
    let known = known_metrics()?;
    let docs = read("docs/operations.md")?;
    let headings: Vec<String> = docs.lines().filter_map(anchor).collect();
    let mut findings = Findings::new();
    let rules = rules(rendered);
    if !rules.is_empty() {
        findings.extend(rows_without_a_rule(&docs, &rules));
    }
    for rule in rules {
        let text = |pointer: &str| rule.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let alert = text("/alert");
        for metric in unknown_metrics(text("/expr"), &known) {
            findings.push(format!(
                "alert {alert}{} watches {metric}, which is no metric",
                text("/record")
            ));
        }
        if alert.is_empty() {
            continue;
        }
        if !SEVERITIES.contains(&text("/labels/severity"))
            || ["/labels/team", "/annotations/summary", "/annotations/description"]
                .iter()
                .any(|it| text(it).is_empty())
        {
            findings.push(format!(
                "alert {alert} does not say for whom it is, how bad, or what it means"
            ));
        }
        let runbook = text("/annotations/runbook_url");
        let (page, wanted) = runbook.split_once('#').unwrap_or_default();
        if !page.starts_with("https://")
            || !page.ends_with("/docs/operations.md")
            || !headings.iter().any(|it| it == wanted)
        {
            findings.push(format!("alert {alert} has no runbook: {runbook:?}"));
        }
        let row = format!("| `{alert}` | {} |", text("/labels/severity"));
        let link = format!("[Then](#{wanted}) |");
        if !docs.lines().any(|line| {
            line.strip_prefix(&row)
                .and_then(|rest| rest.strip_suffix(&link))
                .is_some_and(|said| says(said.trim(), text("/annotations/summary")))
        }) {
            findings.push(format!(
                "alert {alert} is not in the list of docs/operations.md, or otherwise"
            ));
        }
    }
    Ok(findings)
}

fn rules(rendered: &Rendered) -> Vec<&Value> {
    rendered
        .of_kind("monitoring.coreos.com/v1", "PrometheusRule")
        .filter_map(|document| document.pointer("/spec/groups")?.as_array())
        .flatten()
        .filter_map(|group| group.get("rules")?.as_array())
        .flatten()
        .collect()
}

/// Alerts that the list in the runbook has, and nobody else.
fn rows_without_a_rule(docs: &str, rules: &[&Value]) -> Vec<String> {
    let is_rule = |name: &str| {
        rules
            .iter()
            .any(|rule| rule.get("alert").and_then(Value::as_str) == Some(name))
    };
    docs.lines()
        .filter(|line| {
            SEVERITIES
                .iter()
                .any(|severity| line.contains(&format!("` | {severity} | ")))
        })
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| !is_rule(name))
        .map(|name| format!("docs/operations.md lists {name}, which is no alert"))
        .collect()
}

/// Whether a sentence is the summary, with words of its own where that has labels filled in.
fn says(said: &str, summary: &str) -> bool {
    let mut rest = said;
    let mut parts = summary
        .split("{{")
        .map(|part| part.split_once("}}").map_or(part, |(_, after)| after));
    parts.all(|part| match rest.find(part.trim()) {
        Some(at) => {
            rest = rest.get(at + part.trim().len()..).unwrap_or_default();
            true
        }
        None => false,
    }) && rest.is_empty()
}

/// Likewise for what a dashboard draws.
pub(crate) fn dashboards_show_real_metrics(rendered: &Rendered) -> Result<Findings> {
    let known = known_metrics()?;
    let mut findings = Findings::new();
    for (panel, query) in rendered.dashboard_queries()? {
        for metric in unknown_metrics(&query, &known) {
            findings.push(format!("{panel:?} draws {metric}, which is no metric"));
        }
    }
    Ok(findings)
}

/// Prometheus 2 keeps the limit of a bucket as it was told, `5`, and Prometheus 3 writes it `5.0`: who asks for one of them alone gets
/// nothing from the other.
pub(crate) fn buckets_are_named_both_ways(rendered: &Rendered) -> Result<Findings> {
    let text = |rule: &Value, key| {
        rule.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let rules = rules(rendered)
        .into_iter()
        .map(|rule| (text(rule, "alert") + &text(rule, "record"), text(rule, "expr")));
    let mut findings = Findings::new();
    for (name, query) in rules.chain(rendered.dashboard_queries()?) {
        for limits in bucket_limits(&query) {
            let limits: Vec<&str> = limits.split('|').collect();
            for limit in &limits {
                let whole = limit.strip_suffix(".0").unwrap_or(limit);
                let is_whole = !whole.is_empty() && whole.chars().all(|c| c.is_ascii_digit());
                if is_whole && !(limits.contains(&whole) && limits.contains(&format!("{whole}.0").as_str())) {
                    findings.push(format!(
                        r#"{name:?} asks for le="{limit}": le=~"{whole}|{whole}.0""#
                    ));
                }
            }
        }
    }
    Ok(findings)
}

/// What the label `le` is compared with.
fn bucket_limits(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| ['{', ','].contains(&c))
        .filter_map(|matcher| matcher.trim().strip_prefix("le"))
        .filter_map(|matcher| matcher.trim_start_matches(['=', '~', '!', ' ']).strip_prefix('"'))
        .filter_map(|value| value.split('"').next())
}

fn known_metrics() -> Result<String> {
    SOURCES.iter().map(|path| read(path)).collect()
}

fn unknown_metrics(query: &str, known: &str) -> Vec<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words
        .filter(|word| OURS.iter().any(|prefix| word.starts_with(prefix)))
        .filter(|word| {
            // A histogram is three series.
            let histogram = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix));
            ![Some(*word), histogram]
                .into_iter()
                .flatten()
                .any(|name| known.contains(&format!("\"{name}\"")))
        })
        .map(str::to_owned)
        .collect()
}

/// The name by which a heading is linked.
fn anchor(line: &str) -> Option<String> {
    let heading = line.strip_prefix("## ").or_else(|| line.strip_prefix("### "))?;
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(workspace_root().join(path)).map_err(|error| Error(format!("{path}: {error}")))
}
