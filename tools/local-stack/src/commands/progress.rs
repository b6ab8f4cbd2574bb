//! How far a large call has come: a line on the terminal, written over until all is settled.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use local_stack::Result;
use serde_json::Value;

use super::client::Client;

/// Often enough to be seen moving.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether somebody watches.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Pays every unpaid invoice and shows how far that is. Whoever ends it meanwhile stops watching, and not the paying.
pub(crate) async fn pay(client: &Client) -> Result<Value> {
    let began = Instant::now();
    let mut batch = client.post("/invoices/pay", &Value::Null).await?;
    while count(&batch, "pending") > 0 {
        let mut terminal = std::io::stderr();
        // To the start of the line, and what is left of the last one is cleared. A terminal that is gone shows nothing.
        let _ = write!(terminal, "\r{}\x1b[K", line(&batch, began.elapsed()));
        let _ = terminal.flush();
        tokio::time::sleep(LOOK_EVERY).await;
        let id = batch.get("batch_id").and_then(Value::as_str).unwrap_or_default();
        batch = client.get(&format!("/payment-batches/{id}")).await?;
    }
    let _ = write!(std::io::stderr(), "\r\x1b[K");
    Ok(batch)
}

/// A count of a batch.
pub(crate) fn count(batch: &Value, name: &str) -> u64 {
    batch.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn line(batch: &Value, elapsed: Duration) -> String {
    let (requested, pending) = (count(batch, "requested"), count(batch, "pending"));
    let settled = requested.saturating_sub(pending);
    let percent = settled * 100 / requested.max(1);
    let a_second = u128::from(settled) * 1000 / elapsed.as_millis().max(1);
    format!("settled {settled} of {requested} ({percent} %), {a_second} a second")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_line_tells_how_far_and_how_fast() {
        let batch = json!({"requested": 200_000, "paid": 49_000, "declined": 1000, "pending": 150_000});
        let told = line(&batch, Duration::from_millis(12_500));
        assert_eq!(told, "settled 50000 of 200000 (25 %), 4000 a second");
    }

    #[test]
    fn nothing_to_pay_is_no_division_by_nothing() {
        assert_eq!(
            line(&json!({}), Duration::ZERO),
            "settled 0 of 0 (0 %), 0 a second"
        );
    }
}
