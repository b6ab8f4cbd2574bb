//! Publishing with the stream's ack awaited, over an inbox that no other call uses meanwhile: an answer that never comes
//! leaves nothing behind, as it would in the client's shared table of requests.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{Message, StatusCode, Subscriber, jetstream::response::Response};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{Error, Outgoing, while_connected};
use crate::{BoxError, connection::Connection, locks::lock, steps::Step};

/// Unanswered publishes at a time. Enough to hide the round trip; little enough that a server which stores slowly is not
/// made slower by a heap of them.
const IN_FLIGHT: usize = 256;
/// Longest wait without any answer. Longer than storing takes, shorter than an election: whoever sends tries again later.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The server's answer to a publish. `duplicate` is not looked at: a duplicate is stored.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "seq")]
    _sequence: u64,
}

/// Inboxes that nobody uses just now: a subscription for each call would cost the server more than the message does.
#[derive(Clone, Debug, Default)]
pub(super) struct Inboxes(Arc<Mutex<Vec<Inbox>>>);

/// A subscription to `<subject>.<call>.<index>`.
#[derive(Debug)]
struct Inbox {
    subject: String,
    answers: Subscriber,
    /// Counts the calls, so that late answers to one are not taken for answers to the next.
    call: u64,
}

impl Inbox {
    /// Which message of this call was answered.
    fn index(&self, answer: &Message) -> Option<usize> {
        index(&answer.subject, &self.subject, self.call)
    }
}

/// Which message an answer at `subject` is about; `None` when it is not about this call's.
fn index(subject: &str, inbox: &str, call: u64) -> Option<usize> {
    let (of, index) = subject.strip_prefix(inbox)?.strip_prefix('.')?.split_once('.')?;
    (of.parse() == Ok(call)).then(|| index.parse().ok())?
}

impl Inboxes {
    /// One for a new call, which has it for itself.
    async fn take(&self, client: &async_nats::Client) -> Result<Inbox, BoxError> {
        let idle = lock(&self.0).pop();
        if let Some(inbox) = idle {
            return Ok(Inbox {
                call: inbox.call + 1,
                ..inbox
            });
        }
        let subject = client.new_inbox();
        Ok(Inbox {
            answers: client.subscribe(format!("{subject}.*.*")).await?,
            subject,
            call: 1,
        })
    }

    /// For the next call. One that was not given back, because its call did not end well, is unsubscribed from.
    fn give_back(&self, inbox: Inbox) {
        lock(&self.0).push(inbox);
    }
}

/// Sends all and returns one result each, in order.
pub(super) async fn send(
    connection: &Connection,
    inboxes: &Inboxes,
    messages: Vec<Outgoing>,
) -> Vec<Result<(), Error>> {
    let count = messages.len();
    let mut flight = Flight {
        results: std::iter::repeat_with(|| None).take(count).collect(),
        open: 0,
    };
    let ended = while_connected(
        connection.link(),
        flight.run(connection.client(), inboxes, messages),
    )
    .await;
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
    async fn run(
        &mut self,
        client: &async_nats::Client,
        inboxes: &Inboxes,
        messages: Vec<Outgoing>,
    ) -> Result<(), BoxError> {
        let mut deadline = Instant::now() + ANSWER_LIMIT;
        let mut inbox = timeout_at(deadline, inboxes.take(client)).await??;
        for (index, message) in messages.into_iter().enumerate() {
            while self.open >= IN_FLIGHT {
                if !self.answer(&mut inbox, deadline).await {
                    return Ok(());
                }
                deadline = Instant::now() + ANSWER_LIMIT;
            }
            let headers = message.headers();
            let reply = format!("{}.{}.{index}", inbox.subject, inbox.call);
            let sending =
                client.publish_with_reply_and_headers(message.subject, reply, headers, message.body);
            match timeout_at(deadline, sending).await? {
                Ok(()) => self.open += 1,
                Err(error) => self.set(index, Err(Error::Unconfirmed(error.into()))),
            }
        }
        Step::MessagesUnconfirmed.reached();
        while self.open > 0 {
            if !self.answer(&mut inbox, deadline).await {
                return Ok(());
            }
            deadline = Instant::now() + ANSWER_LIMIT;
        }
        inboxes.give_back(inbox);
        Ok(())
    }

    /// Takes one answer; false when none came.
    async fn answer(&mut self, inbox: &mut Inbox, deadline: Instant) -> bool {
        let Ok(Some(answer)) = timeout_at(deadline, inbox.answers.next()).await else {
            return false;
        };
        if let Some(index) = inbox.index(&answer)
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

fn read(answer: &Message) -> Result<(), BoxError> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err("no stream takes this subject now".into());
    }
    match serde_json::from_slice(&answer.payload)? {
        Response::Ok(Stored { .. }) => Ok(()),
        Response::Err { error } => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_to_one_call_is_none_to_the_next() {
        assert_eq!(index("_INBOX_a.x.7.12", "_INBOX_a.x", 7), Some(12));
        for other in [
            "_INBOX_a.x.6.12",
            "_INBOX_a.x.7",
            "_INBOX_a.x.7.",
            "_INBOX_a.y.7.12",
            "_INBOX_a.x.7.1.2",
        ] {
            assert_eq!(index(other, "_INBOX_a.x", 7), None, "{other}");
        }
    }
}
