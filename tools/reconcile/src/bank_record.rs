//! The bank's own record: a file with a JSON object a line, of which `event: charge` and `event: pending` count.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use payment_contract::Money;
use serde::Deserialize;
use uuid::Uuid;

use crate::{Charge, Error, Result, Status};

/// A line. Times are milliseconds since 1970; other events say nothing about money.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    /// An order was taken, to be charged later.
    Pending(Order),
    /// An order was ended: charged, or declined.
    Charge {
        #[serde(flatten)]
        order: Order,
        status: String,
        reference: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Order {
    at: u64,
    key: Uuid,
    value: String,
    currency: String,
}

/// Every charge and decline the bank ever made, and every order that still waits to be charged. The bank may be open: a
/// last line that is not whole yet does not count.
pub fn read(record: &Path) -> Result<Vec<Charge>> {
    let reading = |error: Error| error.during(&format!("reading {}", record.display()));
    let text = std::fs::read(record).map_err(|error| reading(error.into()))?;
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let now_ms = now_ms();
    let mut ended = Vec::new();
    let mut waiting = Vec::new();
    for line in text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line).map_err(|error| reading(error.into()))? {
            Line::Charge {
                order,
                status,
                reference,
            } => ended.push(order.charge(Status::try_new(&status, "pending")?, reference, now_ms)?),
            Line::Pending(order) => waiting.push(order.charge(Status::Open, String::new(), now_ms)?),
            Line::Other => {}
        }
    }
    let mut known = ended.iter().map(|charge| charge.key).collect::<HashSet<_>>();
    ended.extend(waiting.into_iter().filter(|charge| known.insert(charge.key)));
    Ok(ended)
}

impl Order {
    fn charge(self, status: Status, reference: String, now_ms: u64) -> Result<Charge> {
        Ok(Charge {
            key: self.key,
            status,
            amount: Money::parse(&self.value, &self.currency)?,
            reference,
            age: Duration::from_millis(now_ms.saturating_sub(self.at)),
        })
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
