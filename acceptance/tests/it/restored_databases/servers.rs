//! A whole server that another takes the place of: a standby, and one restored from a backup and the log that follows it.

use std::io::Write as _;

use acceptance::{client::text, eventually, streams::existing_stream, system::count};
use local_stack::{Postgres, PostgresOptions, free_port};
use reconcile::Kind;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use super::{MANY, World};

impl World {
    /// Of every invoice there is.
    async fn ids(&self) -> Vec<String> {
        let invoices = self.client.list("limit=1000").await.unwrap();
        invoices
            .iter()
            .map(|invoice| text(invoice, "/id").to_owned())
            .collect()
    }

    /// A copy of a server that follows it.
    async fn standby(&self, of: &Postgres, directory: &TempDir, name: &str) -> Postgres {
        let stack = self.system.stack();
        let standby = of.standby(PostgresOptions {
            directory: directory.path().join(name),
            log: stack.directory().join(format!("logs/postgres-{name}.log")),
            port: free_port(),
            durable: false,
            max_connections: 200,
        });
        standby.await.unwrap()
    }
}

/// From a base backup and the log since then, which ends where the operator says: as managed services do it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits until NATS no longer takes a request for a repetition"]
async fn server_restored_to_a_moment_charges_nobody_twice() {
    let world = World::with_invoices().await;
    let primary = world.system.stack().postgres();
    let directory = TempDir::new().unwrap();
    let restored = world.standby(primary, &directory, "restored").await;
    let mut database = PgConnection::connect(&restored.url("postgres")).await.unwrap();
    database.execute("select pg_wal_replay_pause()").await.unwrap();

    let ids = world.ids().await;
    let (kept, forgotten) = ids.split_at(ids.len() / 2);
    world.pay_these(kept).await;
    let paid = kept.len() as u64;
    eventually("the first half is paid", || async {
        Ok(world.system.count_invoices("paid").await? == paid)
    })
    .await
    .unwrap();
    let mut database = PgConnection::connect(&primary.url("postgres")).await.unwrap();
    let moment: String = sqlx::query_scalar("select clock_timestamp()::text")
        .fetch_one(&mut database)
        .await
        .unwrap();
    world.pay_these(forgotten).await;
    world.all_paid().await;
    // Else what is delivered again tells invoice-app of payments that nobody has asked for any more.
    eventually("everything is acknowledged", || async {
        let nats = world.system.stack().nats();
        let requests = existing_stream(nats, "PAY_REQUESTS").await?;
        let outcomes = existing_stream(nats, "PAY_OUTCOMES").await?;
        Ok(requests.ack_pending == 0 && outcomes.ack_pending == 0)
    })
    .await
    .unwrap();

    restored.stop().await;
    let settings = std::fs::OpenOptions::new()
        .append(true)
        .open(restored.data().join("postgresql.auto.conf"));
    writeln!(settings.unwrap(), "recovery_target_time = '{moment}'").unwrap();
    restored.start_again().await.unwrap();
    eventually("the log is carried out up to the moment", || async {
        let there = "select count(*) from invoices where status = 'paid'";
        Ok(count(&restored.url("invoices"), there).await? == paid)
    })
    .await
    .unwrap();
    primary.kill9().await;
    let _restored = restored.promote(primary.port()).await.unwrap();
    assert_eq!(world.system.count_invoices("paid").await.unwrap(), paid);
    world.pay_all().await;
    world.expect_all_in_order().await;
}

/// The standby was away for a moment when the primary died, so that what it has never heard of is lost from all books but the
/// bank's. Three times, while callers pay.
#[tokio::test(flavor = "multi_thread")]
async fn standby_that_takes_the_place_of_a_dead_primary_charges_nobody_twice() {
    let world = World::with_invoices().await;
    let stack = world.system.stack();
    let directory = TempDir::new().unwrap();
    let ids = world.ids().await;
    let mut promoted: Vec<Postgres> = Vec::new();
    for (round, ids) in ids.chunks(ids.len() / 3 + 1).enumerate() {
        let primary = promoted.last().unwrap_or(stack.postgres());
        let standby = world
            .standby(primary, &directory, &format!("standby-{round}"))
            .await;
        let (followed, unheard) = ids.split_at(ids.len() / 2);
        let before = world.charges().len() + followed.len();
        world.pay_these(followed).await;
        eventually("they are charged", || async {
            Ok(world.charges().len() >= before)
        })
        .await
        .unwrap();
        standby.kill9().await;
        world.pay_these(unheard).await;
        eventually(
            "something is charged that the standby does not hear of",
            || async { Ok(world.charges().len() > before + 20) },
        )
        .await
        .unwrap();
        primary.kill9().await;
        promoted.push(standby.promote(stack.postgres().port()).await.unwrap());
    }
    let unpaid = world.system.count_invoices("unpaid").await.unwrap();
    assert!(unpaid > 0, "pay calls were lost");
    world.pay_all().await;
    world.all_paid().await;
    world.expect_each_charged_once();
    // Outcomes that were still in the stream are told once more: of those payments the ledger alone knows nothing any more.
    let report = world.check().await;
    assert_eq!(
        report.matches + report.count(Kind::Missing),
        MANY as usize,
        "{report}"
    );
    assert_eq!(
        (report.count(Kind::Duplicate), report.count(Kind::Stuck)),
        (0, 0),
        "{report}"
    );
}
