//! Connections: a bounded number, of which the idle give way to new ones, each with a limit on how long a request's head may take,
//! finished in order on stop.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, header::CONNECTION},
    middleware::map_response,
    response::Response,
};
use http_body_util::BodyExt as _;
use hyper::service::{Service as _, service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    idle::{Busy, IdleConnections},
    write_limit::WriteLimit,
};

/// How long a connection may take for the head of a request, idle time before it included.
const HEAD: Duration = Duration::from_secs(75);
/// The largest head.
const HEAD_BYTES: usize = 64 * 1024;
/// After an accept that failed for want of something: time for it to come back.
const BREATH: Duration = Duration::from_millis(100);

/// How long connections that are kept open have to ask once more and learn from the answer that it was the last. One that is
/// closed while it is idle may be just about to be used, and that request would fail.
const FAREWELL: Duration = Duration::from_secs(1);

/// What connections are allowed.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// So many at once.
    pub most: usize,
    /// How long a client may take nothing of its answer.
    pub write_stall: Duration,
    /// How long after the stop what is in flight may take.
    pub finish: Duration,
}

/// Serves `router` until `stop`; then takes no more connections, says so in each answer, and finishes what is in flight.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    allowed: Connections,
    stop: CancellationToken,
) -> io::Result<()> {
    let stopping = stop.clone();
    let router = router.layer(map_response(move |mut response: Response| {
        if stopping.is_cancelled() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        std::future::ready(response)
    }));
    let connections = Arc::new(Semaphore::new(allowed.most));
    let idle = IdleConnections::default();
    let (graceful, cut) = (GracefulShutdown::new(), CancellationToken::new());
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections, &idle) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let place = idle.add();
        let of = Arc::clone(&place);
        let service = TowerToHyperService::new(router.clone());
        let answer = service_fn(move |request| {
            let busy = of.busy();
            let answering = service.call(request);
            async move { answering.await.map(|response| keep_busy(busy, response)) }
        });
        let stream = TokioIo::new(WriteLimit::new(stream, allowed.write_stall));
        let connection = graceful.watch(http.serve_connection(stream, answer));
        let cut = cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection ended early");
                    }
                }
                () = place.gave_way() => debug!("an idle connection gave way to a new one"),
                () = cut.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    // All permits are back when all connections have ended.
    let all = u32::try_from(allowed.most).unwrap_or(u32::MAX);
    let _ = timeout(FAREWELL, connections.acquire_many(all)).await;
    if timeout(allowed.finish, graceful.shutdown()).await.is_err() {
        let left = allowed.most.saturating_sub(connections.available_permits());
        warn!(
            connections = left,
            "answers were not finished in time; their connections are cut"
        );
        cut.cancel();
        let _ = connections.acquire_many(all).await;
    }
    Ok(())
}

/// The connection is busy until the answer's last byte.
fn keep_busy(busy: Busy, response: Response) -> Response {
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &busy;
            frame
        }))
    })
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
    idle: &IdleConnections,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    match listener.accept().await {
        Ok((stream, _)) => {
            let permit = tokio::select! {
                biased;
                permit = Arc::clone(connections).acquire_owned() => permit.ok()?,
                never = idle.make_room() => match never {},
            };
            // Answers are small and written whole: waiting for more to send would only delay them.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            warn!(%error, "could not accept a connection");
            tokio::time::sleep(BREATH).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    const fn allowed(most: usize) -> Connections {
        Connections {
            most,
            write_stall: Duration::from_millis(500),
            finish: Duration::from_millis(500),
        }
    }

    /// Asks for an answer without an end, and reads its first byte alone.
    async fn unread(address: std::net::SocketAddr) -> TcpStream {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection
            .write_all(b"GET /endless HTTP/1.1\r\nhost: here\r\n\r\n")
            .await
            .unwrap();
        connection.read_exact(&mut [0]).await.unwrap();
        connection
    }

    fn endless() -> Router {
        let body = || {
            Body::from_stream(stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from(
                vec![b'x'; 64 * 1024],
            ))))
        };
        Router::new()
            .route("/", get(|| async {}))
            .route("/endless", get(async move || body()))
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_keep_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, endless(), allowed(1), stop.clone()));
        let mut unread = unread(address).await;
        let mut new = TcpStream::connect(address).await.unwrap();
        let answer = timeout(Duration::from_secs(10), ask(&mut new)).await;
        assert!(answer.unwrap().starts_with("http/1.1 200"));
        let mut answer = Vec::new();
        // Cut off, perhaps by a reset.
        let _ = unread.read_to_end(&mut answer).await;
        assert!(!answer.ends_with(b"\r\n0\r\n\r\n"), "it looks whole");
        stop.cancel();
        drop((new, unread));
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn answers_without_an_end_do_not_keep_the_stop_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let patient = Connections {
            write_stall: Duration::from_mins(1),
            ..allowed(3)
        };
        let serving = tokio::spawn(serve(listener, endless(), patient, stop.clone()));
        let _unread = unread(address).await;
        stop.cancel();
        timeout(Duration::from_secs(10), serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    async fn ask(connection: &mut TcpStream) -> String {
        connection
            .write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 4096];
        let length = connection.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).to_lowercase()
    }

    #[tokio::test]
    async fn idle_connection_gives_way_to_a_new_one_and_a_busy_one_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let release = CancellationToken::new();
        let released = release.clone();
        let router = Router::new()
            .route("/", get(|| async {}))
            .route("/slow", get(|| async move { released.cancelled().await }));
        let serving = tokio::spawn(serve(listener, router, allowed(3), stop.clone()));
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nhost: here\r\n\r\n")
            .await
            .unwrap();
        let mut oldest = TcpStream::connect(address).await.unwrap();
        oldest.write_all(b"GET / HT").await.unwrap();
        let mut kept = TcpStream::connect(address).await.unwrap();
        ask(&mut kept).await;

        let mut new = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut new).await.starts_with("http/1.1 200"));
        // Closed, or reset because of what it had begun to say.
        assert!(!matches!(oldest.read(&mut [0]).await, Ok(1..)));
        assert!(ask(&mut kept).await.starts_with("http/1.1 200"));
        release.cancel();
        let mut answer = [0; 4096];
        let length = busy.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        stop.cancel();
        drop((new, kept, busy));
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn kept_connection_is_told_by_an_answer_that_it_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async {}));
        let serving = tokio::spawn(serve(listener, router, allowed(8), stop.clone()));
        let mut connection = TcpStream::connect(address).await.unwrap();
        assert!(!ask(&mut connection).await.contains("connection: close"));

        stop.cancel();
        let last = ask(&mut connection).await;
        assert!(last.starts_with("http/1.1 200"), "{last}");
        assert!(last.contains("connection: close"), "{last}");
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0, "it is not closed");
        serving.await.unwrap().unwrap();
    }
}
