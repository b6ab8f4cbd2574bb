//! A chaos run from start to verdict.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{task::JoinSet, time::Instant};

use super::{
    Plan, Verdict,
    callers::{Caller, Promises},
    counters::Counters,
    pulse::Pulse,
    rest::come_to_rest,
    strikes::Strikes,
    timeline::{Ended, Timeline},
    world::World,
};
use acceptance::{Error, Result, SeededRng};

/// Callers at once.
const CALLERS: usize = 4;
/// Calls under way when the faults are over end within this.
const LAST_CALLS: Duration = Duration::from_mins(2);

/// Which run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides about every fault, and about what callers do.
    pub seed: u64,
    /// How long faults strike.
    pub length: Duration,
    /// How long everything may take to come to rest afterwards.
    pub rest: Duration,
}

/// A request that was lost over and over is sent again within 12 minutes, and a bank's answer looked up within one.
pub const REST: Duration = Duration::from_mins(12);

/// Runs, prints what it does, and judges. An error means that the run itself failed.
pub async fn run(options: Options) -> Result<Verdict> {
    let plan = Plan::new(options.seed, options.length);
    eprintln!("seed {}, {} s:\n{plan}", options.seed, options.length.as_secs());
    let mut world = Box::pin(World::start(options.seed)).await?;
    let counters = Counters::default();
    let pulse = Pulse::default();
    let strikes = Strikes::default();
    let promises = Promises::default();
    let began = SystemTime::now();
    let ended = tokio::select! {
        Err(error) = counters.watch(&world) => Err(error),
        Err(error) = pulse.watch(&world) => Err(error),
        // Large, since it waits for three lanes at once.
        ended = Box::pin(load_and_strike(&world, &plan, &strikes, &promises, options)) => ended,
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            world.system.keep_logs();
            return Err(error);
        }
    };
    let mut verdict = Verdict::of(&world, &strikes, &pulse, &counters, &promises).await?;
    verdict.timeline = Timeline::of(&world, &strikes, began, ended).await?;
    if !verdict.is_clean() {
        world.system.keep_logs();
    }
    Ok(verdict)
}

async fn load_and_strike(
    world: &World,
    plan: &Plan,
    strikes: &Strikes,
    promises: &Promises,
    options: Options,
) -> Result<Ended> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let caller = Caller {
            number,
            clients: world.clients()?,
            chaos: SeededRng::seeded(options.seed.wrapping_add(1 + number as u64)),
            promises: promises.clone(),
            stop: Arc::clone(&stop),
        };
        callers.spawn(caller.run());
    }
    let start = Instant::now();
    let [services, links, shared] = &plan.lanes;
    tokio::try_join!(
        strikes.lane(world, services, start),
        strikes.lane(world, links, start),
        strikes.lane(world, shared, start),
    )?;
    world.mend();
    world.bank.fail_everything(false).await?;
    let faults = start.elapsed();
    eprintln!("the faults are over after {} s", faults.as_secs());
    stop.store(true, Ordering::SeqCst);
    let last_calls = async {
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        Ok::<_, Error>(())
    };
    tokio::time::timeout(LAST_CALLS, last_calls).await??;
    come_to_rest(world, options.rest).await;
    let rest = start.elapsed();
    eprintln!("at rest after {} s", rest.as_secs());
    Ok(Ended { faults, rest })
}
