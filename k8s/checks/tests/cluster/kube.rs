//! kubectl, and short-lived pods of the probe.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use k8s_checks::workspace_root;
use serde_json::{Value, json};

/// Contexts of clusters on this machine, as in `scripts/lib.sh`.
const LOCAL: [&str; 8] = [
    "kind-",
    "k3d-",
    "minikube",
    "docker-desktop",
    "docker-for-desktop",
    "rancher-desktop",
    "orbstack",
    "colima",
];

/// On pods of probes, so that nobody takes them for what they look like to policies.
const PROBE: &str = "invoice-payments/probe";

/// One test has the cluster at a time: what one of them rolls out or kills, another would miss.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Where the system is deployed, for one test alone.
pub(crate) struct Cluster {
    context: String,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// `KUBE_CONTEXT`, or the current context when it is local.
    pub(crate) fn find() -> Result<Self, String> {
        let named = std::env::var("KUBE_CONTEXT").ok().filter(|name| !name.is_empty());
        let context = if let Some(context) = named {
            context
        } else {
            current_context()?
        };
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Self {
            context,
            _alone: alone,
        };
        let asked = cluster.try_run(&[
            "get",
            "deployment",
            "invoice-app",
            "--namespace",
            "invoices",
            "--request-timeout=10s",
        ]);
        let answer = String::from_utf8_lossy(&asked.stderr).into_owned();
        if asked.status.success() {
            Ok(cluster)
        } else if answer.contains("NotFound") || std::env::var_os("KUBE_CONTEXT").is_none() {
            Err(format!("{} does not have the system", cluster.context))
        } else {
            panic!(
                "{}, named by KUBE_CONTEXT, does not answer: {answer}",
                cluster.context
            )
        }
    }

    /// Where the outside reaches the API.
    pub(crate) fn outside(&self) -> Outside {
        let mut child = self
            .script("outside.sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let token = self.script("call.sh").arg("token").output().unwrap();
        let outside = Outside {
            url: url.trim().to_owned(),
            token: String::from_utf8(token.stdout).unwrap(),
            child,
        };
        assert!(!outside.url.is_empty(), "the API cannot be reached from here");
        outside
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(workspace_root().join("k8s/scripts").join(name));
        command.env("KUBE_CONTEXT", &self.context);
        command
    }

    /// Runs kubectl, which has to succeed, and takes what it printed.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        assert!(
            output.status.success(),
            "kubectl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs kubectl, whatever comes of it.
    pub(crate) fn try_run(&self, args: &[&str]) -> Output {
        Command::new(k8s_checks::kubectl())
            .args(["--context", &self.context])
            .args(args)
            .output()
            .unwrap()
    }

    /// Offers an object to the cluster with these arguments; its answer.
    pub(crate) fn offer(&self, args: &[&str], object: &Value) -> Output {
        let mut child = Command::new(k8s_checks::kubectl())
            .args(["--context", &self.context])
            .args(args)
            .args(["--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(object.to_string().as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    /// Creates an object.
    pub(crate) fn create(&self, object: &Value) {
        let output = self.offer(&["create"], object);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The probe's image, of the same build as the deployed services.
    pub(crate) fn probe_image(&self) -> String {
        let path = "jsonpath={.spec.template.spec.containers[0].image}";
        let image = self.run(&[
            "get",
            "deployment",
            "invoice-app",
            "--namespace",
            "invoices",
            "-o",
            path,
        ]);
        image.replacen("invoice-app:", "probe:", 1)
    }

    /// The pods of a name that are to stay.
    pub(crate) fn pods(&self, namespace: &str, name: &str) -> Vec<Value> {
        let selector = format!("app.kubernetes.io/name={name},!{PROBE}");
        let listed = self.run(&[
            "get",
            "pods",
            "--namespace",
            namespace,
            "--selector",
            &selector,
            "-o",
            "json",
        ]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .cloned()
            .collect()
    }

    /// Addresses of the pods of a name.
    pub(crate) fn pod_addresses(&self, namespace: &str, name: &str, port: u16) -> Vec<String> {
        let address = |pod: &Value| format!("{}:{port}", pod["status"]["podIP"].as_str().unwrap());
        self.pods(namespace, name).iter().map(address).collect()
    }

    /// Waits until a workload has rolled out.
    pub(crate) fn rolled_out(&self, namespace: &str, workload: &str) {
        self.run(&[
            "rollout",
            "status",
            workload,
            "--namespace",
            namespace,
            "--timeout=600s",
        ]);
    }

    /// Runs the probe to its end as a pod that looks like `name` to policies, and takes what it printed.
    ///
    /// It is never ready, so that no Service sends it anything, whatever its labels.
    pub(crate) fn probe(&self, namespace: &str, name: &str, secret: Option<&str>, args: &[&str]) -> String {
        self.start_probe(namespace, name, secret, args).printed()
    }

    /// Starts the probe and leaves it running.
    pub(crate) fn start_probe(
        &self,
        namespace: &str,
        name: &str,
        secret: Option<&str>,
        args: &[&str],
    ) -> Pod<'_> {
        let pod = unique("probe");
        let mut spec = json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "readinessGates": [{"conditionType": "invoice-payments/never"}],
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [{
                "name": "probe", "image": self.probe_image(), "imagePullPolicy": "IfNotPresent", "args": args,
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
                }
            }]
        });
        if let Some(secret) = secret {
            spec["volumes"] =
                json!([{"name": "user", "secret": {"secretName": secret, "defaultMode": 0o440}}]);
            spec["containers"][0]["volumeMounts"] =
                json!([{"name": "user", "mountPath": "/user", "readOnly": true}]);
        }
        self.create(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod, "namespace": namespace, "labels": {"app.kubernetes.io/name": name, PROBE: "true"}},
            "spec": spec
        }));
        Pod {
            cluster: self,
            namespace: namespace.to_owned(),
            name: pod,
        }
    }
}

