//! What happened to an invoice, and where in the order of everything that happened. No I/O.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use payment_contract::words;
use time::OffsetDateTime;

use crate::{batch_id::BatchId, invoice::Invoice};

words! {
    /// What can happen to an invoice. Its word is the event's type in the API.
    #[derive(sqlx::Type)]
    #[sqlx(type_name = "text", rename_all = "lowercase")]
    pub enum Kind {
        Created = "invoice.created",
        /// Its payment was asked for.
        Pending = "invoice.pending",
        Paid = "invoice.paid",
        /// Its payment was declined: it is unpaid again.
        Declined = "invoice.declined",
        Voided = "invoice.voided",
    }
}

/// A place in the order of all changes: transaction, group within it, and change within that. Places between two changes
/// are places, too. Only those of one era are in an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The history of the database that it is of. A database that was restored, or replaced by its standby, begins another:
    /// what it does not remember, it does again, as other transactions.
    pub era: i64,
    pub transaction: u64,
    /// The group of changes.
    pub group: u64,
    /// The change within its group, from 1.
    pub place: u32,
}

/// How many bytes a position is made of.
const POSITION_BYTES: usize = 28;
/// And with a batch.
const BATCH_POSITION_BYTES: usize = POSITION_BYTES + 16;

/// Text that is no id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an event, as it was sent")]
pub struct BadId;

impl Position {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BATCH_POSITION_BYTES);
        bytes.extend(self.era.to_be_bytes());
        bytes.extend(self.transaction.to_be_bytes());
        bytes.extend(self.group.to_be_bytes());
        bytes.extend(self.place.to_be_bytes());
        bytes
    }

    /// The id of what is told of a batch at this place: not that of the change at it, nor of another batch, and read as the
    /// same place.
    pub fn batch_event_id(self, batch: BatchId) -> String {
        let mut bytes = self.bytes();
        bytes.extend(batch.as_uuid().as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// As an event's id.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

impl FromStr for Position {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadId)?;
        if ![POSITION_BYTES, BATCH_POSITION_BYTES].contains(&bytes.len()) {
            return Err(BadId);
        }
        let (era, rest) = bytes.split_first_chunk().ok_or(BadId)?;
        let (transaction, rest) = rest.split_first_chunk().ok_or(BadId)?;
        let (group, rest) = rest.split_first_chunk().ok_or(BadId)?;
        let (place, _) = rest.split_first_chunk().ok_or(BadId)?;
        Ok(Self {
            era: i64::from_be_bytes(*era),
            transaction: u64::from_be_bytes(*transaction),
            group: u64::from_be_bytes(*group),
            place: u32::from_be_bytes(*place),
        })
    }
}

/// A change that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it stands among all.
    pub position: Position,
    pub kind: Kind,
    pub time: OffsetDateTime,
    /// The invoice, as this change left it.
    pub invoice: Invoice,
    /// The batch its payment belongs to.
    pub batch_id: Option<BatchId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written_and_a_forged_one_refused() {
        let position = Position {
            era: i64::MIN,
            transaction: u64::MAX,
            group: 7,
            place: 1000,
        };
        assert_eq!(position.to_string().parse(), Ok(position));
        let batch = BatchId::generate();
        let of_batch = position.batch_event_id(batch);
        assert_ne!(of_batch, position.to_string());
        assert_eq!(of_batch.parse(), Ok(position));
        let long = "A".repeat(100_000);
        for bad in ["", "1", "0", "!!", "AAAA", "é", long.as_str()] {
            assert_eq!(bad.parse::<Position>(), Err(BadId), "{bad:.10}");
        }
    }

    #[test]
    fn positions_are_in_the_order_of_transaction_group_and_place() {
        let position = |transaction, group, place| Position {
            era: -1,
            transaction,
            group,
            place,
        };
        let ordered = [
            position(1, 9, 9),
            position(2, 0, 0),
            position(2, 1, 7),
            position(2, 2, 1),
        ];
        assert!(ordered.is_sorted());
    }
}
