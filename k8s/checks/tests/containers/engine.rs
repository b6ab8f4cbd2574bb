//! docker or podman, by their common commands.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output, Stdio},
};

use k8s_checks::workspace_root;

/// A container engine that works here.
#[derive(Clone, Debug)]
pub(crate) struct Engine(String);

impl Engine {
    /// docker, or what `ENGINE` names, if it works; podman only when it is named. The binaries that cargo built here go into the
    /// images, so they have to be for Linux.
    pub(crate) fn find() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let names = std::env::var("ENGINE").unwrap_or_else(|_| "docker".to_owned());
        names
            .split_whitespace()
            .map(|name| Self(name.to_owned()))
            .find(|engine| {
                let asked = Command::new(&engine.0)
                    .arg("info")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                asked.is_ok_and(|status| status.success())
            })
    }

    /// Builds all images, but for `NATS_IMAGE` and `POSTGRES_IMAGE` if they are given; by the names that the manifests use,
    /// without their tags.
    pub(crate) fn images(&self) -> BTreeMap<String, String> {
        let binaries = local_stack::built_binary("probe").expect("built binaries");
        let tag = self.script("build-images.sh", &[("BINARIES", binaries.parent().unwrap())]);
        let mut images: BTreeMap<_, _> = [
            "invoice-app",
            "payment-provider",
            "reconcile",
            "nats-reloader",
            "probe",
        ]
        .map(|name| (name.to_owned(), format!("localhost/{name}:{}", tag.trim())))
        .into();
        for image in self.script("wheel-images.sh", &[]).lines() {
            let name = image.trim_start_matches("localhost/").split(':').next().unwrap();
            let given = std::env::var(format!("{}_IMAGE", name.to_uppercase()));
            images.insert(
                format!("docker.io/library/{name}"),
                given.unwrap_or_else(|_| image.to_owned()),
            );
        }
        images
    }

    fn script(&self, name: &str, variables: &[(&str, &Path)]) -> String {
        let output = Command::new(workspace_root().join("k8s/scripts").join(name))
            .env("ENGINE", &self.0)
            .env_remove("PREFIX")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        succeeded(name, output)
    }

    /// Runs one of its commands, which has to succeed, and takes what it printed.
    pub(crate) fn run<I: IntoIterator<Item: AsRef<str>>>(&self, args: I) -> String {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = Command::new(&self.0).args(&args).output().unwrap();
        succeeded(&args.join(" "), output)
    }

    /// Runs one of its commands for its output, whether or not it succeeds.
    pub(crate) fn try_run<I: IntoIterator<Item: AsRef<str>>>(&self, args: I) -> String {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = Command::new(&self.0).args(&args).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Fills a volume with a directory's files, owned by root and readable by the group of the pods, as a kubelet does.
    pub(crate) fn fill_volume(&self, volume: &str, image: &str, directory: &Path) {
        let container = self.run([
            "create",
            "--volume",
            &format!("{volume}:/volume"),
            "--entrypoint",
            "/none",
            image,
        ]);
        let container = container.trim();
        let mut tar = Command::new("tar")
            .args([
                "--create",
                "--owner=0",
                "--group=65532",
                "--mode=u=rwX,g=rX,o=",
                "--directory",
            ])
            .arg(directory)
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let copied = Command::new(&self.0)
            .args(["cp", "-", &format!("{container}:/volume")])
            .stdin(tar.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(tar.wait().unwrap().success());
        succeeded("cp", copied);
        self.run(["rm", container]);
    }
}

fn succeeded(what: &str, output: Output) -> String {
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
