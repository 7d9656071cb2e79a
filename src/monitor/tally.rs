//! Exchanges that are counted outside of workers: proxied ones whose bodies waited, and records of the
//! prediction log.
//!
//! Owns the counts of a batch until they go to the store. Runs on the monitor's thread, or offline.

use std::collections::BTreeMap;

use super::observe::{Counting, VersionMonitor, Versions};
use super::references::References;
use super::sampling::is_taken;
use super::store::{Store, VersionKey};
use super::values::Values;
use super::waiting::Waiting;
use crate::domain::record::{Kind, Outcome, PredictionRecord};
use crate::domain::stats::heavy_hitters::HeavyHitters;
use crate::domain::stats::window::{Minute, TrafficRecorder, Unseen, WindowCounts};

/// The most windows of a batch.
const WINDOWS_MAX: usize = 256;

/// The hash of the body of a request; `None` where there is none, or it was not hashed.
fn input_of(record: &PredictionRecord<'_>) -> Option<u128> {
    let hash = u128::from_be_bytes(record.request.hash);
    (record.request.bytes > 0 && hash != 0).then_some(hash)
}

/// The counts of a batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    windows: BTreeMap<(VersionKey, Minute), Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    traffic: TrafficRecorder,
    inputs: HeavyHitters,
    counting: Option<Counting>,
}

impl Batch {
    /// Counts what is found in an exchange that waited; its traffic is counted already.
    pub(super) fn look(
        &mut self,
        version: &VersionMonitor,
        waiting: &Waiting,
        references: &mut References,
        store: &Store,
    ) {
        let values = references.values(version, waiting);
        self.see(version, waiting.minute, values, references, store);
    }

    /// Counts a record of the log as the exchange was counted. `halvings` tells how often the share of a
    /// minute was halved. Tells which minute it was counted in; `None` for what is not monitored.
    pub(super) fn recount(
        &mut self,
        versions: &Versions,
        record: &PredictionRecord<'_>,
        references: &mut References,
        store: &Store,
        halvings: impl Fn(Minute) -> u8,
    ) -> Option<Minute> {
        if record.kind != Kind::Inference {
            return None;
        }
        let version = versions.find(record.decision.model, record.decision.model_version)?;
        let minute = Minute::of_exchange(record.ts_us, record.latency.t_total);
        let tally = self.tally(version.key(), minute, store);
        tally.traffic.record(record.outcome, record.batch_size, &record.latency);
        if let Some(hash) = input_of(record) {
            tally.inputs.add(hash);
        }
        let answered = record.outcome == Outcome::Ok && (200..300).contains(&record.status);
        let is_local = version.about().is_local;
        let values = if !answered {
            Err(Unseen::Failed)
        } else if !is_local && !is_taken(record.record_id, halvings(minute)) {
            Err(Unseen::Sampled)
        } else {
            Waiting::of_record(record).and_then(|waiting| references.values(&version, &waiting))
        };
        self.see(&version, minute, values, references, store);
        Some(minute)
    }

    fn see(
        &mut self,
        version: &VersionMonitor,
        minute: Minute,
        values: Result<Values, Unseen>,
        references: &mut References,
        store: &Store,
    ) {
        let key = version.key();
        let values = match values {
            Ok(values) => values,
            Err(reason) => return self.tally(key, minute, store).traffic.miss(reason),
        };
        if references.learns(key) {
            references.learn(version, &values, store);
            return self.tally(key, minute, store).traffic.see();
        }
        let strict = references.is_strict(key);
        let plan = references.plan(key).cloned();
        let tally = self.tally(key, minute, store);
        tally.traffic.see();
        let Some(plan) = plan else { return };
        if !tally.counting.as_mut().is_some_and(|counting| counting.follow(&plan)) {
            let fresh = Counting::new(plan);
            if let Some(counting) = tally.counting.replace(fresh) {
                let mut window = WindowCounts::default();
                window.add_values(&counting.counts);
                store.add(key, minute, &window);
            }
        }
        if let Some(counting) = &mut tally.counting {
            counting.count(&values, strict);
        }
    }

    /// Counts an exchange that waited and is not looked into any more.
    pub(super) fn pass_over(&mut self, version: &VersionMonitor, waiting: &Waiting, store: &Store) {
        self.tally(version.key(), waiting.minute, store).traffic.miss(Unseen::Busy);
    }

    fn tally(&mut self, key: &VersionKey, minute: Minute, store: &Store) -> &mut Tally {
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(&(key.clone(), minute)) {
            self.flush(store);
        }
        self.windows.entry((key.clone(), minute)).or_default()
    }

    /// Adds everything to the store; tells the minutes.
    pub(super) fn flush(&mut self, store: &Store) -> Vec<Minute> {
        let mut minutes = Vec::new();
        for ((key, minute), tally) in std::mem::take(&mut self.windows) {
            let mut window = WindowCounts::default();
            window.traffic.add_recorded(&tally.traffic);
            window.inputs.merge(&tally.inputs);
            if let Some(counting) = &tally.counting {
                window.add_values(&counting.counts);
                store.name(&key, minute, counting.counts.layout(), &counting.strangers);
            }
            store.add(&key, minute, &window);
            minutes.push(minute);
        }
        minutes
    }
}
