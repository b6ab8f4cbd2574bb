//! What JetStream holds: of each stream, how many messages its reader has not been given, and how many are in its hands.

use local_stack::Result;
use serde::{Deserialize, Serialize};

/// One of the two streams.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Queue {
    waiting: u64,
    in_flight: u64,
}

/// Requests and outcomes.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Queues {
    requests: Queue,
    outcomes: Queue,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    num_pending: u64,
    num_ack_pending: u64,
}

/// Asks the server's monitoring port.
pub(super) async fn queues(http: &reqwest::Client, monitor_url: &str) -> Result<Queues> {
    let failed = |error: reqwest::Error| local_stack::Error::Http(error.to_string());
    let url = format!("{monitor_url}/jsz?accounts=true&streams=true&consumers=true");
    let answer: Answer = http
        .get(url)
        .send()
        .await
        .map_err(failed)?
        .json()
        .await
        .map_err(failed)?;
    let streams: Vec<Stream> = answer
        .account_details
        .into_iter()
        .flat_map(|account| account.stream_detail)
        .collect();
    let queue = |name: &str| {
        let consumers = streams.iter().filter(|stream| stream.name == name);
        let consumers = consumers.flat_map(|stream| &stream.consumer_detail);
        consumers.fold(Queue::default(), |queue, consumer| Queue {
            waiting: queue.waiting + consumer.num_pending,
            in_flight: queue.in_flight + consumer.num_ack_pending,
        })
    };
    Ok(Queues {
        requests: queue("PAY_REQUESTS"),
        outcomes: queue("PAY_OUTCOMES"),
    })
}
