//! A client that reads the feed of events, as a browser does: it remembers the last id, and goes on from it.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::BoxStream};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use crate::harness::{App, LIMIT};

/// An event as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

/// A client of the feed.
pub(crate) struct EventReader {
    pub(crate) query: String,
    pub(crate) last_id: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) comments: usize,
    body: Option<BoxStream<'static, reqwest::Result<Vec<u8>>>>,
    unread: Vec<u8>,
}

impl EventReader {
    pub(crate) fn new(query: &str) -> Self {
        Self {
            query: query.to_owned(),
            last_id: None,
            retry: None,
            comments: 0,
            body: None,
            unread: Vec::new(),
        }
    }

    /// One that is connected.
    pub(crate) async fn connected(app: &App, query: &str) -> Self {
        let mut reader = Self::new(query);
        reader.connect(app).await;
        reader
    }

    /// Connects, where it was cut off; as soon as the database has a connection to spare.
    pub(crate) async fn connect(&mut self, app: &App) {
        let mut response = self.ask(app).await;
        while response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response = self.ask(app).await;
        }
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let body = response.bytes_stream();
        self.body = Some(body.map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed());
        // With the answer come the first place to go on from, and how long to wait before that.
        while self.retry.is_none() {
            assert!(self.read().await.is_some());
        }
    }

    pub(crate) fn ask(&self, app: &App) -> impl Future<Output = Response> + use<> {
        let mut request = app.request(Method::GET, &format!("/events{}", self.query));
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        async move { request.send().await.unwrap() }
    }

    /// As when the network is cut: what has arrived and was not read is lost.
    pub(crate) fn cut(&mut self) {
        self.body = None;
        self.unread.clear();
    }

    /// The next event; nothing when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        let reading = async {
            loop {
                if let Some(sent) = self.read().await? {
                    return Some(sent);
                }
            }
        };
        tokio::time::timeout(LIMIT, reading).await.unwrap()
    }

    /// The next event, should it come within this time.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Option<Sent> {
        tokio::time::timeout(limit, self.next()).await.ok().flatten()
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn rest(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(next) = self.next().await {
            sent.push(next);
        }
        sent
    }

    /// Reads up to the next empty line; the event, if the lines make one. Nothing at the end.
    pub(crate) async fn read(&mut self) -> Option<Option<Sent>> {
        let end = loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                break end;
            }
            let chunk = self.body.as_mut()?.next().await?.ok()?;
            self.unread.extend(chunk);
        };
        let block: Vec<u8> = self.unread.drain(..end + 2).collect();
        let (mut name, mut data) = (String::new(), None);
        for line in String::from_utf8(block).unwrap().lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", value) => value.clone_into(&mut name),
                ("id", value) => self.last_id = Some(value.to_owned()),
                ("data", value) => data = Some(serde_json::from_str(value).unwrap()),
                ("retry", value) => self.retry = Some(value.to_owned()),
                (":" | "", _) => self.comments += usize::from(line.starts_with(':')),
                _ => panic!("not a line of an event: {line:?}"),
            }
        }
        Some(data.map(|data| Sent {
            name,
            id: self.last_id.clone().unwrap(),
            data,
        }))
    }
}
