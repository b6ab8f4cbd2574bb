//! The link: up, down and up again; who gets in.

use std::time::Duration;

use jetstream::connection::{Connection, Error, Settings};
use local_stack::{Keys, User, eventually};

use crate::fixture::{LIMIT, Server, connected};

#[tokio::test]
async fn a_connection_may_be_made_before_its_server_and_outlives_it() {
    let server = Server::start().await;
    server.nats().kill9().await;
    let connection = Connection::init(server.settings(User::InvoiceApp)).await.unwrap();
    assert!(!connection.is_connected());
    server.nats().start_again().await.unwrap();
    connected(&connection).await;
    let first = *connection.link().borrow();

    server.nats().kill9().await;
    let mut link = connection.link();
    tokio::time::timeout(LIMIT, link.wait_for(|link| !link.connected))
        .await
        .unwrap()
        .unwrap();
    server.nats().start_again().await.unwrap();
    connected(&connection).await;
    assert!(connection.link().borrow().epoch > first.epoch);
}

#[tokio::test]
async fn nobody_gets_in_with_a_foreign_key_and_no_foreign_server_is_trusted() {
    let server = Server::start().await;
    let foreign_key = nkeys::KeyPair::new_user().seed().unwrap();
    let stranger = Settings {
        nkey_seed: foreign_key,
        nkey_seed_file: None,
        ..server.settings(User::InvoiceApp)
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let other_keys = Keys::generate(&elsewhere.path().join("keys"), &[]).unwrap();
    let distrustful = Settings {
        ca_file: Some(other_keys.ca_file()),
        ..server.settings(User::InvoiceApp)
    };
    for settings in [stranger, distrustful] {
        let connection = Connection::init(settings).await.unwrap();
        let mut link = connection.link();
        let up = link.wait_for(|link| link.connected);
        assert!(tokio::time::timeout(Duration::from_secs(1), up).await.is_err());
    }
    // The same server, the right key and the right CA.
    server.connect(User::InvoiceApp).await;
}

#[tokio::test]
async fn unusable_settings_are_told_at_once() {
    let server = Server::start().await;
    let settings = || server.settings(User::InvoiceApp);
    let account_seed = nkeys::KeyPair::new_account().seed().unwrap();
    for seed in ["", "SUX", &account_seed] {
        let result = Connection::init(Settings {
            nkey_seed: seed.to_owned(),
            nkey_seed_file: None,
            ..settings()
        })
        .await;
        assert!(matches!(result, Err(Error::Seed)), "{seed:?}");
    }
    let result = Connection::init(Settings {
        ca_file: Some("/nowhere/ca.crt".into()),
        ..settings()
    })
    .await;
    assert!(matches!(result, Err(Error::CaFile { .. })));
    let result = Connection::init(Settings {
        url: "http://localhost".to_owned(),
        ..settings()
    })
    .await;
    assert!(matches!(result, Err(Error::Url(_))));
}

#[tokio::test]
async fn closing_sends_what_was_published_before() {
    let server = Server::start().await;
    let admin = server.admin("PAY_REQUESTS").await;
    let mut heard = admin.client().subscribe("invoice.v1.changed").await.unwrap();
    admin.client().flush().await.unwrap();
    // A runtime of its own, whose end takes everything unsent with it, like the end of a process.
    let settings = server.settings(User::InvoiceApp);
    let process = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let connection = Connection::init(settings).await.unwrap();
            connected(&connection).await;
            for _ in 0..1000 {
                connection
                    .client()
                    .publish("invoice.v1.changed", "x".into())
                    .await
                    .unwrap();
            }
            connection.close(LIMIT).await;
        });
    });
    eventually("the end of the other runtime", || async { process.is_finished() })
        .await
        .unwrap();
    process.join().unwrap();
    for _ in 0..1000 {
        tokio::time::timeout(LIMIT, futures_util::StreamExt::next(&mut heard))
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn a_connection_nobody_holds_any_more_is_closed() {
    let server = Server::start().await;
    let connection = server.connect(User::InvoiceApp).await;
    let state = connection.client().clone();
    let statistics = state.statistics();
    drop((connection, state));
    // Without its watcher and clients the connection's tasks end and release the statistics.
    eventually("the end of the connection", || async {
        std::sync::Arc::strong_count(&statistics) == 1
    })
    .await
    .unwrap();
}
