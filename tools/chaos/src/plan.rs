//! What strikes, when and for how long: all of it from one seed, before anything has started.

use std::{fmt, time::Duration};

use acceptance::SeededRng;

/// One of the two replicas of each service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replica {
    /// An invoice-app.
    App(usize),
    /// A payment-provider.
    Provider(usize),
}

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// From this replica to NATS.
    Nats(Replica),
    /// From this replica to Postgres.
    Postgres(Replica),
    /// From this payment-provider to the bank.
    Bank(usize),
}

/// How a link is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Connections end.
    Cut,
    /// Everything arrives late.
    Delay(Duration),
    /// Connections stay, and nothing passes.
    Silent,
    /// What is said arrives, and the answers are lost.
    Deaf,
}

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// `PAY_REQUESTS`
    Requests,
    /// `PAY_OUTCOMES`
    Outcomes,
}

/// A service's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Database {
    /// invoice-app's.
    Invoices,
    /// payment-provider's.
    Payments,
}

impl Database {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Invoices => "invoices",
            Self::Payments => "payments",
        }
    }

    /// Where it is put aside.
    pub(super) fn copy(self) -> String {
        format!("{}_before", self.name())
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Invoices => Self::Payments,
            Self::Payments => Self::Invoices,
        }
    }
}

/// Which databases go back in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Restored {
    /// One of them.
    Alone(Database),
    /// Both, to the same moment.
    Both,
    /// Both, this one to an earlier moment than the other.
    BothApart(Database),
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9, and started again.
    Kill(Replica),
    /// Stopped with SIGSTOP for longer than ack wait and lease, and continued.
    Freeze(Replica),
    /// A link is broken, and mended.
    Break(Link, Damage),
    /// kill -9 of Postgres.
    KillPostgres,
    /// Postgres is restarted in good order.
    RestartPostgres,
    /// kill -9 of NATS.
    KillNats,
    /// kill -9 of NATS, and its whole store is deleted.
    WipeNats,
    /// NATS is stopped with SIGSTOP, and continued.
    FreezeNats,
    /// The durable of a stream is deleted.
    DeleteDurable(Stream),
    /// A stream is deleted.
    DeleteStream(Stream),
    /// kill -9 of the bank.
    KillBank,
    /// The bank is stopped with SIGSTOP, and continued.
    FreezeBank,
    /// Nothing that reaches the bank succeeds.
    BankFails,
    /// Databases are restored to an earlier moment.
    Restore(Restored),
}

impl Fault {
    /// Its name, whatever it strikes.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Kill(Replica::App(_)) => "kill invoice-app",
            Self::Kill(Replica::Provider(_)) => "kill payment-provider",
            Self::Freeze(Replica::App(_)) => "freeze invoice-app",
            Self::Freeze(Replica::Provider(_)) => "freeze payment-provider",
            Self::Break(_, Damage::Cut) => "cut a link",
            Self::Break(_, Damage::Delay(_)) => "delay a link",
            Self::Break(_, Damage::Silent) => "silence a link",
            Self::Break(_, Damage::Deaf) => "deafen a link",
            Self::KillPostgres => "kill Postgres",
            Self::RestartPostgres => "restart Postgres",
            Self::KillNats => "kill NATS",
            Self::WipeNats => "wipe NATS",
            Self::FreezeNats => "freeze NATS",
            Self::DeleteDurable(_) => "delete a durable",
            Self::DeleteStream(_) => "delete a stream",
            Self::KillBank => "kill the bank",
            Self::FreezeBank => "freeze the bank",
            Self::BankFails => "bank fails",
            Self::Restore(Restored::Alone(Database::Invoices)) => "restore invoices",
            Self::Restore(Restored::Alone(Database::Payments)) => "restore payments",
            Self::Restore(Restored::Both) => "restore both",
            Self::Restore(Restored::BothApart(_)) => "restore both, apart",
        }
    }

    /// How long it lasts, at least and at most.
    const fn lasts(self) -> (Duration, Duration) {
        let (least, most) = match self {
            // Longer than the ack wait of 15 s and any lease.
            Self::Freeze(_) => (17_000, 22_000),
            Self::Break(_, Damage::Cut) => (100, 3_000),
            Self::Break(_, Damage::Delay(_)) => (2_000, 6_000),
            Self::Break(_, Damage::Silent | Damage::Deaf) => (1_000, 12_000),
            Self::Kill(_) | Self::KillPostgres | Self::KillNats | Self::WipeNats | Self::KillBank => {
                (0, 2_000)
            }
            Self::FreezeNats | Self::FreezeBank => (1_000, 6_000),
            Self::BankFails => (3_000, 8_000),
            // How far they go back.
            Self::Restore(_) => (1_000, 8_000),
            Self::RestartPostgres | Self::DeleteDurable(_) | Self::DeleteStream(_) => (0, 0),
        };
        (Duration::from_millis(least), Duration::from_millis(most))
    }
}

/// A fault at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// After the start.
    pub at: Duration,
    /// For how long.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:7.1} s  for {lasts:4.1} s  {:?}", self.fault)
    }
}

/// What strikes one after the other; lanes strike at the same time.
pub(super) type Lane = Vec<Strike>;

/// Everything that strikes: services, links, and what all share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The lanes.
    pub(super) lanes: [Lane; 3],
}

/// Load runs this long before the first fault.
const CALM_BEFORE: Duration = Duration::from_secs(2);
/// Between two faults of a lane, at most.
const PAUSE: Duration = Duration::from_secs(4);

