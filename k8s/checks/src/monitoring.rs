//! Alerts watch something that exists.

use serde_json::Value;

use crate::{Error, Findings, Rendered, Result, workspace_root};

/// Every metric of ours that an alert names is one that the services have, and every runbook is a heading.
pub(crate) fn alerts_name_real_metrics(rendered: &Rendered) -> Result<Findings> {
    let known = [
        read("invoice-app/src/metrics.rs")?,
        read("payment-provider/src/metrics.rs")?,
    ]
    .concat();
    let headings: Vec<String> = read("docs/operations.md")?.lines().filter_map(anchor).collect();
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
        let runbook = text("/annotations/runbook");
        let found = runbook
            .split_once('#')
            .is_some_and(|(_, wanted)| headings.iter().any(|it| it == wanted));
        if !found {
            findings.push(format!("alert {alert} has no runbook: {runbook:?}"));
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
