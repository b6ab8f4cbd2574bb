//! The internal port.

#![cfg(test)]

use std::time::Duration;

use service::{
    admin::{Readiness, bind, serve, serve_on},
    config::LogFormat,
    telemetry,
};
use tokio_util::sync::CancellationToken;

async fn get(url: &str) -> (u16, String) {
    local_stack::install_crypto_provider();
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told() {
    let listener = bind("127.0.0.1:0".parse().unwrap(), "admin.listen").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (readiness, stop) = (Readiness::new(), CancellationToken::new());
    let serving = serve_on(
        listener,
        readiness.clone(),
        telemetry::init_metrics("admin-test", "0.1.0"),
        stop.clone(),
    );
    let serving = tokio::spawn(serving);
    assert_eq!(get(&format!("{base}/livez")).await.0, 200);
    assert_eq!(get(&format!("{base}/readyz")).await.0, 503);
    readiness.set(true);
    assert_eq!(get(&format!("{base}/readyz")).await.0, 200);
    readiness.set(false);
    assert_eq!(get(&format!("{base}/readyz")).await.0, 503);
    metrics::counter!("test_total").increment(3);
    let (status, text) = get(&format!("{base}/metrics")).await;
    assert_eq!(status, 200);
    assert!(text.contains("test_total 3"), "{text}");
    assert!(text.contains("admin_test_build_info{version=\"0.1.0\""), "{text}");
    assert_eq!(get(&format!("{base}/")).await.0, 404);
    telemetry::init_logs(LogFormat::Text, "warn");
    for (filter, expected) in [("info,sqlx=warn", 204), ("no such=filter=", 400), ("", 400)] {
        let answer = reqwest::Client::new()
            .put(format!("{base}/log-filter"))
            .body(filter);
        assert_eq!(answer.send().await.unwrap().status(), expected, "{filter}");
    }
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_key() {
    let taken = bind("127.0.0.1:0".parse().unwrap(), "admin.listen").unwrap();
    let address = taken.local_addr().unwrap();
    let handle = metrics_exporter_prometheus::PrometheusBuilder::new()
        .build_recorder()
        .handle();
    let error = serve(address, Readiness::new(), handle, CancellationToken::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("admin.listen"), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn both_families_are_heard_where_none_is_chosen() {
    let listener = bind("[::]:0".parse().unwrap(), "admin.listen").unwrap();
    let port = listener.local_addr().unwrap().port();
    for address in ["127.0.0.1", "::1"] {
        let (heard, connected) =
            tokio::join!(listener.accept(), tokio::net::TcpStream::connect((address, port)));
        heard.unwrap();
        connected.unwrap();
    }
}

#[tokio::test]
async fn thousands_of_connections_wait_for_their_turn() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    if most.trim().parse().unwrap_or(0) < 2000 {
        return eprintln!("this kernel lets fewer wait");
    }
    let listener = bind("127.0.0.1:0".parse().unwrap(), "admin.listen").unwrap();
    let address = listener.local_addr().unwrap();
    for number in 1..=2000 {
        // A place in the queue outlasts its caller.
        let connecting = tokio::net::TcpStream::connect(address);
        let connected = tokio::time::timeout(Duration::from_secs(30), connecting).await;
        connected
            .unwrap_or_else(|_| panic!("number {number} has no place"))
            .unwrap();
    }
}
