//! Who can be connected to.

use std::{io, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Tries every address at once, and prints the answers in the order asked.
pub(crate) async fn run(addresses: &[String], limit: Duration) {
    let tries: Vec<_> = addresses
        .iter()
        .map(|address| {
            (
                address,
                tokio::spawn(timeout(limit, TcpStream::connect(address.clone()))),
            )
        })
        .collect();
    for (address, connecting) in tries {
        let answer = match connecting.await {
            Ok(Ok(Ok(_))) => "open",
            Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::ConnectionRefused => "refused",
            // A policy drops packets, or answers that there is no way.
            Ok(Ok(Err(error))) if is_unreachable(&error) => "silent",
            Ok(Err(_)) => "silent",
            // The name is not known, or could not be asked for.
            Ok(Ok(Err(_))) | Err(_) => "unknown",
        };
        println!("{address} {answer}");
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut
    )
}

/// Accepts until it is killed.
pub(crate) async fn listen(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    println!("listening");
    loop {
        listener.accept().await?;
    }
}
