//! As much of JSON Schema as the documents use. A keyword that is not known here is a finding, and so is a field that no schema
//! names: what nobody looks at would go stale.

use regex::Regex;
use serde_json::Value;

use super::document::Place;

/// What is wrong with a value by a schema.
pub(super) fn findings(schema: &Place<'_>, value: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    find(schema, value, "", &mut findings);
    findings
}

fn find(schema: &Place<'_>, value: &Value, at: &str, findings: &mut Vec<String>) {
    for (keyword, rule) in schema.value.as_object().unwrap() {
        let kept = match keyword.as_str() {
            "title" | "description" | "format" => true,
            "type" => types(rule).any(|name| is_a(name, value)),
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64() >= rule.as_i64(),
            "minLength" => length(value) >= rule.as_u64(),
            "maxLength" => length(value) <= rule.as_u64(),
            "pattern" => {
                let pattern = Regex::new(rule.as_str().unwrap()).unwrap();
                value.as_str().is_some_and(|text| pattern.is_match(text))
            }
            "required" => {
                let mut names = rule.as_array().unwrap().iter();
                names.all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                find_in_fields(schema, value, at, findings);
                true
            }
            "items" => {
                let items = schema.at("items");
                for item in value.as_array().into_iter().flatten() {
                    find(&items, item, &format!("{at}/items"), findings);
                }
                true
            }
            _ => false,
        };
        if !kept {
            findings.push(format!("{at}: {value} does not keep {keyword} {rule}"));
        }
    }
}

fn find_in_fields(schema: &Place<'_>, value: &Value, at: &str, findings: &mut Vec<String>) {
    let described = schema.at("properties").members();
    for (name, value) in value.as_object().into_iter().flatten() {
        match described.iter().find(|(known, _)| known == name) {
            Some((_, schema)) => find(schema, value, &format!("{at}/{name}"), findings),
            None => findings.push(format!("{at}/{name}: in no document")),
        }
    }
}

/// One name, or a list of them.
fn types(rule: &Value) -> impl Iterator<Item = &str> {
    let several = rule.as_array().into_iter().flatten();
    several
        .chain(rule.is_string().then_some(rule))
        .filter_map(Value::as_str)
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => false,
    }
}

fn length(value: &Value) -> Option<u64> {
    u64::try_from(value.as_str()?.chars().count()).ok()
}
