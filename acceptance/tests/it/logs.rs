//! What the services log: a line for each payment that one id finds in both, nothing that is secret, and never at the price of a payment.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    process::Command,
    time::Duration,
};

use acceptance::{
    BankProcess, Client, System,
    client::{NO_WAIT, WAIT, import_lines},
    eventually, metric, settled,
};
use invoice_app::tokens::{Scope, generate};
use local_stack::{RawNats, ServiceKind, User};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

const STOP: Duration = Duration::from_mins(1);

fn settings<const N: usize>(settings: [(&str, &str); N]) -> BTreeMap<String, String> {
    settings
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_payment_is_one_line_in_each_service_and_one_id_finds_both() {
    let system = System::start_with(|options| {
        for service in [&mut options.invoice_app, &mut options.payment_provider] {
            service.extend(settings([("log.format", "json")]));
        }
    })
    .await
    .unwrap();
    let client = system.client().unwrap();
    for (amount, status) in [("12.15", "succeeded"), ("4000.01", "declined")] {
        let id = client.create(amount, "EUR").await.unwrap();
        let payment = client.pay(&id, WAIT).await.unwrap();
        assert_eq!(payment.text("/status"), status);
        let stack = system.stack();
        for service in [stack.invoice_app(), stack.payment_provider()] {
            let lines = eventually("the line is written", || async {
                let log = fs::read_to_string(&service.options().log)?;
                let lines: Vec<Value> = log
                    .lines()
                    .map(serde_json::from_str)
                    .collect::<std::result::Result<_, _>>()?;
                let of_payment = |line: &Value| line["trace_id"] == payment.header("request-id");
                let found: Vec<Value> = lines.into_iter().filter(of_payment).collect();
                Ok((!found.is_empty()).then_some(found))
            })
            .await
            .unwrap();
            let [line] = lines.as_slice() else {
                panic!("one line and no more: {lines:#?}")
            };
            assert_eq!(line["payment.id"], payment.text("/id"), "{line}");
            assert_eq!(line["invoice.id"], *id, "{line}");
        }
    }
}

/// The pipe is full after some hundred lines, and whoever should read it has stopped. Each payment is a line.
#[tokio::test(flavor = "multi_thread")]
async fn log_that_nobody_reads_holds_up_no_payment() {
    let system = System::start().await.unwrap();
    let pipe = system.stack().directory().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let unread = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let services = system
        .instead(|options| options.log.clone_from(&pipe))
        .await
        .unwrap();
    let client = Client::try_new(&services[0].url()).unwrap();
    client.import(import_lines("L", 20_000, 0)).await.unwrap();
    let paid = client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    settled(&client, paid["batch_id"].as_str().unwrap())
        .await
        .unwrap();
    // What cannot be written is dropped, and that is told.
    for service in &services {
        let dropped = metric(service, "log_lines_dropped_total", &[]).await.unwrap();
        assert!(dropped > 0.0);
    }
    let id = client.create("12.15", "EUR").await.unwrap();
    assert_eq!(client.pay(&id, WAIT).await.unwrap().text("/status"), "succeeded");
    for service in services {
        let ended = service.stop(STOP).await.unwrap();
        assert!(ended.success(), "it ends all the same: {ended}");
    }
    system.check().await.unwrap();
    drop(unread);
}

/// With everything logged that there is to log, by ourselves and by the libraries.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_body_is_ever_logged() {
    const PASSWORD: &str = "pass-1f7c";
    const BANK_TOKEN: &str = "bank-93ab";
    const FOREIGN_TOKEN: &str = "foreign-7d20";
    const BODY: &str = "body-55e1";
    let bank = BankProcess::start_with(|_| {}).await.unwrap();
    let (token, entry) = generate("shop", &Scope::ALL);
    let system = System::start().await.unwrap();
    let directory = system.stack().directory().to_owned();
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (api_tokens, bank_token) = (file("api-tokens", &entry), file("bank-token", BANK_TOKEN));
    let stack = system.stack();
    let mut admin = PgConnection::connect(&stack.invoice_database_url())
        .await
        .unwrap();
    admin
        .execute("create role team login superuser password 'pass-1f7c'")
        .await
        .unwrap();
    let port = stack.postgres().port();
    let url = |database: &str| format!("postgres://team:{PASSWORD}@127.0.0.1:{port}/{database}");
    let of_invoice_app = settings([
        ("database.url", &url("invoices")),
        ("auth.mode", "token"),
        ("auth.tokens_file", &api_tokens),
        ("log.filter", "trace,async_nats=trace"),
    ]);
    let of_payment_provider = settings([
        ("database.url", &url("payments")),
        ("gateway.kind", "http"),
        ("gateway.url", &bank.url()),
        ("gateway.token_file", &bank_token),
        ("log.filter", "trace,async_nats=trace"),
    ]);
    let services = system.instead(|options| {
        options.settings.extend(match options.kind {
            ServiceKind::InvoiceApp => of_invoice_app.clone(),
            ServiceKind::PaymentProvider => of_payment_provider.clone(),
        });
    });
    let services = services.await.unwrap();

    let anybody = Client::try_new(&services[0].url()).unwrap();
    let client = anybody.clone().with_token(&token);
    let line = format!(r#"{{"number":"{BODY}","amount":{{"value":"12.15","currency":"EUR"}}}}"#);
    client.import(line.clone()).await.unwrap();
    client.import(line).await.unwrap();
    let invoice = client.list(&format!("number={BODY}")).await.unwrap();
    let id = invoice[0]["id"].as_str().unwrap();
    let paid = client.pay(id, WAIT).await.unwrap();
    assert_eq!(paid.text("/status"), "succeeded");
    for body in [
        json!({ BODY: 1 }),
        json!(BODY),
        json!({"amount": {"value": BODY, "currency": "EUR"}}),
    ] {
        let refused = client.post("/invoices", &[], &body).await.unwrap();
        assert!([400, 422].contains(&refused.status), "{refused:?}");
    }
    let foreign = anybody.with_token(FOREIGN_TOKEN);
    assert_eq!(foreign.get("/invoices").await.unwrap().status, 401);
    poison(&system, BODY).await;
    // New connections and new keys, too.
    admin
        .execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'team'")
        .await
        .unwrap();
    eventually("the database is there again", || async {
        Ok(client.get("/invoices").await?.status == 200)
    })
    .await
    .unwrap();

    let mut logs = Vec::new();
    for service in services {
        let dropped = metric(&service, "log_lines_dropped_total", &[]).await.unwrap();
        assert!(dropped.abs() < 0.5, "everything is to be read");
        service.stop(STOP).await;
        logs.push(service.options().log.clone());
    }
    let keys = stack.nats().keys();
    let seeds = [User::InvoiceApp, User::PaymentProvider].map(|user| keys.seed(user).unwrap());
    for log in logs {
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains(" DEBUG "), "everything is logged");
        for secret in [&token, PASSWORD, BANK_TOKEN, FOREIGN_TOKEN, BODY]
            .into_iter()
            .chain(seeds.iter().map(|seed| seed.trim()))
        {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(secret)).collect();
            assert!(lines.is_empty(), "{secret} in {}: {lines:#?}", log.display());
        }
    }
}

