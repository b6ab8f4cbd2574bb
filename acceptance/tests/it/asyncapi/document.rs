//! The documents as they lie in `nats/asyncapi`, with references followed, also from one file into the other.

use std::{collections::BTreeMap, fs};

use local_stack::workspace_root;
use serde_json::Value;

/// Every document, by the name of its file.
pub(super) struct Documents(BTreeMap<String, Value>);

/// Something in a document.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    documents: &'a Documents,
    file: &'a str,
    pub(super) value: &'a Value,
}

impl Documents {
    pub(super) fn read() -> Self {
        let directory = workspace_root().join("nats/asyncapi");
        let files = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let documents: BTreeMap<String, Value> = files
            .map(|path| {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, serde_saphyr::from_str(&text).unwrap())
            })
            .collect();
        assert_eq!(documents.len(), 2, "a document a service");
        Self(documents)
    }

    /// What stands there, references on the way followed.
    pub(super) fn at<'a>(&'a self, file: &'a str, pointer: &str) -> Place<'a> {
        let (file, value) = self.0.get_key_value(file).unwrap();
        let document = Place {
            documents: self,
            file,
            value,
        };
        pointer
            .split('/')
            .skip(1)
            .fold(document, |place, name| place.at(name))
    }

    /// Fails at one that leads nowhere; how many there are.
    pub(super) fn follow_every_reference(&self) -> usize {
        let mut found = 0;
        for file in self.0.keys() {
            let mut left = vec![self.at(file, "").value];
            while let Some(value) = left.pop() {
                if let Some(target) = value.get("$ref") {
                    self.target(file, target.as_str().unwrap());
                    found += 1;
                }
                left.extend(value.as_object().into_iter().flat_map(|object| object.values()));
                left.extend(value.as_array().into_iter().flatten());
            }
        }
        found
    }

    fn target<'a>(&'a self, from: &'a str, reference: &str) -> Place<'a> {
        let (file, pointer) = reference.split_once('#').unwrap();
        let file = match file.strip_prefix("./") {
            Some(other) => self.0.get_key_value(other).unwrap().0.as_str(),
            None => from,
        };
        self.at(file, pointer)
    }
}

impl<'a> Place<'a> {
    pub(super) fn at(&self, name: &str) -> Self {
        let value = self.value.get(name);
        let value = value.unwrap_or_else(|| panic!("{}: no {name}", self.file));
        let place = Self { value, ..*self };
        match value.get("$ref") {
            Some(target) => self.documents.target(self.file, target.as_str().unwrap()),
            None => place,
        }
    }

    /// The members of an object, references followed.
    pub(super) fn members(&self) -> Vec<(&'a str, Self)> {
        let object = self.value.as_object().unwrap();
        object.keys().map(|name| (name.as_str(), self.at(name))).collect()
    }
}
