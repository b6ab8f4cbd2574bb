//! kill -9 of each process while invoices are being paid: each becomes paid, once.

use std::time::Duration;

use acceptance::{Load, System};

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

async fn crashed_while_paying(victims: &[Victim], crashes: usize, wave: u32, minutes: u64) {
    let postgres_dies = victims.iter().any(|victim| matches!(victim, Victim::Postgres));
    let system = System::start_with(|options| options.durable = postgres_dies)
        .await
        .unwrap();
    let mut load = Load::try_new(&format!("crashes of {victims:?}"), &system).unwrap();
    for victim in victims.iter().cycle().take(crashes) {
        load.wave(wave).await.unwrap();
        load.moment(Duration::from_millis(50)).await;
        victim.crash_and_start_again(&system).await.unwrap();
    }
    load.expect_all_paid(minutes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_invoice_app_loses_nothing_and_pays_nothing_twice() {
    crashed_while_paying(&[Victim::InvoiceApp], 3, 2500, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_payment_provider_loses_nothing_and_charges_nothing_twice() {
    crashed_while_paying(&[Victim::PaymentProvider], 3, 2500, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nats_loses_nothing_and_pays_nothing_twice() {
    crashed_while_paying(&[Victim::Nats], 3, 2500, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_postgres_loses_nothing_and_pays_nothing_twice() {
    crashed_while_paying(&[Victim::Postgres], 2, 2500, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn both_services_killed_ten_times_each_under_fifty_thousand_lose_nothing() {
    let victims = [Victim::InvoiceApp, Victim::PaymentProvider];
    crashed_while_paying(&victims, 20, 2500, 20).await;
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
    crashed_while_paying(&victims, 40, 1250, 20).await;
}
