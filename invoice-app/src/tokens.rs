//! Who may call: bearer tokens, kept as SHA-256 hashes with scopes in a file that is read again when it changes.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use payment_contract::words;
use serde::{Deserialize, Serialize};
use service::repeat;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::metrics;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes of a token: more than anybody can guess.
const TOKEN_BYTES: usize = 32;

words! {
    /// What a token allows, as written in the file.
    #[derive(Serialize, Deserialize)]
    pub enum Scope {
        /// Every GET.
        #[serde(rename = "invoices:read")]
        Read = "invoices:read",
        /// Creating, importing and voiding.
        #[serde(rename = "invoices:write")]
        Write = "invoices:write",
        /// Paying.
        #[serde(rename = "invoices:pay")]
        Pay = "invoices:pay",
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| "must be invoices:read, invoices:write or invoices:pay".to_owned())
    }
}

/// The tokens in force.
#[derive(Debug, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    hash: [u8; 32],
    scopes: HashSet<Scope>,
    expires_at: Option<OffsetDateTime>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tokens: Vec<FileEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    name: String,
    sha256: String,
    scopes: Vec<Scope>,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    expires_at: Option<OffsetDateTime>,
}

/// Why a tokens file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not read the tokens file {0}")]
    Read(PathBuf, #[source] std::io::Error),
    #[error("could not write the tokens file {0}")]
    Write(PathBuf, #[source] std::io::Error),
    #[error("the tokens file is not as it should be: {0}")]
    Parse(String),
    #[error("token {0:?}: sha256 must be 64 hexadecimal digits")]
    Hash(String),
    #[error("token {0:?}: another entry has the same hash")]
    Twice(String),
}

/// Who calls, and what it may do.
#[derive(Clone, Debug)]
pub struct Caller {
    pub name: Arc<str>,
    /// The same, to be written down; nothing when nobody was asked who they are.
    pub actor: Option<Arc<str>>,
    scopes: Arc<HashSet<Scope>>,
}

impl Caller {
    /// Everybody, when access is not restricted.
    pub fn anybody() -> Self {
        Self {
            name: "anybody".into(),
            actor: None,
            scopes: Arc::new(Scope::ALL.into()),
        }
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

impl Tokens {
    pub fn parse(text: &str) -> Result<Self, Error> {
        use figment::providers::Format as _;
        let file: File = figment::Figment::from(figment::providers::Toml::string(text))
            .extract()
            .map_err(|error| Error::Parse(service::config::without_quote(&error.to_string())))?;
        // Several tokens may share a name, for rotation: the name is the caller, and idempotency keys belong to it.
        let mut hashes = HashSet::new();
        let mut entries = Vec::with_capacity(file.tokens.len());
        for token in file.tokens {
            let mut hash = [0; 32];
            hex::decode_to_slice(&token.sha256, &mut hash).map_err(|_| Error::Hash(token.name.clone()))?;
            if !hashes.insert(hash) {
                return Err(Error::Twice(token.name));
            }
            entries.push(Entry {
                name: token.name.into(),
                hash,
                scopes: token.scopes.into_iter().collect(),
                expires_at: token.expires_at,
            });
        }
        Ok(Self { entries })
    }

    /// Who has this token. Looks at every entry, in the same time whichever matches.
    pub fn find(&self, token: &str, now: OffsetDateTime) -> Option<Caller> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for entry in &self.entries {
            if bool::from(entry.hash.ct_eq(&hash)) {
                found = Some(entry);
            }
        }
        let entry = found?;
        let valid = entry.expires_at.is_none_or(|end| now < end);
        valid.then(|| Caller {
            name: Arc::clone(&entry.name),
            actor: Some(Arc::clone(&entry.name)),
            scopes: Arc::new(entry.scopes.clone()),
        })
    }
}

/// The tokens of a file, read again when its content changes.
#[derive(Clone, Debug)]
pub struct TokensFile {
    path: PathBuf,
    tokens: Arc<RwLock<Arc<Tokens>>>,
    content: String,
    failed: bool,
}

impl TokensFile {
    /// Reads the file for the first time: it must be good.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let content = read(path)?;
        let tokens = Arc::new(RwLock::new(Arc::new(Tokens::parse(&content)?)));
        Ok(Self {
            path: path.to_owned(),
            tokens,
            content,
            failed: false,
        })
    }

    /// The tokens, always the latest good ones.
    pub fn tokens(&self) -> Arc<RwLock<Arc<Tokens>>> {
        Arc::clone(&self.tokens)
    }

    /// Looks at the file, and takes it over when it changed and is good. A bad one leaves the former tokens in force.
    pub fn step(&mut self) {
        match read(&self.path) {
            Ok(content) if content == self.content && !self.failed => {}
            Ok(content) => match Tokens::parse(&content) {
                Ok(tokens) => {
                    info!(tokens = tokens.entries.len(), "took over the changed tokens file");
                    *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
                    self.content = content;
                    self.note(None);
                }
                Err(error) => self.note(Some(&error)),
            },
            Err(error) => self.note(Some(&error)),
        }
    }

    /// Looks every second until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let look = || {
            self.step();
            std::future::ready(())
        };
        repeat::every(EVERY, stop, look).await;
    }

    fn note(&mut self, error: Option<&Error>) {
        if let Some(error) = error
            && !self.failed
        {
            error!(
                error = %service::telemetry::chain(error),
                "the changed tokens file cannot be used; the former tokens stay in force until it is corrected"
            );
        }
        self.failed = error.is_some();
        metrics::RELOAD_FAILED.set(self.failed);
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::Read(path.to_owned(), error))
}

