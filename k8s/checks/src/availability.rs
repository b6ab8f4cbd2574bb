//! What one failure takes along, and when replicas are added.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec},
        core::v1::{Container, PodAffinityTerm, PodSpec, Service},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::Value;

use crate::{Findings, Rendered, Result};

/// What a replica of ours can use at most is one core, so a target far below it means little load.
const LEAST_TARGET_MILLICORES: i64 = 500;

/// Servers that form a quorum never share a node. A constraint on their spread would not keep them apart: it counts the nodes
/// that are there, and with one left it is content.
pub(crate) fn quorums_are_apart(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for set in rendered.all::<StatefulSet>()? {
        let name = set.metadata.name.unwrap_or_default();
        let spec = set.spec.unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        if name != "nats" || replicas < 2 {
            continue;
        }
        let labels = spec.template.metadata.and_then(|metadata| metadata.labels);
        let labels = labels.unwrap_or_default();
        let keeps_away = |term: &PodAffinityTerm| {
            let selector = term.label_selector.as_ref();
            let selected = selector.and_then(|selector| selector.match_labels.as_ref());
            term.topology_key == "kubernetes.io/hostname"
                && selected.is_some_and(|selected| selected.iter().all(|(k, v)| labels.get(k) == Some(v)))
        };
        if !required_anti_affinity(&spec.template.spec.unwrap_or_default())
            .iter()
            .any(keeps_away)
        {
            findings.push(format!(
                "two of the {replicas} servers of {name} may share a node"
            ));
        }
    }
    Ok(findings)
}

fn required_anti_affinity(pod: &PodSpec) -> Vec<PodAffinityTerm> {
    let affinity = pod.affinity.as_ref();
    let anti_affinity = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    anti_affinity
        .and_then(|it| it.required_during_scheduling_ignored_during_execution.clone())
        .unwrap_or_default()
}

/// Pods that a Service leads to have one container: a second one that fails would take the first from its clients. A sidecar
/// without probes may be there: it is ready as soon as it runs.
pub(crate) fn one_container_decides(rendered: &Rendered) -> Result<Findings> {
    let services = rendered.all::<Service>()?;
    let mut findings = Findings::new();
    for workload in rendered.workloads()? {
        let is_served = services.iter().any(|service| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            service.metadata.namespace.as_ref() == Some(&workload.namespace)
                && selector.is_some_and(|selector| !selector.is_empty() && workload.is_selected_by(selector))
        });
        let is_quiet_sidecar = |container: &&Container| {
            container.restart_policy.as_deref() == Some("Always")
                && container.readiness_probe.is_none()
                && container.startup_probe.is_none()
        };
        let others = workload.pod.init_containers.iter().flatten();
        let containers = workload.pod.containers.len() + others.filter(|it| !is_quiet_sidecar(it)).count();
        if is_served && containers != 1 {
            findings.push(format!(
                "{workload}: {containers} containers decide whether it is ready"
            ));
        }
    }
    Ok(findings)
}

/// Replicas are added for work: invoice-app by the core it uses, payment-provider by its queue, which waiting for a bank makes
/// longer, and the load on its core does not. What was delivered and waits for its ack is no queue: delayed payments keep their
/// place there, so a dead bank would scale to the limit for nothing.
pub(crate) fn scaling_follows_work(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for scaler in rendered.all::<HorizontalPodAutoscaler>()? {
        let spec = scaler.spec.unwrap_or_default();
        let target = spec.scale_target_ref.name;
        if target == "payment-provider" {
            findings.push(format!("{target} is scaled by something else than its queue"));
        }
        for metric in spec.metrics.unwrap_or_default() {
            if millicores(&metric).is_none_or(|target| target < LEAST_TARGET_MILLICORES) {
                findings.push(format!(
                    "{target} is scaled by {:?}, and not from {LEAST_TARGET_MILLICORES}m of a core on",
                    metric.resource
                ));
            }
        }
    }
    for scaled in rendered.of_kind("keda.sh/v1alpha1", "ScaledObject") {
        let triggers = scaled.pointer("/spec/triggers").and_then(Value::as_array);
        for trigger in triggers.into_iter().flatten() {
            let query = trigger.pointer("/metadata/query").and_then(Value::as_str);
            if !query.is_some_and(|query| query.contains("num_pending") && !query.contains("num_ack_pending"))
            {
                findings.push(format!(
                    "KEDA scales by something else than what is pending: {trigger}"
                ));
            }
        }
    }
    Ok(findings)
}

/// The use of CPU that a pod should have, if that is what the metric is.
fn millicores(metric: &MetricSpec) -> Option<i64> {
    let resource = metric.resource.as_ref().filter(|it| it.name == "cpu")?;
    let Quantity(value) = resource.target.average_value.as_ref()?;
    match value.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().ok(),
        None => value.parse::<i64>().ok().map(|cores| cores * 1000),
    }
}
