//! Who may connect and whom to trust: NKEYs for the four users, a CA, and a server certificate signed by it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use crate::{Error, Result};

/// A user of the NATS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Owns pay requests, pulls outcomes.
    InvoiceApp,
    /// Owns outcomes, pulls pay requests.
    PaymentProvider,
    /// Hears everything, says nothing.
    Debug,
    /// Server events, for operators.
    Sys,
}

impl User {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::InvoiceApp, Self::PaymentProvider, Self::Debug, Self::Sys];

    /// The name its files carry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvoiceApp => "invoice-app",
            Self::PaymentProvider => "payment-provider",
            Self::Debug => "debug",
            Self::Sys => "sys",
        }
    }

    /// The variable by which nats-server.conf takes its public key.
    pub const fn public_key_variable(self) -> &'static str {
        match self {
            Self::InvoiceApp => "NATS_PUBLIC_KEY_INVOICE_APP",
            Self::PaymentProvider => "NATS_PUBLIC_KEY_PAYMENT_PROVIDER",
            Self::Debug => "NATS_PUBLIC_KEY_DEBUG",
            Self::Sys => "NATS_PUBLIC_KEY_SYS",
        }
    }
}

/// A directory of keys and certificates.
#[derive(Clone, Debug)]
pub struct Keys {
    directory: PathBuf,
}

impl Keys {
    /// Makes everything anew. `dns` are further names of the server beside localhost. Refuses to overwrite.
    pub fn generate(directory: &Path, dns: &[String]) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(Error::file("make the directory", directory))?;
        let keys = Self {
            directory: directory.to_owned(),
        };
        let mut public = String::new();
        for user in User::ALL {
            let pair = nkeys::KeyPair::new_user();
            let seed = pair.seed().map_err(|error| Error::Keys(error.to_string()))?;
            write_secret(&keys.seed_file(user), &seed)?;
            public.extend([user.public_key_variable(), "=", &pair.public_key(), "\n"]);
        }
        write_secret(&keys.public_keys_file(), &public)?;
        keys.generate_certificates(dns)
            .map_err(|error| Error::Keys(error.to_string()))?
            .write(&keys)?;
        Ok(keys)
    }

    /// Takes the keys that are there, or makes them.
    pub fn open_or_generate(directory: &Path) -> Result<Self> {
        let keys = Self {
            directory: directory.to_owned(),
        };
        if keys.server_certificate_file().is_file() {
            Ok(keys)
        } else {
            Self::generate(directory, &[])
        }
    }

    /// The seed (`SU…`) a user logs in with.
    pub fn seed_file(&self, user: User) -> PathBuf {
        self.directory.join(format!("{}.seed", user.as_str()))
    }

    /// The public keys, as lines `VARIABLE=U…` for the server's environment.
    pub fn public_keys_file(&self) -> PathBuf {
        self.directory.join("public-keys.env")
    }

    /// What clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// What signs further server certificates.
    pub fn ca_key_file(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    /// What the server shows.
    pub fn server_certificate_file(&self) -> PathBuf {
        self.directory.join("server.crt")
    }

    /// The server's private key.
    pub fn server_key_file(&self) -> PathBuf {
        self.directory.join("server.key")
    }

    /// A user's seed.
    pub fn seed(&self, user: User) -> Result<String> {
        let path = self.seed_file(user);
        Ok(fs::read_to_string(&path)
            .map_err(Error::file("read", path))?
            .trim()
            .to_owned())
    }

    /// The server's variables for the users' public keys.
    pub fn public_keys(&self) -> Result<Vec<(String, String)>> {
        let path = self.public_keys_file();
        let text = fs::read_to_string(&path).map_err(Error::file("read", path))?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, key)| (name.to_owned(), key.to_owned()))
            .collect())
    }

    #[expect(clippy::unused_self, reason = "reads as a step of generate()")]
    fn generate_certificates(&self, dns: &[String]) -> std::result::Result<Certificates, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        // An hour of difference between two machines' clocks must not make a new certificate invalid.
        let (from, until) = (now - Duration::hours(1), now + Duration::days(365));

        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "invoice stack CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (ca.not_before, ca.not_after) = (from, until);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

        let names = ["localhost", "127.0.0.1", "::1"]
            .into_iter()
            .map(str::to_owned)
            .chain(dns.iter().cloned());
        let mut server = CertificateParams::new(names.collect::<Vec<_>>())?;
        server.distinguished_name.push(DnType::CommonName, "nats-server");
        // Servers of a cluster show it to each other, and there one of the two is the client.
        server.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        server.use_authority_key_identifier_extension = true;
        (server.not_before, server.not_after) = (from, until);
        let server_key = KeyPair::generate()?;
        let server = server.signed_by(&server_key, &ca)?;

        Ok(Certificates {
            ca: ca.pem(),
            ca_key: ca.key().serialize_pem(),
            server: server.pem(),
            server_key: server_key.serialize_pem(),
        })
    }
}

/// PEM texts on their way into files.
struct Certificates {
    ca: String,
    ca_key: String,
    server: String,
    server_key: String,
}

impl Certificates {
    fn write(&self, keys: &Keys) -> Result<()> {
        write_secret(&keys.ca_file(), &self.ca)?;
        write_secret(&keys.ca_key_file(), &self.ca_key)?;
        write_secret(&keys.server_key_file(), &self.server_key)?;
        // Last: its presence says that the set is whole.
        write_secret(&keys.server_certificate_file(), &self.server)
    }
}

/// Only its owner may read it, from its first byte on; an existing file is never overwritten.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_file_is_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        Keys::generate(directory.path(), &["nats".to_owned()]).unwrap();
        let mut count = 0;
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600,
                "{:?}",
                entry.path()
            );
            count += 1;
        }
        assert_eq!(count, 9);
    }

    #[test]
    fn existing_keys_are_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::generate(directory.path(), &[]).unwrap();
        let seed = keys.seed(User::InvoiceApp).unwrap();
        assert!(Keys::generate(directory.path(), &[]).is_err());
        assert_eq!(keys.seed(User::InvoiceApp).unwrap(), seed);
    }
}
