//! One book being read: a row ahead, so that several can be joined as they pass.

use futures_util::StreamExt as _;
use uuid::Uuid;

use super::books::{Charge, Entry, Invoice, Payment, Rows};
use crate::{Error, Result};

/// A row that says whose it is.
pub(super) trait Row {
    fn id(&self) -> Uuid;
}

impl Row for Invoice {
    fn id(&self) -> Uuid {
        self.id
    }
}

impl Row for Payment {
    fn id(&self) -> Uuid {
        self.id
    }
}

impl Row for Entry {
    fn id(&self) -> Uuid {
        self.id
    }
}

impl Row for Charge {
    fn id(&self) -> Uuid {
        self.key
    }
}

pub(super) struct Cursor<'a, T> {
    book: &'static str,
    rows: Rows<'a, T>,
    ahead: Option<T>,
}

impl<'a, T: Row> Cursor<'a, T> {
    pub(super) async fn try_new(book: &'static str, mut rows: Rows<'a, T>) -> Result<Self> {
        let ahead = next(book, &mut rows).await?;
        Ok(Self { book, rows, ahead })
    }

    /// Whose row comes next.
    pub(super) fn id(&self) -> Option<Uuid> {
        self.ahead.as_ref().map(Row::id)
    }

    /// The next row, if it is this one's.
    pub(super) async fn take_one(&mut self, id: Uuid) -> Result<Option<T>> {
        if self.id() != Some(id) {
            return Ok(None);
        }
        let following = next(self.book, &mut self.rows).await?;
        if following.as_ref().is_some_and(|row| row.id() < id) {
            // A join would silently pass over rows; better no verdict than a wrong one.
            return Err(Error::new(format!("{} are not in order after {id}", self.book)));
        }
        Ok(std::mem::replace(&mut self.ahead, following))
    }

    /// All next rows that are this one's.
    pub(super) async fn take_all(&mut self, id: Uuid) -> Result<Vec<T>> {
        let mut taken = Vec::new();
        while let Some(row) = self.take_one(id).await? {
            taken.push(row);
        }
        Ok(taken)
    }
}

async fn next<T>(book: &str, rows: &mut Rows<'_, T>) -> Result<Option<T>> {
    let row = rows.next().await.transpose();
    row.map_err(|error| error.during(&format!("reading {book}")))
}
