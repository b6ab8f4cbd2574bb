//! What can go wrong at the bank. It is payment-provider's simulated one, whose books are tables: it can be kept from writing
//! them, made slow at it, or kept from telling of it. (Amounts bring the other troubles: `payment-provider/src/gateway/simulated.rs`.)

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use local_stack::{Error, Result};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::{sync::oneshot, task::AbortHandle};

use super::{Room, database, lock};

/// As with what is frozen: nobody has to remember.
const AWAY_FOR: Duration = Duration::from_secs(30);

/// Longer than a caller waits for the bank (5 s), and shorter than a statement of a service may take.
const SILENT_FOR_S: f64 = 5.5;

const QUICKEN: &str = "set lock_timeout = '5s'; drop trigger if exists bank_is_slow on simulated_charges";
const SPEAK: &str = "set lock_timeout = '8s';
     drop trigger if exists bank_is_silent on simulated_charges;
     drop trigger if exists bank_charges_apart on simulated_charges";
const CHARGE_BACK: &str = "delete from simulated_charges where reference = 'charged-twice'";
/// Calls that are not answered hold the books open.
const WAKE: &str = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'";

/// The bank, as far as the control room can reach it.
pub(super) struct Bank {
    simulated: bool,
    away: Mutex<Option<AbortHandle>>,
    slow: Mutex<bool>,
    silent: Mutex<bool>,
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
            silent: Mutex::default(),
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

    pub(super) fn is_silent(&self) -> bool {
        *lock(&self.silent)
    }

    pub(super) fn has_charged_twice(&self) -> bool {
        *lock(&self.charged_twice)
    }

    /// Whether it was away.
    fn reopen(&self) -> bool {
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
    wake(room, &mut books).await?;
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
        QUICKEN
    };
    run(room, statements).await?;
    *lock(&room.bank.slow) = slow;
    Ok(if slow {
        "the bank takes a second longer for everything, until you press again".to_owned()
    } else {
        "the bank is as quick as before".to_owned()
    })
}

/// Every charge is carried out, and none is answered. It commits in a transaction of its own, by a second connection, since
/// what a call has not committed when its caller gives it up never was; then the call itself stays where it is.
pub(super) async fn switch_silent(room: &Arc<Room>) -> Result<String> {
    room.bank.expect_simulated()?;
    let silent = !room.bank.is_silent();
    let statements = if silent {
        silence(&room.stack.payment_database_url())
    } else {
        SPEAK.to_owned()
    };
    run(room, statements).await?;
    *lock(&room.bank.silent) = silent;
    Ok(if silent {
        "the bank charges and never answers, until you press again".to_owned()
    } else {
        "the bank answers again".to_owned()
    })
}

/// The second connection passes the triggers by.
fn silence(url: &str) -> String {
    format!(
        "set lock_timeout = '8s';
         create extension if not exists dblink;
         create or replace function bank_charges_apart() returns trigger language plpgsql as $apart$ begin
             if not 'apart' = any (coalesce(dblink_get_connections(), '{{}}')) then
                 perform dblink_connect('apart', '{url}?options=-csession_replication_role%3Dreplica');
             end if;
             perform dblink_exec('apart', format(
                 'insert into simulated_charges (key, value, currency, invoice, status, reason, reference)
                  values (%L, %L, %L, %L, %L, %L, %L) on conflict (key) do nothing',
                 new.key, new.value, new.currency, new.invoice, new.status, new.reason, new.reference));
             return new;
         end $apart$;
         create or replace function bank_is_silent() returns trigger language plpgsql as
             'begin perform pg_sleep({SILENT_FOR_S}); return null; end';
         create or replace trigger bank_charges_apart before insert on simulated_charges
             for each row execute function bank_charges_apart();
         create or replace trigger bank_is_silent after insert on simulated_charges
             for each statement execute function bank_is_silent()"
    )
}

/// All of its faults are over, whichever were on.
pub(super) async fn mend(room: &Room) -> Result<()> {
    let bank = &room.bank;
    bank.reopen();
    if bank.is_slow() {
        run(room, QUICKEN).await?;
    }
    if bank.is_silent() {
        run(room, SPEAK).await?;
    }
    if bank.has_charged_twice() {
        run(room, CHARGE_BACK).await?;
    }
    Ok(())
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
        CHARGE_BACK
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

/// The books can be changed only between calls, and a silent bank's are never over.
async fn wake(room: &Room, books: &mut PgConnection) -> Result<()> {
    if room.bank.is_silent() {
        books
            .execute(WAKE)
            .await
            .map_err(database("end the bank's calls"))?;
    }
    Ok(())
}

async fn run(room: &Room, statements: impl Into<String>) -> Result<u64> {
    let mut books = connect(room).await?;
    wake(room, &mut books).await?;
    let done = books
        .execute(AssertSqlSafe(statements.into()))
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
