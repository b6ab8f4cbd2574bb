//! What the scripts say when something is wrong: one sentence first, with what to do, and before anything is built. kubectl and
//! docker are stand-ins in `tools/`; what a real cluster does with the rest is `tests/cluster`'s to show.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

mod harness;
mod recipes;

use std::{
    fs,
    time::{Duration, Instant},
};

use harness::{paid_invoices, run};
use k8s_checks::workspace_root;

/// As a kubelet says it.
const UNMOUNTED: &str = "MountVolume.SetUp failed for volume \"database\" : secret \"database\" not found";

#[test]
fn what_can_be_known_in_a_second_is_said_before_anything_is_built() {
    for (settings, sentence, words) in [
        (
            &[("KUBE_CONTEXT", "nope")] as &[_],
            "The cluster of context nope does not answer.",
            "does not exist",
        ),
        (
            &[("FAKE_CONTEXT", "production")],
            "The current context, production, is not a local cluster's.",
            "KUBE_CONTEXT=production",
        ),
        (
            &[("OVERLAY", "k8s/overlays/locale")],
            "There is no overlay k8s/overlays/locale",
            "kustomization.yaml",
        ),
        (
            &[("OVERLAY", "k8s/checks")],
            "There is no overlay k8s/checks",
            "kustomization.yaml",
        ),
        (
            &[("OVERLAY", "k8s/overlays/production")],
            "k8s/overlays/production needs what kind-fake does not know",
            "monitoring.coreos.com/v1",
        ),
        (
            &[("KUBE_CONTEXT", "elsewhere")],
            "How to load images into elsewhere is not known here",
            "IMAGE_LOAD_CMD",
        ),
        (
            &[("IMAGE_LOAD_CMD", "no-such-tool load")],
            "IMAGE_LOAD_CMD cannot be run",
            "no-such-tool",
        ),
        (
            &[("IMAGE_LOAD_CMD", "if true")],
            "IMAGE_LOAD_CMD cannot be run",
            "syntax error",
        ),
        (
            &[("BINARIES", "/nowhere")],
            "BINARIES has no program invoice-app",
            "/nowhere",
        ),
        (&[("STORAGE", "claim")], "STORAGE is claims or ephemeral", "claim"),
        (
            &[("STORAGE", "claims")],
            "NATS and Postgres are deployed with STORAGE=ephemeral",
            "just undeploy",
        ),
        (
            &[("STORAGE", "ephemeral"), ("FAKE_CLAIMS", "data")],
            "NATS and Postgres are deployed with STORAGE=claims",
            "just undeploy",
        ),
        (&[("TIMEOUT", "soon")], "TIMEOUT is a number of seconds", "soon"),
        (
            &[("FAKE_MINOR", "29")],
            "Kubernetes 1.30 or newer is needed",
            "1.29",
        ),
        (&[("FAKE_MAY", "no")], "You may not create namespaces", "no"),
        (
            &[("OVERLAY", "k8s/base/namespaces")],
            "k8s/base/namespaces runs no image invoice-app",
            "kubectl",
        ),
        (
            &[
                ("OVERLAY", "k8s/overlays/production"),
                (
                    "FAKE_OPERATORS",
                    "monitoring.coreos.com/v1 gateway.networking.k8s.io/v1",
                ),
                ("FAKE_NO_SECRET", "nats-user database"),
            ],
            "k8s/overlays/production mounts secrets that kind-fake does not have: invoices/database payments/database.",
            "docs/kubernetes.md",
        ),
    ] {
        let ran = run("deploy.sh", settings);
        assert_eq!(ran.code, Some(1), "{settings:?}: {}", ran.said);
        assert!(ran.said.starts_with(sentence), "{settings:?}: {}", ran.said);
        assert!(ran.said.contains(words), "{settings:?}: {}", ran.said);
        for done in ["docker build", "apply", "create -"] {
            assert!(!ran.asked.contains(done), "{settings:?}: {}", ran.asked);
        }
    }
}