/// A name that nothing has, not even something that is still being deleted.
fn unique(purpose: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{purpose}-{}-{number}", std::process::id())
}

/// The current context, if it is a local cluster's.
fn current_context() -> Result<String, String> {
    let output = Command::new(k8s_checks::kubectl())
        .args(["config", "current-context"])
        .output()
        .map_err(|error| format!("kubectl: {error}"))?;
    let context = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if LOCAL.iter().any(|prefix| context.starts_with(prefix)) {
        return Ok(context);
    }
    Err("there is no local cluster".to_owned())
}

/// A pod that goes when this does.
pub(crate) struct Pod<'a> {
    cluster: &'a Cluster,
    namespace: String,
    pub(crate) name: String,
}

impl Pod<'_> {
    /// What it printed, once it has ended well.
    pub(crate) fn printed(&self) -> String {
        let done = "--for=jsonpath={.status.phase}=Succeeded";
        let (target, namespace) = (format!("pod/{}", self.name), self.namespace.as_str());
        let waited =
            self.cluster
                .try_run(&["wait", done, &target, "--namespace", namespace, "--timeout=300s"]);
        let logs = self
            .cluster
            .try_run(&["logs", &self.name, "--namespace", namespace]);
        let logs = String::from_utf8_lossy(&[logs.stdout, logs.stderr].concat()).into_owned();
        assert!(waited.status.success(), "{} in {namespace}: {logs}", self.name);
        logs
    }

    /// Its address, once it runs.
    pub(crate) fn address(&self) -> String {
        let running = "--for=jsonpath={.status.phase}=Running";
        let target = format!("pod/{}", self.name);
        self.cluster.run(&[
            "wait",
            running,
            &target,
            "--namespace",
            &self.namespace,
            "--timeout=300s",
        ]);
        self.cluster.run(&[
            "get",
            &target,
            "--namespace",
            &self.namespace,
            "-o",
            "jsonpath={.status.podIP}",
        ])
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        self.cluster.try_run(&[
            "delete",
            "pod",
            &self.name,
            "--namespace",
            &self.namespace,
            "--wait=false",
            "--ignore-not-found",
        ]);
    }
}

/// The API from outside, for as long as this is kept.
pub(crate) struct Outside {
    pub(crate) url: String,
    pub(crate) token: String,
    child: Child,
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The script ends with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A namespace that belongs to nobody, and goes when this does.
pub(crate) struct Elsewhere<'a> {
    cluster: &'a Cluster,
    pub(crate) name: String,
}

impl<'a> Elsewhere<'a> {
    pub(crate) fn create(cluster: &'a Cluster, purpose: &str) -> Self {
        let name = unique(purpose);
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        cluster.create(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        );
        Self { cluster, name }
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        self.cluster
            .try_run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
