//! Every overlay keeps every rule, and every rule notices when it is broken.

use manifest_checks::{CHECKS, Rendered};

/// What is deployed, and what only a component makes different.
const OVERLAYS: [&str; 3] = [
    "k8s/overlays/local",
    "k8s/overlays/production",
    "k8s/checks/overlays/lag-scaling",
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
    let fixtures = manifest_checks::workspace_root().join("k8s/checks/fixtures");
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let for_a_tool = name.starts_with("tool-");
        assert!(
            for_a_tool || CHECKS.iter().any(|check| check.name == name),
            "{name} breaks no known rule"
        );
    }
}
