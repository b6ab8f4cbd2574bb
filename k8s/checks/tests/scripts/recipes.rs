//! What people do with a system that is deployed, or with a stack that is not: whose rights it takes, and what is said.

use crate::{
    UNMOUNTED,
    harness::{just, run_with},
};

#[test]
fn recipes_for_the_deployed_system_say_that_it_is_not_deployed() {
    for (script, arguments) in [
        ("call.sh", &["GET", "/invoices"] as &[_]),
        ("call.sh", &["token"]),
        ("logs.sh", &[]),
        ("nats-sub.sh", &[]),
        ("outside.sh", &[]),
        ("operate.sh", &["payment-provider", "ledger", "list"]),
    ] {
        let ran = run_with(script, arguments, &[("FAKE_DEPLOYED", "no")]);
        assert_eq!(
            ran.said, "The system is not deployed to kind-fake; 'just deploy' does that.\n",
            "{script}"
        );
        assert_eq!(ran.code, Some(1), "{script}");
    }
}

#[test]
fn recipes_for_a_stack_say_that_none_runs_before_they_build_anything() {
    let nowhere = tempfile::tempdir().unwrap();
    let settings = [
        ("STACK_DIR", nowhere.path().to_str().unwrap()),
        ("FAKE_CONTEXT", "production"),
    ];
    for recipe in [
        &["invoices"] as &[_],
        &["pay"],
        &["import", "invoices.csv"],
        &["nats-sub"],
        &["ledger", "list"],
    ] {
        let ran = just(recipe, &settings);
        assert_ne!(ran.code, Some(0), "{recipe:?}");
        assert!(
            ran.said
                .starts_with("No stack runs here; 'just up' starts one.\n"),
            "{recipe:?}: {}",
            ran.said
        );
    }
}

#[test]
fn call_without_a_token_is_not_made() {
    let settings = [
        ("FAKE_TEAM_OF", "invoices"),
        ("FAKE_NO_SECRET", "api-token-recipes"),
    ];
    let ran = run_with("call.sh", &["GET", "/invoices"], &settings);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(ran.said.contains("There is no token for the API"), "{}", ran.said);
    assert!(
        !ran.said.contains("Forbidden"),
        "teams see no nodes: {}",
        ran.said
    );
}

/// Each with the rights of its Role, which end at its namespace.
#[test]
fn recipes_ask_for_nothing_that_their_team_may_not_read() {
    for (namespace, script, arguments, done) in [
        (
            "payments",
            "operate.sh",
            &["payment-provider", "ledger", "list"] as &[_],
            "logs job/operator-",
        ),
        (
            "payments",
            "operate.sh",
            &["payment-provider", "dead-letters", "list"],
            "logs job/operator-",
        ),
        (
            "invoices",
            "operate.sh",
            &["invoice-app", "payments", "list"],
            "logs job/operator-",
        ),
        (
            "reconciliation",
            "operate.sh",
            &["reconcile"],
            "logs job/operator-",
        ),
        ("messaging", "nats-sub.sh", &["pay.>"], "nats sub pay.>"),
        ("messaging", "logs.sh", &[], "logs --namespace messaging"),
        ("payments", "logs.sh", &[], "logs --namespace payments"),
        ("invoices", "logs.sh", &[], "logs --namespace invoices"),
    ] {
        let settings = [("FAKE_TEAM_OF", namespace), ("FAKE_EXIT", "0")];
        let ran = run_with(script, arguments, &settings);
        assert_eq!(
            ran.code,
            Some(0),
            "{namespace}: {script} {arguments:?}: {}",
            ran.said
        );
        assert!(ran.asked.contains(done), "{namespace}: {}", ran.asked);
    }
    let ran = run_with("logs.sh", &[], &[("FAKE_TEAM_OF", "elsewhere")]);
    assert_eq!(ran.said, "You may read no logs of the system in kind-fake.\n");
}

