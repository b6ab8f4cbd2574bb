//! Alerts watch something that exists.

use serde_json::Value;

use crate::{Error, Findings, Rendered, Result, workspace_root};

/// Whom an alert is for: wake somebody up, the same day, or whoever looks already.
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// Every metric of ours that an alert names is one that the services have, and every alert says how bad it is, what it is, what it
/// means, and where it is told what to do: a heading of the runbook, under an address that a pager can open.
pub(crate) fn alerts_name_real_metrics(rendered: &Rendered) -> Result<Findings> {
    let known = [
        read("invoice-app/src/metrics.rs")?,
        read("payment-provider/src/metrics.rs")?,
    ]
    .concat();
    let docs = read("docs/operations.md")?;
    let headings: Vec<String> = docs.lines().filter_map(anchor).collect();
    let mut findings = Findings::new();
    for rule in rendered
        .of_kind("monitoring.coreos.com/v1", "PrometheusRule")
        .filter_map(|document| document.pointer("/spec/groups")?.as_array())
        .flatten()
        .filter_map(|group| group.get("rules")?.as_array())
        .flatten()
    {
        let text = |pointer: &str| rule.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let alert = text("/alert");
        let words = text("/expr").split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|it| it.starts_with("invoice_app_") || it.starts_with("payment_provider_"))
        {
            if !known.contains(&format!("\"{metric}\"")) {
                findings.push(format!("alert {alert} watches {metric}, which is no metric"));
            }
        }
        if rule.get("alert").is_none() {
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
        let found = runbook.split_once('#').is_some_and(|(page, wanted)| {
            page.starts_with("https://")
                && page.ends_with("/docs/operations.md")
                && headings.iter().any(|it| it == wanted)
        });
        if !found {
            findings.push(format!("alert {alert} has no runbook: {runbook:?}"));
        }
        let row = format!("| `{alert}` | {} |", text("/labels/severity"));
        let link = format!("(#{})", runbook.rsplit('#').next().unwrap_or_default());
        if !docs
            .lines()
            .any(|line| line.starts_with(&row) && line.contains(&link))
        {
            findings.push(format!(
                "alert {alert} is not in the list of docs/operations.md, or otherwise"
            ));
        }
    }
    Ok(findings)
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
