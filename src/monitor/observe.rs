//! What workers record into: for each version, one shard a worker and minute.
//!
//! Owns the shards and their hand-over. A worker records into its own; the lock around it is contended
//! only in the moment in which the gatherer takes what is closed. Never waits for anyone, and never loses
//! a count: a shard that is not gathered stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::about::About;
use super::plan::Plan;
use super::sampling::Sampling;
use super::store::VersionKey;
use super::values::Values;
use super::waiting::Waiting;
use crate::domain::ids::{ModelName, RecordId, VersionName};
use crate::domain::record::{Latency, Outcome};
use crate::domain::routing::TargetKind;
use crate::domain::spec::Intent;
use crate::domain::stats::counts::Counts;
use crate::domain::stats::heavy_hitters::HeavyHitters;
use crate::domain::stats::strangers::Strangers;
use crate::domain::stats::window::{Minute, TrafficRecorder, Unseen};
use crate::telemetry::Padded;

/// An exchange that has ended.
#[derive(Debug)]
pub struct Observation<'a> {
    /// The minute in which it ended.
    pub minute: Minute,
    /// How.
    pub outcome: Outcome,
    /// The status that the client was sent.
    pub status: u16,
    /// How many predictions it asked for, where the gateway looked inside.
    pub rows: Option<u32>,
    /// The hash of the body of the request, where it was hashed.
    pub input: Option<u128>,
    /// Where the time went.
    pub latency: &'a Latency,
}

impl Observation<'_> {
    /// Whether the client has an answer of the model.
    pub(super) fn is_answered(&self) -> bool {
        self.outcome == Outcome::Ok && (200..300).contains(&self.status)
    }
}

/// What one worker has counted about one version in one minute.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) minute: Minute,
    /// Which plan it follows; a shard of another one is begun when that changes.
    revision: u64,
    pub(super) traffic: TrafficRecorder,
    pub(super) inputs: HeavyHitters,
    pub(super) counting: Option<Counting>,
    /// Values that a baseline is learned from.
    pub(super) unplanned: Vec<Values>,
}

/// Counts and how they are made.
#[derive(Debug)]
pub(super) struct Counting {
    plan: Arc<Plan>,
    pub(super) counts: Counts,
    /// Values that the baseline does not know, and the exchanges that were looked at for it or passed.
    pub(super) strangers: Strangers,
    looks: u32,
}

/// Of so many exchanges, unknown values of one are named.
const NAMED_OF: u32 = 16;

impl Counting {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let counts = Counts::new(Arc::clone(plan.layout()));
        Self { plan, counts, strangers: Strangers::default(), looks: 0 }
    }

    pub(super) fn count(&mut self, values: &Values, strict: bool) {
        self.plan.count(values, strict, &mut self.counts);
        if self.plan.has_categories() {
            if self.looks.is_multiple_of(NAMED_OF) {
                self.plan.name(values, &mut self.strangers);
            }
            self.looks = self.looks.wrapping_add(1);
        }
    }

    /// Goes on by another plan, which may have more tensors; `false` if it is of another layout.
    pub(super) fn follow(&mut self, plan: &Arc<Plan>) -> bool {
        let is_alike = self.counts.layout().hash() == plan.layout().hash();
        if is_alike && !Arc::ptr_eq(&self.plan, plan) {
            self.plan = Arc::clone(plan);
        }
        is_alike
    }

    /// Makes it empty for later.
    fn clear(&mut self) {
        self.counts.clear();
        self.strangers.clear();
        self.looks = 0;
    }
}

/// The most bytes of values of one version that wait to be learned from.
const UNPLANNED_BYTES: usize = 16 << 20;

/// What is still to be learned of a version: all workers together keep so much of its values, and no more.
#[derive(Debug, Default)]
struct Wanted {
    rows: AtomicUsize,
    bytes: AtomicUsize,
}

