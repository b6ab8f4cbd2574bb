//! Carries a plan out: each lane strikes one fault after the other, and repairs what it broke.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use local_stack::{Program, Signal};
use payment_contract::streams::{PAY_OUTCOMES, PAY_REQUESTS};
use tokio::time::Instant;

use super::{
    plan::{Damage, Fault, Lane, Replica, Stream, Strike},
    restores::Restores,
    world::World,
};
use acceptance::{Error, Result, eventually, eventually_within};

/// A stream that was deleted a moment ago may not be back yet.
const GONE: Duration = Duration::from_secs(15);

/// A fault as it was carried out, counted from the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub(super) fault: Fault,
    pub(super) since: Duration,
    pub(super) until: Duration,
}

/// What was struck, and when nobody's lease could be trusted.
#[derive(Debug, Default)]
pub(super) struct Strikes {
    struck: Mutex<Vec<Struck>>,
    frozen: Mutex<Vec<(SystemTime, SystemTime)>>,
    pub(super) restores: Restores,
}

impl Strikes {
    /// Strikes a lane's faults at their times, counted from `start`.
    pub(super) async fn lane(&self, world: &World, lane: &Lane, start: Instant) -> Result<()> {
        for strike in lane {
            tokio::time::sleep_until(start + strike.at).await;
            eprintln!("{strike}");
            let since = start.elapsed();
            self.strike(world, strike)
                .await
                .map_err(|error| error.during(&format!("{:?}", strike.fault)))?;
            let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
            struck.push(Struck {
                fault: strike.fault,
                since,
                until: start.elapsed(),
            });
        }
        Ok(())
    }

    /// What has struck, and when.
    pub(super) fn struck(&self) -> Vec<Struck> {
        self.struck.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When a payment-provider or the bank stood still, or the ledger had forgotten who held which row. No lease keeps a process
    /// that is stopped between its last look at the clock and its call from making that call when it wakes up; only the
    /// idempotency key makes that harmless.
    pub(super) fn frozen(&self) -> Vec<(SystemTime, SystemTime)> {
        let frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        [frozen.clone(), self.restores.leases_forgotten()].concat()
    }

    async fn strike(&self, world: &World, strike: &Strike) -> Result<()> {
        let lasts = strike.lasts;
        match strike.fault {
            Fault::Kill(replica) => {
                let node = world.node(replica);
                kill(&node.name, node.service.program()).await?;
                tokio::time::sleep(lasts).await;
                // Ready or not: it may have to wait for what another lane has broken.
                node.service.program().start().await?;
            }
            Fault::Freeze(replica) => {
                let since = SystemTime::now();
                freeze(world.node(replica).service.program(), lasts).await;
                if matches!(replica, Replica::Provider(_)) {
                    self.stood_still(since);
                }
            }
            Fault::Break(link, damage) => {
                let proxy = world.link(link);
                match damage {
                    Damage::Cut => proxy.cut(),
                    Damage::Delay(by) => proxy.delay(by),
                    Damage::Silent => proxy.swallow(),
                    Damage::Deaf => proxy.swallow_answers(),
                }
                tokio::time::sleep(lasts).await;
                proxy.restore();
            }
            Fault::KillPostgres => {
                world.system.stack().postgres().kill9().await;
                tokio::time::sleep(lasts).await;
                world.system.stack().postgres().start_again().await?;
            }
            Fault::RestartPostgres => world.system.stack().postgres().restart().await?,
            Fault::KillNats => kill_nats(world, lasts, false).await?,
            Fault::WipeNats => kill_nats(world, lasts, true).await?,
            Fault::FreezeNats => freeze(world.admin.server().program(), lasts).await,
            Fault::DeleteDurable(stream) => delete(world, stream, true).await?,
            Fault::DeleteStream(stream) => delete(world, stream, false).await?,
            Fault::KillBank => {
                kill("bank-simulator", world.bank.program()).await?;
                tokio::time::sleep(lasts).await;
                world.bank.start_again().await?;
            }
            Fault::FreezeBank => {
                let since = SystemTime::now();
                freeze(world.bank.program(), lasts).await;
                self.stood_still(since);
            }
            Fault::BankFails => {
                world.bank.fail_everything(true).await?;
                tokio::time::sleep(lasts).await;
                world.bank.set_faults(&world.mix).await?;
            }
            Fault::Restore(restored) => self.restores.go_back(world, restored, lasts).await?,
        }
        Ok(())
    }

    fn stood_still(&self, since: SystemTime) {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        frozen.push((since, SystemTime::now()));
    }
}

/// kill -9 of a process that must still be running: one that ended by itself is a finding.
async fn kill(name: &str, program: &Program) -> Result<()> {
    if let Some(status) = program.process().and_then(|process| process.exit_status()) {
        return Err(Error::new(format!("{name} had ended by itself: {status}")));
    }
    program.kill9().await;
    Ok(())
}

async fn freeze(program: &Program, lasts: Duration) {
    if let Some(process) = program.process() {
        process.signal(Signal::STOP);
        tokio::time::sleep(lasts).await;
        process.signal(Signal::CONT);
    }
}

async fn kill_nats(world: &World, lasts: Duration, wipe: bool) -> Result<()> {
    kill("nats-server", world.admin.server().program()).await?;
    if wipe {
        world.system.stack().nats().wipe_store()?;
    }
    tokio::time::sleep(lasts).await;
    world.admin.server().program().start().await?;
    let health = format!("{}/healthz", world.system.stack().nats().monitor_url());
    eventually("NATS is back", || async {
        local_stack::wait_for_ok(&health).await?;
        Ok(Some(()))
    })
    .await
}

/// Deletes a stream, or only its durable, as soon as there is one.
async fn delete(world: &World, stream: Stream, durable_only: bool) -> Result<()> {
    let (stream, durable) = match stream {
        Stream::Requests => (PAY_REQUESTS, "payment-provider"),
        Stream::Outcomes => (PAY_OUTCOMES, "invoice-app"),
    };
    let jetstream = world.admin.jetstream(stream).await?;
    let deleted = eventually_within(GONE, "there is something to delete", || async {
        let deleted = if durable_only {
            jetstream
                .delete_consumer_from_stream(durable, stream)
                .await?
                .success
        } else {
            jetstream.delete_stream(stream).await?.success
        };
        Ok(deleted.then_some(()))
    })
    .await;
    if let Err(error) = deleted {
        // Its owner is being kept from making it, which is chaos enough.
        eprintln!("{stream}: {error}");
    }
    Ok(())
}
