//! What each team may do, by the cluster's own answer.

use serde_json::{Value, json};

use crate::kube::Cluster;

const NAMESPACES: [&str; 4] = ["invoices", "payments", "messaging", "data"];

/// A team, its namespace, and what it runs there.
const TEAMS: [(&str, &str, &str); 3] = [
    ("invoice-team", "invoices", "deployments.apps/invoice-app"),
    ("payment-team", "payments", "deployments.apps/payment-provider"),
    ("platform-team", "messaging", "statefulsets.apps/nats"),
];

#[test]
fn teams_do_their_work_in_their_own_namespace() {
    let cluster = crate::cluster!();
    for (team, namespace, workload) in TEAMS {
        for (verb, what) in [
            ("list", "pods"),
            ("get", "pods/log"),
            ("watch", "events"),
            ("list", "networkpolicies.networking.k8s.io"),
            ("patch", workload),
            ("delete", "pods"),
            ("create", "pods/portforward"),
        ] {
            assert!(
                may(&cluster, team, namespace, verb, what),
                "{team} may not {verb} {what}"
            );
        }
    }
}

#[test]
fn teams_configure_their_services_and_nobody_writes_what_nats_grants() {
    let cluster = crate::cluster!();
    for (team, namespace, _) in TEAMS {
        for verb in ["create", "update", "patch", "delete"] {
            let may = may(&cluster, team, namespace, verb, "configmaps");
            assert_eq!(may, namespace != "messaging", "{team}: {verb} configmaps");
        }
    }
}

#[test]
fn teams_read_no_secret_and_open_no_shell() {
    let cluster = crate::cluster!();
    for (team, namespace, _) in TEAMS {
        for (verb, what) in [
            ("get", "secrets"),
            ("list", "secrets"),
            ("get", "secrets/nats-user"),
            ("get", "secrets/nats-tls"),
            ("create", "pods"),
            ("create", "pods/exec"),
            ("create", "pods/attach"),
            ("patch", "pods/ephemeralcontainers"),
            ("create", "serviceaccounts/token"),
            ("create", "cronjobs.batch"),
            ("patch", "cronjobs.batch"),
            ("create", "services"),
            ("create", "deployments.apps"),
            ("patch", "networkpolicies.networking.k8s.io"),
            ("delete", "networkpolicies.networking.k8s.io"),
            ("patch", "resourcequotas"),
            ("create", "rolebindings.rbac.authorization.k8s.io"),
            ("bind", "roles.rbac.authorization.k8s.io"),
            ("escalate", "roles.rbac.authorization.k8s.io"),
        ] {
            assert!(
                !may(&cluster, team, namespace, verb, what),
                "{team} may {verb} {what}"
            );
        }
    }
}

#[test]
fn teams_roll_out_and_mount_no_secret() {
    const CONTAINER: &str = "/spec/template/spec/containers/0";
    let cluster = crate::cluster!();
    for (team, namespace, workload) in TEAMS {
        let patched = |patch: &Value| {
            let patch = patch.to_string();
            let output = cluster.try_run(&[
                "patch",
                workload,
                "--namespace",
                namespace,
                "--type",
                "json",
                "--patch",
                &patch,
                "--dry-run=server",
                "--as",
                "somebody",
                "--as-group",
                team,
            ]);
            (output.status.success(), String::from_utf8(output.stderr).unwrap())
        };
        let image = "jsonpath={.spec.template.spec.containers[0].image}";
        let image = cluster.run(&["get", workload, "--namespace", namespace, "-o", image]);
        let next = format!("{}:next", image.rsplit_once(':').unwrap().0);
        let (taken, answer) = patched(&json!([
            {"op": "replace", "path": format!("{CONTAINER}/image"), "value": next},
            {"op": "replace", "path": format!("{CONTAINER}/resources/requests/cpu"), "value": "123m"},
        ]));
        assert!(taken, "{team} cannot roll out: {answer}");
        let secret = json!({"name": "more", "secret": {"secretName": "nats-user"}});
        let elsewhere = json!("docker.io/library/busybox:1");
        for (path, value) in [
            ("/spec/template/spec/volumes/-".to_owned(), secret),
            (format!("{CONTAINER}/image"), elsewhere),
            (format!("{CONTAINER}/command"), json!(["/usr/bin/env"])),
            (
                "/spec/template/spec/automountServiceAccountToken".to_owned(),
                json!(true),
            ),
        ] {
            let (taken, answer) = patched(&json!([{"op": "add", "path": path, "value": value}]));
            assert!(!taken, "{team} may add {value} at {path}");
            assert!(
                answer.contains("teams-run-what-is-theirs"),
                "refused, but not for that: {answer}"
            );
        }
    }
}

