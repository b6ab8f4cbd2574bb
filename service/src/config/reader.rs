//! Takes configuration key by key, noting what is wrong instead of stopping at it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    ops::RangeInclusive,
    path::Path,
    time::Duration,
};

use figment::{
    Figment, Provider,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Mistake, Mistakes,
    shown::{is_secret, shown},
};

/// Reads keys one by one and collects what is wrong. Keys given in the file or the environment that are no keys at all
/// are mistakes too. Something empty stands in for a value that is wrong, and nobody gets it: see [`Reader::finish`].
///
/// Every key stands in `config.default.toml`, commented; a required one without a default is written there as `""`.
pub struct Reader {
    layers: Figment,
    known: BTreeSet<String>,
    in_file: BTreeSet<String>,
    file: String,
    /// The variables' names, by key. Their values are layered as text: what looks like a number may be meant as text.
    in_environment: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// Layers `defaults` (TOML text compiled in), then `file`, then variables `<prefix>A__B` (`prefix` = `INVOICE_APP__`).
    pub fn new(defaults: &str, file: Option<&Path>, prefix: &str) -> Self {
        Self::with_environment(defaults, file, prefix, std::env::vars_os())
    }

    /// [`Reader::new`] with an environment given by the caller.
    pub fn with_environment(
        defaults: &str,
        file: Option<&Path>,
        prefix: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let mut reader = Self {
            layers: Figment::new(),
            known: BTreeSet::new(),
            in_file: BTreeSet::new(),
            file: file.map(|file| file.display().to_string()).unwrap_or_default(),
            in_environment: BTreeMap::new(),
            taken: BTreeSet::new(),
            mistakes: Vec::new(),
        };
        reader.known = reader.layer("config.default.toml", &Toml::string(defaults));
        if let Some(path) = file {
            match std::fs::read_to_string(path) {
                Ok(text) => reader.in_file = reader.layer("--config", &Toml::string(&text)),
                Err(error) => reader.push("--config", format!("cannot read {}: {error}", path.display())),
            }
        }
        reader.layer_environment(prefix, environment);
        reader
    }

    /// Puts a layer on top of those before; its keys.
    fn layer(&mut self, name: &str, provider: &impl Provider) -> BTreeSet<String> {
        let mut keys = BTreeMap::new();
        match provider.data() {
            Ok(data) => {
                let dict = data.into_values().flatten().collect::<Dict>();
                leaves("", &dict, &mut keys);
                for (key, value) in &keys {
                    self.merge(key, value);
                }
            }
            Err(error) => self.push(name, without_quote(&error.to_string())),
        }
        keys.into_keys().collect()
    }

    fn layer_environment(
        &mut self,
        prefix: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        for (name, text) in environment {
            let name = name.to_string_lossy().into_owned();
            let Some(path) = name.strip_prefix(prefix) else {
                continue;
            };
            let key = path.to_lowercase().replace("__", ".");
            match text.into_string() {
                Ok(text) => {
                    self.merge(&key, &text);
                    self.in_environment.insert(key, name);
                }
                Err(_) => self.push(&key, format!("the environment variable {name} is not UTF-8")),
            }
        }
    }

    /// Lays one value over the layers before. One that would hide a whole section is left to be refused as unknown.
    fn merge(&mut self, key: &str, value: &impl Serialize) {
        let section = format!("{key}.");
        let hides =
            key.split('.').any(str::is_empty) || self.known.iter().any(|known| known.starts_with(&section));
        if !hides {
            self.layers = std::mem::take(&mut self.layers).merge(Serialized::default(key, value));
        }
    }

    /// A value of any deserializable type.
    pub fn get<T: DeserializeOwned + Default>(&mut self, key: &str) -> T {
        let Some(value) = self.take(key) else {
            return T::default();
        };
        // A variable is text whatever it means: `8` may be wanted as a number or as text.
        if self.in_environment.contains_key(key)
            && let Ok(typed) = value.as_str().unwrap_or_default().parse::<Value>()
            && let Ok(parsed) = typed.deserialize()
        {
            return parsed;
        }
        value.deserialize().unwrap_or_else(|error| {
            // The error's text quotes the value.
            let problem = if is_secret(key) {
                "has an unusable value".to_owned()
            } else {
                error.kind.to_string()
            };
            self.note(key, &problem);
            T::default()
        })
    }

    /// Text, even where the environment's value looks like a number. Empty is `None` without a mistake.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let value = self.take_any(key)?;
        let Some(text) = value.as_str() else {
            self.note(key, "must be text in quotes");
            return None;
        };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Text that must not be empty.
    pub fn required_text(&mut self, key: &str) -> String {
        let mistakes = self.mistakes.len();
        let text = self.text(key);
        if text.is_none() && self.mistakes.len() == mistakes {
            self.note(key, "must be set");
        }
        text.unwrap_or_default()
    }

    /// A duration written in the key's unit: the key ends in `_ms` or `_s`. Must be above zero.
    pub fn duration(&mut self, key: &str) -> Duration {
        // A year in milliseconds: far above anything meant, and nothing overflows.
        let number = self.number(key, 1..=31_536_000_000);
        if key.ends_with("_ms") {
            Duration::from_millis(number)
        } else {
            Duration::from_secs(number)
        }
    }