#[test]
fn an_operators_command_runs_inside_and_ends_as_it_ends() {
    let resolve = [
        "payment-provider",
        "ledger",
        "resolve",
        "0198",
        "declined",
        "--reason",
        "the \"bank\" said\\so",
    ];
    for code in [0, 1, 64] {
        let ran = run_with("operate.sh", &resolve, &[("FAKE_EXIT", &code.to_string())]);
        assert_eq!(ran.code, Some(code), "{}", ran.said);
        let arguments = r#""args":["ledger","resolve","0198","declined","--reason","the\"bank\"said\\so"]"#;
        assert!(ran.asked.contains(arguments), "{}", ran.asked);
        assert!(ran.asked.contains("logs job/operator-"), "{}", ran.asked);
        assert!(
            ran.asked.contains("delete job operator-"),
            "it stays: {}",
            ran.asked
        );
    }
}

#[test]
fn a_decision_is_recorded_under_the_name_that_the_cluster_knows() {
    let me = ("FAKE_NAME", "jo@example.com");
    let decide = ["payment-provider", "ledger", "resolve", "0198", "declined"];
    let ran = run_with("operate.sh", &decide, &[("FAKE_EXIT", "0"), me]);
    assert!(
        ran.asked.contains(r#""declined","--by","jo@example.com"]"#),
        "{}",
        ran.asked
    );
    // What was said counts; one who only looks decides nothing; and an old cluster does not know.
    for (command, name) in [
        (&["ledger", "resolve", "0198", "declined", "--by=her"] as &[_], me),
        (&["ledger", "list", "--open"], me),
        (&["ledger", "release", "--new"], ("FAKE_NAME", "")),
    ] {
        let arguments = [&["payment-provider"], command].concat();
        let ran = run_with("operate.sh", &arguments, &[("FAKE_EXIT", "0"), name]);
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        assert!(!ran.asked.contains(r#""--by","#), "{command:?}: {}", ran.asked);
    }
}

#[test]
fn the_check_of_the_books_runs_as_its_template_says() {
    let ran = run_with("operate.sh", &["reconcile"], &[("FAKE_EXIT", "1")]);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(
        ran.asked.contains("logs job/operator-") && !ran.asked.contains("\"args\""),
        "{}",
        ran.asked
    );
    // Its CronJob has to see that it succeeded, or the alerts go on.
    assert!(!ran.asked.contains("delete job"), "{}", ran.asked);
    let ran = run_with("operate.sh", &["reconcile"], &[("TIMEOUT", "1")]);
    assert!(ran.asked.contains("delete job operator-"), "{}", ran.asked);
    let ran = run_with("operate.sh", &["reconcile", "--no-bank"], &[]);
    assert!(ran.said.contains("without arguments: --no-bank"), "{}", ran.said);
}

#[test]
fn an_operators_command_that_cannot_run_says_why() {
    let list = ["payment-provider", "ledger", "list"];
    for (settings, sentence, words) in [
        (
            ("FAKE_REFUSAL", "the commands of an operator are ledger"),
            "The command was not started; kubectl said:",
            "the commands of",
        ),
        (
            ("FAKE_WAITING", "ErrImagePull"),
            "The command cannot start in payments; its pod says:",
            "nowhere",
        ),
        (
            ("FAKE_WAITING", "ContainerCreating"),
            "The command cannot start in payments; its pod lacks something it mounts:",
            UNMOUNTED,
        ),
        (
            ("TIMEOUT", "1"),
            "The command did not end within 1 s, and was stopped.",
            "",
        ),
        (
            ("FAKE_DEPLOYED", "no"),
            "The system is not deployed to kind-fake",
            "just deploy",
        ),
    ] {
        let ran = run_with("operate.sh", &list, &[settings, ("FAKE_EVENTS", UNMOUNTED)]);
        assert_eq!(ran.code, Some(1), "{settings:?}: {}", ran.said);
        assert!(
            ran.said.starts_with(sentence) && ran.said.contains(words),
            "{settings:?}: {}",
            ran.said
        );
    }
}
