//! kill -9 of each process while invoices are being paid: each becomes paid, once.

use std::time::Duration;

use acceptance::{
    Chaos, System,
    client::{NO_WAIT, import_lines},
};

#[derive(Clone, Copy, Debug)]
enum Victim {
    InvoiceApp,
    PaymentProvider,
    Nats,
    Postgres,
}

impl Victim {
    async fn crash_and_start_again(self, system: &System) -> acceptance::Result<()> {
        let stack = system.stack();
        match self {
            Self::InvoiceApp => {
                stack.invoice_app().kill9().await;
                stack.invoice_app().start_again().await?;
            }
            Self::PaymentProvider => {
                stack.payment_provider().kill9().await;
                stack.payment_provider().start_again().await?;
            }
            Self::Nats => {
                stack.nats().kill9().await;
                stack.nats().start_again().await?;
            }
            Self::Postgres => {
                stack.postgres().kill9().await;
                stack.postgres().start_again().await?;
            }
        }
        Ok(())
    }
}

async fn crashed_while_paying(victims: &[Victim], invoices: u32, crashes: u64, minutes: u64) {
    let name = format!("crashes of {victims:?}");
    let mut chaos = Chaos::new(&name);
    let postgres_dies = victims.iter().any(|victim| matches!(victim, Victim::Postgres));
    let system = System::start_with(|options| options.durable = postgres_dies)
        .await
        .unwrap();
    let client = system.client().unwrap();
    client.import(import_lines("K", invoices, 4)).await.unwrap();
    client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    let strikes = chaos.thresholds(u64::from(invoices), crashes);
    for (paid, victim) in strikes.into_iter().zip(victims.iter().cycle()) {
        system.at_least_paid(paid).await.unwrap();
        let open = system.count_payments("requested").await.unwrap();
        assert!(open > 0, "the crash came too late to prove anything");
        tokio::time::sleep(chaos.moment(Duration::from_millis(100))).await;
        eprintln!("{name}: {victim:?} dies with {open} of {invoices} payments open");
        victim.crash_and_start_again(&system).await.unwrap();
    }
    system
        .expect_all_paid(u64::from(invoices), minutes)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_invoice_app_loses_nothing_and_pays_nothing_twice() {
    crashed_while_paying(&[Victim::InvoiceApp], 2000, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_payment_provider_loses_nothing_and_charges_nothing_twice() {
    crashed_while_paying(&[Victim::PaymentProvider], 2000, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nats_loses_nothing_and_pays_nothing_twice() {
    crashed_while_paying(&[Victim::Nats], 2000, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_postgres_loses_nothing_and_pays_nothing_twice() {
    crashed_while_paying(&[Victim::Postgres], 2000, 2, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn both_services_killed_ten_times_each_under_fifty_thousand_lose_nothing() {
    let victims = [Victim::InvoiceApp, Victim::PaymentProvider];
    crashed_while_paying(&victims, 50_000, 20, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn every_process_killed_ten_times_under_fifty_thousand_loses_nothing() {
    let victims = [
        Victim::Nats,
        Victim::InvoiceApp,
        Victim::Postgres,
        Victim::PaymentProvider,
    ];
    crashed_while_paying(&victims, 50_000, 40, 30).await;
}
