//! Manifests and binaries agree: keys, ports, files and time limits.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{self as core, Container},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{Error, Findings, Rendered, Result, Workload, containers::main_container, workspace_root};

/// The services, and what their configuration variables start with.
const SERVICES: [(&str, &str); 2] = [
    ("invoice-app", "INVOICE_APP__"),
    ("payment-provider", "PAYMENT_PROVIDER__"),
];

/// Every variable is a key that the service knows, and every key it cannot do without is set.
pub(crate) fn keys_exist(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for service in services(rendered)? {
        let known = service.defaults()?;
        for variable in service.environment.keys() {
            let key = variable
                .strip_prefix(service.prefix)
                .map(|key| key.to_lowercase().replace("__", "."));
            if !key.is_some_and(|key| known.contains_key(&key)) {
                findings.push(format!("{} knows no setting {variable}", service.workload));
            }
        }
        let mut required = vec![
            "database.url",
            "database.password_file",
            "nats.url",
            "nats.nkey_seed_file",
            "nats.ca_file",
        ];
        if service.workload.name == "invoice-app" {
            required.extend(["auth.mode", "auth.tokens_file"]);
        }
        for key in required {
            if service.setting(key).is_none_or(str::is_empty) {
                findings.push(format!("{} is not told its {key}", service.workload));
            }
        }
        if service.workload.name == "invoice-app" && service.setting("auth.mode") != Some("token") {
            findings.push(format!("{} is open to everybody", service.workload));
        }
    }
    Ok(findings)
}

/// Where a service listens is a port of its container, by the name that probes and Services use.
pub(crate) fn ports_agree(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for service in services(rendered)? {
        let known = service.defaults()?;
        for (key, port) in [("http.listen", "http"), ("admin.listen", "admin")] {
            if !known.contains_key(key) {
                continue;
            }
            let listens = service
                .setting(key)
                .and_then(|address| address.rsplit(':').next()?.parse().ok());
            let open = port_named(&service.container, port);
            if listens.is_none() || listens != open {
                findings.push(format!(
                    "{} listens on {listens:?} by {key}, its port {port:?} is {open:?}",
                    service.workload
                ));
            }
        }
        for probe in [
            &service.container.startup_probe,
            &service.container.liveness_probe,
            &service.container.readiness_probe,
        ] {
            let asked = probe
                .as_ref()
                .and_then(|probe| probe.http_get.as_ref())
                .map(|get| &get.port);
            if asked != Some(&IntOrString::String("admin".to_owned())) {
                findings.push(format!(
                    "{} is probed at {asked:?}, not at its admin port",
                    service.workload
                ));
            }
        }
    }
    Ok(findings)
}

/// Where a service listens is every address of both families: the kubelet of an IPv6-first cluster asks over IPv6.
pub(crate) fn both_families_are_heard(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for service in services(rendered)? {
        for key in ["http.listen", "admin.listen"] {
            let listens = service.setting(key);
            if listens.is_some_and(|address| !address.starts_with("[::]:")) {
                findings.push(format!(
                    "{} listens on {listens:?} by {key}, and not on [::]",
                    service.workload
                ));
            }
        }
    }
    Ok(findings)
}

/// A host inside the cluster that a service connects to has an address that outlives its pods. The name of a headless Service
/// leads to a pod's own, and caches of DNS keep that when the pod is gone.
pub(crate) fn hosts_keep_their_address(rendered: &Rendered) -> Result<Findings> {
    let known = rendered.all::<core::Service>()?;
    let mut findings = Findings::new();
    for service in services(rendered)? {
        let hosts = service.environment.values().filter_map(|value| host_of(value));
        for (name, namespace) in hosts.filter_map(|host| host.strip_suffix(".svc")?.split_once('.')) {
            let found = known.iter().find(|it| {
                it.metadata.name.as_deref() == Some(name)
                    && it.metadata.namespace.as_deref() == Some(namespace)
            });
            let address = found.map(|it| it.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()));
            match address {
                Some(Some("None")) => findings.push(format!(
                    "{} connects to {name}.{namespace}.svc, which leads to a pod's own address",
                    service.workload
                )),
                Some(_) => {}
                None => findings.push(format!(
                    "{} connects to {name}.{namespace}.svc, which is not there",
                    service.workload
                )),
            }
        }
    }
    Ok(findings)
}

/// The host of a value that is a URL.
fn host_of(value: &str) -> Option<&str> {
    let authority = value.split_once("://")?.1.split(['/', '?']).next()?;
    let host_and_port = authority.rsplit('@').next()?;
    host_and_port.split(':').next()
}

fn port_named(container: &Container, name: &str) -> Option<i32> {
    let ports = container.ports.as_deref().unwrap_or_default();
    ports
        .iter()
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}

