//! The window: no more requests wait in NATS than keep payment-provider busy for a moment, whoever sent them. A call for a million
//! stays in the database until its turn, so that a single payment beside it waits for a few others and not for all of them.

use std::time::Duration;

use jetstream::{
    connection::Connection,
    provisioning::{Backlog, consumer_backlog},
};
use tokio::time::Instant;
use tracing::debug;

use crate::streams::PAYMENT_PROVIDER;

/// Requests sent together: as many as payment-provider took in [`PAGE_LASTS`] lately. The largest page lasts a quick one for longer
/// than [`LOOK_AGAIN`], so that it never finds nothing to do; behind a slow one, little waits in front of single payments.
const LARGEST_PAGE: u64 = 512;
const SMALLEST_PAGE: u64 = 16;
const PAGE_LASTS: Duration = Duration::from_millis(100);
/// Requests taken and not finished, from which on no more pages are sent: more than ten replicas work on at a time. While the
/// bank is away they are put off, and would otherwise all be taken one after the other, to come back in front of everybody.
const MOST_TAKEN: u64 = 12_000;
/// How soon to look again after the window was full.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// However many wait, a page is sent after this long: single payments, which do not wait here, must not keep the others back for ever.
const LONGEST_FULL: Duration = Duration::from_secs(30);
/// Longest that looking may keep others from being sent.
const LOOK_LIMIT: Duration = Duration::from_millis(500);

/// Tells how much room there is. Asks the server, and so counts what every replica has sent.
#[derive(Clone, Debug)]
pub struct Window {
    connection: Connection,
    pace: Pace,
}

/// How large pages are. Of the server's numbers alone, so that it is the same for whoever sends.
#[derive(Clone, Debug)]
struct Pace {
    page: u64,
    /// How many had been taken when.
    taken: Option<(u64, Instant)>,
    full_since: Option<Instant>,
}

impl Window {
    /// The window of this connection's server.
    pub const fn new(connection: Connection) -> Self {
        Self {
            connection,
            pace: Pace::unknown(),
        }
    }

    /// How many may be sent now: none while enough wait. The window is for fairness alone: what the server cannot tell keeps
    /// nothing back.
    pub async fn room(&mut self) -> usize {
        let room = match self.look().await {
            Some(backlog) => self.pace.room(backlog, Instant::now()),
            None => LARGEST_PAGE,
        };
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    async fn look(&self) -> Option<Backlog> {
        if !self.connection.is_connected() {
            // Sending fails at once, and says so.
            return None;
        }
        match tokio::time::timeout(LOOK_LIMIT, consumer_backlog(&self.connection, &PAYMENT_PROVIDER)).await {
            Ok(Ok(backlog)) => backlog,
            Ok(Err(error)) => {
                debug!(error = %service::telemetry::chain(&error), "could not ask how many requests wait");
                None
            }
            Err(_) => None,
        }
    }
}

impl Pace {
    const fn unknown() -> Self {
        Self {
            page: SMALLEST_PAGE,
            taken: None,
            full_since: None,
        }
    }

    fn room(&mut self, backlog: Backlog, now: Instant) -> u64 {
        let (taken, at) = *self.taken.get_or_insert((backlog.delivered, now));
        let elapsed = now - at;
        if elapsed >= PAGE_LASTS {
            // A durable that was made again counts anew.
            let taken = backlog.delivered.saturating_sub(taken);
            let page = u128::from(taken) * PAGE_LASTS.as_millis() / elapsed.as_millis();
            self.page = u64::try_from(page)
                .unwrap_or(u64::MAX)
                .clamp(SMALLEST_PAGE, LARGEST_PAGE);
            self.taken = Some((backlog.delivered, now));
        }
        if backlog.pending < self.page / 2 && backlog.unacked < MOST_TAKEN {
            self.full_since = None;
            return self.page;
        }
        if now - *self.full_since.get_or_insert(now) > LONGEST_FULL {
            self.full_since = None;
            return LARGEST_PAGE;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A payment-provider that takes so many a second, and what waits for it.
    struct Provider {
        a_second: u64,
        now: Instant,
        pending: u64,
        delivered: u64,
    }

    impl Provider {
        fn begin(a_second: u64) -> Self {
            Self {
                a_second,
                now: Instant::now(),
                pending: 0,
                delivered: 0,
            }
        }

        /// Until somebody looks again.
        fn go_on(&mut self) {
            self.now += LOOK_AGAIN;
            let taken = (self.a_second / u64::from(LOOKS_A_SECOND)).min(self.pending);
            (self.pending, self.delivered) = (self.pending - taken, self.delivered + taken);
        }

        /// Sends what there is room for, at most `wanted`, page after page as the sender does; how many those were.
        fn send(&mut self, pace: &mut Pace, wanted: u64) -> u64 {
            let mut sent = 0;
            while sent < wanted {
                let backlog = Backlog {
                    pending: self.pending,
                    unacked: 0,
                    delivered: self.delivered,
                };
                let room = pace.room(backlog, self.now).min(wanted - sent);
                if room == 0 {
                    break;
                }
                self.pending += room;
                sent += room;
            }
            sent
        }
    }

    const LOOKS_A_SECOND: u32 = 50;

    #[test]
    fn a_quick_provider_always_has_something_to_do_and_a_slow_one_never_much() {
        for (a_second, at_most) in [(10_000, 800), (3_000, 500), (250, 60), (50, 24)] {
            let (mut provider, mut pace) = (Provider::begin(a_second), Pace::unknown());
            let mut most = 0;
            for look in 0..10 * LOOKS_A_SECOND {
                provider.send(&mut pace, u64::MAX);
                if look > LOOKS_A_SECOND {
                    most = most.max(provider.pending);
                }
                provider.go_on();
            }
            assert!(
                provider.delivered >= a_second * 9,
                "{a_second}: {}",
                provider.delivered
            );
            assert!(most <= at_most, "{a_second}: {most}");
        }
    }

    #[test]
    fn whoever_comes_later_gets_through_beside_a_large_call() {
        for a_second in [10_000, 3_000, 1_000, 250] {
            let mut provider = Provider::begin(a_second);
            let (mut first, mut later) = (Pace::unknown(), Pace::unknown());
            let mut sent = 0;
            for look in 0..10 * LOOKS_A_SECOND {
                // In turn, as two replicas come to ask.
                if look % 2 == 0 {
                    provider.send(&mut first, u64::MAX);
                }
                if look > 3 * LOOKS_A_SECOND {
                    sent += provider.send(&mut later, 1000);
                }
                provider.go_on();
            }
            assert!(sent > 100, "{a_second}: {sent}");
        }
    }

    #[test]
    fn single_payments_that_never_end_do_not_keep_others_back() {
        let flood = |seconds, a_second: u64, waiting| {
            let (mut provider, mut pace) = (Provider::begin(a_second), Pace::unknown());
            let mut sent = 0;
            for _ in 0..seconds * LOOKS_A_SECOND {
                provider.pending = provider.pending.max(waiting);
                sent += provider.send(&mut pace, 512);
                provider.go_on();
            }
            sent
        };
        assert!(flood(1, 10_000, 200) > 1_000);
        assert_eq!(flood(29, 250, 1_000), 0);
        assert_eq!(flood(31, 250, 1_000), LARGEST_PAGE);
    }
}
