//! One round: points are armed, work is done, processes die at the points and are started again, and then the books are
//! looked at.

use std::time::{Duration, Instant};

use acceptance::Result;
use tokio_util::sync::CancellationToken;

use super::{
    Crash, GRACE,
    load::{Made, Needs, ask_for_payments, publish_bad_messages, void_refused},
    runner::{Repeats, Runner},
};

/// What came of a round.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) crashes: Vec<Crash>,
    /// Whether the process died at each of them.
    pub(super) reached: Vec<bool>,
    pub(super) payments: i64,
    pub(super) repeats: Repeats,
    pub(super) took: Duration,
    pub(super) verdict: Result<()>,
}

impl Row {
    pub(super) fn is_good(&self) -> bool {
        self.verdict.is_ok() && self.reached.iter().all(|reached| *reached)
    }
}

/// Runs a round.
pub(super) async fn run(runner: &mut Runner, crashes: Vec<Crash>) -> Result<Row> {
    let began = Instant::now();
    let (payments, repeats) = runner.counts().await?;
    let done = CancellationToken::new();
    let needs = Needs::of(&crashes);
    for crash in &crashes {
        runner.arm(*crash)?;
    }
    let (made, reached) = {
        let runner = &*runner;
        let dying = futures_util::future::join_all(crashes.iter().map(|crash| die(runner, *crash, &done)));
        let working = async {
            let made = work(runner, needs).await;
            done.cancel();
            made
        };
        tokio::join!(working, dying)
    };
    for crash in &crashes {
        runner.disarm(*crash);
    }
    let reached = reached.into_iter().collect::<Result<Vec<bool>>>()?;
    let verdict = match made {
        Ok((made, letters)) => {
            runner.expect_more(made, letters);
            judge(runner).await
        }
        Err(error) => Err(error),
    };
    let (payments_now, repeats_now) = runner.counts().await?;
    Ok(Row {
        crashes,
        reached,
        payments: payments_now - payments,
        repeats: Repeats {
            sends: repeats_now.sends - repeats.sends,
            deliveries: (repeats_now.deliveries - repeats.deliveries).max(0),
        },
        took: began.elapsed(),
        verdict,
    })
}

/// All of a round's work, to its end.
async fn work(runner: &Runner, needs: Needs) -> Result<(Made, (u64, u64))> {
    let nats = runner.system.stack().nats();
    if needs.nats_away {
        nats.kill9().await;
    }
    if needs.nats_forgets {
        nats.wipe_store()?;
    }
    let made = ask_for_payments(&runner.client, needs).await?;
    if needs.nats_away {
        nats.start_again().await?;
    }
    let letters = publish_bad_messages(nats, needs).await?;
    runner.settled().await?;
    void_refused(&runner.client).await?;
    Ok((made, letters))
}

/// A crash may come after all work is done: what it leaves open is waited for as well.
async fn judge(runner: &Runner) -> Result<()> {
    runner.settled().await?;
    runner.check().await
}

/// Waits until the service has died at the point, and starts it again; false if it did not die.
async fn die(runner: &Runner, crash: Crash, done: &CancellationToken) -> Result<bool> {
    let service = runner.service(crash.service);
    let Some(process) = service.program().process() else {
        return Ok(false);
    };
    tokio::select! {
        _ = process.wait() => {}
        () = async { done.cancelled().await; tokio::time::sleep(GRACE).await } => return Ok(false),
    }
    drop(process);
    service.start_again().await?;
    Ok(true)
}
