//! The bank's connections, which can be reset under an answer, or carry one twice.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{Extension, Router};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use crate::Result;

const PLAIN: u8 = 0;
const RESET: u8 = 1;
const TWICE: u8 = 2;

/// What is to be done to the next answer of a connection. Its handlers have it as an extension.
#[derive(Clone, Debug, Default)]
pub(super) struct Trick(Arc<AtomicU8>);

impl Trick {
    /// Reset the connection instead of answering.
    pub(super) fn reset(&self) {
        self.0.store(RESET, Ordering::SeqCst);
    }

    /// Send the answer twice.
    pub(super) fn twice(&self) {
        self.0.store(TWICE, Ordering::SeqCst);
    }
}

/// A connection that does its trick.
struct Wire {
    stream: TcpStream,
    trick: Trick,
    /// What is to be sent once more.
    again: Vec<u8>,
}

/// Serves this router on every connection, for ever.
pub(super) async fn serve(listener: TcpListener, router: Router) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let trick = Trick::default();
        let service = TowerToHyperService::new(router.clone().layer(Extension(trick.clone())));
        let wire = Wire {
            stream,
            trick,
            again: Vec::new(),
        };
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // Callers hang up in the middle of a call as a matter of course.
            let _ = http.serve_connection(TokioIo::new(wire), service).await;
        });
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let trick = self.trick.0.load(Ordering::SeqCst);
        if trick == RESET {
            // Closed with nothing lingering, a connection ends in a reset.
            self.stream.set_zero_linger()?;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        if trick == TWICE {
            self.again.extend(bytes.iter().take(written));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.again.is_empty() {
            let this = &mut *self;
            let written = ready!(Pin::new(&mut this.stream).poll_write(context, &this.again))?;
            this.again.drain(..written);
            this.trick.0.store(PLAIN, Ordering::SeqCst);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
