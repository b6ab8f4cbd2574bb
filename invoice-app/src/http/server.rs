//! Connections: a bounded number, each with a limit on how long a request's head may take, finished in order on stop.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, header::CONNECTION},
    middleware::map_response,
    response::Response,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long a connection may take for the head of a request, idle time before it included.
const HEAD: Duration = Duration::from_secs(75);
/// The largest head.
const HEAD_BYTES: usize = 64 * 1024;
/// After an accept that failed for want of something: time for it to come back.
const BREATH: Duration = Duration::from_millis(100);

/// How long connections that are kept open have to ask once more and learn from the answer that it was the last. One that is
/// closed while it is idle may be just about to be used, and that request would fail.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves `router` until `stop`; then takes no more connections, says so in each answer, and finishes what is in flight.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
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
    let connections = Arc::new(Semaphore::new(max_connections));
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    // All permits are back when all connections have ended.
    let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
    let _ = timeout(FAREWELL, connections.acquire_many(all)).await;
    graceful.shutdown().await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
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
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

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
    async fn kept_connection_is_told_by_an_answer_that_it_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async {}));
        let serving = tokio::spawn(serve(listener, router, 8, stop.clone()));
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
