//! A bank that is not there: keeps books of its own in Postgres, and misbehaves on cue.
//!
//! Its charges are durable and shared by replicas, so that a look-up tells the truth after a crash. They commit in their own
//! transactions, concurrent ones together. In any two-decimal currency these amounts bring trouble:
//!
//! | amount | does |
//! |---|---|
//! | 4000.01 | declines: `insufficient_funds` |
//! | 4000.02 | declines: `account_closed` |
//! | 4000.03 | takes 2 s |
//! | 4000.04 | fails, once for a key, then succeeds |
//! | 4000.05 | times out before charging, once for a key |
//! | 4000.06 | times out after charging, once for a key |

use std::{collections::HashMap, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use service::{
    batcher::Batcher,
    database::{SHORT, WarmPool, retry_conflicts},
    telemetry::chain,
};
use uuid::Uuid;

use super::Gateway;
use crate::{
    metrics,
    order::{Answer, CallError, IdempotencyKey, Order},
};

/// How long the slow amount takes.
const SLOW: Duration = Duration::from_secs(2);
/// Longer than any caller waits: the caller's own timeout ends the call.
const NEVER: Duration = Duration::from_hours(1);
/// One insert takes this many charges at most.
const LARGEST_BATCH: usize = 512;
/// One batch is written while the next is collected.
const BATCHES: usize = 2;

pub struct Simulated {
    books: WarmPool,
    charges: Batcher<Charge, Result<Charged, CallError>>,
}

/// What an amount does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Succeed,
    Decline(&'static str),
    SucceedSlowly,
    FailOnce,
    TimeoutBeforeOnce,
    TimeoutAfterOnce,
}

impl Behaviour {
    fn of(order: &Order) -> Self {
        if order.amount.currency().exponent() != 2 {
            return Self::Succeed;
        }
        match order.amount.minor_units() {
            400_001 => Self::Decline("insufficient_funds"),
            400_002 => Self::Decline("account_closed"),
            400_003 => Self::SucceedSlowly,
            400_004 => Self::FailOnce,
            400_005 => Self::TimeoutBeforeOnce,
            400_006 => Self::TimeoutAfterOnce,
            _ => Self::Succeed,
        }
    }
}

/// An entry for the bank's books.
#[derive(Clone, Debug)]
struct Charge {
    key: Uuid,
    value: String,
    currency: &'static str,
    invoice: String,
    declined: Option<&'static str>,
}

/// An entry of the bank's books.
#[derive(Clone, Debug)]
struct Charged {
    key: Uuid,
    value: String,
    currency: String,
    reason: Option<String>,
    reference: String,
}

impl Charged {
    fn answer(self) -> Answer {
        let reference = Some(self.reference);
        match self.reason {
            None => Answer::Succeeded { reference },
            Some(reason) => Answer::Declined { reason, reference },
        }
    }
}

impl Simulated {
    /// With its books in the given database.
    pub fn new(books: WarmPool) -> Self {
        let charges = Batcher::new(
            metrics::batcher_queue("simulated_charges"),
            LARGEST_BATCH,
            BATCHES,
            books.clone(),
            |books, charges| enter(books, charges).boxed(),
        );
        Self { books, charges }
    }

    async fn charge(&self, key: IdempotencyKey, order: &Order) -> Result<Answer, CallError> {
        let declined = match Behaviour::of(order) {
            Behaviour::Decline(reason) => Some(reason),
            _ => None,
        };
        let (value, currency) = (order.amount.value(), order.amount.currency().code());
        let invoice = order.invoice_number.clone();
        let charge = Charge {
            key: key.as_uuid(),
            value: value.clone(),
            currency,
            invoice,
            declined,
        };
        let charged = self.charges.submit(charge).await;
        let charged = charged.map_err(|lost| CallError::Unknown(lost.to_string()))??;
        if charged.value != value || charged.currency != currency {
            return Err(CallError::Unknown(format!(
                "key {key} was used for another amount"
            )));
        }
        Ok(charged.answer())
    }

    /// True the first time it is asked about a key, over all replicas and restarts.
    async fn first_time(&self, key: IdempotencyKey) -> Result<bool, CallError> {
        sqlx::query!(
            "insert into simulated_faults (key) values ($1) on conflict do nothing",
            key.as_uuid()
        )
        .execute(&self.books)
        .await
        .map(|done| done.rows_affected() == 1)
        .map_err(unknown)
    }

    async fn pay_as_told(&self, key: IdempotencyKey, order: &Order) -> Result<Answer, CallError> {
        match Behaviour::of(order) {
            Behaviour::Succeed | Behaviour::Decline(_) => {}
            Behaviour::SucceedSlowly => tokio::time::sleep(SLOW).await,
            Behaviour::FailOnce => {
                if self.first_time(key).await? {
                    return Err(CallError::Retryable("told to fail once".to_owned()));
                }
            }
            Behaviour::TimeoutBeforeOnce => {
                if self.first_time(key).await? {
                    tokio::time::sleep(NEVER).await;
                }
            }
            Behaviour::TimeoutAfterOnce => {
                let answer = self.charge(key, order).await?;
                if self.first_time(key).await? {
                    tokio::time::sleep(NEVER).await;
                }
                return Ok(answer);
            }
        }
        self.charge(key, order).await
    }
}

impl Gateway for Simulated {
    fn pay<'a>(&'a self, key: IdempotencyKey, order: &'a Order) -> BoxFuture<'a, Result<Answer, CallError>> {
        self.pay_as_told(key, order).boxed()
    }

    fn find(&self, key: IdempotencyKey) -> BoxFuture<'_, Result<Option<Answer>, CallError>> {
        async move {
            let mut found = look_up(&self.books, &[key.as_uuid()]).await.map_err(unknown)?;
            Ok(found.pop().map(Charged::answer))
        }
        .boxed()
    }
}

