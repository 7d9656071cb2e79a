//! What is counted of a version on trial while requests are answered.
//!
//! Owns the counts: each worker has a shard of its own, so that counting touches no cache line of another
//! core; [`Trial::canary`] and [`Trial::shadow`] add them up and have them judged by
//! [`domain::trial`](crate::domain::trial). One [`Trial`] lives as long as its rollout, over all snapshots that
//! carry it. Never decides who answers: the table does.
//!
//! ```text
//! worker ─ drawn, answered ─▶ its shard ─┐
//! worker ─ drawn, answered ─▶ its shard ─┴─▶ look ─▶ Comparison ─▶ CanaryEvidence
//! worker ─ a copy ─▶ Gate ─▶ the shadow's thread ─▶ Pairs ───────▶ ShadowEvidence
//! ```

mod gate;
mod replays;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::gate::{Dropped, Gate, Pass};
pub use self::replays::{ReplayOrder, Replayed, Replays};
use crate::domain::lifecycle::evidence::{CanaryEvidence, ShadowEvidence};
use crate::domain::lifecycle::time::Steady;
use crate::domain::routing::Arm;
use crate::domain::spec::ShadowSpec;
use crate::domain::trial::comparison::{ArmCounts, Arms, Comparison, Terms};
use crate::domain::trial::pairs::{Pair, Pairs, Tally};
use crate::telemetry::Padded;

/// On what a version is tried.
#[derive(Debug, Clone, PartialEq)]
pub enum TrialKind {
    /// On requests of clients, beside a control slice.
    Canary {
        /// The champion's rate of errors before, as far as known.
        error_rate: Option<f64>,
        /// From when on a response counts as slow.
        slow_after: Option<Duration>,
    },
    /// On copies.
    Shadow(ShadowSpec),
}

/// A version on trial.
#[derive(Debug)]
pub struct Trial {
    counted: Counted,
    /// Requests of the model that nobody could answer meanwhile.
    unanswered: AtomicU64,
}

#[derive(Debug)]
enum Counted {
    Canary(Box<Canary>),
    Shadow(Box<Shadow>),
}

impl Trial {
    /// A trial that begins, counted by `workers`.
    pub fn new(kind: TrialKind, workers: usize, began: Steady) -> Self {
        let counted = match kind {
            TrialKind::Canary { error_rate, slow_after } => {
                Counted::Canary(Box::new(Canary::new(error_rate, slow_after, workers, began)))
            }
            TrialKind::Shadow(spec) => Counted::Shadow(Box::new(Shadow::new(spec, began))),
        };
        Self { counted, unanswered: AtomicU64::new(0) }
    }

    /// The counts of a trial on requests of clients.
    pub fn as_canary(&self) -> Option<&Canary> {
        match &self.counted {
            Counted::Canary(canary) => Some(canary),
            Counted::Shadow(_) => None,
        }
    }

    /// The counts of a trial on copies.
    pub fn as_shadow(&self) -> Option<&Shadow> {
        match &self.counted {
            Counted::Canary(_) => None,
            Counted::Shadow(shadow) => Some(shadow),
        }
    }

    /// Step number `step` begins: its responses count from `began` on, the tests go on. Once a step.
    pub fn begin_step(&self, step: u32, began: Steady) {
        if let Some(canary) = self.as_canary() {
            canary.begin_step(step, began);
        }
    }

    /// What the trial on requests of clients has shown until now; nothing for a trial on copies.
    pub fn canary(&self) -> CanaryEvidence {
        self.as_canary().map(Canary::evidence).unwrap_or_default()
    }

    /// What the trial on copies has shown until now; nothing for a trial on requests of clients.
    pub fn shadow(&self) -> ShadowEvidence {
        self.as_shadow().map(Shadow::evidence).unwrap_or_default()
    }

