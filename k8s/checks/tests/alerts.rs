//! Every alert fires when it should, and only then: Prometheus's own promtool runs the cases in `alerts/` over the rendered rules.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]

use std::{
    ffi::OsString,
    fs,
    io::{ErrorKind, Write as _},
    path::Path,
    process::{Command, Output},
};

use k8s_checks::{Rendered, workspace_root};
use serde_json::{Value, json};

#[test]
fn alerts_fire_in_the_cases_they_are_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut rules = Vec::new();
    for document in rules_of_production() {
        let name = document
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap();
        let file = directory.path().join(format!("{name}.json"));
        fs::write(&file, document.get("spec").unwrap().to_string()).unwrap();
        rules.push(file.into_os_string());
    }
    let Some(checked) = promtool(
        directory.path(),
        &[vec!["check".into(), "rules".into()], rules].concat(),
    ) else {
        return;
    };
    assert!(checked.status.success(), "{}", said(&checked));
    for (name, cases) in cases() {
        let file = directory.path().join(format!("{name}.test.yaml"));
        fs::write(&file, cases).unwrap();
        let tested = promtool(
            directory.path(),
            &["test".into(), "rules".into(), file.into_os_string()],
        );
        let tested = tested.unwrap();
        assert!(tested.status.success(), "{name}: {}", said(&tested));
    }
}

#[test]
fn dashboards_ask_what_prometheus_understands() {
    let rendered = Rendered::overlay("k8s/overlays/production").unwrap();
    let queries = rendered.dashboard_queries().unwrap();
    assert!(queries.len() > 30, "dashboards are missing: {queries:?}");
    // As rules, since that is what promtool reads without a server. Grafana fills its variables in first.
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(number, (_, query))| json!({"record": format!("panel:{number}"), "expr": query.replace("$__rate_interval", "1m")}))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboards.json");
    fs::write(
        &file,
        json!({"groups": [{"name": "dashboards", "rules": rules}]}).to_string(),
    )
    .unwrap();
    if let Some(checked) = promtool(
        directory.path(),
        &["check".into(), "rules".into(), file.into_os_string()],
    ) {
        assert!(checked.status.success(), "{}", said(&checked));
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let cases: Vec<Value> = cases()
        .into_iter()
        .flat_map(|(_, text)| Rendered::parse(&text).unwrap().documents().to_vec())
        .collect();
    let tests: Vec<&Value> = cases
        .iter()
        .flat_map(|file| list(file, "tests"))
        .flat_map(|test| list(test, "alert_rule_test"))
        .collect();
    for document in rules_of_production() {
        let rules = list(document.get("spec").unwrap(), "groups")
            .into_iter()
            .flat_map(|group| list(group, "rules"));
        for alert in rules.filter_map(|rule| rule.get("alert")) {
            let expected = tests.iter().filter(|test| test.get("alertname") == Some(alert));
            let counts: Vec<usize> = expected.map(|test| list(test, "exp_alerts").len()).collect();
            assert!(
                counts.iter().any(|count| *count > 0),
                "{alert} is never seen to fire"
            );
            assert!(counts.contains(&0), "{alert} is never seen to be quiet");
        }
    }
}

fn rules_of_production() -> Vec<Value> {
    let rendered = Rendered::overlay("k8s/overlays/production").unwrap();
    let rules = rendered.of_kind("monitoring.coreos.com/v1", "PrometheusRule");
    rules.cloned().collect()
}

/// Name and text of each file of cases.
fn cases() -> Vec<(String, String)> {
    let directory = workspace_root().join("k8s/checks/alerts");
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    let entries = value.get(key).and_then(Value::as_array);
    entries.into_iter().flatten().collect()
}

/// Nothing, with a word about it past the harness, where there is no promtool.
fn promtool(directory: &Path, arguments: &[OsString]) -> Option<Output> {
    let program = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    match Command::new(&program)
        .args(arguments)
        .current_dir(directory)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let _ = writeln!(
                std::io::stderr(),
                "no alert was tried: there is no promtool here (Debian: apt-get install prometheus)"
            );
            None
        }
        Err(error) => panic!("{}: {error}", program.display()),
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|it| String::from_utf8_lossy(it).into_owned())
        .concat()
}