/// docker without buildx makes every stage before the one it is asked for.
#[test]
fn images_of_binaries_take_no_binary_of_another_image() {
    let binaries = tempfile::tempdir().unwrap();
    std::fs::write(binaries.path().join("probe"), "").unwrap();
    let settings = [("BINARIES", binaries.path().to_str().unwrap())];
    let ran = harness::run_with("build-images.sh", &["probe"], &settings);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let stages: Vec<&str> = ran
        .asked
        .lines()
        .filter(|line| line.contains("FROM runtime AS"))
        .collect();
    assert_eq!(stages, ["docker FROM runtime AS probe"], "{}", ran.asked);
}

#[test]
fn what_is_undeployed_can_be_deployed_again() {
    let ran = run("undeploy.sh", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let kept = "--field-selector metadata.name!=operators-run-commands";
    assert!(ran.asked.contains(kept), "{}", ran.asked);
}

#[test]
fn a_deployment_is_rolled_out_and_pays_an_invoice() {
    let api = paid_invoices();
    let settings = [
        ("TAG", "1"),
        (
            "FAKE_ROLLOUT",
            "deployment \"invoice-app\" successfully rolled out",
        ),
        ("INVOICE_APP_URL", api.as_str()),
    ];
    let ran = run("deploy.sh", &settings);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.said.contains("paid invoice 0198c0de-0000"), "{}", ran.said);
    let applied = ran.asked.find("apply --server-side").unwrap_or(usize::MAX);
    let waited = ran.asked.find("rollout status").unwrap_or_default();
    assert!(applied < waited, "{}", ran.asked);
    for workload in [
        "statefulset/postgres",
        "statefulset/nats",
        "deployment/invoice-app",
        "deployment/payment-provider",
    ] {
        assert!(
            ran.asked.contains(&format!("rollout status {workload}")),
            "{workload}: {}",
            ran.asked
        );
    }
}

