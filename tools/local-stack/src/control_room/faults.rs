//! What can be done to the processes: killed and kept dead for a moment, frozen and thawed, robbed of their memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use local_stack::{NatsServer, Program, Result, Signal, Stack};
use rustix::process::{Pid, kill_process};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::{database, lock};

/// Long enough to see that it is dead, and to pay something meanwhile.
const DEAD_FOR: Duration = Duration::from_secs(5);
/// What is forgotten in the freezer thaws: a stranger need not know what else is wrong.
pub(super) const FROZEN_FOR: Duration = Duration::from_secs(30);

/// What can be hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    InvoiceApp,
    PaymentProvider,
    Nats,
    Postgres,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Health {
    Running,
    Frozen,
    Dead,
}

impl Target {
    pub(super) const ALL: [Self; 4] = [
        Self::InvoiceApp,
        Self::PaymentProvider,
        Self::Nats,
        Self::Postgres,
    ];

    pub(super) fn try_new(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.as_str() == name)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::InvoiceApp => "invoice-app",
            Self::PaymentProvider => "payment-provider",
            Self::Nats => "nats",
            Self::Postgres => "postgres",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Nats => "NATS",
            Self::Postgres => "Postgres",
            other => other.as_str(),
        }
    }

    fn programs(self, stack: &Stack) -> Vec<&Program> {
        match self {
            Self::InvoiceApp => vec![stack.invoice_app().program()],
            Self::PaymentProvider => vec![stack.payment_provider().program()],
            Self::Nats => stack.nats_servers().iter().map(NatsServer::program).collect(),
            Self::Postgres => vec![stack.postgres().program()],
        }
    }
}

/// What stands still, and the processes that were stopped for it.
#[derive(Default)]
pub(super) struct Faults(Arc<Mutex<HashMap<Target, Frozen>>>);

struct Frozen {
    pids: Vec<Pid>,
    thaws: tokio::task::AbortHandle,
}

impl Faults {
    /// kill -9; the supervisor may start it again a few seconds later.
    pub(super) async fn kill(&self, stack: &Arc<Stack>, target: Target) -> String {
        for program in target.programs(stack) {
            program.hold(true);
            program.kill9().await;
        }
        // Children of a killed Postgres that stand still would never notice, and keep its port.
        thaw(&self.0, target);
        release_later(stack, target);
        format!(
            "{} was killed with -9; it is started again after {} s",
            target.title(),
            DEAD_FOR.as_secs()
        )
    }

    /// SIGSTOP, or SIGCONT when it stands still already.
    pub(super) async fn switch_frozen(&self, stack: &Arc<Stack>, target: Target) -> Result<String> {
        if thaw(&self.0, target) {
            return Ok(format!("{} goes on", target.title()));
        }
        let mut pids: Vec<Pid> = target
            .programs(stack)
            .iter()
            .filter_map(|program| pid(program))
            .collect();
        if target == Target::Postgres {
            pids.extend(backends(stack).await?);
        }
        for pid in &pids {
            // One that has just ended stands still for good.
            let _ = kill_process(*pid, Signal::STOP);
        }
        let frozen = Arc::clone(&self.0);
        let thaws = tokio::spawn(async move {
            tokio::time::sleep(FROZEN_FOR).await;
            thaw(&frozen, target);
        });
        let thaws = thaws.abort_handle();
        lock(&self.0).insert(target, Frozen { pids, thaws });
        Ok(format!(
            "{} stands still; it goes on when you press again, or after {} s",
            target.title(),
            FROZEN_FOR.as_secs()
        ))
    }

    /// The store goes while the server stands still, and then the server: it never writes what it knows, and starts anew
    /// without.
    pub(super) fn wipe_nats(&self, stack: &Arc<Stack>) -> Result<String> {
        release_later(stack, Target::Nats);
        for server in stack.nats_servers().iter() {
            if let Some(process) = server.program().process() {
                server.program().hold(true);
                process.signal(Signal::STOP);
                let wiped = server.wipe_store();
                process.signal(Signal::KILL);
                wiped?;
            }
        }
        thaw(&self.0, Target::Nats);
        Ok(format!(
            "NATS was killed and has lost everything it stored: streams, consumers, messages; it is started again after {} s",
            DEAD_FOR.as_secs()
        ))
    }

    pub(super) fn health(&self, stack: &Stack, target: Target) -> Health {
        if lock(&self.0).contains_key(&target) {
            return Health::Frozen;
        }
        let lives = |program: &&Program| {
            program
                .process()
                .is_some_and(|process| process.exit_status().is_none())
        };
        if target.programs(stack).iter().all(lives) {
            Health::Running
        } else {
            Health::Dead
        }
    }

    pub(super) fn end_all(&self, stack: &Stack) {
        for target in Target::ALL {
            thaw(&self.0, target);
            release(stack, target);
        }
    }
}

fn release_later(stack: &Arc<Stack>, target: Target) {
    let stack = Arc::clone(stack);
    tokio::spawn(async move {
        tokio::time::sleep(DEAD_FOR).await;
        release(&stack, target);
    });
}

fn release(stack: &Stack, target: Target) {
    for program in target.programs(stack) {
        program.hold(false);
    }
}

/// Whether it stood still.
fn thaw(frozen: &Mutex<HashMap<Target, Frozen>>, target: Target) -> bool {
    let Some(Frozen { pids, thaws }) = lock(frozen).remove(&target) else {
        return false;
    };
    thaws.abort();
    for pid in pids {
        // One that was killed meanwhile needs no telling.
        let _ = kill_process(pid, Signal::CONT);
    }
    true
}

fn pid(program: &Program) -> Option<Pid> {
    let process = program.process()?;
    process.exit_status().is_none().then_some(())?;
    Pid::from_raw(i32::try_from(process.pid()).ok()?)
}

/// Everybody who works for Postgres: to stop only the first process stops nothing but new connections.
async fn backends(stack: &Stack) -> Result<Vec<Pid>> {
    let failed = || database("ask Postgres for its processes");
    let mut connection = PgConnection::connect(&stack.postgres().url("postgres"))
        .await
        .map_err(failed())?;
    let pids: Vec<i32> = sqlx::query_scalar("select pid from pg_stat_activity where pid <> pg_backend_pid()")
        .fetch_all(&mut connection)
        .await
        .map_err(failed())?;
    // Closing is a courtesy to the server.
    let _ = connection.close().await;
    Ok(pids.into_iter().filter_map(Pid::from_raw).collect())
}