impl Wanted {
    fn set(&self, rows: usize) {
        self.bytes.store(UNPLANNED_BYTES, Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
    }

    /// Gives back the room of values that were learned from; so many rows are wanted still.
    fn learned(&self, bytes: usize, rows: usize) {
        let left = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        self.bytes.store(left.min(UNPLANNED_BYTES), Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
    }

    /// Whether these values are kept.
    fn takes(&self, values: &Values) -> bool {
        if self.rows.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let bytes = values.bytes();
        if bytes > self.bytes.load(Ordering::Relaxed) {
            return false;
        }
        for (left, taken) in [(&self.bytes, bytes), (&self.rows, values.rows().max(1))] {
            // Two workers at once may take a little more than there is.
            let now = left.load(Ordering::Relaxed);
            left.store(now.saturating_sub(taken), Ordering::Relaxed);
        }
        true
    }
}

impl Shard {
    /// Counts what every exchange has.
    fn note(&mut self, observation: &Observation<'_>) {
        self.traffic.record(observation.outcome, observation.rows, observation.latency);
        if let Some(input) = observation.input {
            self.inputs.add(input);
        }
    }

    /// Counts values, or keeps them where they are `wanted` to learn from.
    fn see(&mut self, values: Values, wanted: &Wanted) {
        self.traffic.see();
        match &mut self.counting {
            Some(counting) => counting.count(&values, false),
            None if wanted.takes(&values) => self.unplanned.push(values),
            None => {}
        }
    }

    /// Makes it empty for later.
    fn clear(&mut self) {
        self.traffic.reset();
        self.inputs.clear();
        self.unplanned.clear();
        if let Some(counting) = &mut self.counting {
            counting.clear();
        }
    }
}

/// What one worker keeps about one version.
#[derive(Debug, Default)]
struct Shards {
    /// Of the minutes that still get exchanges, and of those that were not gathered yet; the one that was
    /// used last is the last. Around a full minute two are in use: the beginning of an exchange is told
    /// by two clocks.
    filled: Vec<Shard>,
    /// Empty, for later.
    spare: Vec<Shard>,
    /// Exchanges whose bodies are looked into on the monitor's thread.
    #[expect(clippy::vec_box, reason = "they are large and move between threads")]
    waiting: Vec<Box<Waiting>>,
}

/// The most empty shards that a worker keeps for a version.
const SPARE_MAX: usize = 2;

/// The most shards that wait to be gathered, by worker and version: minutes in which the monitor's thread has
/// done nothing. Beyond, the oldest is lost, and counted.
const FILLED_MAX: usize = 16;

/// What is recorded about one version; shared by all snapshots that have it.
#[derive(Debug)]
pub struct VersionMonitor {
    key: VersionKey,
    about: Mutex<Arc<About>>,
    /// Whether anything was ever said about it.
    is_described: AtomicBool,
    wanted: Wanted,
    plan: Mutex<Option<Arc<Plan>>>,
    /// Counts changes of the plan.
    revision: AtomicU64,
    shards: Box<[Padded<Mutex<Shards>>]>,
    sampling: Arc<Sampling>,
    room: Arc<Room>,
}

/// The bytes of bodies that wait, by worker.
#[derive(Debug)]
pub(super) struct Room {
    /// For each worker.
    limit: usize,
    /// Shards that were lost.
    lost: AtomicU64,
    taken: Box<[Padded<AtomicUsize>]>,
}

impl Room {
    fn new(bytes: u64, workers: usize) -> Self {
        let workers = workers.max(1);
        let limit = usize::try_from(bytes).unwrap_or(usize::MAX) / workers;
        let lost = AtomicU64::new(0);
        Self { limit, lost, taken: (0..workers).map(|_| Padded::default()).collect() }
    }

    /// Whether there is any.
    fn is_left(&self, worker: usize) -> bool {
        let taken = self.taken.get(worker);
        taken.is_some_and(|taken| taken.0.load(Ordering::Relaxed) < self.limit)
    }

    /// Takes room for `bytes`, if there is any.
    fn take(&self, worker: usize, bytes: usize) -> bool {
        let Some(taken) = self.taken.get(worker) else { return false };
        // Only this worker adds, so that the sum cannot grow in between.
        let fits = taken.0.load(Ordering::Relaxed).saturating_add(bytes) <= self.limit;
        if fits {
            taken.0.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives room back.
    pub(super) fn give(&self, worker: usize, bytes: usize) {
        if let Some(taken) = self.taken.get(worker) {
            taken.0.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Shards that were lost for want of a thread that gathers them.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.taken.iter().map(|taken| taken.0.load(Ordering::Relaxed)).sum()
    }
}

impl VersionMonitor {
    fn new(key: VersionKey, workers: usize, sampling: Arc<Sampling>, room: Arc<Room>) -> Self {
        Self {
            key,
            about: Mutex::default(),
            is_described: AtomicBool::new(false),
            wanted: Wanted::default(),
            plan: Mutex::default(),
            revision: AtomicU64::new(0),
            shards: (0..workers.max(1)).map(|_| Padded::default()).collect(),
            sampling,
            room,
        }
    }

    /// The version.
    pub fn key(&self) -> &VersionKey {
        &self.key
    }

    /// Says what is known about the version.
    pub fn describe(&self, about: About) {
        let mut known = self.about.lock();
        if **known != about {
            *known = Arc::new(about);
        }
        self.is_described.store(true, Ordering::Release);
    }

    /// Whether it is known what it is: one of the configuration that is not loaded yet, or of records of a process
    /// before this one, has a name only.
    pub(super) fn is_described(&self) -> bool {
        self.is_described.load(Ordering::Acquire)
    }

    /// What is known about the version.
    pub fn about(&self) -> Arc<About> {
        Arc::clone(&self.about.lock())
    }

    /// Counts by another plan from now on, or by none. One that counts alike changes nothing: with another, every worker
    /// begins a new shard.
    pub(super) fn follow(&self, plan: Option<Arc<Plan>>) {
        let mut known = self.plan.lock();
        let is_same = match (&*known, &plan) {
            (None, None) => true,
            (Some(known), Some(plan)) => known.counts_like(plan),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_same {
            *known = plan;
            self.revision.fetch_add(1, Ordering::Release);
        }
    }

    /// Keeps the values of so many rows from now on, where there is no plan, to learn from them.
    pub(super) fn want(&self, rows: usize) {
        self.wanted.set(rows);
    }

    /// Says that a baseline has learned from values that take so many bytes, and of how many rows it still wants to.
    pub(super) fn learned(&self, bytes: usize, rows: usize) {
        self.wanted.learned(bytes, rows);
    }

    pub(super) fn plan(&self) -> Option<Arc<Plan>> {
        self.plan.lock().clone()
    }

    /// Counts an exchange on `worker`. `values` are those of a version in this process, where it has
    /// answered.
    pub fn record(&self, worker: usize, observation: &Observation<'_>, values: Option<Values>) {
        self.with_shard(worker, observation.minute, |shard| {
            shard.note(observation);
            match values.filter(|values| !values.is_empty()) {
                _ if !observation.is_answered() => shard.traffic.miss(Unseen::Failed),
                Some(values) => shard.see(values, &self.wanted),
                None => shard.traffic.miss(Unseen::Unreadable),
            }
        });
    }

    /// Counts an exchange of a proxied version on `worker`. What is taken from its bodies is looked into
    /// later, if it belongs to the share that is, and there is room.
    pub fn record_later(
        &self,
        worker: usize,
        observation: &Observation<'_>,
        id: RecordId,
        take: impl FnOnce() -> Result<Waiting, Unseen>,
    ) {
        let missed = if !observation.is_answered() {
            Some(Unseen::Failed)
        } else if !self.sampling.takes(observation.minute, id) {
            Some(Unseen::Sampled)
        } else {
            self.keep(worker, take).err()
        };
        self.with_shard(worker, observation.minute, |shard| {
            shard.note(observation);
            if let Some(reason) = missed {
                shard.traffic.miss(reason);
            }
        });
    }

    /// Keeps an exchange until it is looked into. Under load most find no room: those cost no copy.
    fn keep(
        &self,
        worker: usize,
        take: impl FnOnce() -> Result<Waiting, Unseen>,
    ) -> Result<(), Unseen> {
        let worker = worker % self.shards.len();
        if !self.room.is_left(worker) {
            return Err(Unseen::Busy);
        }
        let waiting = Box::new(take()?);
        if !self.room.take(worker, waiting.bytes()) {
            return Err(Unseen::Busy);
        }
        if let Some(shards) = self.shards.get(worker) {
            shards.0.lock().waiting.push(waiting);
        }
        Ok(())
    }

    fn with_shard(&self, worker: usize, minute: Minute, record: impl FnOnce(&mut Shard)) {
        let Some(shards) = self.shards.get(worker % self.shards.len()) else { return };
        let mut shards = shards.0.lock();
        let revision = self.revision.load(Ordering::Acquire);
        let is_it = |shard: &Shard| shard.minute == minute && shard.revision == revision;
        let filled = &shards.filled;
        let last = filled.len().checked_sub(1);
        let last = last.filter(|last| filled.get(*last).is_some_and(is_it));
        let at = match last.or_else(|| filled.iter().position(is_it)) {
            Some(at) => at,
            None => {
                if shards.filled.len() >= FILLED_MAX {
                    shards.filled.remove(0);
                    self.room.lost.fetch_add(1, Ordering::Relaxed);
                }
                let shard = self.begin(&mut shards.spare, minute, revision);
                shards.filled.push(shard);
                shards.filled.len() - 1
            }
        };
        if let Some(shard) = shards.filled.get_mut(at) {
            record(shard);
        }
    }

    /// A shard for `minute`: once a minute for each worker, or when the plan has changed.
    fn begin(&self, spare: &mut Vec<Shard>, minute: Minute, revision: u64) -> Shard {
        let kept = spare.pop();
        if let Some(shard) = kept
            && shard.revision == revision
        {
            return Shard { minute, ..shard };
        }
        let counting = self.plan().map(Counting::new);
        Shard { minute, revision, counting, ..Shard::default() }
    }

    /// Takes the shards of all minutes before `open`, and hands each to `gather`.
    pub(super) fn take(&self, open: Minute, mut gather: impl FnMut(&mut Shard)) {
        for shards in &self.shards {
            let is_closed = |shard: &mut Shard| shard.minute < open;
            let mut taken: Vec<_> = shards.0.lock().filled.extract_if(.., is_closed).collect();
            for shard in &mut taken {
                gather(shard);
                shard.clear();
            }
            if taken.is_empty() {
                continue;
            }
            let mut shards = shards.0.lock();
            let room = SPARE_MAX.saturating_sub(shards.spare.len());
            shards.spare.extend(taken.into_iter().take(room));
        }
    }

    /// Whether nothing is to be gathered.
    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shards| {
            let shards = shards.0.lock();
            shards.filled.is_empty() && shards.waiting.is_empty()
        })
    }

    /// Takes the exchanges that wait, each with the worker that it was counted on.
    pub(super) fn take_waiting(&self, mut look: impl FnMut(usize, Box<Waiting>)) {
        for (worker, shards) in self.shards.iter().enumerate() {
            let waiting = std::mem::take(&mut shards.0.lock().waiting);
            waiting.into_iter().for_each(|waiting| look(worker, waiting));
        }
    }
}

/// Everything that is monitored.
#[derive(Debug)]
pub(super) struct Versions {
    workers: usize,
    /// Models that are not.
    left_out: Vec<String>,
    pub(super) sampling: Arc<Sampling>,
    pub(super) room: Arc<Room>,
    known: Mutex<BTreeMap<VersionKey, Arc<VersionMonitor>>>,
}

impl Versions {
    pub(super) fn new(intent: &Intent, workers: usize) -> Self {
        let left_out = intent.models.iter().filter(|(_, model)| !model.monitor.enabled);
        let left_out = left_out.map(|(name, _)| name.to_string());
        Self::of(left_out.collect(), intent.monitor.queue, workers)
    }

    /// Those of all models but some, with room for so many bytes of bodies that wait.
    pub(super) fn of(left_out: Vec<String>, queue: u64, workers: usize) -> Self {
        let room = Arc::new(Room::new(queue, workers));
        Self { workers, left_out, sampling: Arc::default(), room, known: Mutex::default() }
    }

    /// The monitor of a version, made at its first mention.
    pub(super) fn version(&self, kind: &TargetKind) -> Option<Arc<VersionMonitor>> {
        let key = VersionKey::of(kind)?;
        if self.left_out.iter().any(|model| model == key.model.as_str()) {
            return None;
        }
        let mut known = self.known.lock();
        let new = |key: &VersionKey| {
            let (sampling, room) = (Arc::clone(&self.sampling), Arc::clone(&self.room));
            Arc::new(VersionMonitor::new(key.clone(), self.workers, sampling, room))
        };
        Some(Arc::clone(known.entry(key).or_insert_with_key(new)))
    }

    pub(super) fn find(&self, model: &str, version: &str) -> Option<Arc<VersionMonitor>> {
        let known = self.known.lock();
        let mut found = known.values().filter(|known| {
            known.key.model.as_str() == model && known.key.version.as_str() == version
        });
        found.next().cloned()
    }

    /// The monitor of a version by its names in a record; made where they are not known. `None` for what has no version,
    /// or is not monitored.
    pub(super) fn named(&self, model: &str, version: &str) -> Option<Arc<VersionMonitor>> {
        if model.is_empty() || version.is_empty() {
            return None;
        }
        let (model, version) = (ModelName::new(model), VersionName::new(version));
        self.version(&TargetKind::Version(model, version))
    }

    pub(super) fn all(&self) -> Vec<Arc<VersionMonitor>> {
        self.known.lock().values().cloned().collect()
    }

    /// Those that somebody records into, or has recorded into since they were last gathered.
    pub(super) fn held(&self) -> Vec<VersionKey> {
        let known = self.known.lock();
        let held = known.values().filter(|it| Arc::strong_count(it) > 1 || !it.is_empty());
        held.map(|version| version.key.clone()).collect()
    }

    /// Forgets versions that nobody records into any more and that are `idle`; tells which.
    pub(super) fn forget(&self, idle: impl Fn(&VersionKey) -> bool) -> Vec<VersionKey> {
        let mut forgotten = Vec::new();
        // Whoever asks for one waits for the lock, so that nobody gets one that is just being forgotten.
        self.known.lock().retain(|key, version| {
            let stays = Arc::strong_count(version) > 1 || !version.is_empty() || !idle(key);
            if !stays {
                forgotten.push(key.clone());
            }
            stays
        });
        forgotten
    }
}

#[cfg(test)]
mod tests;
