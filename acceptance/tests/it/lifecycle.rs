//! Starting, stopping, and being configured wrongly.

use std::{process::Output, time::Duration};

use acceptance::{
    Client, Load, System, cli,
    client::{NO_WAIT, WAIT},
    eventually,
    streams::existing_stream,
};
use local_stack::{Service, ServiceKind, ServiceOptions, Signal};

const KINDS: [ServiceKind; 2] = [ServiceKind::InvoiceApp, ServiceKind::PaymentProvider];

fn service(system: &System, kind: ServiceKind) -> &Service {
    match kind {
        ServiceKind::InvoiceApp => system.stack().invoice_app(),
        ServiceKind::PaymentProvider => system.stack().payment_provider(),
    }
}

async fn stopped_while_paying(kind: ServiceKind, stream: &str) {
    let system = System::start().await.unwrap();
    let name = format!("{} is stopped", kind.as_str());
    let mut load = Load::try_new(&name, &system).unwrap().without_trouble();
    for _ in 0..3 {
        load.wave(2500).await.unwrap();
        let status = service(&system, kind).stop(Duration::from_mins(1)).await.unwrap();
        assert_eq!(status.code(), Some(0));
        service(&system, kind).start_again().await.unwrap();
    }
    load.expect_all_paid(4).await.unwrap();
    let state = existing_stream(system.stack().nats(), stream).await.unwrap();
    let again = state.deliveries.saturating_sub(state.last_sequence);
    eprintln!(
        "{name}: {} messages of {stream}, {again} delivered again",
        state.last_sequence
    );
    assert!(
        again < load.asked() / 2,
        "what was finished should not be delivered again: {state:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_payment_provider_finishes_what_is_in_flight_and_exits_with_0() {
    stopped_while_paying(ServiceKind::PaymentProvider, "PAY_REQUESTS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_invoice_app_finishes_what_is_in_flight_and_exits_with_0() {
    stopped_while_paying(ServiceKind::InvoiceApp, "PAY_OUTCOMES").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_waits_is_answered_when_the_process_is_told_to_stop() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    system.stack().nats().stop().await;
    let id = client.create("1.00", "EUR").await.unwrap();
    let call = tokio::spawn({
        let (client, id) = (client.clone(), id.clone());
        async move { client.pay(&id, WAIT).await }
    });
    eventually("the payment is requested", || async {
        Ok(system.count_payments("requested").await? == 1)
    })
    .await
    .unwrap();
    let process = system.stack().invoice_app().program().process().unwrap();
    process.signal(Signal::TERM);
    let answer = call.await.unwrap().unwrap();
    assert_eq!(
        (answer.status, answer.text("/status")),
        (202, "requested"),
        "{answer:?}"
    );
    assert_eq!(process.wait().await.unwrap().code(), Some(0));
}

async fn admin_status(service: &Service, path: &str) -> Option<u16> {
    let admin = Client::try_new(&service.admin_url()).unwrap();
    admin.get(path).await.ok().map(|answer| answer.status)
}

async fn becomes(service: &Service, path: &str, status: u16) {
    eventually(
        &format!("{path} of {} is {status}", service.options().kind.as_str()),
        || async { Ok(admin_status(service, path).await == Some(status)) },
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_started_before_postgres_and_nats_wait_for_them() {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    for kind in KINDS {
        service(&system, kind).stop(Duration::from_mins(1)).await.unwrap();
    }
    stack.nats().stop().await;
    stack.postgres().stop().await;
    for kind in KINDS {
        service(&system, kind).program().start().await.unwrap();
        becomes(service(&system, kind), "/livez", 200).await;
        assert_eq!(
            admin_status(service(&system, kind), "/readyz").await,
            Some(503),
            "{kind:?}"
        );
    }
    stack.postgres().start_again().await.unwrap();
    for kind in KINDS {
        // NATS is not needed for this.
        becomes(service(&system, kind), "/readyz", 200).await;
    }
    let client = system.client().unwrap();
    let id = client.create("1.00", "EUR").await.unwrap();
    assert_eq!(client.pay(&id, NO_WAIT).await.unwrap().status, 202);
    stack.nats().start_again().await.unwrap();
    system.expect_all_paid(1, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_waits_until_somebody_has_migrated() {
    let system = System::start().await.unwrap();
    let postgres = system.stack().postgres();
    for kind in KINDS {
        let database = format!("empty_{}", kind.as_str().replace('-', "_"));
        postgres.create_database(&database).await.unwrap();
        let mut options = system.another(kind, "unmigrated").unwrap();
        options
            .settings
            .insert("database.url".to_owned(), postgres.url(&database));
        options
            .settings
            .insert("database.migrate_on_start".to_owned(), "false".to_owned());
        let waiting = Service::prepare(options.clone()).unwrap();
        waiting.program().start().await.unwrap();
        becomes(&waiting, "/livez", 200).await;
        assert_eq!(admin_status(&waiting, "/readyz").await, Some(503), "{kind:?}");
        Service::run_command(&options, "migrate").await.unwrap();
        becomes(&waiting, "/readyz", 200).await;
        assert_eq!(
            waiting.stop(Duration::from_mins(1)).await.unwrap().code(),
            Some(0)
        );
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with(options: &ServiceOptions, settings: &[(&str, &str)]) -> ServiceOptions {
    let mut options = options.clone();
    for (key, value) in settings {
        options.settings.insert((*key).to_owned(), (*value).to_owned());
    }
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_ends_with_64_and_names_every_mistake() {
    let system = System::start().await.unwrap();
    for kind in KINDS {
        let good = service(&system, kind).options();
        cli::run_ok(good, &["check-config"]).await.unwrap();

        let typo = with(good, &[("nats.repicas", "3")]);
        let several = with(
            good,
            &[
                ("database.url", "host=nowhere password=verysecret"),
                ("nats.url", "http://nowhere"),
                ("nats.nkey_seed_file", ""),
                ("nats.replicas", "many"),
                ("shutdown.grace_s", "-1"),
            ],
        );
        for command in ["check-config", "serve"] {
            let output = cli::run(&typo, &[command]).await.unwrap();
            assert_eq!(output.status.code(), Some(64), "{kind:?} {command}: {output:?}");
            assert!(stderr(&output).contains("nats.repicas"), "{}", stderr(&output));

            let output = cli::run(&several, &[command]).await.unwrap();
            assert_eq!(output.status.code(), Some(64), "{kind:?} {command}: {output:?}");
            let text = stderr(&output);
            for key in [
                "database.url",
                "nats.url",
                "nats.nkey_seed_file",
                "nats.replicas",
                "shutdown.grace_s",
            ] {
                assert!(text.contains(key), "{kind:?} does not name {key}: {text}");
            }
            assert!(!text.contains("verysecret"), "{text}");
        }
        let output = cli::run(good, &["no-such-command"]).await.unwrap();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
    }
    // There is no silent open mode.
    let mut no_mode = system.stack().invoice_app().options().clone();
    no_mode.settings.remove("auth.mode");
    let output = cli::run(&no_mode, &["check-config"]).await.unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(stderr(&output).contains("auth.mode"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_the_process_with_1() {
    let system = System::start().await.unwrap();
    for kind in KINDS {
        let options = service(&system, kind).options();
        let output = cli::run(options, &["serve"]).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{kind:?}: {output:?}");
    }
}
