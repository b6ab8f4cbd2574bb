//! Finishing rows: over `started` only, whoever holds the lease, because a definite answer of the bank stays true.

use std::collections::HashMap;

use payment_contract::PaymentId;
use service::database::{SHORT, retry_conflicts};
use uuid::Uuid;

use super::{Error, Store};
use crate::ledger::{Ending, Settlement, State, contradicts};

/// A definite answer of the bank, to be written down.
#[derive(Clone, Debug)]
pub struct ResultToRecord {
    pub payment_id: PaymentId,
    pub settlement: Settlement,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The row is finished with this result, by this call or by an earlier one.
    Finished(Ending),
    /// The row was finished with another result, which stays.
    Contradicted {
        /// What the row says.
        stored: Ending,
    },
    /// There is no such row: somebody deleted it.
    Missing,
}

impl Store {
    /// Finishes rows in one statement and tells what became of each result, in order. Commits.
    pub async fn record(&self, results: &[ResultToRecord]) -> Result<Vec<Recorded>, Error> {
        let mut endings = self.finish_open_rows(results).await?;
        let unwritten: Vec<Uuid> = results
            .iter()
            .map(|result| result.payment_id.as_uuid())
            .filter(|payment_id| !endings.contains_key(payment_id))
            .collect();
        if !unwritten.is_empty() {
            for entry in self.entries(&unwritten).await? {
                if let State::Finished(ending) = entry.state {
                    endings.insert(entry.payment_id.as_uuid(), ending);
                }
            }
        }
        let recorded = results
            .iter()
            .map(|result| match endings.get(&result.payment_id.as_uuid()) {
                None => Recorded::Missing,
                Some(ending) if contradicts(&result.settlement, &ending.settlement) => {
                    Recorded::Contradicted {
                        stored: ending.clone(),
                    }
                }
                Some(ending) => Recorded::Finished(ending.clone()),
            });
        Ok(recorded.collect())
    }

    async fn finish_open_rows(&self, results: &[ResultToRecord]) -> Result<HashMap<Uuid, Ending>, Error> {
        let mut results: Vec<&ResultToRecord> = results.iter().collect();
        // Rows are locked in the order in which they are given.
        results.sort_unstable_by_key(|result| result.payment_id);
        let ids: Vec<Uuid> = results.iter().map(|result| result.payment_id.as_uuid()).collect();
        let statuses: Vec<String> = results
            .iter()
            .map(|result| result.settlement.status.as_str().to_owned())
            .collect();
        let reasons: Vec<Option<String>> = results
            .iter()
            .map(|result| result.settlement.reason.clone())
            .collect();
        let references: Vec<Option<String>> = results
            .iter()
            .map(|result| result.settlement.reference.clone())
            .collect();
        let rows = retry_conflicts(SHORT, || async {
            let query = sqlx::query!(
                // `(select $1)` hides from the planner how many there are: it would else make a plan for just these, each
                // time. The guard is `status = 'started'`, written as the column that is null just then (a check says so): the
                // planner would else go through the index of all open rows, instead of to the few named here.
                r#"update ledger
                   set status = result.status, reason = result.reason, gateway_reference = result.reference,
                       lease_token = null, lease_until = null, updated_at = clock_timestamp(),
                       settled_at = clock_timestamp()
                   from unnest((select $1::uuid[]), $2::text[], $3::text[], $4::text[])
                        as result (payment_id, status, reason, reference)
                   where ledger.payment_id = result.payment_id and ledger.settled_at is null
                   returning ledger.payment_id, ledger.status, ledger.reason, ledger.gateway_reference,
                             ledger.settled_at as "settled_at!""#,
                &ids,
                &statuses,
                &reasons as &[Option<String>],
                &references as &[Option<String>],
            );
            query.fetch_all(&self.database).await
        })
        .await?;
        let endings = rows.into_iter().filter_map(|row| {
            let status = super::status(&row.status).ok().flatten()?;
            let settlement = Settlement {
                status,
                reason: row.reason,
                reference: row.gateway_reference,
            };
            Some((
                row.payment_id,
                Ending {
                    settlement,
                    settled_at: row.settled_at,
                },
            ))
        });
        Ok(endings.collect())
    }
}
