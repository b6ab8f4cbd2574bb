//! Releases that follow each other while invoices are being paid: the schema of the next one under this one's processes, and
//! messages of an older and of a newer one.

use std::{path::PathBuf, time::Duration};

use acceptance::{Callers, Result, System, client::NO_WAIT, client::text, eventually, stream_state};
use async_nats::HeaderMap;
use local_stack::{Service, ServiceKind, User, workspace_root};
use payment_contract::timestamp::Display;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, Transaction, migrate::Migrator};
use time::OffsetDateTime;

/// What a next release adds to a database.
fn next_release(database: &str) -> PathBuf {
    workspace_root()
        .join("acceptance/tests/next_release")
        .join(database)
}

/// What `migrate` runs, with the migrations of a release that does not exist yet.
async fn migrate(database_url: String, directory: PathBuf) -> Result<()> {
    let pool = PgPool::connect(&database_url).await?;
    let migrator = Migrator::new(directory).await?;
    Ok(service::database::migrate(&pool, &migrator).await?)
}

/// A transaction that uses a table for long, as an import with a key does for as long as its body takes.
async fn long_transaction(pool: &PgPool, lock: &'static str) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(lock).execute(&mut *transaction).await.unwrap();
    transaction
}

async fn migrates_beside_calls(system: &System, callers: &Callers, kind: ServiceKind) {
    let stack = system.stack();
    let (url, directory, table, lock) = match kind {
        ServiceKind::InvoiceApp => (
            stack.invoice_database_url(),
            next_release("invoices"),
            "invoices",
            "lock table invoices in row exclusive mode",
        ),
        ServiceKind::PaymentProvider => (
            stack.payment_database_url(),
            next_release("payments"),
            "ledger",
            "lock table ledger in row exclusive mode",
        ),
    };
    let pool = PgPool::connect(&url).await.unwrap();
    let long = long_transaction(&pool, lock).await;
    let migrating = tokio::spawn(migrate(url, directory));
    eventually("the migration has to wait", || async {
        let waiting = "select count(*) from pg_locks where relation = $1::regclass and not granted and mode = 'AccessExclusiveLock'";
        let waiting: i64 = sqlx::query_scalar(waiting).bind(table).fetch_one(&pool).await?;
        Ok(waiting > 0)
    })
    .await
    .unwrap();
    // Those who come after it do not wait as long as it does.
    callers.accepted(300).await.unwrap();
    assert!(!migrating.is_finished());
    long.commit().await.unwrap();
    migrating.await.unwrap().unwrap();
    callers.accepted(300).await.unwrap();
    let invalid = "select count(*) from pg_index where not indisvalid";
    let invalid: i64 = sqlx::query_scalar(invalid).fetch_one(&pool).await.unwrap();
    assert_eq!(invalid, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_releases_schema_comes_under_load_and_this_release_works_on_with_it() {
    let system = System::start_patient(|_| {}).await.unwrap();
    let stack = system.stack();
    let callers = Callers::start(8, vec![system.client().unwrap()], NO_WAIT);
    callers.accepted(300).await.unwrap();
    migrates_beside_calls(&system, &callers, ServiceKind::InvoiceApp).await;
    migrates_beside_calls(&system, &callers, ServiceKind::PaymentProvider).await;
    let tally = callers.stop().await.unwrap();
    tally.expect_all_accepted().unwrap();

    // A rollout that is taken back starts this release again on the newer schema.
    for service in [stack.invoice_app(), stack.payment_provider()] {
        let status = service.stop(Duration::from_mins(1)).await.unwrap();
        assert_eq!(status.code(), Some(0));
        Service::run_command(service.options(), "migrate").await.unwrap();
        service.start_again().await.unwrap();
    }
    let client = system.client().unwrap();
    let id = client.create("1.00", "EUR").await.unwrap();
    client.pay(&id, NO_WAIT).await.unwrap().expect(202).unwrap();
    let asked = u64::try_from(tally.accepted.len() + 1).unwrap();
    system.expect_all_paid(asked, 2).await.unwrap();
}

/// Tables, columns, constraints and indexes, in words.
async fn schema(url: &str) -> Result<Vec<String>> {
    let mut database = <PgConnection as sqlx::Connection>::connect(url).await?;
    let schema = sqlx::query_scalar(
        "select format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
         from information_schema.columns where table_schema = 'public'
         union all select indexdef from pg_indexes where schemaname = 'public'
         union all select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
                   where connamespace = 'public'::regnamespace
         order by 1",
    );
    Ok(schema.fetch_all(&mut database).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_makes_of_every_former_schema_the_one_a_new_database_gets() {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    for (kind, fresh) in [
        (ServiceKind::InvoiceApp, stack.invoice_database_url()),
        (ServiceKind::PaymentProvider, stack.payment_database_url()),
    ] {
        let fresh = schema(&fresh).await.unwrap();
        let migrations = workspace_root().join(kind.as_str()).join("migrations");
        let all = Migrator::new(migrations).await.unwrap();
        let versions: Vec<i64> = all.iter().map(|migration| migration.version).collect();
        for former in versions {
            let database = format!("former_{}_{former}", kind.as_str().replace('-', "_"));
            stack.postgres().create_database(&database).await.unwrap();
            let url = stack.postgres().url(&database);
            let pool = PgPool::connect(&url).await.unwrap();
            all.run_to(former, &pool).await.unwrap();
            let mut options = system.another(kind, &database).unwrap();
            options.settings.insert("database.url".to_owned(), url.clone());
            Service::run_command(&options, "migrate").await.unwrap();
            assert_eq!(schema(&url).await.unwrap(), fresh, "{kind:?} from {former}");
        }
    }
}

/// A message as it was committed with a release, about another payment.
fn golden(name: &str, payment_id: &str, invoice: &Value) -> Value {
    let file = workspace_root().join("nats/contract/golden").join(name);
    let mut message: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    message["payment_id"] = json!(payment_id);
    message["invoice_id"] = invoice["id"].clone();
    if message.get("amount").is_some() {
        message["invoice_number"] = invoice["number"].clone();
        message["amount"] = invoice["amount"].clone();
        message["attempt"] = json!(1);
        // One as old as the file would be an operator's.
        message["requested_at"] = json!(Display(OffsetDateTime::now_utc()).to_string());
    }
    message
}

/// What a newer sender may add.
fn with_news(mut message: Value) -> Value {
    message["priority"] = json!({"class": "express", "because": ["new", 1, null]});
    if let Some(amount) = message.get_mut("amount") {
        amount["exponent"] = json!(2);
    }
    message
}

async fn publish(system: &System, user: User, subject: &str, headers: HeaderMap, message: &Value) {
    let client = system.stack().nats().connect(user).await.unwrap();
    let subject = subject.to_owned();
    let sent = client.publish_with_headers(subject, headers, message.to_string().into());
    sent.await.unwrap();
    client.flush().await.unwrap();
}

/// An invoice that is pending, and its payment's id.
async fn pending(system: &System) -> (Value, String) {
    let client = system.client().unwrap();
    let id = client.create("12.15", "EUR").await.unwrap();
    let payment = client.pay(&id, NO_WAIT).await.unwrap().expect(202).unwrap();
    let invoice = client.invoice(&id).await.unwrap();
    (invoice, text(&payment, "/id").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_an_older_and_of_a_newer_release_are_paid() {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    eventually("there is a stream to send to", || async {
        let requests = stream_state(stack.nats(), "PAY_REQUESTS").await?;
        Ok(requests.filter(|stream| stream.consumers == 1))
    })
    .await
    .unwrap();
    // Nothing is sent by this release: it is killed before NATS is back.
    stack.nats().stop().await;
    let (of_older, of_newer) = (pending(&system).await, pending(&system).await);
    stack.invoice_app().kill9().await;
    stack.nats().start_again().await.unwrap();
    let older = golden("pay_request_v1.json", &of_older.1, &of_older.0);
    let newer = with_news(golden("pay_request_v1.json", &of_newer.1, &of_newer.0));
    let mut headers = HeaderMap::new();
    headers.insert("x-new-header", "of a newer release");
    let subject = "pay.v1.request.eur";
    publish(&system, User::InvoiceApp, subject, HeaderMap::new(), &older).await;
    publish(&system, User::InvoiceApp, subject, headers, &newer).await;
    eventually("both are paid, and nobody else has asked", || async {
        let paid = system.count_in_payments("select count(*) from ledger where status = 'succeeded'");
        Ok(paid.await? == 2)
    })
    .await
    .unwrap();
    stack.invoice_app().start_again().await.unwrap();
    system.expect_all_paid(2, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_of_an_older_and_of_a_newer_release_settle_invoices() {
    let system = System::start().await.unwrap();
    let provider = system.stack().payment_provider();
    provider.stop(Duration::from_mins(1)).await.unwrap();
    let (of_older, of_newer) = (pending(&system).await, pending(&system).await);
    let golden = |of: &(Value, String)| golden("payment_outcome_v1_succeeded.json", &of.1, &of.0);
    let (older, newer) = (golden(&of_older), with_news(golden(&of_newer)));
    let subject = "pay.v1.outcome.succeeded";
    for message in [older, newer] {
        publish(
            &system,
            User::PaymentProvider,
            subject,
            HeaderMap::new(),
            &message,
        )
        .await;
    }
    system.at_least_paid(2).await.unwrap();
    // The requests still wait for the real one, which comes to the same.
    provider.start_again().await.unwrap();
    eventually("the ledger has both", || async {
        let paid = system.count_in_payments("select count(*) from ledger where status = 'succeeded'");
        Ok(paid.await? == 2)
    })
    .await
    .unwrap();
    // Not by the check: it would miss the golden messages' references in the bank's books.
    let charges = "select count(*) from simulated_charges";
    assert_eq!(system.count_in_payments(charges).await.unwrap(), 2);
    assert_eq!(system.count_payments("succeeded").await.unwrap(), 2);
}
