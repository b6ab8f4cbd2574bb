//! More work than can be done: a bank that fails every call for a while, and one far slower than what is asked of it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use acceptance::{
    BankProcess, Callers, System,
    client::{NO_WAIT, WAIT, import_lines},
    eventually,
    memory::peak_memory,
    metric,
};
use bank_simulator::{Event, Mix};
use uuid::Uuid;

use crate::http_bank::{expect_succeeded, slow_bank, system_with_settings};

const MIB: u64 = 1024 * 1024;

/// What either service may take beyond its peak in quiet times. Holding a message costs about a kilobyte, and of those there
/// are some thousands at most, however many wait.
const MORE_MEMORY: u64 = 64 * MIB;

/// Peaks of both services.
fn peaks(system: &System) -> [u64; 2] {
    let stack = system.stack();
    [stack.invoice_app(), stack.payment_provider()].map(|service| peak_memory(service.program()).unwrap())
}

#[track_caller]
fn expect_flat(name: &str, before: [u64; 2], system: &System) {
    let after = peaks(system);
    for (service, (before, after)) in ["invoice-app", "payment-provider"]
        .iter()
        .zip(before.into_iter().zip(after))
    {
        eprintln!(
            "{name}: {service}: {} MiB, then {} MiB",
            before / MIB,
            after / MIB
        );
        assert!(after < before + MORE_MEMORY, "{service}: {before}, then {after}");
    }
}

/// Imports and pays so many, in one call each.
async fn pay(system: &System, prefix: &str, invoices: u32, prefer: acceptance::client::Headers<'_>) {
    let client = system.client().unwrap();
    client.import(import_lines(prefix, invoices, 0)).await.unwrap();
    let answer = client.pay_all(prefer).await.unwrap();
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
}

/// The payment of each call and look-up so far.
fn calls(bank: &BankProcess) -> Vec<Uuid> {
    let record = bank.record().unwrap();
    let calls = record.events().iter().filter_map(|event| match event {
        Event::Call { key, .. } => Some(*key),
        _ => None,
    });
    calls.collect()
}

/// How many there were for payments other than these.
fn calls_for_others(bank: &BankProcess, before: &HashSet<Uuid>) -> usize {
    calls(bank).iter().filter(|key| !before.contains(key)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn bank_that_is_away_is_called_now_and_then_and_all_is_paid_after_its_return() {
    const INVOICES: u32 = 1500;
    /// Time for five tries of each payment, if each tried by itself.
    const OUTAGE: Duration = Duration::from_secs(17);
    /// Those under way together when it begins, each with a look-up perhaps, and one or two a second.
    const FEW: usize = 200;
    let bank = BankProcess::start_with(|_| {}).await.unwrap();
    let few = ("gateway.max_concurrent".to_owned(), "64".to_owned());
    let system = system_with_settings(&bank, [few]).await;
    pay(&system, "W", INVOICES, WAIT).await;
    system.at_least_paid(INVOICES.into()).await.unwrap();
    let quiet = peaks(&system);
    let before = HashSet::from_iter(calls(&bank));

    bank.fail_everything(true).await.unwrap();
    pay(&system, "F", INVOICES, NO_WAIT).await;
    tokio::time::sleep(OUTAGE).await;
    let in_vain = calls_for_others(&bank, &before);
    let provider = system.stack().payment_provider();
    let away = metric(provider, "payment_provider_gateway_away", &[])
        .await
        .unwrap();
    bank.fail_everything(false).await.unwrap();
    let returned = Instant::now();
    system.at_least_paid(u64::from(2 * INVOICES)).await.unwrap();
    eprintln!(
        "{in_vain} calls while it was away; all paid {:.1} s after its return",
        returned.elapsed().as_secs_f64()
    );

    assert!(in_vain > 0 && away > 0.0, "it was away");
    assert!(in_vain < FEW, "{in_vain} calls while it was away");
    // Afterwards a look-up and a call are enough.
    let called = calls_for_others(&bank, &before) - in_vain;
    assert!(called <= 2 * usize::try_from(INVOICES).unwrap() + FEW, "{called}");
    expect_flat("the bank fails", quiet, &system);
    expect_succeeded(&system, &bank, usize::try_from(2 * INVOICES).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_what_can_be_settled_is_accepted_or_refused_in_words_and_settled_later() {
    const IMPORTED: u32 = 4000;
    let bank = slow_bank(Duration::from_millis(200)).await;
    // At most ten payments in a second, so that ten times as many are easily asked for.
    let system = system_with_two_lines(&bank).await;
    let client = system.client().unwrap();
    let one = client.create("1.00", "EUR").await.unwrap();
    client.pay(&one, WAIT).await.unwrap().expect(200).unwrap();
    let quiet = peaks(&system);

    pay(&system, "B", IMPORTED, NO_WAIT).await;
    let callers = Callers::start(64, vec![client.clone()], NO_WAIT);
    let asked = eventually("ten times as many are asked for as are settled", || async {
        let (accepted, settled) = (
            callers.tally().accepted.len(),
            system.count_invoices("paid").await?,
        );
        Ok((accepted >= 1000 && accepted as u64 >= 10 * settled).then_some(accepted))
    })
    .await
    .unwrap();
    eprintln!("{asked} accepted one by one beside {IMPORTED} at once");
    bank.set_faults(&Mix::default()).await.unwrap();
    let tally = callers.stop().await.unwrap();
    tally.expect_only(&[200, 201, 202, 429, 503]).unwrap();
    expect_flat("ten times the load", quiet, &system);

    // What was refused is not lost either: it is asked for once more.
    pay(&system, "L", 1, NO_WAIT).await;
    let created = tally.answers.get(&("create", 201)).copied().unwrap_or(0);
    let all = created + u64::from(IMPORTED) + 2;
    system.at_least_paid(all).await.unwrap();
    expect_succeeded(&system, &bank, usize::try_from(all).unwrap()).await;
}

/// A bank that takes two calls at a time.
async fn system_with_two_lines(bank: &BankProcess) -> System {
    let two = ("gateway.max_concurrent".to_owned(), "2".to_owned());
    crate::http_bank::system_with_settings(bank, [two]).await
}