#[test]
fn operators_run_the_commands_of_their_template_and_nothing_else() {
    let cluster = crate::cluster!();
    for (team, namespace, template, command) in [
        ("invoice-team", "invoices", "invoice-app-operator", "dead-letters"),
        ("payment-team", "payments", "payment-provider-operator", "ledger"),
    ] {
        let template = cluster.run(&["get", "cronjob", template, "--namespace", namespace, "-o", "json"]);
        let template: Value = serde_json::from_str(&template).unwrap();
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "operator-test", "namespace": namespace},
            "spec": template["spec"]["jobTemplate"]["spec"]
        });
        let offer = |job: &Value| {
            let arguments = [
                "create",
                "--dry-run=server",
                "--as",
                "somebody",
                "--as-group",
                team,
            ];
            let output = cluster.offer(&arguments, job);
            (output.status.success(), String::from_utf8(output.stderr).unwrap())
        };
        let container = "/spec/template/spec/containers/0";
        job.pointer_mut(container).unwrap()["args"] = json!([command, "list"]);
        let (taken, answer) = offer(&job);
        assert!(taken, "{team} cannot run {command}: {answer}");
        for (key, value) in [
            ("args", json!(["serve"])),
            ("command", json!(["/usr/bin/env"])),
            ("image", json!("docker.io/library/busybox:1")),
        ] {
            let mut other = job.clone();
            other.pointer_mut(container).unwrap()[key] = value;
            let (taken, answer) = offer(&other);
            assert!(!taken, "{team} may run another {key}");
            assert!(
                answer.contains("operators-run-commands"),
                "refused, but not for that: {answer}"
            );
        }
    }
}

#[test]
fn teams_have_nothing_in_another_namespace() {
    let cluster = crate::cluster!();
    for (team, own, _) in TEAMS {
        for namespace in NAMESPACES
            .into_iter()
            .chain(["kube-system", "default"])
            // Where the platform team looks, and changes nothing.
            .filter(|namespace| *namespace != own && (team, *namespace) != ("platform-team", "data"))
        {
            for (verb, what) in [
                ("get", "pods"),
                ("get", "pods/log"),
                ("get", "configmaps"),
                ("get", "secrets"),
                ("create", "pods/portforward"),
                ("patch", "deployments.apps"),
                ("delete", "pods"),
            ] {
                assert!(
                    !may(&cluster, team, namespace, verb, what),
                    "{team} may {verb} {what} in {namespace}"
                );
            }
        }
        for (verb, what) in [("get", "nodes"), ("list", "namespaces"), ("patch", "namespaces")] {
            assert!(!may(&cluster, team, own, verb, what), "{team} may {verb} {what}");
        }
    }
}

#[test]
fn platform_team_looks_at_the_local_postgres_and_changes_nothing() {
    let cluster = crate::cluster!();
    let may = |verb, what| may(&cluster, "platform-team", "data", verb, what);
    for (verb, what) in [
        ("get", "pods/log"),
        ("list", "events"),
        ("watch", "statefulsets.apps"),
    ] {
        assert!(may(verb, what), "platform-team may not {verb} {what}");
    }
    for (verb, what) in [
        ("get", "secrets"),
        ("delete", "pods"),
        ("patch", "statefulsets.apps"),
        ("create", "pods/portforward"),
        ("delete", "persistentvolumeclaims"),
    ] {
        assert!(!may(verb, what), "platform-team may {verb} {what}");
    }
}

#[test]
fn platform_team_replaces_a_nats_server_that_lost_its_disk() {
    let cluster = crate::cluster!();
    let may = |what| may(&cluster, "platform-team", "messaging", "delete", what);
    assert!(may("pods/nats-2"));
    assert!(may("persistentvolumeclaims/data-nats-2"));
    assert!(!may("persistentvolumeclaims"));
}

#[test]
fn platform_team_reads_the_one_key_for_listening_in() {
    let cluster = crate::cluster!();
    assert!(may(
        &cluster,
        "platform-team",
        "messaging",
        "get",
        "secrets/nats-debug"
    ));
    assert!(!may(
        &cluster,
        "invoice-team",
        "messaging",
        "get",
        "secrets/nats-debug"
    ));
    assert!(!may(
        &cluster,
        "payment-team",
        "messaging",
        "get",
        "secrets/nats-debug"
    ));
}

#[test]
fn services_themselves_may_do_nothing() {
    let cluster = crate::cluster!();
    for (namespace, name) in [
        ("invoices", "invoice-app"),
        ("payments", "payment-provider"),
        ("messaging", "nats"),
        ("data", "postgres"),
    ] {
        let account = format!("system:serviceaccount:{namespace}:{name}");
        for (verb, what) in [
            ("get", "secrets"),
            ("list", "pods"),
            ("get", "configmaps"),
            ("create", "pods"),
        ] {
            let output = cluster.try_run(&[
                "auth",
                "can-i",
                verb,
                what,
                "--namespace",
                namespace,
                "--as",
                &account,
            ]);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).trim(),
                "no",
                "{account} may {verb} {what}"
            );
        }
    }
}

/// `what` is a resource, `resource/subresource`, or `resource/name`.
fn may(cluster: &Cluster, team: &str, namespace: &str, verb: &str, what: &str) -> bool {
    const SUBRESOURCES: [&str; 7] = [
        "log",
        "portforward",
        "exec",
        "attach",
        "ephemeralcontainers",
        "token",
        "scale",
    ];
    let mut args = vec!["auth", "can-i", verb];
    let subresource;
    match what.split_once('/') {
        Some((resource, sub)) if SUBRESOURCES.contains(&sub) => {
            subresource = format!("--subresource={sub}");
            args.extend([resource, &subresource]);
        }
        _ => args.push(what),
    }
    args.extend(["--namespace", namespace, "--as", "somebody", "--as-group", team]);
    let output = cluster.try_run(&args);
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!("{args:?}: {other} {}", String::from_utf8_lossy(&output.stderr)),
    }
}
