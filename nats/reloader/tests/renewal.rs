//! The certificate of three real servers is replaced, as when it is renewed in its Secret.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

use acceptance::eventually;
use local_stack::{Keys, Membership, NatsOptions, NatsServer, User, connect_nats, free_port};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificate_is_shown_by_all_servers_and_nobody_is_disconnected() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::generate(&directory.path().join("keys"), &[]).unwrap();
    let (servers, _reloaders) = start(&directory, &keys).await;
    let before = servers[0].connect(User::Debug).await.unwrap();
    let new = Keys::generate(&directory.path().join("new"), &[]).unwrap();
    for server in &servers {
        assert!(
            trusts(&new, &keys, server).await.is_err(),
            "it has the new one already"
        );
    }

    let read = |path: &Path| fs::read_to_string(path).unwrap();
    replace(&keys.ca_file(), &(read(&keys.ca_file()) + &read(&new.ca_file())));
    replace(&keys.server_key_file(), &read(&new.server_key_file()));
    replace(
        &keys.server_certificate_file(),
        &read(&new.server_certificate_file()),
    );

    for server in &servers {
        eventually("the new certificate is shown", || async {
            Ok(trusts(&new, &keys, server).await.ok())
        })
        .await
        .unwrap();
    }
    before.flush().await.unwrap();
    assert_eq!(
        before
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed),
        1,
        "a client was disconnected"
    );
}

/// Three servers as in production, each with a reloader beside it, which was there first.
async fn start(directory: &TempDir, keys: &Keys) -> (Vec<NatsServer>, Vec<Reloader>) {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let mut reloaders = Vec::new();
    let mut starting = tokio::task::JoinSet::new();
    for (number, route_port) in routes.iter().enumerate() {
        let options = NatsOptions {
            directory: directory.path().join(format!("nats-{number}")),
            log: directory.path().join(format!("nats-{number}.log")),
            port: free_port(),
            monitor_port: free_port(),
            keys: keys.clone(),
        };
        reloaders.push(Reloader::start(&options.directory.join("nats.pid"), keys));
        let membership = Membership {
            name: format!("nats-{number}"),
            route_port: *route_port,
            all_route_ports: routes.clone(),
        };
        starting.spawn(NatsServer::start_member(options, membership));
    }
    let servers = starting.join_all().await.into_iter().map(Result::unwrap);
    (servers.collect(), reloaders)
}

/// Connects as somebody who trusts the one authority, with the seed of the other keys.
async fn trusts(authority: &Keys, keys: &Keys, server: &NatsServer) -> local_stack::Result<()> {
    let (ca, seed) = (authority.ca_file(), keys.seed_file(User::Debug));
    connect_nats(&server.url(), &ca, &seed, User::Debug).await?;
    Ok(())
}

/// Whoever reads it meanwhile finds the one or the other.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// The program, until this is gone.
struct Reloader(Child);

impl Reloader {
    fn start(pid_file: &Path, keys: &Keys) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_nats-reloader"))
            .args(["--every", "1", "--pid-file"])
            .arg(pid_file)
            .args([
                keys.server_certificate_file(),
                keys.server_key_file(),
                keys.ca_file(),
            ])
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
