//! Bodies that nobody reads: taken in and thrown away for a while, so that the client gets to read why.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;

/// How long the rest of a body is taken in.
const AT_MOST: Duration = Duration::from_secs(3);
/// How much of it.
const BYTES: usize = 64 * 1024 * 1024;

/// A connection that is closed with bytes unread is reset, and a client that is still sending loses the answer. So what
/// a handler leaves unread is read in the background, beside the answer.
pub async fn drain_body(request: Request, next: Next) -> Response {
    // Whoever asks first whether to send has not begun.
    let asks_first = request.headers().contains_key(header::EXPECT);
    if asks_first || request.body().is_end_stream() {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(DrainedOnDrop(Some(body)))))
        .await
}

/// A body whose rest is taken in by a task of its own when its reader drops it; nothing once it has ended.
struct DrainedOnDrop(Option<Body>);

impl HttpBody for DrainedOnDrop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for DrainedOnDrop {
    fn drop(&mut self) {
        if let Some(body) = self.0.take()
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(AT_MOST, take_in(body)));
        }
    }
}

async fn take_in(body: Body) {
    let (mut chunks, mut left) = (body.into_data_stream(), BYTES);
    while let Some(Ok(chunk)) = chunks.next().await {
        let Some(less) = left.checked_sub(chunk.len()) else {
            return;
        };
        left = less;
    }
}
