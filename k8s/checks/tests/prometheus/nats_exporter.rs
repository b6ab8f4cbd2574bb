//! In place of prometheus-nats-exporter, which no registry has for us: what nats-server says of itself, under the names that it gives.
//! That those names are right is not shown here.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use serde_json::Value;
use tokio::net::TcpListener;

const SERVER: &str = r#"server_id="nats-0""#;

/// Serves until the test ends.
pub(crate) async fn start(monitor: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = get(async move || {
        // The exporter answers all the same, with nothing about the server.
        (StatusCode::OK, told(&monitor).await.unwrap_or_default())
    });
    let router = Router::new().route("/metrics", metrics);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn told(monitor: &str) -> acceptance::Result<String> {
    let http = local_stack::http_client(Duration::from_secs(1))?;
    let ask = async |path: &str| -> acceptance::Result<Value> {
        let answer = http.get(format!("{monitor}{path}")).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    };
    let health = ask("/healthz?js-server-only=true").await?;
    let varz = ask("/varz").await?;
    let jsz = ask("/jsz?accounts=true&streams=true&consumers=true").await?;
    let mut text = String::new();
    let mut tell = |name: &str, labels: &str, value: &Value| {
        let _ = writeln!(
            text,
            "{name}{{{SERVER}{labels}}} {}",
            value.as_f64().unwrap_or_default()
        );
    };
    let healthy = Value::from(u8::from(health["status"] != "ok"));
    tell("nats_healthz_js_server_only_status", "", &healthy);
    for (name, field) in [
        ("nats_varz_connections", "connections"),
        ("nats_varz_slow_consumers", "slow_consumers"),
        ("nats_varz_mem", "mem"),
        ("nats_varz_cpu", "cpu"),
    ] {
        tell(name, "", &varz[field]);
    }
    tell(
        "nats_server_total_streams",
        r#",meta_leader="nats-0""#,
        &jsz["streams"],
    );
    tell("nats_server_total_message_bytes", "", &jsz["bytes"]);
    for account in list(&jsz, "account_details") {
        for stream in list(account, "stream_detail") {
            let stream_name = stream["name"].as_str().unwrap_or_default();
            let of_stream = format!(r#",stream_name="{stream_name}",is_stream_leader="true""#);
            tell("nats_stream_first_seq", &of_stream, &stream["state"]["first_seq"]);
            tell("nats_stream_total_bytes", &of_stream, &stream["state"]["bytes"]);
            for consumer in list(stream, "consumer_detail") {
                let name = consumer["name"].as_str().unwrap_or_default();
                let of_consumer = format!(
                    r#",stream_name="{stream_name}",consumer_name="{name}",is_consumer_leader="true""#
                );
                for (name, pointer) in [
                    ("nats_consumer_num_pending", "/num_pending"),
                    ("nats_consumer_num_ack_pending", "/num_ack_pending"),
                    ("nats_consumer_num_redelivered", "/num_redelivered"),
                    ("nats_consumer_ack_floor_stream_seq", "/ack_floor/stream_seq"),
                    ("nats_consumer_delivered_stream_seq", "/delivered/stream_seq"),
                    ("nats_consumer_delivered_consumer_seq", "/delivered/consumer_seq"),
                ] {
                    tell(
                        name,
                        &of_consumer,
                        consumer.pointer(pointer).unwrap_or(&Value::Null),
                    );
                }
            }
        }
    }
    Ok(text)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}