/// A new token, and the entry that lets it in.
pub fn generate(name: &str, scopes: &[Scope]) -> (String, String) {
    use base64::Engine as _;
    use std::fmt::Write as _;
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    let token = format!(
        "inv_{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    );
    let scopes: Vec<String> = scopes
        .iter()
        .map(|scope| format!("{:?}", scope.as_str()))
        .collect();
    let mut entry = String::from("[[tokens]]\n");
    let hash = hex::encode(Sha256::digest(token.as_bytes()));
    // Writing to a string cannot fail.
    let _ = write!(
        entry,
        "name = {name:?}\nsha256 = \"{hash}\"\nscopes = [{}]\n",
        scopes.join(", ")
    );
    (token, entry)
}

/// Adds an entry to a tokens file, which is made if it is not there. The rest of the file stays as it is.
pub fn add(file: &Path, entry: &str) -> Result<(), Error> {
    let former = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::Read(file.to_owned(), error)),
    };
    let gap = if former.is_empty() { "" } else { "\n" };
    let text = format!("{former}{gap}{entry}");
    // A file that would not be taken over is not written.
    Tokens::parse(&text)?;
    let new = file.with_extension("new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, file))
        .map_err(|error| Error::Write(file.to_owned(), error))
}

/// A token's name, as the command line takes it: it stands in a file and in the database.
pub fn parse_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&text.len()) && text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits, `.`, `_` or `-`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, scopes: &[Scope]) -> (String, String) {
        generate(name, scopes)
    }

    #[test]
    fn a_generated_token_is_let_in_with_its_scopes_and_no_other_is() {
        let (token, entry) = one("ci", &[Scope::Read, Scope::Pay]);
        let tokens = Tokens::parse(&entry).unwrap();
        let caller = tokens.find(&token, OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(&*caller.name, "ci");
        assert!(caller.may(Scope::Read) && caller.may(Scope::Pay) && !caller.may(Scope::Write));
        assert!(tokens.find("inv_other", OffsetDateTime::UNIX_EPOCH).is_none());
        assert!(!entry.contains(&token));
    }

    #[test]
    fn a_token_ends_when_it_expires() {
        let (token, entry) = one("ci", &[Scope::Read]);
        let tokens = Tokens::parse(&format!("{entry}expires_at = \"2026-01-01T00:00:00Z\"\n")).unwrap();
        let end = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        assert!(tokens.find(&token, end - time::Duration::SECOND).is_some());
        assert!(tokens.find(&token, end).is_none());
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_whole() {
        let (_, entry) = one("ci", &[Scope::Read]);
        assert!(matches!(
            Tokens::parse(&format!("{entry}{entry}")),
            Err(Error::Twice(_))
        ));
        assert!(matches!(
            Tokens::parse("[[tokens]]\nname='a'\nsha256='ab'\nscopes=[]"),
            Err(Error::Hash(_))
        ));
        assert!(matches!(
            Tokens::parse(&format!("{entry}colour = 1\n")),
            Err(Error::Parse(_))
        ));
        assert!(matches!(
            Tokens::parse(&entry.replace("invoices:read", "all")),
            Err(Error::Parse(_))
        ));
        assert!(Tokens::parse("").unwrap().entries.is_empty());
        // A secret of somebody else's, named as the tokens file.
        let told = Tokens::parse("SUAM-something").unwrap_err().to_string();
        assert!(told.contains("line 1") && !told.contains("SUAM"), "{told}");
    }

    #[test]
    fn a_changed_file_is_taken_over_and_a_broken_one_is_not() {
        let path = std::env::temp_dir().join(format!("tokens-{}.toml", uuid::Uuid::now_v7()));
        let (first, entry) = one("first", &[Scope::Read]);
        std::fs::write(&path, entry).unwrap();
        let mut file = TokensFile::open(&path).unwrap();
        let current = file.tokens();
        let knows = |token: &str| {
            current
                .read()
                .unwrap()
                .find(token, OffsetDateTime::UNIX_EPOCH)
                .is_some()
        };
        assert!(knows(&first));

        std::fs::write(&path, "[[tokens]").unwrap();
        file.step();
        assert!(knows(&first));
        let (second, entry) = one("second", &[Scope::Read]);
        std::fs::write(&path, entry).unwrap();
        file.step();
        assert!(knows(&second) && !knows(&first));
        std::fs::remove_file(&path).unwrap();
        file.step();
        assert!(knows(&second));
    }
}
