//! Who can be connected to.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// How long to wait for what.
pub(crate) struct Patience {
    /// For an answer, before it counts as silence.
    pub(crate) silence: Duration,
    /// For the answers to become those that are expected.
    pub(crate) settling: Duration,
}

/// What became of trying to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Open,
    Refused,
    Silent,
    /// The name is not known, or could not be asked for.
    Unknown,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        })
    }
}

/// Tries every address at once, until the open ones are those that should be or time is up, and prints the last answers in the
/// order asked.
pub(crate) async fn run(addresses: &[String], open: &[String], patience: &Patience) {
    let start = Instant::now();
    let mut as_expected = 0;
    let answers = loop {
        let answers = round(addresses, patience.silence).await;
        let expected = addresses
            .iter()
            .zip(&answers)
            .all(|(address, answer)| (*answer == Answer::Open) == open.contains(address));
        // Once could be the moment before a policy arrives.
        as_expected = if expected { as_expected + 1 } else { 0 };
        if as_expected == 2 || start.elapsed() >= patience.settling {
            break answers;
        }
        sleep(PAUSE).await;
    };
    for (address, answer) in addresses.iter().zip(answers) {
        println!("{address} {answer}");
    }
}

async fn round(addresses: &[String], silence: Duration) -> Vec<Answer> {
    let tries: Vec<_> = addresses
        .iter()
        .map(|address| tokio::spawn(timeout(silence, TcpStream::connect(address.clone()))))
        .collect();
    let mut answers = Vec::new();
    for connecting in tries {
        answers.push(match connecting.await {
            Ok(Ok(Ok(_))) => Answer::Open,
            Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
            // A policy drops packets, or answers that there is no way.
            Ok(Ok(Err(error))) if is_unreachable(&error) => Answer::Silent,
            Ok(Err(_)) => Answer::Silent,
            Ok(Ok(Err(_))) | Err(_) => Answer::Unknown,
        });
    }
    answers
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