/// Messages that nobody can handle, as each service would get them, until both have put them aside.
async fn poison(system: &System, body: &str) {
    let ids = [Uuid::now_v7(), Uuid::now_v7()].map(|id| id.to_string());
    let with = |field: &str| {
        let mut message = json!({
            "payment_id": ids[0], "invoice_id": ids[1], "status": "declined", "reason": body,
            "provider_reference": body, "settled_at": "2026-01-02T03:04:05Z", "attempt": 1,
            "invoice_number": body, "amount": {"value": "1.00", "currency": "EUR"},
            "requested_at": "2026-01-02T03:04:05Z",
        });
        message[field] = json!(body);
        message.to_string()
    };
    for (user, subject) in [
        (User::InvoiceApp, "pay.v1.request.eur"),
        (User::PaymentProvider, "pay.v1.outcome.declined"),
    ] {
        let mut nats = RawNats::connect(system.stack().nats(), user).unwrap();
        let messages = ["payment_id", "status", "amount", "settled_at", "requested_at"].map(with);
        for message in [body.to_owned()].iter().chain(&messages) {
            nats.publish(subject, "", message.as_bytes()).unwrap();
        }
    }
    eventually("the messages are put aside", || async {
        let letters = "select count(*) from dead_letters";
        let there = [
            system.count_in_invoices(letters).await?,
            system.count_in_payments(letters).await?,
        ];
        Ok(there.iter().all(|count| *count >= 4).then_some(()))
    })
    .await
    .unwrap();
}
