//! What the pods expect to find and no manifest holds.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use local_stack::{Keys, User};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Secrets as directories of files, one for each, named `<namespace>-<name>`.
pub(crate) struct Secrets {
    directory: TempDir,
    /// Lets in to the API.
    pub(crate) token: String,
    /// The `ConfigMap` `nats-public-keys`.
    pub(crate) public_keys: BTreeMap<String, String>,
}

impl Secrets {
    pub(crate) fn generate() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let nats = Keys::generate(&path.join("keys"), &["nats.messaging.svc".to_owned()]).unwrap();
        let postgres = Keys::generate(&path.join("postgres"), &["postgres.data.svc".to_owned()]).unwrap();
        let token = "a token that only this test knows".to_owned();
        let hash = Sha256::digest(&token)
            .iter()
            .fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").unwrap();
                text
            });
        let tokens = format!(
            "[[tokens]]\nname = \"test\"\nsha256 = \"{hash}\"\nscopes = [\"invoices:read\", \"invoices:write\", \"invoices:pay\"]\n"
        );
        let ca = read(&nats.ca_file());
        let user = |user| [("nkey.seed", nats.seed(user).unwrap()), ("ca.crt", ca.clone())];
        put(path, "invoices-nats-user", &user(User::InvoiceApp));
        put(path, "payments-nats-user", &user(User::PaymentProvider));
        put(
            path,
            "messaging-nats-tls",
            &[
                ("tls.crt", read(&nats.server_certificate_file())),
                ("tls.key", read(&nats.server_key_file())),
                ("ca.crt", ca.clone()),
            ],
        );
        put(path, "invoices-api-tokens", &[("tokens.toml", tokens)]);
        let password = |role: &str| format!("password of {role}, with a ' and a \\");
        for (namespace, role) in [("invoices", "invoice_app"), ("payments", "payment_provider")] {
            put(
                path,
                &format!("{namespace}-database"),
                &[
                    ("password", password(role)),
                    ("ca.crt", read(&postgres.ca_file())),
                ],
            );
        }
        put(
            path,
            "data-postgres-roles",
            &[
                ("invoice_app", password("invoice_app")),
                ("payment_provider", password("payment_provider")),
                ("reconcile", password("reconcile")),
            ],
        );
        put(
            path,
            "reconciliation-databases",
            &[
                ("invoices-password", password("reconcile")),
                ("payments-password", password("reconcile")),
                ("ca.crt", read(&postgres.ca_file())),
            ],
        );
        put(
            path,
            "data-postgres-tls",
            &[
                ("tls.crt", read(&postgres.server_certificate_file())),
                ("tls.key", read(&postgres.server_key_file())),
            ],
        );
        let public_keys = nats.public_keys().unwrap().into_iter().collect();
        Self {
            directory,
            token,
            public_keys,
        }
    }

    pub(crate) fn directory(&self, namespace: &str, name: &str) -> PathBuf {
        self.directory.path().join(format!("{namespace}-{name}"))
    }
}

fn put(path: &Path, name: &str, files: &[(&str, String)]) {
    let directory = path.join(name);
    fs::create_dir(&directory).unwrap();
    for (file, content) in files {
        fs::write(directory.join(file), content).unwrap();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
