//! What the cluster refuses to take.

use serde_json::{Value, json};

use crate::kube::Cluster;

#[test]
fn nothing_in_payments_gets_an_address() {
    let cluster = crate::cluster!();
    let service = |kind: &str, selector: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "way-in", "namespace": "payments"},
            "spec": {"type": kind, "selector": selector, "ports": [{"port": 80, "targetPort": 9082}]}
        })
    };
    let by_name = json!({"app.kubernetes.io/name": "payment-provider"});
    for object in [
        service("ClusterIP", by_name.clone()),
        service("NodePort", by_name.clone()),
        service("LoadBalancer", by_name),
        // By a label that it happens to have, and by none, with endpoints to be written by hand.
        service("ClusterIP", json!({"team": "payment-team"})),
        service("ClusterIP", Value::Null),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "way-in", "namespace": "payments"},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 9082}]
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "way-in", "namespace": "payments"},
            "spec": {"defaultBackend": {"service": {"name": "way-in", "port": {"number": 80}}}}
        }),
    ] {
        let answer = refused(&cluster, &object);
        assert!(
            answer.contains("has no way in"),
            "refused, but not for that: {answer}"
        );
    }
    // A cluster without the Gateway API refuses that for another reason.
    if !cluster
        .run(&["api-versions"])
        .contains("gateway.networking.k8s.io/v1")
    {
        return;
    }
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "way-in", "namespace": "payments"},
        "spec": {"gatewayClassName": "any", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    });
    assert!(refused(&cluster, &gateway).contains("has no way in"));
}

#[test]
fn services_elsewhere_are_nothing_special() {
    let cluster = crate::cluster!();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "elsewhere", "namespace": "invoices"},
        "spec": {"selector": {"app.kubernetes.io/name": "invoice-app"}, "ports": [{"port": 80, "targetPort": 8081}]}
    });
    let output = cluster.offer(&["create", "--dry-run=server"], &service);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn whoever_deploys_makes_any_job_everywhere() {
    let cluster = crate::cluster!();
    for namespace in ["invoices", "payments", "reconciliation", "messaging", "data"] {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "elsewhere", "namespace": namespace},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "main", "image": "elsewhere:1"}]
            }}}
        });
        let output = cluster.offer(&["create", "--dry-run=server"], &job);
        assert!(
            output.status.success(),
            "{namespace}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn pods_that_violate_restricted_are_refused_everywhere() {
    let cluster = crate::cluster!();
    for namespace in ["invoices", "payments", "reconciliation", "messaging", "data"] {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "violation", "namespace": namespace},
            "spec": {"containers": [{"name": "main", "image": "violation:1"}]}
        });
        let answer = refused(&cluster, &pod);
        assert!(
            answer.contains("violates PodSecurity \"restricted"),
            "{namespace}: {answer}"
        );

        // As much as it asks for, and root all the same.
        pod["spec"]["securityContext"] =
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        pod["spec"]["containers"][0]["securityContext"] =
            json!({"runAsUser": 0, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let answer = refused(&cluster, &pod);
        assert!(answer.contains("runAsUser=0"), "{namespace}: {answer}");
    }
}

/// The cluster's reason for not taking it.
fn refused(cluster: &Cluster, object: &Value) -> String {
    let output = cluster.offer(&["create", "--dry-run=server"], object);
    assert!(!output.status.success(), "the cluster takes {object}");
    String::from_utf8(output.stderr).unwrap()
}
