//! Much at once: large imports and large pay calls, while other callers are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use acceptance::{
    Client, System,
    client::{NO_WAIT, count, import_lines, text},
    settled,
};

/// Another caller, who reads and writes as long as this lives.
struct Bystander {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Bystander {
    fn start(client: Client) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn({
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            async move {
                while !stop.load(Ordering::Relaxed) {
                    let id = client.create("1.00", "EUR").await.unwrap();
                    assert_eq!(text(&client.invoice(&id).await.unwrap(), "/status"), "unpaid");
                    client.list("status=paid&limit=5").await.unwrap();
                    assert_eq!(client.void(&id).await.unwrap().status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, answered, task }
    }

    /// How many rounds it made.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.answered.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_are_imported_by_one_call_and_bad_ones_are_named() {
    const LINES: u32 = 100_000;
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    client.create("1.00", "EUR").await.unwrap();
    let mut lines: Vec<String> = import_lines("L", LINES, 0).lines().map(str::to_owned).collect();
    lines[4] = r#"{"number": "L5", "amount": {"value": "1.001", "currency": "EUR"}}"#.to_owned();
    lines[49_999] = "no json".to_owned();
    lines[99_998] = r#"{"number": "L1", "amount": {"value": "1.00", "currency": "EUR"}}"#.to_owned();

    let bystander = Bystander::start(client.clone());
    let start = Instant::now();
    let imported = client.import(lines.join("\n")).await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let rounds = bystander.stop().await;
    eprintln!("{LINES} lines imported in {seconds:.1} s; another caller made {rounds} rounds meanwhile");

    assert_eq!(count(&imported, "/created"), u64::from(LINES) - 3);
    assert_eq!(count(&imported, "/rejected_total"), 3);
    let rejected = imported["rejected"].as_array().unwrap();
    let named: Vec<_> = rejected
        .iter()
        .map(|rejection| count(rejection, "/line"))
        .collect();
    assert_eq!(named, [5, 50_000, 99_999], "{rejected:?}");
    assert!(
        rejected
            .iter()
            .all(|rejection| !text(rejection, "/error").is_empty()),
        "{rejected:?}"
    );
    assert!(rounds > 0);
    let numbers = system
        .count_in_invoices("select count(*) from invoices where number like 'L%'")
        .await
        .unwrap();
    assert_eq!(numbers, u64::from(LINES) - 3);
    assert_eq!(client.list("number=L100000").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_are_paid_by_one_call_while_others_are_answered() {
    const INVOICES: u32 = 20_000;
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    client.import(import_lines("M", INVOICES, 0)).await.unwrap();
    let start = Instant::now();
    let batch = client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    let called = start.elapsed().as_secs_f64();
    assert_eq!(count(&batch, "/requested"), u64::from(INVOICES));
    let bystander = Bystander::start(client.clone());
    let batch = settled(&client, text(&batch, "/batch_id")).await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let rounds = bystander.stop().await;
    eprintln!(
        "{INVOICES} payments: the call took {called:.1} s, all settled after {seconds:.1} s ({:.0} a second); \
         another caller made {rounds} rounds meanwhile",
        f64::from(INVOICES) / seconds
    );
    assert_eq!(count(&batch, "/paid"), u64::from(INVOICES));
    assert!(rounds > 0);
    system
        .check()
        .await
        .unwrap()
        .expect_succeeded(INVOICES as usize)
        .unwrap();
}
