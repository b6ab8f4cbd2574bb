//! Which Jobs those may make.

use serde_json::{Value, json};

use crate::{
    CONTAINER, POD,
    documents::{at, document, pushed, with, without},
    policy::Policy,
};

#[test]
fn operators_run_the_commands_of_the_template() {
    let policy = Policy::named("operators-run-commands");
    for (template, commands) in [
        (
            "payment-provider-operator",
            &[
                &["ledger", "list", "--open"] as &[_],
                &["dead-letters", "list"],
                &["check-config"],
            ],
        ),
        (
            "invoice-app-operator",
            &[
                &["payments", "list", "--open"],
                &["dead-letters", "show", "1"],
                &["check-config"],
            ],
        ),
    ] {
        let template = document("CronJob", template);
        for command in commands {
            let job = with(&job_of(&template), CONTAINER, "args", json!(command));
            assert_eq!(policy.refuses_with(&job, &template), None, "{command:?}");
        }
        let next = format!(
            "{}:next",
            at(
                &template,
                "/spec/jobTemplate/spec/template/spec/containers/0/image"
            )
            .as_str()
            .unwrap()
            .rsplit_once(':')
            .unwrap()
            .0
        );
        let job = with(&job_of(&template), CONTAINER, "image", json!(next));
        assert_eq!(
            policy.refuses_with(&job, &template),
            None,
            "the image of a release before or after"
        );
        // What the cluster adds by itself.
        let mut job = job_of(&template);
        job["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] = json!("operator-1");
        job["spec"]["parallelism"] = json!(1);
        assert_eq!(policy.refuses_with(&job, &template), None, "defaults");
    }
}

#[test]
fn operators_run_nothing_else() {
    let policy = Policy::named("operators-run-commands");
    let template = document("CronJob", "payment-provider-operator");
    let job = job_of(&template);
    let second = json!({"name": "second", "image": "payment-provider:1"});
    let label = "/spec/template/metadata/labels";
    for (what, changed) in [
        ("another command", with(&job, CONTAINER, "args", json!(["serve"]))),
        (
            "a command that begins alike",
            with(&job, CONTAINER, "args", json!(["ledgers"])),
        ),
        ("no command", with(&job, CONTAINER, "args", json!([]))),
        ("none at all", without(&job, CONTAINER, "args")),
        ("a program", with(&job, CONTAINER, "command", json!(["/bin/sh"]))),
        (
            "another image",
            with(&job, CONTAINER, "image", json!("docker.io/library/busybox:1")),
        ),
        (
            "a second container",
            pushed(&job, &format!("{POD}/containers"), second.clone()),
        ),
        (
            "an init container",
            with(&job, POD, "initContainers", json!([second])),
        ),
        (
            "a secret",
            pushed(
                &job,
                &format!("{POD}/volumes"),
                json!({"name": "more", "secret": {"secretName": "x"}}),
            ),
        ),
        (
            "a variable",
            pushed(
                &job,
                &format!("{CONTAINER}/env"),
                json!({"name": "PASSWORD", "value": "x"}),
            ),
        ),
        (
            "another bank",
            with(
                &job,
                CONTAINER,
                "envFrom",
                json!([{"configMapRef": {"name": "mine"}}]),
            ),
        ),
        ("more rights", without(&job, CONTAINER, "securityContext")),
        (
            "an account",
            with(&job, POD, "serviceAccountName", json!("payment-provider")),
        ),
        (
            "a token",
            with(&job, POD, "automountServiceAccountToken", json!(true)),
        ),
        (
            "somebody's name",
            with(&job, label, "app.kubernetes.io/name", json!("payment-provider")),
        ),
        ("many at once", with(&job, "/spec", "parallelism", json!(50))),
        ("many in a row", with(&job, "/spec", "completions", json!(50))),
    ] {
        assert!(
            policy.refuses_with(&changed, &template).is_some(),
            "{what} goes through"
        );
    }
}

#[test]
fn a_template_without_commands_is_run_as_it_stands() {
    let policy = Policy::named("operators-run-commands");
    let template = document("CronJob", "reconcile");
    let job = job_of(&template);
    assert_eq!(policy.refuses_with(&job, &template), None);
    let elsewhere = json!(["--invoices=postgres://reconcile@203.0.113.1/invoices"]);
    for args in [elsewhere, json!([])] {
        let changed = with(&job, CONTAINER, "args", args);
        assert!(policy.refuses_with(&changed, &template).is_some());
    }
}

/// The Job that `kubectl create job --from` makes.
fn job_of(template: &Value) -> Value {
    json!({"kind": "Job", "metadata": {"name": "operator-1"}, "spec": at(template, "/spec/jobTemplate/spec")})
}
