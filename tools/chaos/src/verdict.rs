//! What is left after a chaos run, held against everything that was promised.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::{Duration, SystemTime},
};

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    callers::{Promised, Promises},
    counters::Counters,
    lost,
    plan::Database,
    pulse::Pulse,
    restores::Restores,
    strikes::Strikes,
    timeline::Timeline,
    world::World,
};
use acceptance::{Report, Result};
use bank_simulator::{Overlap, Record};

/// After a process stood still, calls it made before may be in flight for so long.
const WAKING: Duration = Duration::from_secs(3);

/// The verdict on a run.
#[derive(Debug)]
pub struct Verdict {
    /// The check, with the bank's own record. What it names a restore may have lost.
    pub report: Report,
    /// Whatever is wrong.
    pub complaints: Vec<String>,
    /// How often each kind of fault struck.
    pub struck: BTreeMap<&'static str, usize>,
    /// What was when.
    pub timeline: Timeline,
    facts: Vec<String>,
}

impl Verdict {
    pub(super) async fn of(
        world: &World,
        strikes: &Strikes,
        pulse: &Pulse,
        counters: &Counters,
        promises: &Promises,
    ) -> Result<Self> {
        let record = world.bank.record()?;
        let (report, losses) = lost::check(world, &strikes.restores).await?;
        let mut verdict = Self {
            report,
            facts: vec![losses.facts()],
            complaints: losses.complaints,
            struck: BTreeMap::new(),
            timeline: Timeline::default(),
        };
        for struck in strikes.struck() {
            *verdict.struck.entry(struck.fault.kind()).or_default() += 1;
        }
        verdict.count(&record, counters, &promises.lock());
        verdict.overlaps(&record, &strikes.frozen(), &pulse.late());
        let misuses = record.misuses();
        verdict.complaints.extend(
            misuses
                .iter()
                .map(|misuse| format!("the bank complains: {misuse}")),
        );
        verdict.processes(world);
        let kept = std::mem::take(&mut *promises.lock());
        verdict.promises(world, &strikes.restores, kept).await?;
        Ok(verdict)
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.complaints.is_empty()
    }

    fn count(&mut self, record: &Record, counters: &Counters, promised: &Promised) {
        let calls = record.calls();
        let all: usize = calls.values().sum();
        let faulty: usize = calls
            .iter()
            .filter(|((_, fault), _)| fault.is_some())
            .map(|(_, n)| n)
            .sum();
        self.facts
            .push(format!("bank: {all} calls, {faulty} of them faulty"));
        let counted: Vec<String> = counters
            .totals()
            .into_iter()
            .map(|(word, total)| format!("{word} {total}"))
            .collect();
        self.facts.push(format!("at least: {}", counted.join(", ")));
        self.facts.push(format!(
            "callers: {} invoices, {} payments and {} batches promised; answers {:?}, unanswered {}",
            promised.invoices.len(),
            promised.payments.len(),
            promised.batches.len(),
            promised.answers,
            promised.unanswered
        ));
    }

    /// Two calls in flight under one key mean that the lease failed, unless a process had stood still, or had been late for
    /// everything: no lease keeps it from making a call that it was about to make.
    fn overlaps(
        &mut self,
        record: &Record,
        frozen: &[(SystemTime, SystemTime)],
        late: &[(SystemTime, SystemTime)],
    ) {
        let overlaps = record.overlaps();
        let (stood_still, others): (Vec<Overlap>, Vec<Overlap>) = overlaps
            .into_iter()
            .partition(|overlap| is_excused(*overlap, frozen));
        let (was_late, failed): (Vec<Overlap>, Vec<Overlap>) =
            others.into_iter().partition(|overlap| is_excused(*overlap, late));
        self.facts.push(format!(
            "two calls in flight under one key: {}, and {} where a process had stood still, {} where one was late (as one \
             was {} times)",
            failed.len(),
            stood_still.len(),
            was_late.len(),
            late.len()
        ));
        self.complaints.extend(failed.iter().map(|overlap| {
            let Overlap {
                key,
                at,
                since,
                calls,
            } = overlap;
            let after = at.saturating_sub(*since);
            format!("two calls were in flight under key {key}: {calls:?}, {after} ms apart, at {at}")
        }));
    }