    /// A whole number within the given range, which is one of its type's.
    pub fn number<T: TryFrom<u64> + Default>(&mut self, key: &str, range: RangeInclusive<u64>) -> T {
        let Some(value) = self.take(key) else {
            return T::default();
        };
        let number: Option<u64> = match value {
            Value::String(_, text) if self.in_environment.contains_key(key) => text.trim().parse().ok(),
            Value::Num(_, number) => number
                .to_u128()
                .or_else(|| number.to_i128()?.try_into().ok())
                .and_then(|number| number.try_into().ok()),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        number
            .and_then(|number| number.try_into().ok())
            .unwrap_or_else(|| {
                let problem = format!("must be a whole number from {} to {}", range.start(), range.end());
                self.note(key, &problem);
                T::default()
            })
    }

    /// Notes a mistake found by the caller (values that do not fit together); where the key's value came from is added.
    pub fn mistake(&mut self, key: &str, problem: impl Into<String>) {
        self.note(key, &problem.into());
    }

    fn push(&mut self, key: &str, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            key: key.to_owned(),
            problem: problem.into(),
        });
    }

    /// The values in effect, a line each with its source; secrets hidden.
    pub fn effective(&self) -> String {
        let mut text = String::new();
        let mut keys = self.known.clone();
        keys.extend(self.in_file.iter().cloned());
        keys.extend(self.in_environment.keys().cloned());
        for key in keys {
            let Ok(value) = self.layers.find_value(&key) else {
                continue;
            };
            let value = match value {
                Value::String(_, text) => format!("{:?}", shown(&key, &text)),
                other => shown(&key, &plain(&other)),
            };
            let _ = writeln!(text, "{key} = {value}  # {}", self.source(&key));
        }
        text
    }

    /// Ends reading: unknown keys are noted. Gives out what was read, unless there was any mistake at all.
    pub fn finish<T>(mut self, read: T) -> Result<T, Mistakes> {
        let given = self
            .in_file
            .iter()
            .chain(self.in_environment.keys())
            .cloned()
            .collect::<BTreeSet<_>>();
        for key in given {
            if !self.known.contains(&key) && !self.taken.contains(&key) {
                let meant = self
                    .known
                    .iter()
                    .chain(&self.taken)
                    .min_by_key(|known| distance(known, &key));
                let problem = match meant.filter(|known| distance(known, &key) <= 3) {
                    Some(known) => format!("is not a key; did you mean {known}?"),
                    None => "is not a key".to_owned(),
                };
                self.note(&key, &problem);
            }
        }
        if self.mistakes.is_empty() {
            Ok(read)
        } else {
            Err(Mistakes(self.mistakes))
        }
    }

    /// The key's value; missing and empty are mistakes.
    fn take(&mut self, key: &str) -> Option<Value> {
        let value = self.take_any(key)?;
        if value.as_str().is_some_and(|text| text.trim().is_empty()) {
            self.note(key, "must be set");
            return None;
        }
        Some(value)
    }

    fn take_any(&mut self, key: &str) -> Option<Value> {
        self.taken.insert(key.to_owned());
        let value = self.layers.find_value(key).ok();
        if value.is_none() {
            self.note(key, "is missing");
        }
        value
    }

    /// Notes a mistake together with where the value came from.
    fn note(&mut self, key: &str, problem: &str) {
        let problem = format!("{problem} ({})", self.source(key));
        self.push(key, problem);
    }

    fn source(&self, key: &str) -> String {
        if let Some(name) = self.in_environment.get(key) {
            format!("environment variable {name}")
        } else if self.in_file.contains(key) {
            format!("file {}", self.file)
        } else {
            "default".to_owned()
        }
    }
}

/// A parser's error without the line that it quotes: the file may be a secret, named by mistake or to have it read out.
pub fn without_quote(error: &str) -> String {
    let quotes = |line: &&str| {
        let line = line
            .trim_start()
            .trim_start_matches(|char: char| char.is_ascii_digit());
        line.trim_start().starts_with('|')
    };
    let told: Vec<&str> = error
        .lines()
        .filter(|line| !quotes(line))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    told.join(": ")
}

/// The dotted keys of everything that is not a table.
fn leaves(path: &str, dict: &Dict, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in dict {
        let key = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match value {
            Value::Dict(_, inner) => leaves(&key, inner, keys),
            _ => {
                keys.insert(key, value.clone());
            }
        }
    }
}

/// As it would stand in a file.
fn plain(value: &Value) -> String {
    match value {
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => {
            let whole = number
                .to_u128()
                .map(|number| number.to_string())
                .or_else(|| number.to_i128().map(|number| number.to_string()));
            whole.unwrap_or_else(|| number.to_f64().unwrap_or_default().to_string())
        }
        Value::Array(_, values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => format!("{:?}", other.as_str().unwrap_or_default()),
    }
}

/// Edit distance, for "did you mean".
fn distance(left: &str, right: &str) -> usize {
    let right = right.chars().collect::<Vec<_>>();
    let mut row = (0..=right.len()).collect::<Vec<_>>();
    for (i, from) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, above), pair) in right.iter().zip(row.iter().skip(1)).zip(row.iter()) {
            let substituted = pair + usize::from(from != *to);
            let beside = next.last().map_or(usize::MAX, |beside| beside + 1);
            next.push(substituted.min(above + 1).min(beside));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
