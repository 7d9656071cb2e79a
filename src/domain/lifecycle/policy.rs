//! What the operator wants of releases: how they are tried, when they go, what counts as broken.
//!
//! Owns the meaning of the settings and their defaults. Never knows a file; the configuration fills
//! these types.

use std::path::PathBuf;
use std::time::Duration;

use super::evidence::{CheckKind, Metric};
use crate::domain::ids::Permille;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The largest share of a candidate: its control slice is as large, and both must fit.
pub const CANDIDATE_SHARE_MAX: Permille = Permille::saturating(500);

/// Everything that the life cycle of one model's versions follows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// How a version is tried and promoted.
    pub release: ReleasePolicy,
    /// When a version goes.
    pub evict: EvictPolicy,
    /// What counts as broken.
    pub guard: GuardPolicy,
}

/// Who lets a version answer clients for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The evidence.
    #[default]
    Automatic,
    /// The evidence and an operator's approval.
    Manual,
}

/// How a version is tried and promoted.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleasePolicy {
    /// Who lets a version answer clients for the first time.
    pub mode: Mode,
    /// How long an incomplete version may lie before an alarm says so.
    pub incomplete: Duration,
    /// Attempts to fetch an artifact, over two minutes at least.
    pub fetch_attempts: u32,
    /// Checks that must have run and passed; the others may be skipped.
    pub required: Vec<CheckKind>,
    /// The golden set of versions that have no folder of their own.
    pub golden: Option<PathBuf>,
    /// The longest validation.
    pub validating: Duration,
    /// The longest warm-up.
    pub warming: Duration,
    /// The trial on copies of requests.
    pub shadow: ShadowPolicy,
    /// The trial on requests of clients, in growing shares.
    pub steps: Vec<Step>,
    /// The shortest stay on a step.
    pub dwell: Duration,
    /// The longest stay on a step, in dwells, before it is extended once by as much again.
    pub patience: u32,
    /// From the promotion on: how long the earlier champion stays loaded.
    pub undo: Duration,
    /// The most earlier champions that stay loaded.
    pub standbys: usize,
    /// The shortest time between the beginnings of two rollouts.
    pub between: Duration,
    /// The most rollouts begun within a day.
    pub daily: usize,
    /// How often in a row a newer release may supersede one on trial; after that the trial ends
    /// first.
    pub superseded: u32,
    /// From this share on a candidate is no longer superseded.
    pub protected: Permille,
    /// Failures in a row after which the releases of a publisher wait for an operator.
    pub failures: u32,
    /// Ends of the gateway without a farewell, a day or less apart, after which a version on trial is stopped.
    pub deaths: u32,
    /// Whether a version may live without a golden set or a trial on copies.
    pub unproven: bool,
    /// How long a version without a trial must have lived soundly to count as proven.
    pub proving: Duration,
    /// How long nobody must have answered before the version on trial takes the champion's place; zero for never.
    pub absence: Duration,
}

impl Default for ReleasePolicy {
    fn default() -> Self {
        let step = |thousandths| Step::usual(Permille::saturating(thousandths));
        Self {
            mode: Mode::Automatic,
            incomplete: 10 * MINUTE,
            fetch_attempts: 3,
            required: vec![
                CheckKind::Identity,
                CheckKind::Interface,
                CheckKind::Probes,
                CheckKind::Determinism,
                CheckKind::Latency,
            ],
            golden: None,
            validating: 5 * MINUTE,
            warming: 5 * MINUTE,
            shadow: ShadowPolicy::default(),
            steps: vec![step(10), step(50), step(200), step(500)],
            dwell: 10 * MINUTE,
            patience: 3,
            undo: DAY,
            standbys: 2,
            between: 10 * MINUTE,
            daily: 24,
            superseded: 3,
            protected: Permille::saturating(500),
            failures: 2,
            deaths: 2,
            unproven: false,
            proving: DAY,
            absence: 5 * MINUTE,
        }
    }
}

/// The trial on copies of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowPolicy {
    /// Pairs of answers that are compared; zero leaves the trial out.
    pub pairs: u64,
    /// The least agreement with the champion, as a lower confidence bound.
    pub agreement: f64,
    /// By how much more or less often than the champion it may give an answer, as a lower confidence bound.
    pub shift: f64,
    /// The most that the 99th percentile of latency may grow, as an upper confidence bound.
    pub slower: f64,
    /// The largest share of copies that may be dropped.
    pub drops: f64,
    /// The longest stay before it is extended once by as much again.
    pub limit: Duration,
}