    /// Notes a request of the model for which no version was there.
    pub fn miss(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// Requests of the model until now for which no version was there.
    pub fn missed(&self) -> u64 {
        self.unanswered.load(Relaxed)
    }

    /// Notes what killed the version. The first cause counts.
    pub fn crash(&self, why: &str) {
        if let Some(canary) = self.as_canary() {
            let _known = canary.crashed.set(why.to_owned());
        }
    }
}

/// A response of one of the two arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// It counts against its version.
    pub failed: bool,
    /// First byte of the request to the last byte of the response.
    pub took: Duration,
    /// Whether its outputs are no valid outputs; `None` where nobody looked.
    pub invalid: Option<bool>,
}

/// The counts of a trial on requests of clients.
#[derive(Debug)]
pub struct Canary {
    shards: Box<[Padded<[ArmShard; 2]>]>,
    callers: [Callers; 2],
    slow_after: Option<Duration>,
    /// The candidate has given a good response.
    has_succeeded: AtomicBool,
    failed_from_start: AtomicU64,
    crashed: OnceLock<String>,
    /// Only those who look lock it, once a second.
    rollout: Mutex<Rollout>,
}

#[derive(Debug)]
struct Rollout {
    comparison: Comparison,
    step: Option<u32>,
}

/// What one worker counts of one arm.
#[derive(Debug, Default)]
struct ArmShard {
    /// Requests without a caller.
    draws: AtomicU64,
    requests: AtomicU64,
    responses: AtomicU64,
    errors: AtomicU64,
    slow: AtomicU64,
    outputs: AtomicU64,
    invalid: AtomicU64,
}

/// The place of the candidate and of the control, where there are two; the rest is not counted.
const fn place(arm: Arm) -> Option<usize> {
    match arm {
        Arm::Candidate => Some(0),
        Arm::Control => Some(1),
        Arm::Rest => None,
    }
}

impl Canary {
    fn new(
        error_rate: Option<f64>,
        slow_after: Option<Duration>,
        workers: usize,
        began: Steady,
    ) -> Self {
        let terms = Terms { watches_time: slow_after.is_some(), ..Terms::default() };
        let terms = Terms { error_rate: error_rate.unwrap_or(terms.error_rate), ..terms };
        let rollout = Rollout { comparison: Comparison::new(&terms, began), step: None };
        Self {
            shards: (0..workers.max(1)).map(|_| Padded::default()).collect(),
            callers: Default::default(),
            slow_after,
            has_succeeded: AtomicBool::new(false),
            failed_from_start: AtomicU64::new(0),
            crashed: OnceLock::new(),
            rollout: Mutex::new(rollout),
        }
    }

    fn shard(&self, worker: usize, place: usize) -> Option<&ArmShard> {
        self.shards.get(worker % self.shards.len())?.0.get(place)
    }

    /// A request fell into an arm; `caller` is a hash of what identifies its caller.
    pub fn draw(&self, worker: usize, arm: Arm, caller: Option<u64>) {
        let Some(place) = place(arm) else { return };
        let Some(shard) = self.shard(worker, place) else { return };
        shard.requests.fetch_add(1, Relaxed);
        match (caller, self.callers.get(place)) {
            (Some(caller), Some(callers)) => callers.note(caller),
            _ => {
                shard.draws.fetch_add(1, Relaxed);
            }
        }
    }

    /// A request of an arm has its response.
    pub fn answer(&self, worker: usize, arm: Arm, answered: &Answered) {
        let Some(shard) = place(arm).and_then(|place| self.shard(worker, place)) else { return };
        let count = |counter: &AtomicU64, is: bool| {
            if is {
                counter.fetch_add(1, Relaxed);
            }
        };
        count(&shard.responses, true);
        count(&shard.errors, answered.failed);
        count(&shard.slow, self.slow_after.is_some_and(|limit| answered.took > limit));
        count(&shard.outputs, answered.invalid.is_some());
        count(&shard.invalid, answered.invalid == Some(true));
        if arm == Arm::Candidate && !self.has_succeeded.load(Relaxed) {
            if answered.failed {
                self.failed_from_start.fetch_add(1, Relaxed);
            } else {
                self.has_succeeded.store(true, Relaxed);
            }
        }
    }

