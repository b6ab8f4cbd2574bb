//! How far something has come: a line on the terminal, written over until it is done. Where nobody watches, nothing is written.

use std::{
    io::{IsTerminal as _, Write as _},
    pin::pin,
    time::{Duration, Instant},
};

use local_stack::Result;
use serde_json::Value;

use super::client::Client;

/// Often enough to be seen moving.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether somebody watches: a result that goes elsewhere is a script's, or is read later.
fn is_watched() -> bool {
    std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// Waits for this, and shows meanwhile what these words say of it after so long.
pub(crate) async fn during<T>(work: impl Future<Output = T>, words: impl Fn(Duration) -> String) -> T {
    if !is_watched() {
        return work.await;
    }
    let _line = Line;
    let began = Instant::now();
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(LOOK_EVERY) => show(&words(began.elapsed())),
        }
    }
}

/// Is cleared at the end, however that comes.
struct Line;

impl Drop for Line {
    fn drop(&mut self) {
        show("");
    }
}

/// From the start of the line, and what is left of the last one is cleared. A terminal that is gone shows nothing.
fn show(line: &str) {
    let mut terminal = std::io::stderr();
    let _ = write!(terminal, "\r{line}\x1b[K");
    let _ = terminal.flush();
}

/// Pays every unpaid invoice; where somebody watches, it shows how far that is. Whoever ends it meanwhile stops watching, and
/// not the paying.
pub(crate) async fn pay(client: &Client) -> Result<Value> {
    if !is_watched() {
        return client.pay().await;
    }
    let _line = Line;
    let began = Instant::now();
    let mut batch = client.post("/invoices/pay", &Value::Null).await?;
    while count(&batch, "pending") > 0 {
        show(&settled(&batch, began.elapsed()));
        tokio::time::sleep(LOOK_EVERY).await;
        let id = batch.get("batch_id").and_then(Value::as_str).unwrap_or_default();
        batch = client.get(&format!("/payment-batches/{id}")).await?;
    }
    Ok(batch)
}

/// A count of a batch.
pub(crate) fn count(batch: &Value, name: &str) -> u64 {
    batch.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn settled(batch: &Value, elapsed: Duration) -> String {
    let (requested, pending) = (count(batch, "requested"), count(batch, "pending"));
    let done = requested.saturating_sub(pending);
    let percent = done * 100 / requested.max(1);
    let a_second = u128::from(done) * 1000 / elapsed.as_millis().max(1);
    format!("settled {done} of {requested} ({percent} %), {a_second} a second")
}

/// Of the bytes of a file.
pub(crate) fn sent(done: u64, all: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if done < all {
        let percent = done * 100 / all;
        return format!(
            "sent {} of {} KB ({percent} %), {seconds} s",
            done / 1000,
            all / 1000
        );
    }
    format!("sent {} KB; it is being imported, {seconds} s", all / 1000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_line_tells_how_far_and_how_fast() {
        let batch = json!({"requested": 200_000, "paid": 49_000, "declined": 1000, "pending": 150_000});
        let told = settled(&batch, Duration::from_millis(12_500));
        assert_eq!(told, "settled 50000 of 200000 (25 %), 4000 a second");
    }

    #[test]
    fn a_file_is_sent_and_then_imported() {
        let after = Duration::from_millis(2900);
        assert_eq!(sent(500_000, 2_000_000, after), "sent 500 of 2000 KB (25 %), 2 s");
        assert_eq!(
            sent(2_000_000, 2_000_000, after),
            "sent 2000 KB; it is being imported, 2 s"
        );
        assert_eq!(sent(0, 0, after), "sent 0 KB; it is being imported, 2 s");
    }

    #[test]
    fn nothing_to_pay_is_no_division_by_nothing() {
        assert_eq!(
            settled(&json!({}), Duration::ZERO),
            "settled 0 of 0 (0 %), 0 a second"
        );
    }
}
