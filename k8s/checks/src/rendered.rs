//! A rendered overlay, and typed access to what is in it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::{
    Resource,
    api::{
        apps::v1::{Deployment, StatefulSet},
        batch::v1::CronJob,
        core::v1::{ConfigMap, PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why an overlay could not be checked.
#[derive(Debug)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// With the one error of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The repository's top directory.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The pinned kubectl, or `KUBECTL`.
pub fn kubectl() -> PathBuf {
    std::env::var_os("KUBECTL").map_or_else(|| workspace_root().join(".tools/bin/kubectl"), PathBuf::from)
}

/// Everything an overlay applies.
#[derive(Debug)]
pub struct Rendered {
    documents: Vec<Value>,
}

impl Rendered {
    /// Renders a directory with a `kustomization.yaml`, given from the repository's top.
    pub fn overlay(path: &str) -> Result<Self> {
        let output = Command::new(kubectl())
            .arg("kustomize")
            .arg(workspace_root().join(path))
            .output()
            .map_err(|error| Error(format!("could not run {}: {error}", kubectl().display())))?;
        if !output.status.success() {
            return Err(Error(format!(
                "{path}: {}",
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        Self::parse(&String::from_utf8_lossy(&output.stdout))
            .map_err(|Error(error)| Error(format!("{path}: {error}")))
    }

    /// Takes YAML documents.
    pub fn parse(yaml: &str) -> Result<Self> {
        serde_saphyr::from_multiple(yaml)
            .map(|documents| Self { documents })
            .map_err(|error| Error(error.to_string()))
    }

    /// The documents as they are.
    pub fn documents(&self) -> &[Value] {
        &self.documents
    }

    /// Every object of a kind.
    pub fn all<T: Resource + DeserializeOwned>(&self) -> Result<Vec<T>> {
        self.of_kind(T::API_VERSION, T::KIND)
            .map(|document| {
                T::deserialize(document)
                    .map_err(|error| Error(format!("{} {}: {error}", T::KIND, name_of(document))))
            })
            .collect()
    }

    /// Every object of a kind, untyped, for those that no crate knows.
    pub fn of_kind<'a>(&'a self, api_version: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| {
            document.get("apiVersion").and_then(Value::as_str) == Some(api_version)
                && document.get("kind").and_then(Value::as_str) == Some(kind)
        })
    }

    /// Deployments, stateful sets, and what runs to its end, alike.
    pub fn workloads(&self) -> Result<Vec<Workload>> {
        let mut workloads = Vec::new();
        for deployment in self.all::<Deployment>()? {
            let spec = deployment.spec.unwrap_or_default();
            workloads.push(Workload::new(deployment.metadata, spec.selector, spec.template));
        }
        for set in self.all::<StatefulSet>()? {
            let spec = set.spec.unwrap_or_default();
            workloads.push(Workload::new(set.metadata, spec.selector, spec.template));
        }
        for job in self.all::<CronJob>()? {
            let spec = job.spec.unwrap_or_default().job_template.spec.unwrap_or_default();
            // A Job selects its pods by a label that is made for it.
            let selector = spec.selector.unwrap_or_default();
            let mut workload = Workload::new(job.metadata, selector, spec.template);
            workload.runs_to_its_end = true;
            workloads.push(workload);
        }
        Ok(workloads)
    }

    /// Every query of every Grafana dashboard, with the title of its panel.
    pub fn dashboard_queries(&self) -> Result<Vec<(String, String)>> {
        let mut queries = Vec::new();
        for map in self.all::<ConfigMap>()? {
            let labels = map.metadata.labels.unwrap_or_default();
            if labels.get("grafana_dashboard").map(String::as_str) != Some("1") {
                continue;
            }
            for text in map.data.unwrap_or_default().values() {
                let dashboard: Value =
                    serde_json::from_str(text).map_err(|error| Error(error.to_string()))?;
                for panel in list(&dashboard, "panels") {
                    let title = panel.get("title").and_then(Value::as_str).unwrap_or_default();
                    let expressions = list(panel, "targets")
                        .filter_map(|target| target.get("expr").and_then(Value::as_str))
                        .map(|query| (title.to_owned(), query.to_owned()));
                    queries.extend(expressions);
                }
            }
        }
        Ok(queries)
    }

    /// The data of a `ConfigMap`.
    pub fn config_map(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        Ok(self
            .all::<ConfigMap>()?
            .into_iter()
            .find(|map| {
                map.metadata.namespace.as_deref() == Some(namespace)
                    && map.metadata.name.as_deref() == Some(name)
            })
            .map(|map| map.data.unwrap_or_default()))
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn name_of(document: &Value) -> &str {
    document
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or("without a name")
}

/// What runs pods.
#[derive(Debug)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub namespace: String,
    /// Which pods are its own.
    pub selector: BTreeMap<String, String>,
    /// What its pods are labelled with.
    pub labels: BTreeMap<String, String>,
    /// What its pods are.
    pub pod: PodSpec,
    /// Whether its pods end, and are asked nothing meanwhile.
    pub runs_to_its_end: bool,
}

impl Workload {
    fn new(metadata: ObjectMeta, selector: LabelSelector, template: PodTemplateSpec) -> Self {
        Self {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            selector: selector.match_labels.unwrap_or_default(),
            labels: template
                .metadata
                .and_then(|metadata| metadata.labels)
                .unwrap_or_default(),
            pod: template.spec.unwrap_or_default(),
            runs_to_its_end: false,
        }
    }

    /// Whether a selector, of labels or of several values for one, means its pods.
    pub fn matches(&self, selector: &LabelSelector) -> bool {
        let expressions = selector.match_expressions.as_deref().unwrap_or_default();
        let labels = selector.match_labels.clone().unwrap_or_default();
        self.is_selected_by(&labels)
            && expressions.iter().all(|expression| {
                let values = expression.values.as_deref().unwrap_or_default();
                let own = self.labels.get(&expression.key);
                expression.operator == "In" && own.is_some_and(|own| values.contains(own))
            })
    }

    /// Whether these labels, all of them, are on its pods.
    pub fn is_selected_by(&self, selector: &BTreeMap<String, String>) -> bool {
        selector
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
