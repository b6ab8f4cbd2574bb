//! nats-server itself accepts the configuration that each overlay mounts, with the environment that it sets.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::{
    fs,
    process::{Command, Output},
};

use k8s_checks::Rendered;
use local_stack::Keys;

#[test]
fn every_overlay_gives_nats_a_configuration_that_it_accepts() {
    for overlay in ["k8s/overlays/local", "k8s/overlays/production"] {
        let output = check(overlay);
        assert!(
            output.status.success(),
            "{overlay}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn nats_refuses_a_configuration_with_a_word_it_does_not_know() {
    let output = check("k8s/checks/fixtures/tool-nats-unknown-word");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown field"));
}

#[test]
fn nats_refuses_a_configuration_without_a_variable_it_names() {
    let output = check("k8s/checks/fixtures/tool-nats-missing-variable");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("NATS_STORE_DIR"));
}

fn check(overlay: &str) -> Output {
    let rendered = Rendered::overlay(overlay).unwrap();
    let workloads = rendered.workloads().unwrap();
    let nats = workloads.iter().find(|workload| workload.name == "nats").unwrap();
    let container = nats
        .pod
        .containers
        .iter()
        .find(|container| container.name == "nats")
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);

    // What is mounted where, with directories of our own in the place of the pod's.
    let keys = Keys::generate(&path("keys"), &["nats.messaging.svc".to_owned()]).unwrap();
    for (name, file) in [
        ("tls.crt", keys.server_certificate_file()),
        ("tls.key", keys.server_key_file()),
    ] {
        fs::copy(file, path("keys").join(name)).unwrap();
    }
    let volume = nats
        .pod
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == "config")
        .unwrap();
    let config = rendered
        .config_map("messaging", &volume.config_map.as_ref().unwrap().name)
        .unwrap()
        .unwrap();
    fs::create_dir(path("config")).unwrap();
    for (file, text) in config {
        fs::write(path("config").join(file), text).unwrap();
    }
    let moved = |text: &str| {
        let to = |name: &str| path(name).display().to_string();
        text.replace("/etc/nats-tls", &to("keys"))
            .replace("/etc/nats", &to("config"))
            .replace("/data", &to("data"))
    };

    let command: Vec<String> = container
        .command
        .iter()
        .flatten()
        .map(|argument| moved(argument))
        .collect();
    let environment = container.env.iter().flatten().map(|variable| {
        let value = variable.value.as_deref().map_or_else(
            || "nats-0".to_owned(),
            |value| {
                // A path needs quotes where it holds more than letters, as a temporary directory's may.
                if value.starts_with('/') {
                    format!("\"{}\"", moved(value))
                } else {
                    value.to_owned()
                }
            },
        );
        (variable.name.clone(), value)
    });
    Command::new(local_stack::tool("nats-server").unwrap())
        .args(command.iter().skip(1))
        .arg("-t")
        .env_clear()
        .envs(environment)
        .envs(keys.public_keys().unwrap())
        .output()
        .unwrap()
}
