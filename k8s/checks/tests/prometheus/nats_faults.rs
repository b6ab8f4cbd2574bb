//! Faults that only NATS tells of: a server is missing.

use acceptance::nats_cluster;

use crate::Watched;

/// One of three servers loses its disk, and comes back with an empty one.
pub(crate) async fn server_missing(watched: &Watched) {
    let stack = watched.system.stack();
    let server = nats_cluster::leader(stack, "PAY_REQUESTS").await.unwrap();
    server.kill9().await;
    server.wipe_store().unwrap();
    watched.fire(&["NatsServerMissing"]).await;
    server.start_again().await.unwrap();
    nats_cluster::all_copies_whole(stack, &["PAY_REQUESTS", "PAY_OUTCOMES"])
        .await
        .unwrap();
    watched.clear(&["NatsServerMissing"]).await;
}
