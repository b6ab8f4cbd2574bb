//! A NATS client that has ended for good: nobody would read messages any more.

use std::{fs, process::ExitCode, time::Duration};

use local_stack::eventually;
use payment_provider::{app::take_requests, config::Config};
use service::{admin::Readiness, shutdown::Process};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{LIMIT, World, parts};

/// What a client broke on is taken once more, in another way, for the ack wait and a little more.
const TAKEN_DOWN_WITHIN: Duration = Duration::from_mins(1);

#[tokio::test]
async fn process_whose_client_ended_for_good_goes_down() {
    let world = World::start().await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.toml");
    let settings = format!(
        "database.url = 'postgres://u@h/payments'\n[nats]\nurl = '{}'\nnkey_seed_file = '/nowhere'\n",
        world.nats.url()
    );
    fs::write(&file, settings).unwrap();
    let config = Config::load(Some(&file)).unwrap();
    let mut process = Process::new(Duration::from_secs(10));
    let (group, readiness) = (process.group("requests"), Readiness::new());
    let taking = take_requests(
        config,
        parts(&world),
        world.connection.clone(),
        readiness.clone(),
        group.clone(),
    );
    group.spawn("schema", taking);
    eventually("it takes requests", async || readiness.is_ready())
        .await
        .unwrap();
    world.connection.clone().close(LIMIT).await;
    let ended = timeout(TAKEN_DOWN_WITHIN, process.run(|| {})).await;
    assert_eq!(ended.expect("it goes down"), ExitCode::FAILURE);
}
