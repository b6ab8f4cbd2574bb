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

/// Requests sent together. The largest lasts a quick payment-provider for longer than [`LOOK_AGAIN`], so that it never finds
/// nothing to do; for a slow one, whose single payments would wait behind them, pages are smaller. They begin small, and double
/// while they are taken at once.
const LARGEST_PAGE: usize = 512;
const SMALLEST_PAGE: usize = 16;
/// After so long without a page nobody knows how quickly they are taken.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(500);
/// Half a page is to be taken in this time, or pages become smaller.
const HALF_TAKEN_WITHIN: Duration = Duration::from_millis(100);
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

/// How large pages are at the moment.
#[derive(Clone, Debug)]
struct Pace {
    page: usize,
    asked: Instant,
    full: Option<Full>,
}

/// Half a page or more waits.
#[derive(Clone, Copy, Debug)]
struct Full {
    since: Instant,
    /// When the pace was looked at last, and how many had been taken until then.
    looked_at: Instant,
    taken: u64,
}

impl Window {
    /// The window of this connection's server.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            pace: Pace::begin(Instant::now()),
        }
    }

    /// How many may be sent now: none while enough wait. The window is for fairness alone: what the server cannot tell keeps
    /// nothing back.
    pub async fn room(&mut self) -> usize {
        match self.look().await {
            Some(backlog) => self.pace.room(backlog, Instant::now()),
            None => self.pace.page,
        }
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
    const fn begin(now: Instant) -> Self {
        Self {
            page: SMALLEST_PAGE,
            asked: now,
            full: None,
        }
    }

    fn room(&mut self, backlog: Backlog, now: Instant) -> usize {
        if now - self.asked > FORGOTTEN_AFTER {
            *self = Self::begin(now);
        }
        self.asked = now;
        let half = self.page as u64 / 2;
        if backlog.pending < half && backlog.unacked < MOST_TAKEN {
            self.full = None;
            if backlog.pending < half / 2 {
                self.page = (self.page * 2).min(LARGEST_PAGE);
            }
            return self.page;
        }
        let full = self.full.get_or_insert(Full {
            since: now,
            looked_at: now,
            taken: backlog.delivered,
        });
        if now - full.since > LONGEST_FULL {
            (self.page, self.full) = (LARGEST_PAGE, None);
            return self.page;
        }
        if now - full.looked_at > HALF_TAKEN_WITHIN {
            if backlog.delivered.saturating_sub(full.taken) < half {
                self.page = (self.page / 2).max(SMALLEST_PAGE);
            }
            (full.looked_at, full.taken) = (now, backlog.delivered);
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for a minute every 20 ms, sends what there is room for, and takes `a_second` of it; with `others` always waiting
    /// besides. What was sent, and how many waited at most, both in the last half of it.
    fn minute(a_second: u64, others: u64) -> (u64, u64) {
        let began = Instant::now();
        let mut pace = Pace::begin(began);
        let (mut sent, mut most, mut pending, mut delivered) = (0, 0, 0, 0);
        for look in 1..=3000_u32 {
            let taken = (u64::from(look) * a_second / 50) - (u64::from(look - 1) * a_second / 50);
            delivered += taken;
            pending -= taken.min(pending);
            let backlog = Backlog {
                pending: pending + others,
                unacked: 0,
                delivered,
            };
            let room = pace.room(backlog, began + LOOK_AGAIN * look) as u64;
            pending += room;
            if look > 1500 {
                sent += room;
                most = most.max(pending);
            }
        }
        (sent, most)
    }

    #[test]
    fn a_quick_provider_has_always_something_to_do_and_a_slow_one_never_much() {
        for (a_second, at_most) in [(10_000, 800), (3_000, 800), (250, 64), (20, 24)] {
            let (sent, most) = minute(a_second, 0);
            assert!(sent >= a_second * 29, "{a_second}: {sent}");
            assert!(most <= at_most, "{a_second}: {most}");
        }
    }

    #[test]
    fn single_payments_that_never_end_do_not_keep_others_back() {
        let (sent, _) = minute(5_000, 200);
        assert!(sent > 100_000, "{sent}");
        let (sent, _) = minute(100, 1_000);
        assert!(sent >= LARGEST_PAGE as u64, "{sent}");
    }
}
