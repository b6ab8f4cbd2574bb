//! Messages that nobody can handle: kept as they came, for an operator, while everything behind them goes on.

mod poison;

use acceptance::{System, cli, client::WAIT, eventually, streams::existing_stream};
use local_stack::{RawNats, ServiceKind, ServiceOptions, User};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use self::poison::{NO_HEADERS, no_json, outcome, publish, request, spoilt, unreadable_headers};

/// Waits until so many dead letters are kept and nothing of the stream is left to do.
async fn dead_lettered(system: &System, database: ServiceKind, stream: &str, n: usize) {
    eventually(
        &format!("{n} dead letters are kept and {stream} is worked through"),
        || async {
            let query = "select count(*) from dead_letters";
            let kept = match database {
                ServiceKind::InvoiceApp => system.count_in_invoices(query).await?,
                ServiceKind::PaymentProvider => system.count_in_payments(query).await?,
            };
            let state = existing_stream(system.stack().nats(), stream).await?;
            let done = state.pending == 0 && state.ack_pending == 0;
            if kept == n as u64 && done {
                return Ok(Some(()));
            }
            Err(acceptance::Error::new(format!("{kept} are kept, {state:?}")))
        },
    )
    .await
    .unwrap();
}

async fn pays_as_ever(system: &System) {
    let client = system.client().unwrap();
    let id = client.create("1.00", "EUR").await.unwrap();
    let payment = client.pay(&id, WAIT).await.unwrap();
    assert_eq!(payment.text("/status"), "succeeded", "{payment:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn poisonous_requests_become_dead_letters_and_hold_nobody_up() {
    let system = System::start().await.unwrap();
    let mut nats = RawNats::connect(system.stack().nats(), User::InvoiceApp).unwrap();
    let mut poison = no_json();
    for (field, value) in [
        ("payment_id", Value::Null),
        ("payment_id", json!("no id")),
        ("invoice_id", json!(7)),
        ("invoice_number", json!("I\u{0}1")),
        ("attempt", json!(99_999_999_999_u64)),
        ("amount", json!({"value": "1.001", "currency": "EUR"})),
        ("amount", json!({"value": "0.00", "currency": "EUR"})),
        ("amount", json!({"value": "-1.00", "currency": "EUR"})),
        ("amount", json!({"value": 1.0, "currency": "EUR"})),
        ("amount", json!({"value": "1.00", "currency": "ZZZ"})),
        ("requested_at", json!("yesterday")),
    ] {
        poison.push(spoilt(request(), field, value));
    }
    for message in &poison {
        publish(&mut nats, "pay.v1.request.eur", message);
    }
    pays_as_ever(&system).await;
    dead_lettered(
        &system,
        ServiceKind::PaymentProvider,
        "PAY_REQUESTS",
        poison.len(),
    )
    .await;

    // As they came.
    let kept = "select count(*) from dead_letters where body = '\\x00010200'::bytea";
    assert_eq!(system.count_in_payments(kept).await.unwrap(), 1);
    // A restart finds nothing to do again.
    system.stack().payment_provider().kill9().await;
    system.stack().payment_provider().start_again().await.unwrap();
    pays_as_ever(&system).await;
    dead_lettered(
        &system,
        ServiceKind::PaymentProvider,
        "PAY_REQUESTS",
        poison.len(),
    )
    .await;
    system.check().await.unwrap().expect_succeeded(2).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn poisonous_and_forged_outcomes_become_dead_letters_and_change_nothing() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    // One paid, one declined, one that waits for its outcome: the bank's side is down.
    let paid = client.create("1.00", "EUR").await.unwrap();
    let declined = client.create("4000.01", "EUR").await.unwrap();
    let waiting = client.create("2.00", "EUR").await.unwrap();
    let of = |answer: acceptance::Answer| answer.text("/id").to_owned();
    let paid_by = of(client.pay(&paid, WAIT).await.unwrap());
    let declined_by = of(client.pay(&declined, WAIT).await.unwrap());
    system.stack().payment_provider().kill9().await;
    let waiting_for = of(client
        .pay(&waiting, &[("prefer", "respond-async")])
        .await
        .unwrap());
    let before = [
        client.invoice(&paid),
        client.invoice(&declined),
        client.invoice(&waiting),
    ];
    let before = futures(before).await;

    let mut nats = RawNats::connect(system.stack().nats(), User::PaymentProvider).unwrap();
    let nobody = Uuid::now_v7().to_string();
    let mut poison = no_json();
    for (field, value) in [
        ("payment_id", Value::Null),
        ("payment_id", json!("no id")),
        ("status", json!("pending")),
        ("settled_at", json!("yesterday")),
    ] {
        poison.push(spoilt(outcome(&waiting_for, &waiting, "succeeded"), field, value));
    }
    let forged = [
        outcome(&nobody, &waiting, "succeeded"),
        outcome(&waiting_for, &nobody, "succeeded"),
        outcome(&waiting_for, &paid, "succeeded"),
        outcome(&paid_by, &paid, "declined"),
        outcome(&declined_by, &declined, "succeeded"),
        outcome(&paid_by, &waiting, "succeeded"),
    ];
    poison.extend(forged.map(|forged| (NO_HEADERS.to_vec(), forged.to_string().into_bytes())));
    // Text that Postgres cannot hold.
    let mut unstorable = outcome(&waiting_for, &waiting, "declined");
    unstorable["reason"] = json!("a\u{0}b");
    poison.push((NO_HEADERS.to_vec(), unstorable.to_string().into_bytes()));
    for message in &poison {
        publish(&mut nats, "pay.v1.outcome.succeeded", message);
    }
    dead_lettered(&system, ServiceKind::InvoiceApp, "PAY_OUTCOMES", poison.len()).await;
    let after = futures([
        client.invoice(&paid),
        client.invoice(&declined),
        client.invoice(&waiting),
    ])
    .await;
    assert_eq!(before, after);

    // The real outcome still counts, and so does a repeated one: for nothing.
    system.stack().payment_provider().start_again().await.unwrap();
    system.at_least_paid(2).await.unwrap();
    publish(
        &mut nats,
        "pay.v1.outcome.succeeded",
        &(
            NO_HEADERS.to_vec(),
            outcome(&paid_by, &paid, "succeeded").to_string().into_bytes(),
        ),
    );
    pays_as_ever(&system).await;
    dead_lettered(&system, ServiceKind::InvoiceApp, "PAY_OUTCOMES", poison.len()).await;
    system
        .check_when_settled()
        .await
        .unwrap()
        .expect_succeeded(3)
        .unwrap();
}

async fn futures<F: Future<Output = acceptance::Result<Value>>, const N: usize>(calls: [F; N]) -> Vec<Value> {
    let mut values = Vec::new();
    for call in calls {
        values.push(call.await.unwrap());
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_contradicts_the_ledger_is_a_conflict_and_is_not_paid() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let invoice = client.create("1.00", "EUR").await.unwrap();
    let payment = client.pay(&invoice, WAIT).await.unwrap().expect(200).unwrap();
    let mut nats = RawNats::connect(system.stack().nats(), User::InvoiceApp).unwrap();
    let mut again = request();
    again["payment_id"] = payment["id"].clone();
    again["invoice_id"] = json!(invoice);
    // The same request in other words is the same request: answered again, not paid again.
    let outcomes = existing_stream(system.stack().nats(), "PAY_OUTCOMES")
        .await
        .unwrap()
        .last_sequence;
    publish(
        &mut nats,
        "pay.v1.request.eur",
        &(NO_HEADERS.to_vec(), again.to_string().into_bytes()),
    );
    eventually("the outcome is published again", || async {
        let state = existing_stream(system.stack().nats(), "PAY_OUTCOMES").await?;
        // Unless its message id is still remembered; then the request is simply done.
        let requests = existing_stream(system.stack().nats(), "PAY_REQUESTS").await?;
        let done = requests.last_sequence > 1 && requests.ack_floor == requests.last_sequence;
        Ok(state.last_sequence > outcomes || done)
    })
    .await
    .unwrap();
    assert_eq!(
        system
            .count_in_payments("select count(*) from dead_letters")
            .await
            .unwrap(),
        0
    );

    for (field, value) in [
        ("amount", json!({"value": "900.00", "currency": "EUR"})),
        ("amount", json!({"value": "1.00", "currency": "GBP"})),
        ("invoice_id", json!(Uuid::now_v7())),
    ] {
        publish(
            &mut nats,
            "pay.v1.request.eur",
            &spoilt(again.clone(), field, value),
        );
    }
    dead_lettered(&system, ServiceKind::PaymentProvider, "PAY_REQUESTS", 3).await;
    let conflicts = "select count(*) from dead_letters where reason like '%conflict%'";
    assert_eq!(system.count_in_payments(conflicts).await.unwrap(), 3);
    system.check().await.unwrap().expect_succeeded(1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_headers_nobody_can_read_become_dead_letters_too() {
    let system = System::start().await.unwrap();
    for (user, subject) in [
        (User::InvoiceApp, "pay.v1.request.eur"),
        (User::PaymentProvider, "pay.v1.outcome.succeeded"),
    ] {
        let mut nats = RawNats::connect(system.stack().nats(), user).unwrap();
        for message in unreadable_headers() {
            publish(&mut nats, subject, &message);
        }
    }
    pays_as_ever(&system).await;
    dead_lettered(
        &system,
        ServiceKind::PaymentProvider,
        "PAY_REQUESTS",
        unreadable_headers().len(),
    )
    .await;
    dead_lettered(
        &system,
        ServiceKind::InvoiceApp,
        "PAY_OUTCOMES",
        unreadable_headers().len(),
    )
    .await;
    let kept = "select count(*) from dead_letters where position('\\xfffe'::bytea in headers) > 0";
    assert_eq!(system.count_in_payments(kept).await.unwrap(), 1);
    assert_eq!(system.count_in_invoices(kept).await.unwrap(), 1);
    pays_as_ever(&system).await;
}

/// The ids of the dead letters that a database holds, oldest first.
async fn ids(database_url: &str) -> Vec<String> {
    use sqlx::Connection;
    let mut database = sqlx::PgConnection::connect(database_url).await.unwrap();
    sqlx::query_scalar("select id::text from dead_letters order by id")
        .fetch_all(&mut database)
        .await
        .unwrap()
}

async fn handles_dead_letters(options: &ServiceOptions, ids: &[String]) {
    let run = |args: Vec<String>| async move {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        cli::run(options, &args).await.unwrap()
    };
    let command = |action: &str, id: &str| vec!["dead-letters".to_owned(), action.to_owned(), id.to_owned()];
    let listed = cli::run_ok(options, &["dead-letters", "list"]).await.unwrap();
    for id in ids {
        assert!(listed.contains(id.as_str()), "{id} is not listed: {listed}");
        let shown = run(command("show", id)).await;
        assert!(shown.status.success(), "{shown:?}");
    }
    let shown = run(command("show", &ids[0])).await;
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("garbage"),
        "{shown:?}"
    );

    // Garbage stays garbage: the operator hears so, and it stays open.
    let replayed = run(command("replay", &ids[0])).await;
    assert_eq!(replayed.status.code(), Some(1), "{replayed:?}");
    let discarded = run(command("discard", &ids[0])).await;
    assert!(discarded.status.success(), "{discarded:?}");
    for action in ["discard", "replay"] {
        let again = run(command(action, &ids[0])).await;
        assert_eq!(
            again.status.code(),
            Some(1),
            "{action} of a discarded one: {again:?}"
        );
    }
    let unknown = run(command("show", "987654321")).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let left = cli::run_ok(options, &["dead-letters", "list"]).await.unwrap();
    assert_eq!(left.lines().count(), listed.lines().count() - 1, "{left}");
    let all = cli::run_ok(options, &["dead-letters", "list", "--all"])
        .await
        .unwrap();
    assert!(all.lines().count() >= listed.lines().count(), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_shows_replays_and_discards_dead_letters() {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    let messages = [b"garbage".to_vec(), b"{\"payment_id\":\"\\u0000\"}".to_vec()];
    for (user, subject) in [
        (User::InvoiceApp, "pay.v1.request.eur"),
        (User::PaymentProvider, "pay.v1.outcome.declined"),
    ] {
        let mut nats = RawNats::connect(stack.nats(), user).unwrap();
        for body in &messages {
            publish(&mut nats, subject, &(NO_HEADERS.to_vec(), body.clone()));
        }
    }
    dead_lettered(&system, ServiceKind::PaymentProvider, "PAY_REQUESTS", 2).await;
    dead_lettered(&system, ServiceKind::InvoiceApp, "PAY_OUTCOMES", 2).await;
    let letters = ids(&stack.invoice_database_url()).await;
    handles_dead_letters(stack.invoice_app().options(), &letters).await;
    let letters = ids(&stack.payment_database_url()).await;
    handles_dead_letters(stack.payment_provider().options(), &letters).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_were_ended_long_ago_are_removed_by_both_services() {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    let letters = "insert into dead_letters (subject, reason, stream_sequence, headers, body, digest, last_received_at,
                                             resolved_at, resolution)
                   select 'pay.v1', 'bad', n, '', '', n::text::bytea, now() - interval '91 days',
                          case when n > 1 then now() - interval '91 days' end, case when n > 1 then 'discarded' end
                   from generate_series(1, 500) n";
    for url in [stack.invoice_database_url(), stack.payment_database_url()] {
        let mut database = PgConnection::connect(&url).await.unwrap();
        database.execute(letters).await.unwrap();
    }
    let _services = system.instead(|_| {}).await.unwrap();
    for (database, stream) in [
        (ServiceKind::InvoiceApp, "PAY_OUTCOMES"),
        (ServiceKind::PaymentProvider, "PAY_REQUESTS"),
    ] {
        // The one that nobody has ended.
        dead_lettered(&system, database, stream, 1).await;
    }
}
