//! What the network policies allow, as `network-config-analyzer` understands them, against the tables in `connectivity/`.
//!
//! Both halves are looked at apart, too: a mistake in what a pod lets in would otherwise hide behind what others do not
//! send out.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use k8s_checks::{Rendered, workspace_root};
use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

/// What the policies allow, and which half of them is asked.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Ingress,
    Egress,
    Both,
}

#[test]
#[ignore = "needs network-config-analyzer, which `just lint` installs and runs this with"]
fn policies_allow_what_the_tables_say() {
    let mut different = Vec::new();
    for (overlay, table) in [
        ("k8s/overlays/local", "local.txt"),
        ("k8s/overlays/production", "production.txt"),
        ("k8s/checks/overlays/lag-scaling", "lag-scaling.txt"),
        ("k8s/checks/overlays/node-local-dns", "node-local-dns.txt"),
    ] {
        let path = workspace_root().join("k8s/checks/connectivity").join(table);
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let actual = table_of(overlay);
        if expected != actual {
            let written = std::env::temp_dir().join(table);
            fs::write(&written, &actual).unwrap();
            different.push(format!(
                "{overlay} allows other connections than {table} says:\n{}\nthe whole is in {}",
                difference(&expected, &actual),
                written.display()
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
#[ignore = "needs network-config-analyzer, which `just lint` installs and runs this with"]
fn wrong_policies_are_noticed() {
    let right = table_of("k8s/overlays/local");
    for fixture in [
        "tool-nca-either-selector",
        "tool-nca-mistyped-namespace",
        "tool-nca-open-egress",
    ] {
        let wrong = table_of(&format!("k8s/checks/fixtures/{fixture}"));
        assert_ne!(wrong, right, "{fixture} goes unnoticed");
    }
}

fn table_of(overlay: &str) -> String {
    let rendered = Rendered::overlay(overlay).unwrap();
    let mut table = String::new();
    for (half, heading) in [
        (Half::Both, "# Who may connect to whom"),
        (
            Half::Ingress,
            "# Whom each of ours lets in, were everybody free to send",
        ),
        (
            Half::Egress,
            "# Whom each of ours may send to, were everybody open",
        ),
    ] {
        table.push_str(heading);
        table.push('\n');
        for connection in connections(&rendered, half) {
            table.push_str(&connection);
            table.push('\n');
        }
        table.push('\n');
    }
    table
}

/// Sorted lines `from => to : ports`, of connections that concern a pod of ours.
fn connections(rendered: &Rendered, half: Half) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let documents: Vec<String> = rendered
        .documents()
        .iter()
        // It takes a file with `{{` in it for a template, and skips all of it: alerts and dashboards are full of them.
        .filter(|it| it["kind"] != "PrometheusRule" && it["kind"] != "ConfigMap")
        .cloned()
        .map(|it| keep(it, half).to_string())
        .collect();
    fs::write(directory.path().join("ours.yaml"), documents.join("\n---\n")).unwrap();
    fs::copy(other_pods_file(), directory.path().join("other-pods.yaml")).unwrap();
    let output = Command::new(nca())
        .args([
            "--output_format",
            "txt_no_fw_rules",
            "--connectivity",
            "--resource_list",
        ])
        .arg(directory.path())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", nca().display()));
    let text = String::from_utf8_lossy(&output.stdout);
    let namespaces = rendered.all::<Namespace>().unwrap().into_iter();
    let namespaces: Vec<_> = namespaces
        .filter_map(|namespace| namespace.metadata.name)
        .collect();
    let is_ours = |peer: &str| is_among(&namespaces, peer);
    let lines: BTreeSet<String> = text
        .lines()
        .filter_map(|line| {
            let (from, rest) = line.split_once(" => ")?;
            let (to, ports) = rest.split_once(" : ")?;
            let concerned = match half {
                Half::Ingress => is_ours(to),
                Half::Egress => is_ours(from),
                Half::Both => is_ours(from) || is_ours(to),
            };
            concerned.then(|| format!("{} => {} : {}", short(from), short(to), ports_of(ports)))
        })
        .collect();
    assert!(
        !lines.is_empty(),
        "nca said nothing: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fold_other_pods(&lines, &other_pods(&namespaces))
}

/// One line for what every pod outside our namespaces may do.
fn fold_other_pods(lines: &BTreeSet<String>, other_pods: &BTreeSet<String>) -> BTreeSet<String> {
    let all_may = |what: &str| {
        other_pods
            .iter()
            .all(|from| lines.contains(&format!("{from} => {what}")))
    };
    lines
        .iter()
        .map(|line| match line.split_once(" => ") {
            Some((from, what)) if other_pods.contains(from) && all_may(what) => {
                format!("any pod elsewhere => {what}")
            }
            _ => line.clone(),
        })
        .collect()
}

fn other_pods_file() -> PathBuf {
    workspace_root().join("k8s/checks/connectivity/other-pods.yaml")
}

fn other_pods(ours: &[String]) -> BTreeSet<String> {
    let rendered = Rendered::parse(&fs::read_to_string(other_pods_file()).unwrap()).unwrap();
    rendered
        .of_kind("v1", "Pod")
        .map(|pod| {
            ["/metadata/namespace", "/metadata/name"]
                .map(|it| pod.pointer(it).unwrap().as_str().unwrap())
                .join("/")
        })
        .filter(|pod| !is_among(ours, pod))
        .collect()
}

/// Leaves one half of a policy.
fn keep(mut document: Value, half: Half) -> Value {
    let (kept, dropped) = match half {
        Half::Ingress => ("Ingress", "egress"),
        Half::Egress => ("Egress", "ingress"),
        Half::Both => return document,
    };
    if document.get("kind") != Some(&json!("NetworkPolicy")) {
        return document;
    }
    let types = document.pointer("/spec/policyTypes").and_then(Value::as_array);
    if types.is_none_or(|types| !types.contains(&json!(kept))) {
        // Nothing is left of it. An empty list would be `null` to whoever reads it.
        return json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nothing", "namespace": "elsewhere"}});
    }
    if let Some(spec) = document.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove(dropped);
        spec.insert("policyTypes".to_owned(), json!([kept]));
    }
    document
}

fn is_among(namespaces: &[String], peer: &str) -> bool {
    peer.split_once('/')
        .is_some_and(|(namespace, _)| namespaces.iter().any(|it| it == namespace))
}

/// Without the kind behind the name, and with a name for the world.
fn short(peer: &str) -> &str {
    let name = peer.split('[').next().unwrap_or(peer);
    if name == "0.0.0.0-255.255.255.255" {
        "outside"
    } else {
        name
    }
}

fn ports_of(ports: &str) -> String {
    ports
        .trim_matches(['{', '}'])
        .replace("protocols:", "")
        .replace(",dst_ports:", " ")
}

fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let missing = expected
        .iter()
        .filter(|line| !actual.contains(line))
        .map(|line| format!("  - {line}"));
    let added = actual
        .iter()
        .filter(|line| !expected.contains(line))
        .map(|line| format!("  + {line}"));
    missing.chain(added).collect::<Vec<_>>().join("\n")
}

fn nca() -> PathBuf {
    std::env::var_os("NCA").map_or_else(|| workspace_root().join(".tools/bin/nca"), PathBuf::from)
}
