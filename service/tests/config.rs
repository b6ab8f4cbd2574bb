//! Reading configuration: layers, every mistake at once with its key and source, and no secret in any text.

#![cfg(test)]

use std::{ffi::OsString, io::Write as _, time::Duration};

use secrecy::ExposeSecret as _;
use service::config::{Common, Database, LogFormat, Mistakes, Nats, Reader};

const DEFAULTS: &str = r#"
[admin]
listen = "127.0.0.1:9081"
[database]
url = ""
password_file = ""
max_connections = 16
acquire_timeout_ms = 2000
[nats]
url = "tls://localhost:4222"
nkey_seed_file = ""
ca_file = ""
replicas = 1
more_readers = []
[dead_letters]
keep_resolved_days = 90
[log]
format = "text"
filter = "info"
[shutdown]
grace_s = 25
[gateway]
label = "x"
limits = [1, 2]
enabled = true
"#;

fn reader(file: Option<&str>, environment: &[(&str, &str)]) -> (Reader, tempfile::NamedTempFile) {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(file.unwrap_or_default().as_bytes()).unwrap();
    let environment = environment
        .iter()
        .map(|(name, text)| (OsString::from(name), OsString::from(text)));
    let reader = Reader::with_environment(DEFAULTS, file.map(|_| written.path()), "APP__", environment);
    (reader, written)
}

fn take_all(reader: &mut Reader) {
    let _ = (Common::read(reader), Database::read(reader), Nats::read(reader));
    let _ = reader.text("gateway.label");
    let _: Vec<u32> = reader.get("gateway.limits");
    let _: bool = reader.get("gateway.enabled");
}

fn mistakes_of(file: Option<&str>, environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let (mut reader, _file) = reader(file, environment);
    take_all(&mut reader);
    let Mistakes(mistakes) = reader.finish(()).unwrap_err();
    mistakes
        .into_iter()
        .map(|mistake| (mistake.key, mistake.problem))
        .collect()
}

const GOOD: [(&str, &str); 2] = [
    ("APP__DATABASE__URL", "postgres://app:secret@db/invoices"),
    ("APP__NATS__NKEY_SEED_FILE", "/run/seed"),
];

#[test]
fn later_layers_win_key_by_key() {
    let file = "[database]\nmax_connections = 5\nacquire_timeout_ms = 700\n[log]\nformat = \"json\"";
    let mut environment = GOOD.to_vec();
    environment.extend([
        ("APP__DATABASE__MAX_CONNECTIONS", "9"),
        ("OTHER__KEY", "x"),
        ("APP_HOME", "y"),
    ]);
    let (mut reader, _file) = reader(Some(file), &environment);
    let common = Common::read(&mut reader);
    let database = Database::read(&mut reader);
    let nats = Nats::read(&mut reader);
    assert_eq!(
        (common.log_format, common.shutdown_grace),
        (LogFormat::Json, Duration::from_secs(25))
    );
    assert_eq!(
        (database.max_connections, database.acquire_timeout),
        (9, Duration::from_millis(700))
    );
    assert_eq!(database.url.expose_secret(), "postgres://app:secret@db/invoices");
    assert_eq!(
        (database.password_file, nats.ca_file, nats.replicas),
        (None, None, 1)
    );
    reader.finish(()).unwrap();
}

#[test]
fn every_mistake_is_told_at_once_with_its_key_and_source() {
    let file = "[nats]\nreplicas = \"three\"\nurll = \"x\"\n[nonsense]\nkey = 1";
    let environment = [
        ("APP__DATABASE__MAX_CONNECTIONS", "many"),
        ("APP__ADMIN__LISTEN", "9081"),
        ("APP__LOG__FORMAT", "xml"),
        ("APP__LOG__FILTER", "info,=,"),
        ("APP__SHUTDOWN__GRACE_S", "0"),
        ("APP__GATEWAY__ENABLED", "perhaps"),
        ("APP__DATABSE__URL", "x"),
    ];
    let mistakes = mistakes_of(Some(file), &environment);
    let problem = |key: &str| {
        let found = mistakes.iter().find(|(mistaken, _)| mistaken == key);
        found
            .unwrap_or_else(|| panic!("{key} is not among {mistakes:?}"))
            .1
            .clone()
    };
    assert!(problem("nats.replicas").contains("from 1 to 5 (file "));
    assert!(problem("nats.urll").contains("did you mean nats.url?"));
    assert!(problem("nonsense.key").starts_with("is not a key (file "));
    assert!(problem("database.max_connections").contains("APP__DATABASE__MAX_CONNECTIONS"));
    assert!(problem("admin.listen").contains("127.0.0.1:9081"));
    assert!(problem("log.format").contains("xml"));
    problem("log.filter");
    problem("shutdown.grace_s");
    assert!(problem("gateway.enabled").contains("APP__GATEWAY__ENABLED"));
    assert!(problem("databse.url").contains("did you mean database.url?"));
    assert_eq!(problem("database.url"), "must be set (default)");
    assert_eq!(problem("nats.nkey_seed_file"), "must be set (default)");
    assert_eq!(mistakes.len(), 12, "{mistakes:#?}");
}

