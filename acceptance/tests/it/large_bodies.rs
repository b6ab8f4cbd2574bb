//! Bodies of 100 MB: refused, or read, in little memory, while others are answered.

use acceptance::{LIMIT, System, memory::peak_memory};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const BODY: usize = 100 * 1024 * 1024;
const PIECE: usize = 64 * 1024;
/// All of them together may take this much more than the process had at most before: a fifth of one.
const MEMORY: u64 = 20 * 1024 * 1024;

/// The status of the answer to a body of so many same bytes, sent for as long as there is no answer.
async fn status_of(address: &str, head: &str, chunked: bool, byte: u8) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let length = if chunked {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {BODY}")
    };
    let head = format!("{head} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{length}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = connection.split();
    let piece = vec![byte; PIECE];
    let sending = async {
        for _ in 0..BODY / PIECE {
            if chunked {
                writing.write_all(format!("{PIECE:x}\r\n").as_bytes()).await?;
            }
            writing.write_all(&piece).await?;
            if chunked {
                writing.write_all(b"\r\n").await?;
            }
        }
        if chunked {
            writing.write_all(b"0\r\n\r\n").await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let mut answer = [0; 12];
    let mut reading = std::pin::pin!(reading.read_exact(&mut answer));
    tokio::select! {
        biased;
        read = &mut reading => { read.unwrap(); }
        // Whoever is refused may find that nobody reads any more.
        _ = sending => { tokio::time::timeout(LIMIT, &mut reading).await.unwrap().unwrap(); }
    }
    String::from_utf8_lossy(&answer).replace("HTTP/1.1 ", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_a_hundred_megabytes_take_little_memory() {
    let system = System::start().await.unwrap();
    let service = system.stack().invoice_app();
    let client = system.client().unwrap();
    client.create("1.00", "EUR").await.unwrap();
    let before = peak_memory(service.program()).unwrap();
    let url = service.url();
    let address = url.strip_prefix("http://").unwrap();
    let mut calls = Vec::new();
    for (expected, head, byte) in [
        ("413", "POST /invoices", b' '),
        ("413", "POST /invoices/pay", b'['),
        (
            "413",
            "POST /invoices/00000000-0000-0000-0000-000000000000/pay",
            b'{',
        ),
        ("404", "POST /nowhere", b'x'),
        // One line, which is told to be too long.
        ("200", "POST /invoices/import", b'x'),
    ] {
        for chunked in [false, true] {
            calls.push(async move {
                let status = status_of(address, head, chunked, byte).await;
                assert_eq!(status, expected, "{head}, chunked: {chunked}");
            });
        }
    }
    // No more imports at once than are let in.
    join_all(calls).await;
    client.create("1.00", "EUR").await.unwrap();
    let after = peak_memory(service.program()).unwrap();
    eprintln!("{} KiB at most, {} before", after / 1024, before / 1024);
    assert!(
        after < before + MEMORY,
        "{before} bytes at most before, {after} after"
    );
}
