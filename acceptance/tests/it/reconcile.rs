//! `reconcile` as an operator runs it: against a live system, by its exit code and the ids it prints.

use std::{process::Output, time::Duration};

use acceptance::BankProcess;
use acceptance::{
    System,
    client::{WAIT, text},
    documents, eventually,
};
use bank_simulator::Options;
use local_stack::built_binary;
use serde_json::json;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection, Executor, PgConnection, postgres::PgConnectOptions,
};
use tokio::process::Command;
use uuid::Uuid;

async fn reconcile(system: &System, more: &[&str]) -> Output {
    let stack = system.stack();
    Command::new(built_binary("reconcile").unwrap())
        .args(["--invoices", &stack.invoice_database_url()])
        .args(["--payments", &stack.payment_database_url()])
        .args(more)
        .output()
        .await
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn execute(database_url: &str, statement: String) {
    let mut database = PgConnection::connect(database_url).await.unwrap();
    let done = database.execute(AssertSqlSafe(statement)).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_agreement_then_a_stuck_payment_then_a_falsified_one_by_its_id() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let id = client.create("12.15", "EUR").await.unwrap();
    let payment = client.pay(&id, WAIT).await.unwrap().expect(200).unwrap();
    let output = reconcile(&system, &[]).await;
    let text_of = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text_of}");
    assert!(
        text_of.contains("EUR invoices 12.15, payments 12.15, ledger 12.15, bank 12.15"),
        "{text_of}"
    );

    // Nobody pays this one: young it is in flight, and old it is stuck.
    let stack = system.stack();
    stack
        .payment_provider()
        .stop(Duration::from_mins(1))
        .await
        .unwrap();
    let open = client.create("1.00", "EUR").await.unwrap();
    client
        .pay(&open, &[("prefer", "respond-async")])
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    let output = reconcile(&system, &["--older-than", "1h"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).contains("1 in flight"), "{}", printed(&output));
    let output = reconcile(&system, &["--older-than", "0"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("stuck"), "{}", printed(&output));
    assert!(printed(&output).contains(&open), "{}", printed(&output));

    let falsified = format!(
        "update ledger set amount_minor = 1216 where payment_id = '{}'",
        text(&payment, "/id")
    );
    execute(&stack.payment_database_url(), falsified).await;
    let output = reconcile(&system, &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("mismatch"), "{}", printed(&output));
    assert!(
        printed(&output).contains(text(&payment, "/id")),
        "{}",
        printed(&output)
    );

    // Nothing to look at is no agreement.
    let output = reconcile(&system, &["--bank-record", "/no/such/file"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_killed_at_work_remembers_what_it_charged_and_charges_what_it_had_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path().join("journal"));
    options.mix = "late=0.5".parse().unwrap();
    options.latest = Duration::from_secs(2);
    let bank = BankProcess::start(&options, directory.path().join("log"))
        .await
        .unwrap();
    let http = local_stack::http_client(Duration::from_secs(5)).unwrap();
    let mut keys = Vec::new();
    for n in 0..20 {
        let key = Uuid::now_v7();
        let order = json!({"id": key, "value": "12.15", "currency": "EUR", "invoice": format!("I{n}")});
        let call = http.post(format!("{}/payments/pay", bank.url()));
        let answer = call
            .header("idempotency-key", key.to_string())
            .json(&order)
            .send()
            .await
            .unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        keys.push((key, text(&answer, "/status") == "pending"));
    }
    assert!(
        keys.iter().any(|(_, late)| *late) && keys.iter().any(|(_, late)| !late),
        "{keys:?}"
    );
    bank.kill9().await;
    bank.start_again().await.unwrap();
    for (key, _) in keys {
        eventually("the bank knows the charge", || async {
            let answer = http.get(format!("{}/payments/{key}", bank.url())).send().await?;
            let answer: serde_json::Value = serde_json::from_str(&answer.text().await?)?;
            Ok(text(&answer, "/status") == "succeeded")
        })
        .await
        .unwrap();
    }
    assert_eq!(bank.charges().unwrap().len(), 20);
}

/// As docs/kubernetes.md makes it: it reads both databases, and no setting of its own lets it write.
#[tokio::test(flavor = "multi_thread")]
async fn role_for_the_check_of_the_books_reads_both_databases_and_writes_nothing() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let id = client.create("12.15", "EUR").await.unwrap();
    client.pay(&id, WAIT).await.unwrap().expect(200).unwrap();
    let blocks = documents::page("docs/kubernetes.md").unwrap().blocks();
    let sql = blocks.iter().find(|block| block.info == "sql").unwrap();
    let stack = system.stack();
    let urls = [stack.invoice_database_url(), stack.payment_database_url()];
    let mut owner = PgConnection::connect(&urls[0]).await.unwrap();
    owner.execute(AssertSqlSafe(sql.lines.join("\n"))).await.unwrap();
    let grant = "grant connect on database payments to reconcile";
    owner.execute(grant).await.unwrap();

    let as_reconcile = urls.map(|url| {
        let options: PgConnectOptions = url.parse().unwrap();
        options.username("reconcile").password("…")
    });
    let output = Command::new(built_binary("reconcile").unwrap())
        .args(["--invoices", as_reconcile[0].to_url_lossy().as_str()])
        .args(["--payments", as_reconcile[1].to_url_lossy().as_str()])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    for (options, write) in as_reconcile
        .iter()
        .zip(["update invoices set status = 'paid'", "delete from ledger"])
    {
        let mut database = options.connect().await.unwrap();
        let refused = database.execute(write).await.unwrap_err().to_string();
        assert!(refused.contains("read-only transaction"), "{refused}");
        database
            .execute("set default_transaction_read_only = off")
            .await
            .unwrap();
        for statement in [write, "create table mine (x int)", "create role other"] {
            let refused = database.execute(statement).await.unwrap_err().to_string();
            assert!(refused.contains("permission denied"), "{statement}: {refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_of_a_bank_is_compared_in_the_form_that_the_runbook_gives() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let id = client.create("12.15", "EUR").await.unwrap();
    let payment = client.pay(&id, WAIT).await.unwrap().expect(200).unwrap();
    let blocks = documents::page("docs/operations.md").unwrap().blocks();
    let line = blocks.iter().find(|block| block.info == "json").unwrap();
    let line = line.lines.concat();
    let of_this = line
        .replace("0f0e…", text(&payment, "/id"))
        .replace("R-17", text(&payment, "/provider_reference"));
    let statement = tempfile::NamedTempFile::new().unwrap();
    for (line, code) in [
        (of_this.replace("12.15", "12.16"), 1),
        (String::new(), 1),
        (of_this, 0),
    ] {
        std::fs::write(statement.path(), format!("{line}\n")).unwrap();
        let output = reconcile(&system, &["--bank-record", statement.path().to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(code), "{line}: {}", printed(&output));
    }
}