impl Default for ShadowPolicy {
    fn default() -> Self {
        Self { pairs: 500, agreement: 0.8, shift: 0.1, slower: 1.5, drops: 0.05, limit: HOUR }
    }
}

/// One step of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The candidate's share of the requests.
    pub share: Permille,
    /// Responses of the candidate that the step must have seen.
    pub responses: u64,
}

impl Step {
    /// A step of that share with the usual number of responses: more where more callers are at stake.
    pub fn usual(share: Permille) -> Self {
        let responses = match share.thousandths() {
            0..50 => 200,
            50..200 => 500,
            200..500 => 1000,
            500.. => 2000,
        };
        Self { share, responses }
    }
}

/// When a version goes.
#[derive(Debug, Clone, PartialEq)]
pub struct EvictPolicy {
    /// The age since its release after which a version that does not serve is deleted.
    pub ttl: Option<Duration>,
    /// The age of its training data after which a version counts as out of date.
    pub max_age: Option<Duration>,
    /// How long a standby that nobody asks for stays loaded after its undo window.
    pub idle: Option<Duration>,
    /// Proven versions that are kept on disk whatever their age.
    pub keep_proven: usize,
    /// How long the artifact of a quarantined version is kept.
    pub quarantine: Option<Duration>,
    /// How long the artifact of an evicted version can still be restored.
    pub grace: Duration,
    /// Bytes of artifacts on disk.
    pub disk: Option<u64>,
    /// Bytes of loaded models.
    pub memory: Option<u64>,
    /// The shortest time between two evictions of one model.
    pub cool_down: Duration,
    /// The most evictions of the gateway within an hour.
    pub hourly: usize,
    /// Only tells what would go.
    pub dry_run: bool,
    /// How long dates decide nothing after the clock was set.
    pub clock_doubt: Duration,
    /// The step of the clock that counts as set.
    pub clock_step: Duration,
}

impl Default for EvictPolicy {
    fn default() -> Self {
        Self {
            ttl: None,
            max_age: None,
            idle: None,
            keep_proven: 2,
            quarantine: Some(7 * DAY),
            grace: DAY,
            disk: None,
            memory: None,
            cool_down: MINUTE,
            hourly: 20,
            dry_run: false,
            clock_doubt: HOUR,
            clock_step: HOUR,
        }
    }
}

/// How fast responses are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyObjective {
    /// A response that takes longer is slow.
    pub slo: Duration,
    /// The share of responses that must not be.
    pub target: Permille,
}

/// What counts as broken, and how sure that must be.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardPolicy {
    /// The chance that a rollout of an equal version is rolled back, over all of it.
    pub alpha: f64,
    /// Metrics that a promotion needs, besides those that speak against it whenever they are there.
    pub required: Vec<Metric>,
    /// By how much the candidate's rate may be worse, as an upper confidence bound on the
    /// difference.
    pub margin: f64,
    /// What counts as a slow response; `None` where slowness is not judged.
    pub latency: Option<LatencyObjective>,
    /// First responses that all failed: the candidate is broken.
    pub first_failures: u64,
    /// Below this chance the counts of candidate and control do not fit their shares.
    pub sample_ratio: f64,
    /// How old the evidence may be that a version is healthy now.
    pub fresh: Duration,
    /// How often the golden set of loaded versions is run again.
    pub golden: Duration,
    /// By how much the metric on labelled golden rows may be worse than the champion's.
    pub golden_margin: f64,
    /// The fewest responses from which a version is called degraded.
    pub samples: u64,
    /// The share of the champion's requests of which the latest standby gets copies.
    pub standby_copies: Permille,
}

impl Default for GuardPolicy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            required: vec![Metric::Errors],
            margin: 0.02,
            latency: None,
            first_failures: 5,
            sample_ratio: 1e-4,
            fresh: 10 * MINUTE,
            golden: HOUR,
            golden_margin: 0.02,
            samples: 100,
            standby_copies: Permille::saturating(1),
        }
    }
}