/// Enters charges in one statement; a key that is there already keeps its entry. Answers each with its key's entry.
async fn enter(books: &WarmPool, charges: Vec<Charge>) -> Vec<Result<Charged, CallError>> {
    let entered = match insert(books, &charges).await {
        Ok(mut entered) => {
            let keys = charges.iter().map(|charge| charge.key);
            let earlier: Vec<Uuid> = keys.filter(|key| !entered.contains_key(key)).collect();
            let found = if earlier.is_empty() {
                Ok(Vec::new())
            } else {
                look_up(books, &earlier).await
            };
            found.map(|found| {
                entered.extend(found.into_iter().map(|charged| (charged.key, charged)));
                entered
            })
        }
        Err(error) => Err(error),
    };
    match entered {
        Ok(entered) => charges
            .iter()
            .map(|charge| {
                let entry = entered.get(&charge.key).cloned();
                entry.ok_or_else(|| CallError::Unknown("the entry is gone".to_owned()))
            })
            .collect(),
        Err(error) => vec![Err(unknown(error)); charges.len()],
    }
}

async fn insert(books: &WarmPool, charges: &[Charge]) -> Result<HashMap<Uuid, Charged>, sqlx::Error> {
    // By key, so that two replicas' batches wait for each other instead of deadlocking.
    let mut charges: Vec<&Charge> = charges.iter().collect();
    charges.sort_unstable_by_key(|charge| charge.key);
    let keys: Vec<Uuid> = charges.iter().map(|charge| charge.key).collect();
    let values: Vec<String> = charges.iter().map(|charge| charge.value.clone()).collect();
    let currencies: Vec<String> = charges.iter().map(|charge| charge.currency.to_owned()).collect();
    let invoices: Vec<String> = charges.iter().map(|charge| charge.invoice.clone()).collect();
    let reasons: Vec<Option<String>> = charges
        .iter()
        .map(|charge| charge.declined.map(str::to_owned))
        .collect();
    let references: Vec<String> = charges
        .iter()
        .map(|_| format!("sim-{}", Uuid::now_v7()))
        .collect();
    let rows = retry_conflicts(SHORT, || async {
        let query = sqlx::query_as!(
            Charged,
            "insert into simulated_charges (key, value, currency, invoice, status, reason, reference)
             select c.key, c.value, c.currency, c.invoice,
                    case when c.reason is null then 'succeeded' else 'declined' end, c.reason, c.reference
             from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                  as c (key, value, currency, invoice, reason, reference)
             on conflict (key) do nothing
             returning key, value, currency, reason, reference",
            &keys,
            &values,
            &currencies,
            &invoices,
            &reasons as &[Option<String>],
            &references,
        );
        query.fetch_all(books).await
    })
    .await?;
    Ok(rows.into_iter().map(|charged| (charged.key, charged)).collect())
}

async fn look_up(books: &WarmPool, keys: &[Uuid]) -> Result<Vec<Charged>, sqlx::Error> {
    sqlx::query_as!(
        Charged,
        "select key, value, currency, reason, reference from simulated_charges where key = any($1)",
        keys,
    )
    .fetch_all(books)
    .await
}

/// A charge whose commit failed may be there all the same.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unknown(error: sqlx::Error) -> CallError {
    CallError::Unknown(chain(&error))
}

#[cfg(test)]
mod tests {
    //! Which amounts bring which trouble.

    use payment_contract::Money;

    use super::*;

    fn behaviour(value: &str, currency: &str) -> Behaviour {
        let amount = Money::parse(value, currency).unwrap();
        Behaviour::of(&Order {
            amount,
            invoice_number: "I1".to_owned(),
        })
    }

    #[test]
    fn amounts_bring_trouble_in_two_decimal_currencies_only() {
        assert_eq!(
            behaviour("4000.01", "EUR"),
            Behaviour::Decline("insufficient_funds")
        );
        assert_eq!(behaviour("4000.02", "DKK"), Behaviour::Decline("account_closed"));
        assert_eq!(behaviour("4000.03", "USD"), Behaviour::SucceedSlowly);
        assert_eq!(behaviour("4000.04", "GBP"), Behaviour::FailOnce);
        assert_eq!(behaviour("4000.05", "EUR"), Behaviour::TimeoutBeforeOnce);
        assert_eq!(behaviour("4000.06", "EUR"), Behaviour::TimeoutAfterOnce);
        assert_eq!(behaviour("4000.00", "EUR"), Behaviour::Succeed);
        assert_eq!(behaviour("400001", "JPY"), Behaviour::Succeed);
        assert_eq!(behaviour("400.001", "KWD"), Behaviour::Succeed);
    }
}
