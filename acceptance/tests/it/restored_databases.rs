//! Databases that go back in time while everything else goes on, with a bank that writes down what it charges as the witness:
//! nobody is charged twice, no invoice shows paid that was not charged, and paying again heals what both sides know.

mod servers;

use std::{collections::HashMap, time::Duration};

use acceptance::{
    BankProcess, Client, Report, System,
    client::{NO_WAIT, import_lines},
    eventually, eventually_within,
};
use bank_simulator::{Event, Fault, Mix, Options};
use local_stack::ServiceKind;
use reconcile::{BankBooks, Kind};
use serde_json::json;
use tempfile::TempDir;

const INVOICES: &str = "invoices";
const PAYMENTS: &str = "payments";
/// What is sent again within half a minute NATS takes for a repetition, so that healing may take some sends; and a released
/// payment goes on when it is sent again.
const HEALED: Duration = Duration::from_mins(4);
/// How many invoices are paid.
const MANY: u32 = 500;

/// A system and its bank.
struct World {
    system: System,
    client: Client,
    bank: BankProcess,
    _directory: TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let options = Options::new(directory.path().join("journal"));
        let bank = BankProcess::start(&options, directory.path().join("bank.log"))
            .await
            .unwrap();
        let system = System::start_with(|options| {
            let bank = [("gateway.kind", "http"), ("gateway.url", &bank.url())];
            options
                .payment_provider
                .extend(bank.map(|(key, value)| (key.to_owned(), value.to_owned())));
        })
        .await
        .unwrap();
        let client = system.client().unwrap();
        Self {
            system,
            client,
            bank,
            _directory: directory,
        }
    }

    /// With invoices that nobody has paid yet.
    async fn with_invoices() -> Self {
        let world = Self::start().await;
        world.import().await;
        world
    }

    /// Always the same numbers, as soon as the database takes them.
    async fn import(&self) {
        eventually("the invoices are imported", || async {
            self.client.import(import_lines("R", MANY, 0)).await.map(Some)
        })
        .await
        .unwrap();
    }

    async fn back_up(&self, databases: &[&str]) {
        for database in databases {
            let backup = format!("{database}_before");
            self.system
                .stack()
                .postgres()
                .back_up(database, &backup)
                .await
                .unwrap();
        }
    }

    async fn restore(&self, databases: &[&str]) {
        for database in databases {
            let backup = format!("{database}_before");
            self.system
                .stack()
                .postgres()
                .restore(database, &backup)
                .await
                .unwrap();
        }
    }

    /// Pays all, as soon as the database takes it.
    async fn pay_all(&self) {
        eventually("everything is asked for", || async {
            let answer = self.client.pay_all(NO_WAIT).await?;
            Ok(answer.status == 202 || answer.status == 200)
        })
        .await
        .unwrap();
    }

    /// Pays these, as soon as the database takes it.
    async fn pay_these(&self, ids: &[String]) {
        eventually("they are asked for", || async {
            let answer = self.client.pay_these(ids, NO_WAIT).await?;
            Ok(answer.status == 202 || answer.status == 200)
        })
        .await
        .unwrap();
    }

    async fn all_paid(&self) {
        eventually_within(HEALED, "every invoice is paid", || async {
            Ok(self.system.count_invoices("paid").await? == u64::from(MANY))
        })
        .await
        .unwrap();
    }

    /// Successful charges by invoice number, under whatever key.
    fn charges(&self) -> HashMap<String, usize> {
        let mut charges = HashMap::new();
        for event in self.bank.record().unwrap().events() {
            if let Event::Charge { invoice, status, .. } = event
                && status == "succeeded"
            {
                *charges.entry(invoice.clone()).or_default() += 1;
            }
        }
        charges
    }

    /// Every number was charged, and none twice.
    fn expect_each_charged_once(&self) {
        let charges = self.charges();
        let twice: Vec<_> = charges.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "charged more than once: {twice:?}");
        assert_eq!(charges.len(), MANY as usize);
        assert_eq!(self.bank.record().unwrap().misuses(), Vec::<&str>::new());
    }

    async fn check(&self) -> Report {
        let books = BankBooks::Record(self.bank.charges().unwrap());
        self.system.check_against(books).await.unwrap()
    }

    /// Each invoice is paid, and charged once, and all books say so.
    async fn expect_all_in_order(&self) {
        self.all_paid().await;
        self.expect_each_charged_once();
        self.check().await.expect_succeeded(MANY as usize).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_after_the_backup_is_paid_again_and_charged_once() {
    let world = World::with_invoices().await;
    world.back_up(&[INVOICES]).await;
    world.pay_all().await;
    world.all_paid().await;

    world.restore(&[INVOICES]).await;
    assert_eq!(world.system.count_invoices("paid").await.unwrap(), 0);
    world.pay_all().await;
    world.expect_all_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decline_that_a_restore_forgot_is_remembered_by_the_ledger() {
    let world = World::with_invoices().await;
    world
        .bank
        .set_faults(&Mix::try_new([(Fault::Decline, 1.0)]).unwrap())
        .await
        .unwrap();
    world.back_up(&[INVOICES]).await;
    world.pay_all().await;
    eventually("every payment is declined", || async {
        Ok(world.system.count_payments("declined").await? == u64::from(MANY))
    })
    .await
    .unwrap();
    world.bank.set_faults(&Mix::default()).await.unwrap();
    // Both the decline and the second attempt are forgotten.
    world.pay_all().await;
    world.all_paid().await;
    world.restore(&[INVOICES]).await;
    world.pay_all().await;
    eventually_within(HEALED, "the first attempts are declined again", || async {
        Ok(world.system.count_payments("declined").await? == u64::from(MANY))
    })
    .await
    .unwrap();
    world.pay_all().await;
    world.expect_all_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_in_the_middle_of_a_large_call_is_healed_by_paying_again() {
    let world = World::with_invoices().await;
    world.back_up(&[INVOICES]).await;
    world.pay_all().await;
    world.system.at_least_paid(u64::from(MANY) / 4).await.unwrap();
    world.restore(&[INVOICES]).await;
    world.pay_all().await;
    world.expect_all_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_that_forgot_everything_asks_the_bank_under_the_same_keys() {
    let world = World::with_invoices().await;
    world.back_up(&[INVOICES, PAYMENTS]).await;
    world.pay_all().await;
    world.all_paid().await;

    // The ledger alone: what is paid is not asked for again, and the check names what the ledger has lost.
    world.restore(&[PAYMENTS]).await;
    let report = world.check().await;
    assert_eq!(report.count(Kind::Missing), MANY as usize, "{report}");
    assert_eq!(report.count(Kind::Duplicate), 0, "{report}");
    // Then invoice-app's as well, and everybody pays again.
    world.restore(&[INVOICES]).await;
    world.pay_all().await;
    world.expect_all_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_go_back_to_different_moments_agree_again() {
    let world = World::with_invoices().await;
    world.back_up(&[INVOICES]).await;
    world.pay_all().await;
    world.system.at_least_paid(u64::from(MANY) / 3).await.unwrap();
    world.back_up(&[PAYMENTS]).await;
    world.all_paid().await;
    world.restore(&[INVOICES, PAYMENTS]).await;
    world.pay_all().await;
    world.expect_all_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invoices_imported_again_under_their_numbers_are_held_and_not_charged() {
    let world = World::start().await;
    world.back_up(&[INVOICES]).await;
    world.import().await;
    world.pay_all().await;
    world.all_paid().await;
    world.restore(&[INVOICES]).await;
    world.import().await;
    world.pay_all().await;
    eventually("every new payment is held", || async {
        let held = "select count(*) from ledger where held_reason = 'number_paid' and status = 'started'";
        Ok(world.system.count_in_payments(held).await? == u64::from(MANY))
    })
    .await
    .unwrap();
    world.expect_each_charged_once();
    assert_eq!(world.system.count_invoices("paid").await.unwrap(), 0);
    let options = world.system.stack().payment_provider().options();
    let listed = acceptance::cli::run_ok(options, &["ledger", "list", "--held", "--json"])
        .await
        .unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), MANY as usize);
    assert_eq!(listed[0]["held"], json!("number_paid"));
}

/// A bank that forgets keys: what is restored to before its memory is held by the switch, and released once the books agree.
#[tokio::test(flavor = "multi_thread")]
async fn switch_holds_what_no_key_can_prove() {
    let world = World::with_invoices().await;
    world.back_up(&[INVOICES, PAYMENTS]).await;
    world.pay_all().await;
    world.all_paid().await;
    let provider = world.system.stack().payment_provider();
    provider.stop(Duration::from_secs(20)).await;
    world.restore(&[INVOICES, PAYMENTS]).await;
    let holding = world
        .system
        .replica(ServiceKind::PaymentProvider, "holding", |options| {
            let switch = ("ledger.hold_new_payments".to_owned(), "true".to_owned());
            options.settings.extend([switch]);
        })
        .await
        .unwrap();
    world.pay_all().await;
    eventually("every payment is held", || async {
        let held = "select count(*) from ledger where held_reason = 'hold_new_payments'";
        Ok(world.system.count_in_payments(held).await? == u64::from(MANY))
    })
    .await
    .unwrap();
    world.expect_each_charged_once();

    holding.stop(Duration::from_secs(20)).await;
    let release = [
        "ledger",
        "release",
        "--new",
        "--reason",
        "the bank still knows all keys",
    ];
    acceptance::cli::run_ok(provider.options(), &release)
        .await
        .unwrap();
    provider.start_again().await.unwrap();
    world.expect_all_in_order().await;
}
