//! A release build has nothing of the fail points: not their names, not the code that looks for them.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::{path::Path, process::Command};

/// Compiles the probe as one profile or the other would, and tells whether a point's name is in the binary.
fn has_fail_points(debug_assertions: &str) -> bool {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("probe");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(rustc)
        .args(["--edition=2024", "-Copt-level=1"])
        .arg(format!("-Cdebug-assertions={debug_assertions}"))
        .arg(contract.join("tests/release/probe.rs"))
        .arg("-o")
        .arg(&binary)
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    assert!(Command::new(&binary).status().unwrap().success());
    let binary = std::fs::read(binary).unwrap();
    let name = b"payment.committed";
    binary.windows(name.len()).any(|bytes| bytes == name)
}

#[test]
fn fail_points_are_in_debug_builds_and_not_in_release_builds() {
    assert!(has_fail_points("on"));
    assert!(!has_fail_points("off"));
}
