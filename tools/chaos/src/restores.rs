//! Databases that go back in time while everything goes on: a copy is put aside, and takes their place some seconds later.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    plan::{Database, Restored},
    world::World,
};
use acceptance::Result;

/// What was answered just before a restore may be heard a little later.
const HEARD: Duration = Duration::from_secs(6);
/// Nobody who held a row that is forgotten calls the bank for it longer than a lease lasts.
const LEASE: Duration = Duration::from_secs(5);
/// A process that was stopped just before its call makes it when it goes on.
const STOPPED: Duration = Duration::from_secs(30);

/// What a database wrote from then until then, it has forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgotten {
    database: Database,
    /// Whoever was answered before is in the copy.
    since: SystemTime,
    /// When the copy began to take its place, and when it had.
    restoring: SystemTime,
    until: SystemTime,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Restores(Mutex<Vec<Forgotten>>);

impl Restores {
    /// Puts copies aside, at one moment or at two, and goes back to them.
    pub(super) async fn go_back(&self, world: &World, restored: Restored, lasts: Duration) -> Result<()> {
        let copies = match restored {
            Restored::Alone(database) => vec![back_up(world, database).await?],
            Restored::Both => {
                let (invoices, payments) = tokio::try_join!(
                    back_up(world, Database::Invoices),
                    back_up(world, Database::Payments)
                )?;
                vec![invoices, payments]
            }
            Restored::BothApart(first) => {
                let first = back_up(world, first).await?;
                tokio::time::sleep(lasts / 2).await;
                vec![first, back_up(world, first.0.other()).await?]
            }
        };
        tokio::time::sleep(lasts).await;
        for (database, since) in copies {
            let restoring = SystemTime::now();
            let (name, copy) = (database.name(), database.copy());
            world.system.stack().postgres().restore(name, &copy).await?;
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(Forgotten {
                database,
                since,
                restoring,
                until: SystemTime::now(),
            });
        }
        Ok(())
    }

    fn any(&self, database: Database, which: impl Fn(&Forgotten) -> bool) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|one| one.database == database && which(one))
    }

    /// Whether it has forgotten what it wrote at this time, by its own clock.
    pub(super) fn forgot(&self, database: Database, written: SystemTime) -> bool {
        self.any(database, |one| (one.since..=one.until).contains(&written))
    }

    /// Whether it may have forgotten what somebody was answered at this time.
    pub(super) fn forgot_answer(&self, database: Database, heard: SystemTime) -> bool {
        self.any(database, |one| (one.since..=one.until + HEARD).contains(&heard))
    }

    /// Whether both services may have forgotten what the bank charged at this time.
    pub(super) fn forgot_charge(&self, at: SystemTime) -> bool {
        self.any(Database::Invoices, |one| one.since <= at)
            && self.any(Database::Payments, |one| {
                (one.since..=one.until + STOPPED).contains(&at)
            })
    }

    /// Whether it went back after this time, or to before it.
    pub(super) fn went_back_before(&self, database: Database, time: SystemTime) -> bool {
        self.any(database, |one| one.since <= time)
    }

    /// When leases may have been forgotten by everybody but their holders.
    pub(super) fn leases_forgotten(&self) -> Vec<(SystemTime, SystemTime)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|one| one.database == Database::Payments)
            .map(|one| (one.restoring, one.until + LEASE))
            .collect()
    }
}

async fn back_up(world: &World, database: Database) -> Result<(Database, SystemTime)> {
    let since = SystemTime::now();
    let postgres = world.system.stack().postgres();
    postgres.back_up(database.name(), &database.copy()).await?;
    Ok((database, since))
}