    fn processes(&mut self, world: &World) {
        for node in world.nodes() {
            let process = node.service.program().process();
            if let Some(status) = process.and_then(|process| process.exit_status()) {
                self.complaints
                    .push(format!("{} ended by itself: {status}", node.name));
            }
        }
    }

    /// Whatever was answered to a caller is in the database, unless that has forgotten it.
    async fn promises(&mut self, world: &World, restores: &Restores, promised: Promised) -> Result<()> {
        self.complaints.extend(promised.complaints);
        let url = world.system.stack().invoice_database_url();
        let mut database = PgConnection::connect(&url).await?;
        let forgotten = |heard: &SystemTime| restores.forgot_answer(Database::Invoices, *heard);
        let tables = [
            (
                "invoice",
                "select id from invoices where id = any($1)",
                promised.invoices,
            ),
            (
                "payment",
                "select id from payments where id = any($1)",
                promised.payments,
            ),
        ];
        for (what, query, promised) in tables {
            let ids: Vec<Uuid> = promised.keys().copied().collect();
            let kept: Vec<Uuid> = sqlx::query_scalar(query)
                .bind(ids)
                .fetch_all(&mut database)
                .await?;
            let kept: HashSet<Uuid> = kept.into_iter().collect();
            let lost = promised.iter().filter(|(id, _)| !kept.contains(*id));
            let (by_restore, otherwise): (Vec<_>, Vec<_>) = lost.partition(|(_, heard)| forgotten(heard));
            self.facts
                .push(format!("{} promised {what}s lost by a restore", by_restore.len()));
            self.complaints.extend(
                otherwise
                    .iter()
                    .map(|(id, _)| format!("{what} {id} was promised and is lost")),
            );
        }
        let unknown: Vec<Uuid> = promised.unknown.into_iter().collect();
        let known: Vec<Uuid> = sqlx::query_scalar("select id from invoices where id = any($1)")
            .bind(unknown)
            .fetch_all(&mut database)
            .await?;
        self.complaints.extend(
            known
                .iter()
                .map(|id| format!("invoice {id} was said not to exist, and does")),
        );
        for (batch, (requested, heard)) in promised.batches {
            let made: i64 = sqlx::query_scalar("select count(*) from payments where batch_id = $1")
                .bind(batch)
                .fetch_one(&mut database)
                .await?;
            if u64::try_from(made)? != requested && !(made == 0 && forgotten(&heard)) {
                self.complaints.push(format!(
                    "batch {batch} was said to have {requested} payments, and has {made}"
                ));
            }
        }
        Ok(())
    }
}

fn is_excused(overlap: Overlap, frozen: &[(SystemTime, SystemTime)]) -> bool {
    let time = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    frozen
        .iter()
        .any(|(since, until)| time(overlap.at) >= *since && time(overlap.since) <= *until + WAKING)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: usize = self.struck.values().sum();
        writeln!(f, "{faults} faults: {:?}", self.struck)?;
        for fact in &self.facts {
            writeln!(f, "{fact}")?;
        }
        write!(f, "{}{}", self.report.sums, self.report)?;
        for complaint in &self.complaints {
            write!(f, "\n  {complaint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bank_simulator::CallKind;

    #[test]
    fn an_overlap_is_excused_only_by_a_process_that_stood_still_at_the_time() {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let frozen = [(at(10_000), at(30_000))];
        let overlap = |since, at| Overlap {
            key: Uuid::nil(),
            since,
            at,
            calls: [CallKind::Pay, CallKind::Find],
        };
        assert!(is_excused(overlap(9_900, 10_100), &frozen));
        assert!(is_excused(overlap(30_500, 31_000), &frozen));
        assert!(!is_excused(overlap(8_000, 9_000), &frozen));
        assert!(!is_excused(overlap(33_500, 34_000), &frozen));
        assert!(!is_excused(overlap(9_900, 10_100), &[]));
    }
}
