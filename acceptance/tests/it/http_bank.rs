//! Paying through a bank over HTTP that answers late, wrongly or not at all.

use std::time::Duration;

use acceptance::{
    BankProcess, System,
    client::{NO_WAIT, WAIT, text},
    eventually,
};
use bank_simulator::{Event, Fault, Mix, Script};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

pub(crate) async fn system_with(bank: &BankProcess) -> System {
    system_with_settings(bank, []).await
}

pub(crate) async fn system_with_settings<const N: usize>(
    bank: &BankProcess,
    further: [(String, String); N],
) -> System {
    let settings = [
        ("gateway.kind", "http"),
        ("gateway.url", &bank.url()),
        ("gateway.timeout_ms", "1000"),
        ("ledger.lease_ms", "3000"),
        ("ledger.lease_margin_ms", "500"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    System::start_with(|options| {
        options.payment_provider.extend(settings);
        options.payment_provider.extend(further);
    })
    .await
    .unwrap()
}

/// The check against this bank's books: every payment matches, and no invoice was charged twice, under whatever key.
pub(crate) async fn expect_succeeded(system: &System, bank: &BankProcess, n: usize) {
    let report = system.check_against(bank.books().unwrap()).await.unwrap();
    report.expect_succeeded(n).unwrap();
}

/// Takes so long over each call and look-up.
pub(crate) async fn slow_bank(takes: Duration) -> BankProcess {
    BankProcess::start_with(|options| {
        options.mix = "slow=1".parse().unwrap();
        (options.fastest, options.slowest) = (takes, takes);
    })
    .await
    .unwrap()
}

/// Everything that it has charged.
struct Charged {
    key: Uuid,
    invoice: String,
    amount: String,
}

fn charged(bank: &BankProcess) -> Vec<Charged> {
    let record = bank.record().unwrap();
    let charges = record.events().iter().filter_map(|event| match event {
        Event::Charge {
            key,
            invoice,
            value,
            currency,
            reason: None,
            ..
        } => Some(Charged {
            key: *key,
            invoice: invoice.clone(),
            amount: format!("{value} {currency}"),
        }),
        _ => None,
    });
    charges.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_invoice_is_paid_by_its_next_payment_once_the_account_has_money() {
    let bank = BankProcess::start_with(|options| options.mix = "decline=1".parse().unwrap())
        .await
        .unwrap();
    let system = system_with(&bank).await;
    let client = system.client().unwrap();
    let id = client.create("12.15", "EUR").await.unwrap();
    let first = client.pay(&id, WAIT).await.unwrap().expect(200).unwrap();
    assert_eq!(
        (text(&first, "/status"), text(&first, "/reason")),
        ("declined", "insufficient_funds")
    );
    assert_eq!(text(&client.invoice(&id).await.unwrap(), "/status"), "unpaid");
    bank.set_faults(&Mix::default()).await.unwrap();
    let second = client.pay(&id, WAIT).await.unwrap().expect(200).unwrap();
    assert_eq!(
        (text(&second, "/status"), &second["attempt"]),
        ("succeeded", &json!(2))
    );

    let invoice = client.invoice(&id).await.unwrap();
    assert_eq!(text(&invoice, "/status"), "paid");
    let history: Vec<_> = invoice["payments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|payment| text(payment, "/status"))
        .collect();
    assert_eq!(history, ["declined", "succeeded"]);
    let charge = charged(&bank).remove(0);
    assert_eq!(charge.amount, "12.15 EUR");
    assert_eq!(charge.invoice, text(&invoice, "/number"));
    assert_eq!(
        text(&second, "/provider_reference"),
        format!("bank-{}", charge.key)
    );
    expect_succeeded(&system, &bank, 1).await;
}

/// With this seed the three calls of those that answer with one of three statuses get all of them.
const SEED: u64 = 364;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_bank_answers_each_invoice_is_charged_once_and_none_is_declined() {
    let bank = BankProcess::start_with(|options| {
        options.seed = SEED;
        options.slowest = Duration::from_millis(200);
        options.latest = Duration::from_secs(1);
    })
    .await
    .unwrap();
    // Each fault meets the first call for three invoices; later calls succeed.
    let faults = Fault::ALL.into_iter().filter(|fault| *fault != Fault::Decline);
    let first: Vec<(String, Fault)> = faults
        .flat_map(|fault| (1..=3).map(move |i| (format!("{}-{i}", fault.as_str()), fault)))
        .collect();
    let script: Script = first
        .iter()
        .map(|(number, fault)| (number.clone(), vec![*fault]))
        .collect();
    bank.set_script(&script).await.unwrap();
    let system = system_with(&bank).await;
    let client = system.client().unwrap();
    let lines: Vec<String> = script
        .keys()
        .map(|number| json!({"number": number, "amount": {"value": "1.00", "currency": "EUR"}}).to_string())
        .collect();
    client.import(lines.join("\n")).await.unwrap();
    client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    system.at_least_paid(first.len() as u64).await.unwrap();
    expect_succeeded(&system, &bank, first.len()).await;
    let record = bank.record().unwrap();
    for (number, fault) in first {
        let charged_at_once = match fault {
            Fault::ErrorBefore
            | Fault::ResetBefore
            | Fault::TimeoutBefore
            | Fault::TooMany
            | Fault::UndocumentedBefore => false,
            Fault::Decline
            | Fault::Slow
            | Fault::ErrorAfter
            | Fault::ResetAfter
            | Fault::TimeoutAfter
            | Fault::Late
            | Fault::Twice
            | Fault::UndocumentedAfter
            | Fault::Unreadable
            | Fault::OtherPayment => true,
        };
        // What was charged is looked up; only what the bank has never heard of is asked for again.
        let calls = if charged_at_once { 1 } else { 2 };
        assert_eq!(record.calls_to_pay(&number), calls, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_killed_while_the_bank_works_looks_the_payments_up_and_pays_none_again() {
    const INVOICES: u32 = 100;
    // Slower than the process lives, faster than its patience.
    let bank = slow_bank(Duration::from_millis(700)).await;
    let system = system_with(&bank).await;
    let client = system.client().unwrap();
    client
        .import(acceptance::client::import_lines("B", INVOICES, 0))
        .await
        .unwrap();
    client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    let asked = || {
        let record = bank.record().unwrap();
        let numbers = (1..=INVOICES).map(|i| format!("B{i}"));
        numbers.filter(|number| record.calls_to_pay(number) > 0).count()
    };
    eventually("the bank has been asked", async || asked() >= 1)
        .await
        .unwrap();
    system.stack().payment_provider().kill9().await;
    eventually("the bank has charged what it was asked for", async || {
        charged(&bank).len() == asked()
    })
    .await
    .unwrap();
    let charged: Vec<String> = charged(&bank).into_iter().map(|charge| charge.invoice).collect();
    assert!(!charged.is_empty());
    system.stack().payment_provider().start_again().await.unwrap();
    system.at_least_paid(u64::from(INVOICES)).await.unwrap();
    expect_succeeded(&system, &bank, INVOICES as usize).await;
    for invoice in charged {
        assert_eq!(
            bank.calls_to_pay(&invoice).unwrap(),
            1,
            "{invoice} was asked for again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_the_bank_never_ends_stays_open_until_an_operator_ends_it() {
    use acceptance::cli;
    // In ten days, about.
    let bank = BankProcess::start_with(|options| options.latest = Duration::from_hours(240))
        .await
        .unwrap();
    let script = Script::from([
        ("never".to_owned(), vec![Fault::ErrorBefore; 1000]),
        ("long".to_owned(), vec![Fault::Late]),
    ]);
    bank.set_script(&script).await.unwrap();
    let system = system_with(&bank).await;
    let client = system.client().unwrap();
    let mut payments = Vec::new();
    for number in ["never", "long"] {
        let body = json!({"number": number, "amount": {"value": "1.00", "currency": "EUR"}});
        let invoice = client
            .post("/invoices", &[], &body)
            .await
            .unwrap()
            .expect(201)
            .unwrap();
        let payment = client
            .pay(text(&invoice, "/id"), NO_WAIT)
            .await
            .unwrap()
            .expect(202)
            .unwrap();
        payments.push(text(&payment, "/id").to_owned());
    }
    eventually("the bank was asked for both", || async {
        Ok(bank.calls_to_pay("never")? > 0 && bank.calls_to_pay("long")? > 0)
    })
    .await
    .unwrap();
    let options = system.stack().payment_provider().options();
    let open = cli::run_ok(options, &["ledger", "list", "--open"]).await.unwrap();
    for payment in &payments {
        assert!(open.contains(payment.as_str()), "{payment} is not listed: {open}");
        let shown = cli::run_ok(options, &["ledger", "show", payment]).await.unwrap();
        assert!(shown.contains("started"), "{shown}");
    }
    // The operator knows more than the bank tells. While a replica holds the row, the command refuses and is repeated.
    let resolve = |payment: String, status: &'static str| async move {
        let args = [
            "ledger",
            "resolve",
            &payment,
            status,
            "--reason",
            "called the bank",
            "--force",
        ];
        eventually(&format!("{payment} is resolved"), || async {
            cli::run_ok(options, &args).await.map(Some)
        })
        .await
    };
    // A call may come late for as long as the bank remembers keys, and an hour: only then may a payment be declined by hand.
    let mut ledger = PgConnection::connect(&system.stack().payment_database_url())
        .await
        .unwrap();
    let older =
        "update ledger set created_at = created_at - interval '2 days' where payment_id = $1::text::uuid";
    sqlx::query(older)
        .bind(&payments[0])
        .execute(&mut ledger)
        .await
        .unwrap();
    resolve(payments[0].clone(), "declined").await.unwrap();
    resolve(payments[1].clone(), "succeeded").await.unwrap();
    eventually("both invoices hear of it", || async {
        Ok(system.count_payments("requested").await? == 0)
    })
    .await
    .unwrap();
    assert_eq!(
        (
            system.count_invoices("paid").await.unwrap(),
            system.count_invoices("unpaid").await.unwrap()
        ),
        (1, 1)
    );
    let again = [
        "ledger",
        "resolve",
        &payments[0],
        "succeeded",
        "--reason",
        "changed my mind",
    ];
    assert_eq!(cli::run(options, &again).await.unwrap().status.code(), Some(1));
}
