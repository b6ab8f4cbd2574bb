//! What the services count while they are killed and started again: totals over all their processes.

use std::{collections::BTreeMap, sync::Mutex, sync::PoisonError, time::Duration};

use super::world::World;
use acceptance::Result;

/// Between two looks. What a process counts after the last look before it is killed is not seen.
const EVERY: Duration = Duration::from_millis(500);
/// A frozen process does not answer.
const PATIENCE: Duration = Duration::from_millis(400);

/// The counters that tell how much was repeated, with the words for it.
const WATCHED: [(&str, &str); 6] = [
    ("nats_client_redelivered_messages_total", "redelivered"),
    ("invoice_app_pay_requests_claimed_total", "sent again"),
    ("invoice_app_outcomes_repeated_total", "outcomes repeated"),
    ("invoice_app_nats_forgot_total", "NATS forgot"),
    ("payment_provider_results_unknown_total", "bank results unknown"),
    ("payment_provider_leases_lost_total", "leases lost"),
];

/// Totals, each at least what really happened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By process and line of its metrics: what it said last.
    last: Mutex<BTreeMap<(String, String), f64>>,
    totals: Mutex<BTreeMap<&'static str, f64>>,
}

impl Counters {
    /// Looks until dropped.
    pub(super) async fn watch(&self, world: &World) -> Result<()> {
        let http = local_stack::http_client(PATIENCE)?;
        loop {
            for node in world.nodes() {
                let url = format!("{}/metrics", node.service.admin_url());
                if let Ok(answer) = http.get(url).send().await
                    && let Ok(text) = answer.text().await
                {
                    self.note(&node.name, &text);
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    fn note(&self, process: &str, metrics: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        for line in metrics.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = series.split('{').next().unwrap_or_default();
            let watched = WATCHED.iter().find(|(watched, _)| *watched == name);
            let (Some((_, word)), Ok(value)) = (watched, value.parse::<f64>()) else {
                continue;
            };
            let before = last
                .insert((process.to_owned(), series.to_owned()), value)
                .unwrap_or_default();
            // Less than before: it began again at zero.
            let more = if value < before { value } else { value - before };
            *totals.entry(word).or_default() += more;
        }
    }

    /// The totals by their words.
    pub(super) fn totals(&self) -> Vec<(&'static str, f64)> {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        WATCHED
            .iter()
            .map(|(_, word)| (*word, totals.get(word).copied().unwrap_or_default()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_go_on_when_a_process_begins_again_at_zero() {
        let counters = Counters::default();
        for (process, value) in [("a", 3), ("b", 1), ("a", 5), ("a", 2), ("b", 1)] {
            let metrics = format!(
                "# HELP x\nnats_client_redelivered_messages_total{{stream=\"PAY_REQUESTS\"}} {value}\nother_total 9\n"
            );
            counters.note(process, &metrics);
        }
        assert_eq!(counters.totals()[0], ("redelivered", 8.0));
        assert!(counters.totals()[1..].iter().all(|(_, total)| *total == 0.0));
    }
}
