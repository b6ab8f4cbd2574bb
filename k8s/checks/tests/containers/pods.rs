//! Pods of a rendered overlay as containers, one replica each.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use k8s_checks::{Rendered, Workload};
use k8s_openapi::api::core::v1::VolumeMount;
use tempfile::TempDir;

use crate::{
    engine::Engine,
    manifest::{allowed_pairs, arguments, confinement, environment, network, service_names, size_limit},
    secrets::Secrets,
};

/// The network that stands for everything outside the cluster.
const OUTSIDE: &str = "outside";

/// Running containers, with everything that was made for them. All of it is gone when this is.
pub(crate) struct Pods<'a> {
    engine: &'a Engine,
    probe: String,
    /// What every name on the engine starts with, so that two runs never meet.
    prefix: String,
    workloads: Vec<Workload>,
    networks: BTreeSet<String>,
    volumes: Cell<usize>,
    files: TempDir,
}

impl<'a> Pods<'a> {
    /// Starts all workloads; they find each other by themselves.
    pub(crate) fn start(
        engine: &'a Engine,
        images: &BTreeMap<String, String>,
        rendered: &Rendered,
        secrets: &Secrets,
    ) -> Self {
        let files = tempfile::tempdir().unwrap();
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut pods = Self {
            engine,
            probe: images["probe"].clone(),
            prefix: format!("k8s-checks-{}", std::process::id()),
            workloads: rendered.workloads().unwrap(),
            networks: BTreeSet::new(),
            volumes: Cell::new(0),
            files,
        };
        let pairs = allowed_pairs(rendered, &pods.workloads);
        pods.make_network(OUTSIDE, false);
        for (from, to) in &pairs {
            pods.make_network(&network(from, to), true);
        }
        for workload in &pods.workloads {
            pods.create(workload, images, rendered, secrets, &pairs);
        }
        for workload in pods.workloads.iter().filter(|it| !it.runs_to_its_end) {
            engine.run(["start", &pods.named(&workload.name)]);
        }
        pods
    }

    /// Runs what an operator's template is for, and takes what it printed; it has to end well.
    pub(crate) fn run_to_its_end(&self, name: &str) -> String {
        self.engine.run(["start", "--attach", &self.named(name)])
    }

    fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn make_network(&mut self, name: &str, internal: bool) {
        let full = self.named(name);
        let mut args = vec!["network", "create"];
        if internal {
            args.push("--internal");
        }
        args.push(&full);
        self.engine.run(args);
        self.networks.insert(full);
    }

    fn create(
        &self,
        workload: &Workload,
        images: &BTreeMap<String, String>,
        rendered: &Rendered,
        secrets: &Secrets,
        pairs: &BTreeSet<(String, String)>,
    ) {
        let container = &workload.pod.containers[0];
        let image = &images[container.image.as_deref().unwrap().rsplit_once(':').unwrap().0];
        let name = self.named(&workload.name);
        let mut args = vec!["create".to_owned(), "--name".to_owned(), name.clone()];
        args.extend(confinement(workload, container));
        let variables = environment(workload, container, rendered, secrets);
        for (key, value) in &variables {
            args.extend(["--env".to_owned(), format!("{key}={value}")]);
        }
        for mount in container.volume_mounts.iter().flatten() {
            args.extend(self.mount(workload, mount, rendered, secrets, image));
        }
        let mine: Vec<_> = pairs
            .iter()
            .filter(|(from, to)| *from == workload.name || *to == workload.name)
            .collect();
        if workload.name == "invoice-app" {
            args.extend(
                ["--network", &self.named(OUTSIDE), "--publish", "127.0.0.1::8081"].map(str::to_owned),
            );
        } else {
            args.extend(["--network".to_owned(), "none".to_owned()]);
        }
        if let Some(entry) = container.command.iter().flatten().next() {
            args.extend(["--entrypoint".to_owned(), entry.clone()]);
        }
        args.push(image.clone());
        args.extend(arguments(workload, container, &variables));
        self.engine.run(args);

        if workload.name != "invoice-app" {
            self.engine.run(["network", "disconnect", "none", &name]);
        }
        for (from, to) in mine {
            let network = self.named(&network(from, to));
            let mut args = vec!["network".to_owned(), "connect".to_owned()];
            if *to == workload.name {
                for alias in service_names(rendered, workload) {
                    args.extend(["--alias".to_owned(), alias]);
                }
            }
            args.extend([network, name.clone()]);
            self.engine.run(args);
        }
    }