impl Plan {
    /// From a seed, for a run of this length.
    pub fn new(seed: u64, length: Duration) -> Self {
        let lane = |number: u64, deck: fn(&mut SeededRng) -> Vec<Fault>| {
            lane(
                &mut SeededRng::seeded(seed.wrapping_add(number << 32)),
                length,
                deck,
            )
        };
        Self {
            lanes: [lane(1, services), lane(2, links), lane(3, shared)],
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut strikes: Vec<&Strike> = self.lanes.iter().flatten().collect();
        strikes.sort_by_key(|strike| strike.at);
        for strike in strikes {
            writeln!(f, "  {strike}")?;
        }
        Ok(())
    }
}

/// Deals one deck after the other, so that everything strikes before anything strikes again.
fn lane(chaos: &mut SeededRng, length: Duration, deck: fn(&mut SeededRng) -> Vec<Fault>) -> Lane {
    let mut strikes = Vec::new();
    let mut cards = Vec::new();
    let mut at = CALM_BEFORE;
    loop {
        at += chaos.moment(PAUSE);
        if cards.is_empty() {
            cards = deck(chaos);
        }
        let drawn = usize::try_from(chaos.below(cards.len() as u64)).unwrap_or_default();
        let fault = cards.swap_remove(drawn);
        let (least, most) = fault.lasts();
        let lasts = least + chaos.moment(most.saturating_sub(least));
        if at + lasts > length {
            return strikes;
        }
        strikes.push(Strike { at, lasts, fault });
        at += lasts;
    }
}

fn services(chaos: &mut SeededRng) -> Vec<Fault> {
    let (one, other) = (either(chaos), either(chaos));
    vec![
        Fault::Kill(Replica::App(0)),
        Fault::Kill(Replica::App(1)),
        Fault::Kill(Replica::Provider(0)),
        Fault::Kill(Replica::Provider(1)),
        Fault::Freeze(Replica::App(one)),
        Fault::Freeze(Replica::Provider(other)),
    ]
}

fn links(chaos: &mut SeededRng) -> Vec<Fault> {
    let mut faults = Vec::new();
    for _ in 0..2 {
        let links = [
            Link::Nats(Replica::App(either(chaos))),
            Link::Nats(Replica::Provider(either(chaos))),
            Link::Postgres(Replica::App(either(chaos))),
            Link::Postgres(Replica::Provider(either(chaos))),
            Link::Bank(either(chaos)),
        ];
        for link in links {
            // Little enough that a call to the bank still ends within its timeout.
            let late = Duration::from_millis(20 + chaos.below(100));
            let damages = [Damage::Cut, Damage::Delay(late), Damage::Silent, Damage::Deaf];
            let damage = usize::try_from(chaos.below(4)).unwrap_or_default();
            faults.extend(damages.get(damage).map(|damage| Fault::Break(link, *damage)));
        }
    }
    faults
}

fn shared(chaos: &mut SeededRng) -> Vec<Fault> {
    let first = if either(chaos) == 0 {
        Database::Invoices
    } else {
        Database::Payments
    };
    vec![
        Fault::KillPostgres,
        Fault::RestartPostgres,
        Fault::KillNats,
        Fault::WipeNats,
        Fault::FreezeNats,
        Fault::DeleteDurable(Stream::Requests),
        Fault::DeleteDurable(Stream::Outcomes),
        Fault::DeleteStream(Stream::Requests),
        Fault::DeleteStream(Stream::Outcomes),
        Fault::KillBank,
        Fault::FreezeBank,
        Fault::BankFails,
        Fault::Restore(Restored::Alone(Database::Invoices)),
        Fault::Restore(Restored::Alone(Database::Payments)),
        Fault::Restore(Restored::Both),
        Fault::Restore(Restored::BothApart(first)),
    ]
}

fn either(chaos: &mut SeededRng) -> usize {
    usize::from(chaos.below(2) == 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FIVE_MINUTES: Duration = Duration::from_mins(5);

    #[test]
    fn a_seed_plans_the_same_again_and_another_seed_something_else() {
        assert_eq!(Plan::new(7, FIVE_MINUTES), Plan::new(7, FIVE_MINUTES));
        assert_ne!(Plan::new(7, FIVE_MINUTES), Plan::new(8, FIVE_MINUTES));
    }

    #[test]
    fn a_longer_run_begins_like_a_shorter_one() {
        let (short, long) = (Plan::new(7, Duration::from_mins(1)), Plan::new(7, FIVE_MINUTES));
        for (short, long) in short.lanes.iter().zip(&long.lanes) {
            assert_eq!(short[..], long[..short.len()]);
        }
    }

    #[test]
    fn everything_strikes_within_five_minutes_one_after_the_other_in_each_lane() {
        for seed in 0..20 {
            let plan = Plan::new(seed, FIVE_MINUTES);
            let kinds: BTreeSet<_> = plan.lanes.iter().flatten().map(|s| s.fault.kind()).collect();
            assert_eq!(kinds.len(), 22, "{seed}: {kinds:?}");
            for lane in &plan.lanes {
                assert!(
                    lane.windows(2)
                        .all(|pair| pair[0].at + pair[0].lasts <= pair[1].at)
                );
                assert!(lane.iter().all(|strike| strike.at + strike.lasts <= FIVE_MINUTES));
            }
        }
    }

    #[test]
    fn a_frozen_service_outlasts_the_ack_wait() {
        let plan = Plan::new(1, FIVE_MINUTES);
        let mut frozen = plan.lanes[0]
            .iter()
            .filter(|strike| matches!(strike.fault, Fault::Freeze(_)))
            .peekable();
        assert!(frozen.peek().is_some());
        assert!(frozen.all(|strike| strike.lasts > jetstream::streams::ACK_WAIT));
    }
}