/// Every file that a setting names lies in a mounted Secret, as do those in the database's URL; and no setting is a secret. So it
/// is where an operator's commands run, too.
pub(crate) fn files_are_mounted(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    let operators = processes(rendered, "-operator")?;
    for service in services(rendered)?.into_iter().chain(operators) {
        let mounts: Vec<_> = service
            .container
            .volume_mounts
            .iter()
            .flatten()
            .map(|mount| &mount.mount_path)
            .collect();
        for (variable, value) in &service.environment {
            let files = value.split(['=', '&', '?']).filter(|part| {
                part.starts_with('/') && (variable.ends_with("_FILE") || value.contains("://"))
            });
            for file in files {
                let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
                if !mounts.iter().any(|mount| *mount == directory) {
                    findings.push(format!(
                        "{}: nothing is mounted for {variable}, {file}",
                        service.workload
                    ));
                }
            }
            let user_info = value
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('@'))
                .map(|(user, _)| user);
            if user_info.is_some_and(|user| user.contains(':')) {
                findings.push(format!("{}: {variable} holds a password", service.workload));
            }
        }
        if service.container.env.as_ref().is_some_and(|variables| {
            variables.iter().any(|it| {
                it.value_from
                    .as_ref()
                    .is_some_and(|from| from.secret_key_ref.is_some())
            })
        }) {
            findings.push(format!("{} gets a secret as a variable", service.workload));
        }
    }
    Ok(findings)
}

/// A pod's time to stop is longer than what its process takes for it.
pub(crate) fn stops_in_time(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for service in services(rendered)? {
        let default = service
            .defaults()?
            .get("shutdown.grace_s")
            .cloned()
            .unwrap_or_default();
        let grace = service
            .setting("shutdown.grace_s")
            .unwrap_or(&default)
            .parse()
            .unwrap_or(i64::MAX / 2);
        let pause = service
            .container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref()?.sleep.as_ref())
            .map_or(0, |sleep| sleep.seconds);
        let allowed = service
            .workload
            .pod
            .termination_grace_period_seconds
            .unwrap_or(30);
        if allowed < grace + pause + 5 {
            findings.push(format!(
                "{} is killed after {allowed} s, but takes up to {grace} + {pause} s",
                service.workload
            ));
        }
        if service.workload.name == "invoice-app" && pause == 0 {
            findings.push(format!(
                "{} stops while proxies still send it requests",
                service.workload
            ));
        }
    }
    Ok(findings)
}

/// A service of ours as an overlay runs it.
pub(crate) struct Service {
    pub(crate) workload: Workload,
    container: Container,
    prefix: &'static str,
    environment: BTreeMap<String, String>,
}

impl Service {
    fn setting(&self, key: &str) -> Option<&str> {
        let variable = format!("{}{}", self.prefix, key.to_uppercase().replace('.', "__"));
        self.environment.get(&variable).map(String::as_str)
    }

    /// A setting that is a number, or its default.
    pub(crate) fn number(&self, key: &str) -> Result<i64> {
        let default = self.defaults()?.get(key).cloned().unwrap_or_default();
        let value = self.setting(key).unwrap_or(&default);
        value
            .parse()
            .map_err(|_| Error(format!("{}: {key} is {value:?}", self.workload)))
    }

    /// The keys it knows, dotted, with their defaults.
    fn defaults(&self) -> Result<BTreeMap<String, String>> {
        let path = workspace_root()
            .join(&self.workload.name)
            .join("config.default.toml");
        let text =
            std::fs::read_to_string(&path).map_err(|error| Error(format!("{}: {error}", path.display())))?;
        let table: serde_json::Value = toml::from_str(&text).map_err(|error| Error(error.to_string()))?;
        let sections = table.as_object().into_iter().flatten();
        let sections = sections.filter_map(|(section, keys)| Some((section, keys.as_object()?)));
        Ok(sections
            .flat_map(|(section, keys)| {
                keys.iter()
                    .map(move |(key, value)| (format!("{section}.{key}"), value.to_string()))
            })
            .collect())
    }
}

pub(crate) fn services(rendered: &Rendered) -> Result<Vec<Service>> {
    processes(rendered, "")
}

/// Of both services, what runs under their names with a suffix.
fn processes(rendered: &Rendered, suffix: &str) -> Result<Vec<Service>> {
    let mut services = Vec::new();
    let mut workloads = rendered.workloads()?;
    for (name, prefix) in SERVICES {
        let name = format!("{name}{suffix}");
        let Some(index) = workloads.iter().position(|workload| workload.name == name) else {
            return Err(Error(format!("{name} is not deployed")));
        };
        let workload = workloads.swap_remove(index);
        let container = main_container(&workload).cloned().unwrap_or_default();
        let mut environment = BTreeMap::new();
        for source in container
            .env_from
            .iter()
            .flatten()
            .filter_map(|source| source.config_map_ref.as_ref())
        {
            let data = rendered.config_map(&workload.namespace, &source.name)?;
            environment
                .extend(data.ok_or_else(|| Error(format!("{workload}: no ConfigMap {}", source.name)))?);
        }
        for variable in container.env.iter().flatten() {
            environment.insert(variable.name.clone(), variable.value.clone().unwrap_or_default());
        }
        services.push(Service {
            workload,
            container,
            prefix,
            environment,
        });
    }
    Ok(services)
}
