//! What can go wrong at the bank. It is payment-provider's simulated one, whose books are tables: it can be kept from writing
//! them, or made slow at it. (Amounts bring the other troubles: `payment-provider/src/gateway/simulated.rs`.)

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use local_stack::{Error, Result};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{sync::oneshot, task::AbortHandle};

use super::{Room, database, lock};

/// As with what is frozen: nobody has to remember.
const AWAY_FOR: Duration = Duration::from_secs(30);

/// The bank, as far as the control room can reach it.
pub(super) struct Bank {
    simulated: bool,
    away: Mutex<Option<AbortHandle>>,
    slow: Mutex<bool>,
    charged_twice: Mutex<bool>,
}

impl Bank {
    /// Whoever starts the stack may bring a bank of their own, whose books nobody here has.
    pub(super) fn from_env() -> Self {
        let kind = std::env::var("PAYMENT_PROVIDER__GATEWAY__KIND");
        Self {
            simulated: kind.as_deref().unwrap_or("simulated") == "simulated",
            away: Mutex::default(),
            slow: Mutex::default(),
            charged_twice: Mutex::default(),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.simulated
    }

    pub(super) fn is_away(&self) -> bool {
        let away = lock(&self.away);
        away.as_ref().is_some_and(|away| !away.is_finished())
    }

    pub(super) fn is_slow(&self) -> bool {
        *lock(&self.slow)
    }

    pub(super) fn has_charged_twice(&self) -> bool {
        *lock(&self.charged_twice)
    }

    /// Whether it was away.
    pub(super) fn reopen(&self) -> bool {
        let away = lock(&self.away).take();
        away.is_some_and(|away| {
            let was_away = !away.is_finished();
            away.abort();
            was_away
        })
    }

    fn expect_simulated(&self) -> Result<()> {
        if self.simulated {
            return Ok(());
        }
        Err(Error::Usage(
            "payment-provider was given another bank, which cannot be reached from here".to_owned(),
        ))
    }
}

/// Nobody can write into the bank's books, so no call is answered; they can still be read, also by the check.
pub(super) async fn switch_away(room: &Arc<Room>) -> Result<String> {
    room.bank.expect_simulated()?;
    if room.bank.reopen() {
        return Ok("the bank answers again".to_owned());
    }
    let mut books = connect(room).await?;
    let (send_closed, closed) = oneshot::channel();
    let locking = tokio::spawn(async move {
        let locked = books
            .execute("begin; set local lock_timeout = '5s'; lock table simulated_charges in exclusive mode")
            .await;
        if send_closed.send(locked.map(drop)).is_ok() {
            let mut left = AWAY_FOR.as_secs();
            // The lock is gone when Postgres is.
            while left > 0 && books.execute("select 1").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                left -= 1;
            }
        }
        // Dropped with its lock.
        drop(books);
    });
    closed
        .await
        .map_err(|_| Error::Usage("the bank could not be closed".to_owned()))?
        .map_err(database("close the bank's books"))?;
    *lock(&room.bank.away) = Some(locking.abort_handle());
    Ok(format!(
        "the bank answers no call any more, until you press again, or for {} s",
        AWAY_FOR.as_secs()
    ))
}

/// Every group of charges takes a second more.
pub(super) async fn switch_slow(room: &Arc<Room>) -> Result<String> {
    room.bank.expect_simulated()?;
    let slow = !room.bank.is_slow();
    let statements = if slow {
        "set lock_timeout = '5s';
         create or replace function bank_is_slow() returns trigger language plpgsql as
             'begin perform pg_sleep(1); return null; end';
         create or replace trigger bank_is_slow before insert on simulated_charges
             for each statement execute function bank_is_slow()"
    } else {
        "set lock_timeout = '5s'; drop trigger if exists bank_is_slow on simulated_charges"
    };
    run(room, statements).await?;
    *lock(&room.bank.slow) = slow;
    Ok(if slow {
        "the bank takes a second longer for everything, until you press again".to_owned()
    } else {
        "the bank is as quick as before".to_owned()
    })
}

/// What no fault of the system can bring about: a second charge in the bank's books, of the invoice that was charged last.
/// An hour old, since what is young is in flight; and taken back when this is pressed again.
pub(super) async fn switch_charged_twice(room: &Arc<Room>) -> Result<String> {
    room.bank.expect_simulated()?;
    let twice = !room.bank.has_charged_twice();
    let statement = if twice {
        "insert into simulated_charges (key, value, currency, invoice, status, reference, created_at)
         select overlay(key::text placing 'ffff' from 33 for 4)::uuid, value, currency, invoice, status, 'charged-twice',
                created_at - interval '1 hour'
         from simulated_charges where status = 'succeeded' order by created_at desc limit 1"
    } else {
        "delete from simulated_charges where reference = 'charged-twice'"
    };
    if run(room, statement).await? == 0 {
        return Err(Error::Usage(
            "the bank has charged nothing yet: pay something first".to_owned(),
        ));
    }
    *lock(&room.bank.charged_twice) = twice;
    Ok(if twice {
        "the bank's record now has a second charge: the verdict must turn red and name it".to_owned()
    } else {
        "the second charge is gone from the bank's record".to_owned()
    })
}

async fn run(room: &Room, statements: &'static str) -> Result<u64> {
    let mut books = connect(room).await?;
    let done = books
        .execute(statements)
        .await
        .map_err(database("change the bank"))?;
    // Closing is a courtesy to the server.
    let _ = books.close().await;
    Ok(done.rows_affected())
}

async fn connect(room: &Room) -> Result<PgConnection> {
    PgConnection::connect(&room.stack.payment_database_url())
        .await
        .map_err(database("reach the bank's books"))
}
