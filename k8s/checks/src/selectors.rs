//! What selects something selects what it means.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        autoscaling::v2::HorizontalPodAutoscaler, core::v1::Service, networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget, rbac::v1::Role,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::{Findings, Rendered, Result, Workload};

const NAME: &str = "app.kubernetes.io/name";

/// Workloads, Services, budgets and policies each select pods that are there.
pub(crate) fn selectors_match(rendered: &Rendered) -> Result<Findings> {
    let workloads = rendered.workloads()?;
    let mut findings = Findings::new();
    for workload in &workloads {
        if !workload.is_selected_by(&workload.selector) {
            findings.push(format!("{workload}: its selector does not match its own pods"));
        }
    }
    for Selecting {
        what,
        namespace,
        selector,
    } in selecting(rendered)?
    {
        if !selector.is_empty() && !any_selected(&workloads, &namespace, &selector) {
            findings.push(format!("{what} in {namespace} selects nothing: {selector:?}"));
        }
    }
    Ok(findings)
}

/// Selectors can never be changed, so they say no more than the name.
pub(crate) fn selectors_name_only(rendered: &Rendered) -> Result<Findings> {
    let workloads = rendered.workloads()?;
    let mut findings: Findings = workloads
        .iter()
        .filter(|workload| !workload.runs_to_its_end && workload.selector.keys().ne([NAME]))
        .map(|workload| format!("{workload} selects by {:?}", workload.selector))
        .collect();
    for Selecting {
        what,
        namespace,
        selector,
    } in selecting(rendered)?
    {
        if !selector.is_empty() && selector.keys().ne([NAME]) {
            findings.push(format!("{what} in {namespace} selects by {selector:?}"));
        }
    }
    Ok(findings)
}

/// Ports of Services exist in the pods; autoscalers scale, and stateful sets are named by, what is there.
pub(crate) fn targets_exist(rendered: &Rendered) -> Result<Findings> {
    let workloads = rendered.workloads()?;
    let mut findings = Findings::new();
    for service in rendered.all::<Service>()? {
        let (name, namespace) = of(&service.metadata);
        let spec = service.spec.unwrap_or_default();
        let selector = spec.selector.unwrap_or_default();
        for port in spec.ports.unwrap_or_default() {
            let target = port.target_port.unwrap_or(IntOrString::Int(port.port));
            let there = workloads
                .iter()
                .filter(|workload| workload.namespace == namespace && workload.is_selected_by(&selector))
                .all(|workload| has_port(workload, &target));
            if !there {
                findings.push(format!(
                    "Service {name} in {namespace} leads to port {target:?}, which no pod has"
                ));
            }
        }
    }
    for scaler in rendered.all::<HorizontalPodAutoscaler>()? {
        let (name, namespace) = of(&scaler.metadata);
        let target = scaler.spec.unwrap_or_default().scale_target_ref.name;
        let there = workloads
            .iter()
            .any(|workload| workload.namespace == namespace && workload.name == target);
        if !there {
            findings.push(format!(
                "autoscaler {name} in {namespace} scales {target}, which is not there"
            ));
        }
    }
    Ok(findings)
}

/// Roles that are for one object name one that is there. kustomize takes such a name for that of a generated `ConfigMap`, if there
/// is one, and appends its hash: the role then grants nothing.
pub(crate) fn roles_name_what_is_there(rendered: &Rendered) -> Result<Findings> {
    let workloads = rendered.workloads()?;
    // Secrets are made elsewhere.
    let secrets = ["nats-debug"];
    let mut findings = Findings::new();
    for role in rendered.all::<Role>()? {
        let (name, namespace) = of(&role.metadata);
        for object in role
            .rules
            .iter()
            .flatten()
            .flat_map(|rule| rule.resource_names.iter().flatten())
        {
            // A volume of a StatefulSet is called after its pod.
            let of_a_pod = |name: &str| {
                let (before, number) = object.rsplit_once('-').unwrap_or_default();
                number.parse::<u32>().is_ok() && before.ends_with(&format!("-{name}"))
            };
            let there = workloads.iter().any(|workload| {
                workload.namespace == namespace && (workload.name == *object || of_a_pod(&workload.name))
            });
            if !there && !secrets.contains(&object.as_str()) {
                findings.push(format!(
                    "role {name} in {namespace} is about {object}, which is not there"
                ));
            }
        }
    }
    Ok(findings)
}

fn has_port(workload: &Workload, target: &IntOrString) -> bool {
    workload
        .pod
        .containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten())
        .any(|port| match target {
            IntOrString::Int(number) => port.container_port == *number,
            IntOrString::String(name) => port.name.as_ref() == Some(name),
        })
}

/// Something that selects pods of its namespace by their labels.
struct Selecting {
    what: String,
    namespace: String,
    selector: BTreeMap<String, String>,
}

impl Selecting {
    fn new(kind: &str, metadata: &ObjectMeta, selector: Option<BTreeMap<String, String>>) -> Self {
        let (name, namespace) = of(metadata);
        Self {
            what: format!("{kind} {name}"),
            namespace,
            selector: selector.unwrap_or_default(),
        }
    }
}

fn selecting(rendered: &Rendered) -> Result<Vec<Selecting>> {
    let mut all = Vec::new();
    for Service { metadata, spec, .. } in rendered.all()? {
        all.push(Selecting::new(
            "Service",
            &metadata,
            spec.and_then(|spec| spec.selector),
        ));
    }
    for PodDisruptionBudget { metadata, spec, .. } in rendered.all()? {
        let selector = spec.and_then(|spec| spec.selector?.match_labels);
        all.push(Selecting::new("PodDisruptionBudget", &metadata, selector));
    }
    for NetworkPolicy { metadata, spec } in rendered.all()? {
        let selector = spec.and_then(|spec| spec.pod_selector).unwrap_or_default();
        // Several names in one expression are looked at one by one.
        for expression in selector.match_expressions.into_iter().flatten() {
            for value in expression.values.into_iter().flatten() {
                let one = BTreeMap::from([(expression.key.clone(), value)]);
                all.push(Selecting::new("NetworkPolicy", &metadata, Some(one)));
            }
        }
        all.push(Selecting::new("NetworkPolicy", &metadata, selector.match_labels));
    }
    Ok(all)
}

fn any_selected(workloads: &[Workload], namespace: &str, selector: &BTreeMap<String, String>) -> bool {
    workloads
        .iter()
        .any(|workload| workload.namespace == namespace && workload.is_selected_by(selector))
}

fn of(metadata: &ObjectMeta) -> (String, String) {
    (
        metadata.name.clone().unwrap_or_default(),
        metadata.namespace.clone().unwrap_or_default(),
    )
}