    /// Requests that fell into the arms of candidate and control.
    pub fn requests(&self) -> [u64; 2] {
        let of = |place: usize| {
            let shards = self.shards.iter().filter_map(|shard| shard.0.get(place));
            shards.map(|shard| shard.requests.load(Relaxed)).sum()
        };
        [of(0), of(1)]
    }

    fn arms(&self) -> Arms {
        let of = |place: usize| {
            let mut counts = ArmCounts {
                draws: self.callers.get(place).map_or(0, Callers::count),
                ..ArmCounts::default()
            };
            for shard in self.shards.iter().filter_map(|shard| shard.0.get(place)) {
                // What is a part of something else is read before it.
                counts.errors += shard.errors.load(Relaxed);
                counts.slow += shard.slow.load(Relaxed);
                counts.invalid += shard.invalid.load(Relaxed);
                counts.outputs += shard.outputs.load(Relaxed);
                counts.responses += shard.responses.load(Relaxed);
                counts.draws += shard.draws.load(Relaxed);
            }
            counts
        };
        Arms { candidate: of(0), control: of(1) }
    }

    fn begin_step(&self, step: u32, began: Steady) {
        let arms = self.arms();
        let mut rollout = self.rollout.lock();
        if rollout.step == Some(step) {
            return;
        }
        rollout.comparison.look(arms);
        // The rollout itself began with its first step.
        if rollout.step.replace(step).is_some() {
            rollout.comparison.begin_step(began);
        }
    }

    fn evidence(&self) -> CanaryEvidence {
        let arms = self.arms();
        let mut rollout = self.rollout.lock();
        rollout.comparison.look(arms);
        let failed = self.failed_from_start.load(Relaxed);
        rollout.comparison.evidence(failed, self.crashed.get().cloned())
    }
}

/// Bits of a set of callers, in words of 64.
const WORDS: usize = 1024;

/// About how many different callers there were: a bit for each, by its hash.
///
/// Two callers may share a bit, so that the count is too small; that happens to both arms alike, and makes
/// the counts vary less than those of a fair draw, never more.
#[derive(Debug)]
struct Callers(Box<[AtomicU64]>);

impl Default for Callers {
    fn default() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Callers {
    fn note(&self, caller: u64) {
        let (word, bit) = ((caller >> 6) as usize % WORDS, 1 << (caller & 63));
        let Some(word) = self.0.get(word) else { return };
        // Most have been seen: that only reads.
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, Relaxed);
        }
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum()
    }
}

/// The counts of a trial on copies.
#[derive(Debug)]
pub struct Shadow {
    spec: ShadowSpec,
    /// What bounds the copies.
    pub gate: Gate,
    /// Only the thread that compares and those who look lock it.
    pairs: Mutex<Pairs>,
    /// Answers of which one or both could not be read.
    unread: AtomicU64,
}

impl Shadow {
    fn new(spec: ShadowSpec, began: Steady) -> Self {
        let gate = Gate::new(spec.concurrency, spec.rate, spec.share, spec.patience);
        Self { spec, gate, pairs: Mutex::new(Pairs::new(began)), unread: AtomicU64::new(0) }
    }

    /// How it is done.
    pub fn spec(&self) -> &ShadowSpec {
        &self.spec
    }

    /// Counts a pair.
    pub fn compare(&self, pair: &Pair) {
        self.pairs.lock().add(pair);
    }

    /// Counts answers that cannot be compared.
    pub fn miss(&self) {
        self.unread.fetch_add(1, Relaxed);
    }

    /// Pairs that agreed, all pairs, and answers that could not be compared.
    pub fn counts(&self) -> (u64, u64, u64) {
        let Tally { agreed, compared, .. } = self.tally();
        (agreed, compared, self.unread.load(Relaxed))
    }

    /// What became of all pairs.
    pub fn tally(&self) -> Tally {
        self.pairs.lock().tally()
    }

    fn evidence(&self) -> ShadowEvidence {
        let copies = self.gate.copies();
        self.pairs.lock().evidence(copies)
    }
}

#[cfg(test)]
mod tests;
