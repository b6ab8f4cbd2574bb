//! What every container is allowed, given, and asked.

use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, Probe};

use crate::{Findings, Rendered, Result, Workload};

/// The user of our images.
const USER: i64 = 65532;

/// Namespaces enforce `restricted`, and every pod would pass it, with a read-only file system and without a token.
pub(crate) fn restricted(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for namespace in rendered.all::<Namespace>()? {
        let labels = namespace.metadata.labels.unwrap_or_default();
        let label = |key: &str| {
            labels
                .get(&format!("pod-security.kubernetes.io/{key}"))
                .map(String::as_str)
        };
        if label("enforce") != Some("restricted")
            || label("enforce-version").is_none_or(|version| version == "latest")
        {
            let name = namespace.metadata.name.unwrap_or_default();
            findings.push(format!(
                "namespace {name} does not enforce a pinned version of restricted"
            ));
        }
    }
    for workload in rendered.workloads()? {
        let pod = &workload.pod;
        let mut complain = |problem: &str| findings.push(format!("{workload}: {problem}"));
        if pod.automount_service_account_token != Some(false) {
            complain("mounts a token of the cluster");
        }
        if pod.enable_service_links != Some(false) {
            complain("gets a variable for every Service");
        }
        if pod.service_account_name.as_deref() != Some(workload.name.as_str()) {
            complain("has no service account of its own");
        }
        if pod.host_network == Some(true) || pod.host_pid == Some(true) || pod.host_ipc == Some(true) {
            complain("shares something with its node");
        }
        if !runs_as_our_user(pod) {
            complain(
                "does not run as 65532 by number, with that group for its volumes and seccomp's default profile",
            );
        }
        for container in containers(pod) {
            if !is_locked_down(container) {
                complain(&format!("container {} may do more than it needs", container.name));
            }
        }
    }
    Ok(findings)
}

fn runs_as_our_user(pod: &PodSpec) -> bool {
    pod.security_context.as_ref().is_some_and(|context| {
        context.run_as_non_root == Some(true)
            && context.run_as_user == Some(USER)
            && context.run_as_group == Some(USER)
            && context.fs_group == Some(USER)
            && context
                .seccomp_profile
                .as_ref()
                .is_some_and(|profile| profile.type_ == "RuntimeDefault")
    })
}

fn is_locked_down(container: &Container) -> bool {
    container.security_context.as_ref().is_some_and(|context| {
        let capabilities = context.capabilities.clone().unwrap_or_default();
        context.allow_privilege_escalation == Some(false)
            && context.read_only_root_filesystem == Some(true)
            && context.privileged != Some(true)
            && context.run_as_user.is_none_or(|user| user == USER)
            && context.run_as_non_root != Some(false)
            && capabilities.drop.is_some_and(|drop| drop == ["ALL"])
            && capabilities.add.unwrap_or_default().is_empty()
    })
}

/// Requests for all, a limit on memory, none on CPU.
pub(crate) fn resources(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for workload in rendered.workloads()? {
        for container in containers(&workload.pod) {
            let resources = container.resources.clone().unwrap_or_default();
            let requests = resources.requests.unwrap_or_default();
            let limits = resources.limits.unwrap_or_default();
            let asks = ["cpu", "memory", "ephemeral-storage"]
                .iter()
                .all(|it| requests.contains_key(*it));
            let bounded = ["memory", "ephemeral-storage"]
                .iter()
                .all(|it| limits.contains_key(*it));
            if !asks || !bounded || limits.contains_key("cpu") {
                findings.push(format!(
                    "{workload}: container {} asks for {requests:?} within {limits:?}",
                    container.name
                ));
            }
        }
        if workload.pod.priority_class_name.is_none() {
            findings.push(format!("{workload} has no priority class"));
        }
    }
    Ok(findings)
}

/// Every main container has the three probes, no two alike, and none asks another process.
pub(crate) fn probes_differ(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for workload in rendered.workloads()? {
        let Some(container) = main_container(&workload) else {
            findings.push(format!("{workload} has no container of its own name"));
            continue;
        };
        if workload.runs_to_its_end {
            continue;
        }
        let probes = [
            &container.startup_probe,
            &container.liveness_probe,
            &container.readiness_probe,
        ];
        let present: Vec<&Probe> = probes.into_iter().flatten().collect();
        if present.len() < 3 {
            findings.push(format!("{workload} lacks a probe"));
        }
        if present
            .iter()
            .enumerate()
            .any(|(i, probe)| present.iter().skip(i + 1).any(|other| probe == other))
        {
            findings.push(format!("{workload} has two probes that are the same"));
        }
        if container.readiness_probe.as_ref().map(path) == container.liveness_probe.as_ref().map(path) {
            findings.push(format!(
                "{workload} asks the same to find out whether it lives and whether it is ready"
            ));
        }
        if present
            .iter()
            .any(|probe| probe.http_get.as_ref().is_some_and(|get| get.host.is_some()))
        {
            findings.push(format!("{workload} has a probe that asks another host"));
        }
    }
    Ok(findings)
}

/// What a probe does, without how often.
fn path(probe: &Probe) -> String {
    format!("{:?} {:?} {:?}", probe.http_get, probe.tcp_socket, probe.exec)
}

/// Each image is one exact version, and its name is one that `images:` of a kustomization can replace.
pub(crate) fn images_are_pinned(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for workload in rendered.workloads()? {
        for container in containers(&workload.pod) {
            let image = container.image.as_deref().unwrap_or_default();
            let (name, tag) = image.rsplit_once([':', '@']).unwrap_or((image, ""));
            if name.is_empty() || tag.is_empty() || tag == "latest" || tag.contains('/') {
                findings.push(format!("{workload}: image {image:?} is not one exact version"));
            }
        }
    }
    Ok(findings)
}

/// The one with the workload's name.
pub(crate) fn main_container(workload: &Workload) -> Option<&Container> {
    workload
        .pod
        .containers
        .iter()
        .find(|container| container.name == workload.name)
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.containers.iter().chain(pod.init_containers.iter().flatten())
}
