//! What passes through NATS, as `nats sub 'pay.>'` shows it: the last messages, and how long payments take from being
//! requested to their outcome.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use local_stack::{Result, User};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{Room, diary::clock, lock};

const KEPT: usize = 12;
/// Percentiles are of these last seconds.
const WINDOW: Duration = Duration::from_secs(10);
/// Enough for what any laptop does in the window.
const MOST_TIMES: usize = 50_000;
/// Requests without an outcome that are remembered; a call for 100,000 fits.
const MOST_OPEN: usize = 200_000;
const LONGEST_BODY: usize = 240;

#[derive(Clone, Serialize)]
pub(super) struct Message {
    at: String,
    subject: String,
    body: String,
}

#[derive(Default)]
pub(super) struct Overheard(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    last: VecDeque<Message>,
    requested: HashMap<Uuid, OffsetDateTime>,
    took: VecDeque<(Instant, Duration)>,
}

/// What is read of both kinds of message.
#[derive(Deserialize)]
struct Body {
    payment_id: Uuid,
    requested_at: Option<String>,
}

impl Overheard {
    pub(super) fn messages(&self) -> Vec<Message> {
        lock(&self.0).last.iter().cloned().collect()
    }

    /// The median and the 99th percentile of the last seconds, in milliseconds.
    pub(super) fn percentiles(&self) -> Option<(u64, u64)> {
        let mut heard = lock(&self.0);
        while heard.took.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
            heard.took.pop_front();
        }
        let mut took: Vec<Duration> = heard.took.iter().map(|(_, took)| *took).collect();
        drop(heard);
        took.sort_unstable();
        let at = |per_cent: usize| {
            let index = (took.len() * per_cent / 100).min(took.len().saturating_sub(1));
            let took = took.get(index)?;
            u64::try_from(took.as_millis()).ok()
        };
        at(50).zip(at(99))
    }

    fn hear(&self, subject: &str, payload: &[u8]) {
        let now = OffsetDateTime::now_utc();
        let mut heard = lock(&self.0);
        if let Ok(body) = serde_json::from_slice::<Body>(payload) {
            if let Some(requested_at) = body.requested_at {
                if heard.requested.len() >= MOST_OPEN {
                    heard.requested.clear();
                }
                let requested_at = OffsetDateTime::parse(&requested_at, &Rfc3339).unwrap_or(now);
                heard.requested.insert(body.payment_id, requested_at);
            } else if let Some(requested_at) = heard.requested.remove(&body.payment_id) {
                if heard.took.len() >= MOST_TIMES {
                    heard.took.pop_front();
                }
                let took = Duration::try_from(now - requested_at).unwrap_or_default();
                heard.took.push_back((Instant::now(), took));
            }
        }
        while heard.last.len() >= KEPT {
            heard.last.pop_front();
        }
        heard.last.push_back(Message {
            at: clock(now),
            subject: subject.to_owned(),
            body: String::from_utf8_lossy(payload.get(..LONGEST_BODY).unwrap_or(payload)).into_owned(),
        });
    }
}

/// Listens for ever; the client comes back by itself when NATS does.
pub(super) async fn listen(room: Arc<Room>) {
    loop {
        if let Err(error) = listen_once(&room).await {
            room.diary.say(&error.to_string());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn listen_once(room: &Room) -> Result<()> {
    let client = room.stack.nats().connect(User::Debug).await?;
    let mut messages = client
        .subscribe("pay.>")
        .await
        .map_err(|error| local_stack::Error::Nats(format!("could not listen to pay.>: {error}")))?;
    while let Some(message) = messages.next().await {
        room.overheard.hear(&message.subject, &message.payload);
    }
    Ok(())
}
