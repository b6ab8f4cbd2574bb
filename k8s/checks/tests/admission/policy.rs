//! A policy, evaluated.

use std::sync::Arc;

use cel::{Context, Program, Value as Cel};
use serde_json::Value;

use crate::documents::LOCAL;

/// A policy as it stands in the rendered overlay.
pub(crate) struct Policy {
    variables: Vec<(String, Program)>,
    validations: Vec<(String, Program)>,
}

impl Policy {
    pub(crate) fn named(name: &str) -> Self {
        let policy = LOCAL
            .of_kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
            .find(|policy| policy["metadata"]["name"] == name)
            .unwrap();
        let compiled = |list: &str, key: &str| {
            let entries = policy["spec"][list].as_array().unwrap().iter();
            entries
                .map(|entry| {
                    let program = Program::compile(entry["expression"].as_str().unwrap()).unwrap();
                    (entry[key].as_str().unwrap_or_default().to_owned(), program)
                })
                .collect()
        };
        Self {
            variables: compiled("variables", "name"),
            validations: compiled("validations", "message"),
        }
    }

    /// The message of the first validation that does not hold. One that cannot be evaluated refuses, as `failurePolicy: Fail` does.
    pub(crate) fn refuses(&self, before: &Value, now: &Value) -> Option<String> {
        self.refuses_request(&[("oldObject", before), ("object", now)])
    }

    /// The same for what is made by a parameter.
    pub(crate) fn refuses_with(&self, object: &Value, params: &Value) -> Option<String> {
        self.refuses_request(&[("object", object), ("params", params)])
    }

    fn refuses_request(&self, request: &[(&str, &Value)]) -> Option<String> {
        let mut variables = serde_json::Map::new();
        for (name, program) in &self.variables {
            let value = program.execute(&context(request, &variables)).unwrap();
            variables.insert(name.clone(), value.json().unwrap());
        }
        let context = context(request, &variables);
        let broken = self
            .validations
            .iter()
            .find(|(_, program)| !matches!(program.execute(&context), Ok(Cel::Bool(true))));
        broken.map(|(message, _)| message.clone())
    }
}

/// What Kubernetes gives to an expression, as far as the policies use it.
fn context(
    request: &[(&str, &Value)],
    variables: &serde_json::Map<String, Value>,
) -> Context<'static, 'static> {
    let mut context = Context::default();
    for (name, value) in request {
        context
            .add_variable(*name, cel::to_value(value).unwrap())
            .unwrap();
    }
    context
        .add_variable("variables", cel::to_value(variables).unwrap())
        .unwrap();
    context
        .add_function(
            "find",
            |cel::extractors::This(text): cel::extractors::This<Arc<String>>, pattern: Arc<String>| {
                let found = regex::Regex::new(&pattern)
                    .unwrap()
                    .find(&text)
                    .map(|found| found.as_str().to_owned());
                found.unwrap_or_default()
            },
        )
        .unwrap();
    context
}
