//! What workers record into: for each version, one shard a worker and minute.
//!
//! Owns the shards and their hand-over. A worker records into its own; the lock around it is contended
//! only in the moment in which the gatherer takes what is closed, once a minute. Never waits for anyone,
//! and never loses a count: a shard that is not gathered stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::store::VersionKey;
use crate::domain::record::{Latency, Outcome};
use crate::domain::routing::TargetKind;
use crate::domain::spec::Intent;
use crate::domain::stats::window::{Minute, TrafficRecorder};
use crate::telemetry::Padded;

/// An exchange that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The minute in which it ended.
    pub minute: Minute,
    /// How.
    pub outcome: Outcome,
    /// How many predictions it asked for, where the gateway looked inside.
    pub rows: Option<u32>,
    /// Where the time went.
    pub latency: &'a Latency,
}

/// What one worker has counted about one version in one minute.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) minute: Minute,
    pub(super) traffic: TrafficRecorder,
}

impl Shard {
    fn record(&mut self, observation: &Observation<'_>) {
        let Observation { outcome, rows, latency, .. } = *observation;
        self.traffic.record(outcome, rows, latency);
    }
}

/// The shards of one worker.
#[derive(Debug, Default)]
struct Shards {
    /// Of the minutes that still get exchanges, and of those that were not gathered yet; the one that was
    /// used last is the last. Around a full minute two are in use: the beginning of an exchange is told
    /// by two clocks.
    filled: Vec<Shard>,
    /// Empty, for later.
    spare: Vec<Shard>,
}

impl Shards {
    fn of(&mut self, minute: Minute) -> Option<&mut Shard> {
        let last = self.filled.len().checked_sub(1);
        let at = last
            .filter(|last| self.filled[*last].minute == minute)
            .or_else(|| self.filled.iter().position(|shard| shard.minute == minute));
        let at = at.unwrap_or_else(|| {
            let mut shard = self.spare.pop().unwrap_or_default();
            shard.minute = minute;
            self.filled.push(shard);
            self.filled.len() - 1
        });
        self.filled.get_mut(at)
    }
}

/// The most empty shards that a worker keeps for a version.
const SPARE_MAX: usize = 2;

/// What is recorded about one version; shared by all snapshots that have it.
#[derive(Debug)]
pub struct VersionMonitor {
    key: VersionKey,
    shards: Box<[Padded<Mutex<Shards>>]>,
}

impl VersionMonitor {
    fn new(key: VersionKey, workers: usize) -> Self {
        Self { key, shards: (0..workers.max(1)).map(|_| Padded::default()).collect() }
    }

    /// The version.
    pub fn key(&self) -> &VersionKey {
        &self.key
    }

    /// Counts an exchange on `worker`.
    pub fn record(&self, worker: usize, observation: &Observation<'_>) {
        let Some(shards) = self.shards.get(worker % self.shards.len()) else { return };
        if let Some(shard) = shards.0.lock().of(observation.minute) {
            shard.record(observation);
        }
    }

    /// Takes the shards of all minutes before `open`, and hands each to `gather`.
    pub(super) fn take(&self, open: Minute, mut gather: impl FnMut(&Shard)) {
        for shards in &self.shards {
            let is_closed = |shard: &mut Shard| shard.minute < open;
            let mut taken: Vec<_> = shards.0.lock().filled.extract_if(.., is_closed).collect();
            for shard in &mut taken {
                gather(shard);
                shard.traffic.reset();
            }
            let mut shards = shards.0.lock();
            let room = SPARE_MAX.saturating_sub(shards.spare.len());
            shards.spare.extend(taken.into_iter().take(room));
        }
    }
}

/// Everything that is monitored.
#[derive(Debug)]
pub(super) struct Versions {
    workers: usize,
    /// Models that are not.
    left_out: Vec<String>,
    known: Mutex<BTreeMap<VersionKey, Arc<VersionMonitor>>>,
}

impl Versions {
    pub(super) fn new(intent: &Intent, workers: usize) -> Self {
        let left_out = intent.models.iter().filter(|(_, model)| !model.monitor.enabled);
        let left_out = left_out.map(|(name, _)| name.to_string()).collect();
        Self { workers, left_out, known: Mutex::default() }
    }

    /// The monitor of a version, made at its first mention.
    pub(super) fn version(&self, kind: &TargetKind) -> Option<Arc<VersionMonitor>> {
        let key = VersionKey::of(kind)?;
        if self.left_out.iter().any(|model| model == key.model.as_str()) {
            return None;
        }
        let mut known = self.known.lock();
        let version = known
            .entry(key)
            .or_insert_with_key(|key| Arc::new(VersionMonitor::new(key.clone(), self.workers)));
        Some(Arc::clone(version))
    }

    pub(super) fn all(&self) -> Vec<Arc<VersionMonitor>> {
        self.known.lock().values().cloned().collect()
    }
}