#[test]
fn secrets_are_made_once_and_a_role_that_came_later_gets_its_own() {
    let ran = run("secrets.sh", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(!ran.asked.contains("applied"), "{}", ran.asked);
    // As if a password were missing among those of the roles.
    let ran = run("secrets.sh", &[("FAKE_SECRET", "")]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    for secret in ["postgres-roles", "postgres-tls", "database", "databases"] {
        assert!(
            ran.asked.contains(&format!("applied {secret}\n")),
            "{secret}: {}",
            ran.asked
        );
    }
    assert!(
        ran.asked.contains("rollout restart statefulset/postgres"),
        "{}",
        ran.asked
    );
    assert!(!ran.asked.contains("applied nats-tls"), "{}", ran.asked);
    // What one server shows has to do for three, too.
    let ran = run("secrets.sh", &[("FAKE_NO_SECRET", "nats-tls")]);
    assert!(ran.asked.contains("applied nats-tls"), "{}", ran.asked);
    assert!(
        ran.asked.contains("--dns *.nats-headless.messaging.svc"),
        "{}",
        ran.asked
    );
}

#[test]
fn a_command_that_fails_to_load_is_named() {
    let ran = run("load-images.sh", &[("IMAGE_LOAD_CMD", "echo no room >&2; false")]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said
            .contains("no room\nLoading the images failed: IMAGE_LOAD_CMD ended with 1."),
        "{}",
        ran.said
    );
}

#[test]
fn a_prefix_gets_the_slash_it_lacks() {
    for prefix in ["registry.example.com/payments", "registry.example.com/payments/"] {
        run("deploy.sh", &[("PREFIX", prefix), ("TAG", "1"), ("TIMEOUT", "1")]);
        let rendered = fs::read_to_string(workspace_root().join("target/deploy/rendered.yaml")).unwrap();
        assert!(
            rendered.contains("image: registry.example.com/payments/invoice-app:1\n"),
            "{prefix}"
        );
    }
}

/// A copy of the production overlay has names of its own, and images of others from a mirror.
#[test]
fn another_overlay_runs_what_is_built_for_it() {
    let operators = "monitoring.coreos.com/v1 gateway.networking.k8s.io/v1";
    let mirror = "image: registry.example.com/mirror/nats:2.15.1\n";
    let mut settings = vec![
        ("OVERLAY", "k8s/overlays/production"),
        ("FAKE_OPERATORS", operators),
        ("PREFIX", "registry.example.com/ours"),
        ("TAG", "1"),
        ("TIMEOUT", "1"),
    ];
    for (nats, runs) in [
        (None, mirror),
        (Some("elsewhere/nats:9"), "image: elsewhere/nats:9\n"),
    ] {
        settings.extend(nats.map(|image| ("NATS_IMAGE", image)));
        run("deploy.sh", &settings);
        let rendered = fs::read_to_string(workspace_root().join("target/deploy/rendered.yaml")).unwrap();
        for program in ["invoice-app", "payment-provider", "reconcile"] {
            let image = format!("image: registry.example.com/ours/{program}:1\n");
            assert!(rendered.contains(&image), "{program}");
        }
        assert!(!rendered.contains("image: registry.example.com/invoice-payments/"));
        assert!(rendered.contains(runs), "{nats:?}");
    }
}

#[test]
fn an_image_that_nobody_has_is_told_at_once() {
    let image = "localhost/invoice-app:1";
    let pods = format!(
        "invoice-app-1|{image}|ErrImagePull|||rpc error: code = NotFound desc = failed to pull: not found"
    );
    let started = Instant::now();
    let ran = run(
        "deploy.sh",
        &[("TAG", "1"), ("FAKE_IMAGE", image), ("FAKE_PODS", &pods)],
    );
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "it waited {:?}",
        started.elapsed()
    );
    let sentence = "The deployment failed: invoice-app-1 in data cannot run: its image localhost/invoice-app:1 is not to be had \
                    (ErrImagePull). It has to be loaded into the cluster";
    assert!(ran.said.contains(sentence), "{}", ran.said);
    assert!(ran.said.lines().count() < 30, "the cause drowns:\n{}", ran.said);
    assert_eq!(ran.code, Some(1));
}

#[test]
fn a_pod_of_an_earlier_try_does_not_end_this_one() {
    let pods = "invoice-app-0|localhost/invoice-app:0|ErrImagePull|||not found";
    let settings = [
        ("TAG", "1"),
        ("FAKE_IMAGE", "localhost/invoice-app:1"),
        ("FAKE_PODS", pods),
        ("TIMEOUT", "3"),
    ];
    let ran = run("deploy.sh", &settings);
    assert!(
        ran.said
            .contains("The deployment failed: after 3 s, the cluster makes no pod"),
        "{}",
        ran.said
    );
}

#[test]
fn the_reason_comes_before_the_details() {
    let image = "localhost/invoice-app:1";
    for (pod, reason) in [
        (
            "invoice-app-1|IMAGE||0|Unschedulable|0/1 nodes are available: 1 Insufficient cpu.",
            "no node has room for invoice-app-1 in data: 0/1 nodes",
        ),
        (
            "invoice-app-1|IMAGE|ContainerCreating|||",
            "lacks something it mounts: MountVolume.SetUp failed for volume \"database\" : secret \"database\" not found.",
        ),
        (
            "invoice-app-1|IMAGE|CreateContainerConfigError|||configmap \"nats-public-keys\" not found",
            "lacks something its variables come from: configmap \"nats-public-keys\" not found",
        ),
        (
            "invoice-app-1|IMAGE|CrashLoopBackOff|64||back-off",
            "does not accept its configuration",
        ),
        (
            "invoice-app-1|IMAGE|CrashLoopBackOff|1||back-off",
            "ended with exit code 1",
        ),
        ("invoice-app-1|IMAGE||||", "run and do not become ready"),
    ] {
        let pods = pod.replace("IMAGE", image);
        let ran = run(
            "deploy.sh",
            &[
                ("TAG", "1"),
                ("FAKE_IMAGE", image),
                ("FAKE_PODS", &pods),
                ("FAKE_EVENTS", UNMOUNTED),
                ("TIMEOUT", "2"),
            ],
        );
        let told = ran.said.find(reason).unwrap_or(usize::MAX);
        let details = ran.said.find("its last words").unwrap_or_default();
        assert!(told < details, "{pod}:\n{}", ran.said);
    }
}
