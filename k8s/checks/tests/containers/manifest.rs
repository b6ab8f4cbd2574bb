//! What a manifest says, in a container engine's words.

use std::collections::{BTreeMap, BTreeSet};

use k8s_checks::{Rendered, Workload};
use k8s_openapi::api::{
    core::v1::{Container, Service, Volume},
    networking::v1::NetworkPolicy,
};

use crate::secrets::Secrets;

/// Security context, limits and time to stop, in the engine's words.
pub(crate) fn confinement(workload: &Workload, container: &Container) -> Vec<String> {
    let pod = workload.pod.security_context.as_ref().unwrap();
    let own = container.security_context.as_ref().unwrap();
    let mut args = vec![
        "--user".to_owned(),
        format!("{}:{}", pod.run_as_user.unwrap(), pod.run_as_group.unwrap()),
    ];
    if own.read_only_root_filesystem == Some(true) {
        args.push("--read-only".to_owned());
    }
    if own.allow_privilege_escalation == Some(false) {
        args.push("--security-opt=no-new-privileges".to_owned());
    }
    for capability in own.capabilities.iter().flat_map(|it| it.drop.iter().flatten()) {
        args.push(format!("--cap-drop={capability}"));
    }
    let limits = container
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.clone())
        .unwrap();
    args.push(format!(
        "--memory={}",
        limits["memory"].0.trim_end_matches('i').to_lowercase()
    ));
    args
}

pub(crate) fn environment(
    workload: &Workload,
    container: &Container,
    rendered: &Rendered,
    secrets: &Secrets,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for source in container
        .env_from
        .iter()
        .flatten()
        .filter_map(|source| source.config_map_ref.as_ref())
    {
        all.extend(
            match rendered.config_map(&workload.namespace, &source.name).unwrap() {
                Some(data) => data,
                None => secrets.public_keys.clone(),
            },
        );
    }
    for variable in container.env.iter().flatten() {
        let value = variable
            .value
            .clone()
            .unwrap_or_else(|| format!("{}-0", workload.name));
        all.insert(variable.name.clone(), value);
    }
    all
}

pub(crate) fn size_limit(volume: &Volume) -> String {
    let limit = volume
        .empty_dir
        .as_ref()
        .and_then(|directory| directory.size_limit.clone())
        .unwrap();
    limit.0.trim_end_matches('i').to_lowercase()
}

pub(crate) fn network(from: &str, to: &str) -> String {
    format!("{from}-to-{to}")
}

/// Who may connect to whom, by the policies about what pods send.
pub(crate) fn allowed_pairs(rendered: &Rendered, workloads: &[Workload]) -> BTreeSet<(String, String)> {
    let mut pairs = BTreeSet::new();
    for policy in rendered.all::<NetworkPolicy>().unwrap() {
        let namespace = policy.metadata.namespace.clone().unwrap_or_default();
        let spec = policy.spec.unwrap_or_default();
        let selector = spec.pod_selector.unwrap_or_default();
        for peer in spec
            .egress
            .into_iter()
            .flatten()
            .flat_map(|rule| rule.to.into_iter().flatten())
        {
            let there = peer
                .namespace_selector
                .and_then(|selector| selector.match_labels)
                .unwrap_or_default();
            let there = there
                .get("kubernetes.io/metadata.name")
                .cloned()
                .unwrap_or_default();
            let peers = peer.pod_selector.unwrap_or_default();
            let from = workloads
                .iter()
                .filter(|it| it.namespace == namespace && it.matches(&selector));
            for from in from {
                let to = workloads
                    .iter()
                    .filter(|it| it.namespace == there && it.matches(&peers));
                pairs.extend(to.map(|to| (from.name.clone(), to.name.clone())));
            }
        }
    }
    pairs
}

/// The names of the Services that lead to it.
pub(crate) fn service_names(rendered: &Rendered, workload: &Workload) -> Vec<String> {
    rendered
        .all::<Service>()
        .unwrap()
        .into_iter()
        .filter(|service| service.metadata.namespace.as_deref() == Some(workload.namespace.as_str()))
        .filter(|service| {
            let selector = service
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.clone())
                .unwrap_or_default();
            workload.is_selected_by(&selector)
        })
        .map(|service| format!("{}.{}.svc", service.metadata.name.unwrap(), workload.namespace))
        .collect()
}

/// What stands behind the program: what is written, or what an operator's template is tried with.
pub(crate) fn arguments(
    workload: &Workload,
    container: &Container,
    variables: &BTreeMap<String, String>,
) -> Vec<String> {
    let tried: &[&str] = match workload.name.as_str() {
        "invoice-app-operator" => &["dead-letters", "list"],
        "payment-provider-operator" => &["ledger", "list"],
        _ => {
            let command = container.command.iter().flatten().skip(1);
            let written = command.chain(container.args.iter().flatten());
            return written.map(|word| expanded(word, variables)).collect();
        }
    };
    tried.iter().map(ToString::to_string).collect()
}

/// With each `$(VARIABLE)` replaced, as a kubelet does.
fn expanded(word: &str, variables: &BTreeMap<String, String>) -> String {
    variables.iter().fold(word.to_owned(), |word, (name, value)| {
        word.replace(&format!("$({name})"), value)
    })
}
