//! In place of prometheus-nats-exporter, which no registry has for us: what nats-server says of itself, under the names that it gives.
//! That those names are right is not shown here.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use serde_json::Value;
use tokio::net::TcpListener;

/// One beside the server of this number. Serves until the test ends.
pub(crate) async fn start(number: usize, monitor: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = get(async move || {
        // The exporter answers all the same, with nothing about the server.
        (StatusCode::OK, told(number, &monitor).await.unwrap_or_default())
    });
    let router = Router::new().route("/metrics", metrics);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn told(number: usize, monitor: &str) -> acceptance::Result<String> {
    let http = local_stack::http_client(Duration::from_secs(1))?;
    let ask = async |path: &str| -> acceptance::Result<Value> {
        let answer = http.get(format!("{monitor}{path}")).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    };
    let health = ask("/healthz?js-server-only=true").await?;
    let varz = ask("/varz").await?;
    let jsz = ask("/jsz?accounts=true&streams=true&consumers=true").await?;
    let mut told = Told {
        server: format!(r#"server_id="nats-{number}""#),
        name: varz["server_name"].clone(),
        text: String::new(),
    };
    let healthy = Value::from(u8::from(health["status"] != "ok"));
    told.tell("nats_healthz_js_server_only_status", "", &healthy);
    for (name, field) in [
        ("nats_varz_connections", "connections"),
        ("nats_varz_slow_consumers", "slow_consumers"),
        ("nats_varz_mem", "mem"),
        ("nats_varz_cpu", "cpu"),
    ] {
        told.tell(name, "", &varz[field]);
    }
    let leader = jsz["meta_cluster"]["leader"].as_str().unwrap_or_default();
    let of_server = format!(r#",meta_leader="{leader}""#);
    told.tell("nats_server_total_streams", &of_server, &jsz["streams"]);
    told.tell("nats_server_total_message_bytes", "", &jsz["bytes"]);
    for account in list(&jsz, "account_details") {
        for stream in list(account, "stream_detail") {
            told.tell_stream(stream);
        }
    }
    Ok(told.text)
}

/// What one server says.
struct Told {
    /// The label.
    server: String,
    /// What the others call it.
    name: Value,
    text: String,
}

impl Told {
    fn tell(&mut self, name: &str, labels: &str, value: &Value) {
        let (server, value) = (&self.server, value.as_f64().unwrap_or_default());
        let _ = writeln!(self.text, "{name}{{{server}{labels}}} {value}");
    }

    fn tell_stream(&mut self, stream: &Value) {
        let stream_name = stream["name"].as_str().unwrap_or_default();
        let leads = self.leads(stream);
        let of_stream = format!(r#",stream_name="{stream_name}",is_stream_leader="{leads}""#);
        self.tell("nats_stream_first_seq", &of_stream, &stream["state"]["first_seq"]);
        self.tell("nats_stream_total_bytes", &of_stream, &stream["state"]["bytes"]);
        for consumer in list(stream, "consumer_detail") {
            let name = consumer["name"].as_str().unwrap_or_default();
            let leads = self.leads(consumer);
            let of_consumer = format!(
                r#",stream_name="{stream_name}",consumer_name="{name}",is_consumer_leader="{leads}""#
            );
            for (name, pointer) in [
                ("nats_consumer_num_pending", "/num_pending"),
                ("nats_consumer_num_ack_pending", "/num_ack_pending"),
                ("nats_consumer_num_redelivered", "/num_redelivered"),
                ("nats_consumer_ack_floor_stream_seq", "/ack_floor/stream_seq"),
                ("nats_consumer_delivered_stream_seq", "/delivered/stream_seq"),
                ("nats_consumer_delivered_consumer_seq", "/delivered/consumer_seq"),
            ] {
                let value = consumer.pointer(pointer).unwrap_or(&Value::Null);
                self.tell(name, &of_consumer, value);
            }
        }
    }

    /// Each server of a cluster tells of its copy; one alone leads all it has.
    fn leads(&self, kept: &Value) -> bool {
        kept.get("cluster")
            .is_none_or(|cluster| cluster["leader"] == self.name)
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}
