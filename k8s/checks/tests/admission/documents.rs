//! What is rendered, and copies of it that differ in one thing.

use std::sync::LazyLock;

use k8s_checks::Rendered;
use serde_json::Value;

pub(crate) static LOCAL: LazyLock<Rendered> =
    LazyLock::new(|| Rendered::overlay("k8s/overlays/local").unwrap());

pub(crate) fn document(kind: &str, name: &str) -> Value {
    let mut documents = LOCAL.documents().iter();
    let found = documents.find(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    found.unwrap().clone()
}

pub(crate) fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap()
}

/// A copy in which the entry of an object, or of a list, is another.
pub(crate) fn with(document: &Value, parent: &str, key: &str, value: Value) -> Value {
    let mut document = document.clone();
    match document.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        object => object[key] = value,
    }
    document
}

pub(crate) fn without(document: &Value, parent: &str, key: &str) -> Value {
    let mut document = document.clone();
    document
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(key);
    document
}

pub(crate) fn pushed(document: &Value, list: &str, value: Value) -> Value {
    let mut document = document.clone();
    document
        .pointer_mut(list)
        .unwrap()
        .as_array_mut()
        .unwrap()
        .push(value);
    document
}
