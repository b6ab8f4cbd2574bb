//! `list`: pages of invoices out of a large table: the first, one near the end, and filtered ones.

use std::time::Instant;

use super::{
    results::Results,
    statistics::{milliseconds, percentile},
};
use acceptance::{Client, Error, Result, client::text};

/// Pages that a median is taken of.
const LOOKS: usize = 50;
/// The deep page comes after this part of the table.
const DEEP: u32 = 9;
const OF: u32 = 10;
/// Invoices that a page may hold, for the way to the deep one.
const LARGEST_PAGE: u32 = 1000;

/// Measures pages of 100 invoices out of a table of `rows`.
pub async fn measure(client: &Client, rows: u32, results: &mut Results) -> Result<()> {
    let deep = format!("cursor={}", cursor_after(client, rows / OF * DEEP).await?);
    let pages = [
        ("list.first", ""),
        ("list.deep", deep.as_str()),
        ("list.status", "status=paid"),
        ("list.currency", "currency=DKK"),
        ("list.none", "status=void"),
    ];
    // In turn, so that what disturbs the machine for a moment disturbs all alike.
    let mut latencies = vec![Vec::with_capacity(LOOKS); pages.len()];
    for _ in 0..LOOKS {
        for ((_, query), latencies) in pages.iter().zip(&mut latencies) {
            let began = Instant::now();
            client.list(query).await?;
            latencies.push(began.elapsed());
        }
    }
    for ((name, _), mut latencies) in pages.into_iter().zip(latencies) {
        latencies.sort_unstable();
        let median = percentile(&latencies, 500).map_or(f64::NAN, milliseconds);
        results.note(name, "ms", median);
    }
    Ok(())
}

/// The cursor that continues after so many invoices.
async fn cursor_after(client: &Client, rows: u32) -> Result<String> {
    let mut cursor = String::new();
    for _ in 0..rows / LARGEST_PAGE {
        let from = if cursor.is_empty() {
            String::new()
        } else {
            format!("&cursor={cursor}")
        };
        let page = client
            .get(&format!("/invoices?limit={LARGEST_PAGE}{from}"))
            .await?
            .expect(200)?;
        text(&page, "/next_cursor").clone_into(&mut cursor);
        if cursor.is_empty() {
            return Err(Error::new("the table ended before the deep page"));
        }
    }
    Ok(cursor)
}