    /// The engine's arguments for one mount of the manifest.
    fn mount(
        &self,
        workload: &Workload,
        mount: &VolumeMount,
        rendered: &Rendered,
        secrets: &Secrets,
        image: &str,
    ) -> Vec<String> {
        let path = &mount.mount_path;
        let volume = workload
            .pod
            .volumes
            .iter()
            .flatten()
            .find(|volume| volume.name == mount.name);
        let Some(volume) = volume else {
            // Claimed by the stateful set's template.
            let empty = tempfile::tempdir_in(self.files.path()).unwrap();
            let data = self.new_volume(image, empty.path());
            self.own_volume(&data);
            return vec!["--volume".to_owned(), format!("{data}:{path}")];
        };
        if volume.empty_dir.is_some() {
            let options = "rw,uid=65532,gid=65532,mode=0770";
            return vec![
                "--tmpfs".to_owned(),
                format!("{path}:{options},size={}", size_limit(volume)),
            ];
        }
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap();
            let filled = self.new_volume(image, &secrets.directory(&workload.namespace, name));
            return vec!["--volume".to_owned(), format!("{filled}:{path}:ro")];
        }
        let name = &volume.config_map.as_ref().unwrap().name;
        let data = rendered.config_map(&workload.namespace, name).unwrap().unwrap();
        let directory = self.files.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        for (file, text) in data {
            fs::write(directory.join(&file), text).unwrap();
        }
        let source = mount
            .sub_path
            .as_ref()
            .map_or(directory.clone(), |file| directory.join(file));
        vec!["--volume".to_owned(), format!("{}:{path}:ro", source.display())]
    }

    fn new_volume(&self, image: &str, content: &Path) -> String {
        let number = self.volumes.replace(self.volumes.get() + 1);
        let name = self.named(&format!("volume-{number}"));
        self.engine.run(["volume", "create", &name]);
        self.engine.fill_volume(&name, image, content);
        name
    }

    /// What a kubelet's `fsGroup` does for a claimed volume.
    fn own_volume(&self, volume: &str) {
        let postgres = "localhost/postgres";
        let image = self
            .engine
            .run(["images", "--format", "{{.Repository}}:{{.Tag}}", postgres]);
        let image = image.lines().next().expect("an image with a shell").to_owned();
        let mount = format!("{volume}:/volume");
        let script = "chgrp 65532 /volume && chmod 2770 /volume";
        self.engine.run([
            "run",
            "--rm",
            "--user",
            "0:0",
            "--volume",
            &mount,
            "--entrypoint",
            "sh",
            &image,
            "-c",
            script,
        ]);
    }

    /// Where the outside reaches a published port.
    pub(crate) fn url(&self, name: &str, port: u16) -> String {
        let published = self
            .engine
            .run(["port", &self.named(name), &format!("{port}/tcp")]);
        format!(
            "http://{}",
            published.lines().next().expect("a published port").trim()
        )
    }

    /// Its addresses on all its networks.
    pub(crate) fn addresses(&self, name: &str, port: u16) -> Vec<String> {
        self.inspect_addresses(name, port, |_| true)
    }

    /// Its address on the outside network.
    pub(crate) fn addresses_outside(&self, name: &str, port: u16) -> Vec<String> {
        let outside = self.named(OUTSIDE);
        self.inspect_addresses(name, port, |network| network == outside)
    }

    fn inspect_addresses(&self, name: &str, port: u16, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let format = "{{range $name, $it := .NetworkSettings.Networks}}{{$name}} {{$it.IPAddress}}\n{{end}}";
        let networks = self
            .engine
            .run(["inspect", "--format", format, &self.named(name)]);
        let addresses = networks.lines().filter_map(|line| line.split_once(' '));
        addresses
            .filter(|(network, _)| wanted(network))
            .map(|(_, address)| format!("{address}:{port}"))
            .collect()
    }

    /// Answers of the probe from inside a pod's own network.
    pub(crate) fn try_from(&self, name: &str, addresses: &[String]) -> Vec<String> {
        self.probe(&format!("container:{}", self.named(name)), addresses)
    }

    /// Answers of the probe from a container that belongs to nobody.
    pub(crate) fn try_from_outside(&self, addresses: &[String]) -> Vec<String> {
        self.probe(&self.named(OUTSIDE), addresses)
    }

    fn probe(&self, network: &str, addresses: &[String]) -> Vec<String> {
        assert!(!addresses.is_empty());
        let mut args = ["run", "--rm", "--network", network, &self.probe, "tcp"]
            .map(str::to_owned)
            .to_vec();
        args.extend_from_slice(addresses);
        let answers = self.engine.run(args);
        let answers: Vec<_> = answers
            .lines()
            .map(|line| line.rsplit_once(' ').expect("an answer").1.to_owned())
            .collect();
        assert_eq!(answers.len(), addresses.len());
        answers
    }

    /// What the kernel says about the process, where this machine's kernel is the containers'.
    pub(crate) fn assert_confined(&self, name: &str) {
        let pid = self
            .engine
            .run(["inspect", "--format", "{{.State.Pid}}", &self.named(name)]);
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", pid.trim())) else {
            println!("{name}: its process cannot be seen from here, so what it may do goes unchecked");
            return;
        };
        let field = |key: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap_or_default();
            line.trim().to_owned()
        };
        assert_eq!(field("Uid:"), "65532\t65532\t65532\t65532", "{name}");
        assert_eq!(field("CapEff:"), "0000000000000000", "{name}");
        assert_eq!(field("CapBnd:"), "0000000000000000", "{name}");
        assert_eq!(field("NoNewPrivs:"), "1", "{name}");
        assert_eq!(field("Seccomp:"), "2", "{name}");
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pid.trim())).unwrap();
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"))
            .expect("a root");
        assert!(
            root.split(' ')
                .nth(5)
                .unwrap()
                .split(',')
                .any(|option| option == "ro"),
            "{name}: {root}"
        );
    }

    /// Stops as a kubelet does: the order before the stop, the signal, and the time allowed. Answers with the exit code.
    pub(crate) fn stop(&self, name: &str) -> i32 {
        let workload = self
            .workloads
            .iter()
            .find(|workload| workload.name == name)
            .unwrap();
        let full = self.named(name);
        let order = workload.pod.containers[0]
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.clone());
        if let Some(command) = order.and_then(|order| order.exec).and_then(|exec| exec.command) {
            let mut args = vec!["exec".to_owned(), full.clone()];
            args.extend(command);
            self.engine.try_run(args);
        }
        let grace = workload
            .pod
            .termination_grace_period_seconds
            .unwrap_or(30)
            .to_string();
        self.engine.run(["stop", "--time", &grace, &full]);
        let code = self
            .engine
            .run(["inspect", "--format", "{{.State.ExitCode}}", &full]);
        code.trim().parse().unwrap()
    }

    /// All that started still run.
    pub(crate) fn assert_running(&self) {
        for workload in self.workloads.iter().filter(|it| !it.runs_to_its_end) {
            let state = self.engine.run([
                "inspect",
                "--format",
                "{{.State.Status}}",
                &self.named(&workload.name),
            ]);
            assert_eq!(
                state.trim(),
                "running",
                "{workload}: {}",
                self.logs(&workload.name)
            );
        }
    }

    /// The last of what it printed.
    pub(crate) fn logs(&self, name: &str) -> String {
        self.engine.try_run(["logs", "--tail", "30", &self.named(name)])
    }

    /// The same of all.
    pub(crate) fn all_logs(&self) -> String {
        let of_each: Vec<_> = self
            .workloads
            .iter()
            .map(|workload| format!("--- {workload}\n{}", self.logs(&workload.name)))
            .collect();
        of_each.join("\n")
    }
}

impl Drop for Pods<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.all_logs());
        }
        for workload in &self.workloads {
            self.engine
                .try_run(["rm", "--force", &self.named(&workload.name)]);
        }
        for number in 0..self.volumes.get() {
            self.engine
                .try_run(["volume", "rm", &self.named(&format!("volume-{number}"))]);
        }
        for network in &self.networks {
            self.engine.try_run(["network", "rm", network]);
        }
    }
}