#[test]
fn variables_that_look_like_numbers_still_work_as_text() {
    for text in ["007", "1e5", "true", "[x]", "12.50", "\"quoted", "a,b"] {
        let (mut reader, _file) = reader(None, &[("APP__GATEWAY__LABEL", text)]);
        assert_eq!(reader.text("gateway.label").as_deref(), Some(text));
    }
    let (mut reader, _file) = reader(
        None,
        &[("APP__GATEWAY__LABEL", "42"), ("APP__GATEWAY__LIMITS", "[3]")],
    );
    assert_eq!(reader.get::<String>("gateway.label"), "42");
    assert_eq!(reader.get::<Vec<u32>>("gateway.limits"), [3]);
}

#[test]
fn empty_text_is_absent_and_only_a_mistake_where_it_is_required() {
    let (mut reader, _file) = reader(None, &[("APP__GATEWAY__LABEL", "  ")]);
    assert_eq!(reader.text("gateway.label"), None);
    assert_eq!(reader.required_text("gateway.label"), "");
    assert_eq!(reader.finish(()).unwrap_err().0.len(), 1);
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_a_mistake() {
    let missing = Reader::with_environment(DEFAULTS, Some("/nowhere.toml".as_ref()), "APP__", []);
    assert!(
        missing
            .finish(())
            .unwrap_err()
            .to_string()
            .contains("/nowhere.toml")
    );
    let mistakes = mistakes_of(Some("[nats\nurl ="), &GOOD);
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert_eq!(mistakes[0].0, "--config");
}

#[test]
fn no_text_shows_a_secret() {
    let mut environment = GOOD.to_vec();
    environment.push(("APP__NATS__URL", "tls://app:secret@nats"));
    let (mut reader, _file) = reader(None, &environment);
    let database = Database::read(&mut reader);
    let _ = Nats::read(&mut reader);
    for text in [reader.effective(), format!("{database:?}")] {
        assert!(!text.contains("secret@"), "{text}");
    }
    assert!(
        reader
            .effective()
            .contains("database.url = \"postgres://app:(hidden)@db/invoices\"  # environment")
    );
    assert!(reader.effective().contains("gateway.limits = [1, 2]"));
    assert!(
        reader
            .effective()
            .contains("database.max_connections = 16  # default"),
        "{}",
        reader.effective()
    );
    assert!(!reader.finish(()).unwrap_err().to_string().contains("secret"));
    let (mut reader, _file) = self::reader(
        None,
        &[("APP__DATABASE__URL", "postgres://app:secret@db:notaport/x")],
    );
    let _ = Database::read(&mut reader);
    assert!(!reader.finish(()).unwrap_err().to_string().contains("secret"));
}

#[test]
fn what_would_hide_a_whole_section_is_told_as_one_mistake() {
    let mut environment = GOOD.to_vec();
    environment.extend([("APP__", "x"), ("APP__NATS____URL", "y")]);
    let mut keys: Vec<String> = mistakes_of(Some("gateway = 3"), &environment)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    keys.sort();
    assert_eq!(keys, ["", "gateway", "nats..url"]);
}

#[test]
fn a_mistake_found_while_a_section_is_read_names_its_source() {
    for (name, text, key) in [
        ("APP__DATABASE__URL", "mysql://app@db/invoices", "database.url"),
        ("APP__NATS__URL", "http://nats", "nats.url"),
        ("APP__ADMIN__LISTEN", "9081", "admin.listen"),
        ("APP__LOG__FILTER", "a=b=c", "log.filter"),
        ("APP__NATS__MORE_READERS", "[\"a.b\"]", "nats.more_readers"),
    ] {
        let mut environment = GOOD.to_vec();
        environment.retain(|(good, _)| *good != name);
        environment.push((name, text));
        let mistakes = mistakes_of(None, &environment);
        assert!(
            matches!(mistakes.as_slice(), [(of, problem)] if of == key && problem.contains(name)),
            "{mistakes:?}"
        );
    }
}

#[test]
fn file_that_is_no_configuration_is_told_by_its_line_and_not_by_its_content() {
    for secret in ["SUAM-a-seed\n", "a password of several words", "half=\"a secret"] {
        let mistakes = mistakes_of(Some(secret), &[]);
        let (_, problem) = mistakes.iter().find(|(key, _)| key == "--config").unwrap();
        assert!(problem.contains("line 1"), "{problem}");
        for word in secret.split_whitespace().filter(|word| word.len() > 3) {
            assert!(!format!("{mistakes:?}").contains(word), "{mistakes:?}");
        }
    }
}
