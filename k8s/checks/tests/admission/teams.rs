//! What those may change who may not read secrets.

use serde_json::{Value, json};

use crate::{
    CONTAINER, POD,
    documents::{at, document, pushed, with, without},
    policy::Policy,
};

#[test]
fn teams_roll_out_and_scale_what_is_theirs() {
    let policy = Policy::named("teams-run-what-is-theirs");
    for workload in workloads() {
        let image = at(&workload, &format!("{CONTAINER}/image"))
            .as_str()
            .unwrap()
            .to_owned();
        let repository = image.rsplit_once(':').unwrap().0;
        let config = json!({"configMapRef": {"name": "config-of-tomorrow"}});
        for (what, changed) in [
            ("nothing", workload.clone()),
            (
                "another tag",
                with(&workload, CONTAINER, "image", json!(format!("{repository}:next"))),
            ),
            (
                "a digest",
                with(
                    &workload,
                    CONTAINER,
                    "image",
                    json!(format!("{repository}@sha256:0123")),
                ),
            ),
            (
                "both",
                with(
                    &workload,
                    CONTAINER,
                    "image",
                    json!(format!("{repository}:next@sha256:0123")),
                ),
            ),
            ("replicas", with(&workload, "/spec", "replicas", json!(7))),
            (
                "resources",
                with(
                    &workload,
                    CONTAINER,
                    "resources",
                    json!({"requests": {"cpu": "1"}}),
                ),
            ),
            ("no resources", without(&workload, CONTAINER, "resources")),
            (
                "an annotation",
                with(
                    &workload,
                    "/spec/template/metadata",
                    "annotations",
                    json!({"restarted": "now"}),
                ),
            ),
            (
                "configuration",
                with(&workload, CONTAINER, "envFrom", json!([config])),
            ),
        ] {
            assert_eq!(policy.refuses(&workload, &changed), None, "{what}");
        }
    }
}

#[test]
fn configuration_in_a_volume_may_be_another() {
    let policy = Policy::named("teams-run-what-is-theirs");
    let nats = workload("nats");
    let config = position(&nats, "volumes", "config");
    let path = format!("{POD}/volumes/{config}/configMap");
    assert_eq!(
        policy.refuses(&nats, &with(&nats, &path, "name", json!("nats-config-next"))),
        None
    );
}

#[test]
fn teams_mount_no_other_volume() {
    let policy = Policy::named("teams-run-what-is-theirs");
    for workload in workloads() {
        for volume in [
            json!({"name": "more", "secret": {"secretName": "api-token-recipes"}}),
            json!({"name": "more", "projected": {"sources": [{"secret": {"name": "database"}}]}}),
            json!({"name": "more", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
            json!({"name": "more", "configMap": {"name": "kube-root-ca.crt"}}),
            json!({"name": "more", "csi": {"driver": "secrets-store.csi.k8s.io"}}),
        ] {
            let refused = policy.refuses(
                &workload,
                &pushed(&workload, &format!("{POD}/volumes"), volume.clone()),
            );
            assert!(
                refused.is_some_and(|message| message.contains("another volume")),
                "{volume}"
            );
        }
        // Under the name of one that is there, which the container mounts.
        for (what, replaced) in [
            (
                "a secret",
                json!({"name": at(&workload, &format!("{POD}/volumes/0/name")), "secret": {"secretName": "other"}}),
            ),
            (
                "more than a ConfigMap",
                json!({"name": at(&workload, &format!("{POD}/volumes/0/name")), "configMap": {"name": "a"}, "secret": {"secretName": "b"}}),
            ),
        ] {
            let changed = with(&workload, &format!("{POD}/volumes"), "0", replaced);
            assert!(policy.refuses(&workload, &changed).is_some(), "{what}");
        }
    }
    // What a Secret brought stays a Secret: a team's own list of tokens would let it pay.
    let invoice_app = workload("invoice-app");
    let tokens = position(&invoice_app, "volumes", "api-tokens");
    let own = json!({"name": "api-tokens", "configMap": {"name": "our-tokens"}});
    let changed = with(&invoice_app, &format!("{POD}/volumes"), &tokens.to_string(), own);
    assert!(policy.refuses(&invoice_app, &changed).is_some());
}

#[test]
fn teams_run_nothing_else_in_a_container() {
    let secret = json!({"secretKeyRef": {"name": "database", "key": "password"}});
    let shell = json!({"exec": {"command": ["/bin/sh"]}});
    for workload in workloads() {
        let image = at(&workload, &format!("{CONTAINER}/image"));
        let repository = image.as_str().unwrap().rsplit_once(':').unwrap().0;
        // Whether it has variables or not.
        let secrets = json!([{"secretRef": {"name": "database"}}]);
        let beside = json!(format!("{repository}-else:1"));
        assert_refused(
            &workload,
            CONTAINER,
            &[
                ("image", json!("docker.io/library/busybox:1")),
                ("image", beside),
                ("command", json!(["/usr/bin/env"])),
                ("args", json!(["check-config"])),
                ("env", json!([{"name": "PASSWORD", "valueFrom": secret}])),
                ("envFrom", secrets),
                ("volumeMounts", json!([{"name": "tls", "mountPath": "/mnt"}])),
                ("volumeMounts", Value::Null),
                ("livenessProbe", shell.clone()),
                ("lifecycle", json!({"postStart": shell})),
                ("securityContext", json!({"privileged": true})),
                ("securityContext", Value::Null),
            ],
        );
    }
}

#[test]
fn teams_run_nothing_else_in_a_pod() {
    let aliases = json!([{"ip": "10.0.0.1", "hostnames": ["nats.messaging.svc"]}]);
    for workload in workloads() {
        let first = at(&workload, CONTAINER);
        let mut second = first.clone();
        second["name"] = json!("second");
        assert_refused(
            &workload,
            POD,
            &[
                ("containers", json!([first, second])),
                ("containers", json!([second])),
                ("initContainers", json!([second])),
                ("serviceAccountName", json!("default")),
                ("automountServiceAccountToken", json!(true)),
                ("hostNetwork", json!(true)),
                ("nodeName", json!("control-plane")),
                ("hostAliases", aliases.clone()),
                ("securityContext", Value::Null),
            ],
        );
    }
}

/// Each of these values in the place of what is there; none at all for `null`.
fn assert_refused(workload: &Value, parent: &str, changes: &[(&str, Value)]) {
    let policy = Policy::named("teams-run-what-is-theirs");
    for (key, value) in changes {
        let after = match value {
            Value::Null => without(workload, parent, key),
            value => with(workload, parent, key, value.clone()),
        };
        assert!(
            policy.refuses(workload, &after).is_some(),
            "{key}: {value} goes through"
        );
    }
}

/// What teams may change.
fn workloads() -> [Value; 3] {
    ["invoice-app", "payment-provider", "nats"].map(workload)
}

fn workload(name: &str) -> Value {
    document(
        if name == "nats" {
            "StatefulSet"
        } else {
            "Deployment"
        },
        name,
    )
}

fn position(workload: &Value, list: &str, name: &str) -> usize {
    let list = at(workload, &format!("{POD}/{list}")).as_array().unwrap();
    list.iter().position(|entry| entry["name"] == name).unwrap()
}
