//! Publishing with the stream's ack awaited, over an inbox of its own for each call: an answer that never comes leaves
//! nothing behind, as it would in the client's shared table of requests.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber, jetstream::response::Response};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{Error, Outgoing, while_connected};
use crate::{connection::Connection, crash_point};

/// Unanswered publishes at a time. Enough to hide the round trip; little enough that a server which stores slowly is not
/// made slower by a heap of them.
const IN_FLIGHT: usize = 256;
/// Longest wait without any answer. Longer than storing takes, shorter than an election: whoever sends tries again later.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The server's answer to a publish. `duplicate` is not looked at: a duplicate is stored.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "seq")]
    _sequence: u64,
}

/// Sends all and returns one result each, in order.
pub(super) async fn send(connection: &Connection, messages: Vec<Outgoing>) -> Vec<Result<(), Error>> {
    let count = messages.len();
    let mut flight = Flight {
        results: std::iter::repeat_with(|| None).take(count).collect(),
        open: 0,
    };
    let ended = while_connected(connection.link(), flight.run(connection.client(), messages)).await;
    let reason = match &ended {
        None => "the connection was lost",
        Some(Err(_)) => "the message could not be handed over",
        Some(Ok(())) => "no answer in time",
    };
    let never_connected = ended.is_none() && flight.open == 0;
    let unanswered = || {
        if never_connected {
            Error::Disconnected
        } else {
            Error::Unconfirmed(reason.into())
        }
    };
    flight
        .results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(unanswered())))
        .collect()
}

struct Flight {
    results: Vec<Option<Result<(), Error>>>,
    open: usize,
}

impl Flight {
    async fn run(&mut self, client: &async_nats::Client, messages: Vec<Outgoing>) -> Result<(), Cause> {
        let inbox = client.new_inbox();
        let mut deadline = Instant::now() + ANSWER_LIMIT;
        let mut answers = timeout_at(deadline, client.subscribe(format!("{inbox}.*"))).await??;
        for (index, message) in messages.into_iter().enumerate() {
            while self.open >= IN_FLIGHT {
                if !self.answer(&mut answers, deadline).await {
                    return Ok(());
                }
                deadline = Instant::now() + ANSWER_LIMIT;
            }
            let (headers, reply) = (message.headers(), format!("{inbox}.{index}"));
            let sending =
                client.publish_with_reply_and_headers(message.subject, reply, headers, message.body);
            match timeout_at(deadline, sending).await? {
                Ok(()) => self.open += 1,
                Err(error) => self.set(index, Err(Error::Unconfirmed(error.into()))),
            }
        }
        crash_point!(OutcomesUnconfirmed);
        while self.open > 0 && self.answer(&mut answers, deadline).await {
            deadline = Instant::now() + ANSWER_LIMIT;
        }
        Ok(())
    }

    /// Takes one answer; false when none came.
    async fn answer(&mut self, answers: &mut Subscriber, deadline: Instant) -> bool {
        let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await else {
            return false;
        };
        let index = answer
            .subject
            .rsplit('.')
            .next()
            .and_then(|index| index.parse().ok());
        if let Some(index) = index
            && matches!(self.results.get(index), Some(None))
        {
            self.set(index, read(&answer).map_err(Error::Unconfirmed));
            self.open -= 1;
        }
        true
    }

    fn set(&mut self, index: usize, result: Result<(), Error>) {
        if let Some(slot) = self.results.get_mut(index) {
            *slot = Some(result);
        }
    }
}

fn read(answer: &Message) -> Result<(), Cause> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err("no stream takes this subject now".into());
    }
    match serde_json::from_slice(&answer.payload)? {
        Response::Ok(Stored { .. }) => Ok(()),
        Response::Err { error } => Err(error.into()),
    }
}
