//! Admission: what a version must show before it gets any traffic, and whether it still does later.
//!
//! Owns the checks of [`CheckKind`], the warm-up and the fresh look, for versions in this process and at backends
//! alike: both are asked the same rows and held against what lies beside the artifact (`model.toml`, `baseline.json`,
//! `golden.jsonl`) or, at backends, against the golden set of the model, and against the champion on the same rows.
//! Never decides what follows from a check, loads nothing and changes no route. Runs off the request path, one run at a
//! time; whoever drops a check ends it.
//!
//! ```text
//! subject ─▶ bench: runner, declared tensors, card, baseline, golden set, probe rows
//!              ├─ check ─▶ identity, interface, probes, …   ─▶ Checks
//!              ├─ warm  ─▶ blocks of runs until steady      ─▶ Warmth
//!              ├─ look  ─▶ the golden set, else probe rows  ─▶ Look
//!              ├─ join  ─▶ identity, probe rows, and the answers of those that serve already ─▶ Check
//!              └─ watch ─▶ identity                       ─▶ Check
//! ```

mod bench;
mod compare;
mod golden;
mod identity;
mod interface;
mod join;
mod latency;
mod link;
mod metric;
mod prediction;
mod probes;
mod prompt;
mod remote;
mod rivals;
mod rows;
mod runner;
#[cfg(test)]
mod tests;
mod tour;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::bench::Bench;
use self::golden::GoldenSet;
pub(super) use self::identity::unsigned;
use self::prediction::Reading;
use self::probes::Probed;
use self::rivals::{Tours, Truths};
use self::runner::Place;
use self::tour::Tour;
use crate::domain::ids::{ModelName, Permille, VersionName};
use crate::domain::lifecycle::evidence::{Check, CheckKind, Checks, Outcome, Warmth};
use crate::domain::lifecycle::policy::Policy;
use crate::domain::lifecycle::proof::{Found, Look};
use crate::domain::lifecycle::time::Steady;
use crate::domain::spec::{BackendAddress, BackendsSpec, LabelTask, LabelsSpec, OnnxSpec};
use crate::inference::LocalModel;
use crate::protocol::tensor::Tensor;
use crate::telemetry::Registry;
use crate::telemetry::metrics::{ADMISSION_CHECKS, ADMISSION_LOOKS, ADMISSION_SERVERS};

/// The most golden cases of a fresh look.
const LOOK_CASES_MAX: usize = 200;
/// Rows that a warm-up goes round.
const WARM_ROWS: usize = 16;
/// How long after a failure it is tried whether it was the moment's.
const AGAIN: Duration = Duration::from_secs(1);

/// A version that is checked.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its model.
    pub model: ModelName,
    /// Its name.
    pub version: VersionName,
    /// Where it is.
    pub place: Where,
}

/// Where a version is.
#[derive(Debug, Clone)]
pub enum Where {
    /// In this process; what lies beside its file belongs to it.
    Local {
        /// The loaded model.
        model: Arc<LocalModel>,
        /// Its file, and what must hold for it.
        spec: OnnxSpec,
    },
    /// At backends.
    Remote {
        /// Who they are now.
        addresses: Vec<BackendAddress>,
        /// In which words they are spoken to.
        spec: BackendsSpec,
        /// The golden set that its model has for such versions.
        golden: Option<PathBuf>,
    },
}

/// What a check may take and must show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// How long all checks of a version may take.
    pub time: Duration,
    /// How long one run may take.
    pub run: Duration,
    /// What one row may take, and the share of runs that must keep to it; `None` for no limit but the champion's.
    pub latency: Option<(Duration, f64)>,
    /// How many times as long as the champion's it may take.
    pub slower: f64,
    /// By how much the metric on the golden set may be worse than the champion's: a difference of accuracies, or
    /// a share of the champion's mean error.
    pub margin: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(240),
            run: Duration::from_secs(10),
            latency: None,
            slower: 2.0,
            margin: 0.02,
        }
    }
}

impl Limits {
    /// Those of a policy; the checks end before the policy's patience does.
    pub fn of(policy: &Policy) -> Self {
        let time = policy.release.validating.mul_f64(0.8);
        let share = |target: Permille| f64::from(target.thousandths()) / 1000.0;
        let latency = policy.guard.latency.map(|wanted| (wanted.slo, share(wanted.target)));
        Self { time, latency, margin: policy.guard.golden_margin, ..Self::default() }
    }
}

/// Why there is no verdict on a version. Nothing of it is the fault of the version's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The version cannot be asked.
    #[error("it cannot be asked: {0}")]
    Candidate(String),
    /// The champion, which it is compared with, cannot be asked.
    #[error("the champion cannot be asked: {0}")]
    Champion(String),
    /// The golden set that an operator has named cannot be used.
    #[error("the golden set of its model cannot be used: {0}")]
    Golden(String),
    /// It took too long.
    #[error("the checks were not done within {} s", .0.as_secs())]
    Time(Duration),
}

/// What checks have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The checks.
    pub checks: Checks,
    /// The backends that were asked by themselves and have passed; none for a version in this process.
    pub met: Vec<Met>,
}

/// A backend that has shown who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Where it is.
    pub address: BackendAddress,
    /// The versions of the model that it says it has, by its own names; none where it does not say.
    pub versions: BTreeSet<String>,
}

/// What one server has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whether it may answer.
    pub check: Check,
    /// The versions of the model that it says it has, by its own names; none where it does not say.
    pub versions: BTreeSet<String>,
}

/// What a fresh look has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The look.
    pub look: Look,
    /// Recorded answers were compared; otherwise probe rows were asked.
    pub golden: bool,
}

/// Checks versions of one model.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    labels: Option<LabelTask>,
    registry: Arc<Registry>,
}

impl Admission {
    /// Within `limits`; `labels` say where answers have their prediction.
    pub fn new(limits: Limits, labels: Option<&LabelsSpec>, registry: Arc<Registry>) -> Self {
        Self { limits, labels: labels.map(|labels| labels.task.clone()), registry }
    }

    /// Makes all checks of `candidate`. Where servers fail one, all are made again: trouble of a moment is no fault
    /// of the version.
    ///
    /// # Errors
    /// When one of the two cannot be asked: the checks may be made again later.
    pub async fn check(
        &self,
        candidate: &Subject,
        champion: Option<&Subject>,
        began: Steady,
    ) -> Result<Checked, CheckError> {
        let is_remote = matches!(candidate.place, Where::Remote { .. });
        let time = if is_remote { self.limits.time / 2 } else { self.limits.time };
        let mut made = self.checks(candidate, champion, time).await?;
        let has_failed = |(checks, _): &(Vec<Check>, _)| {
            checks.iter().any(|check: &Check| check.outcome == Outcome::Failed)
        };
        if is_remote && has_failed(&made) {
            tokio::time::sleep(AGAIN).await;
            made = self.checks(candidate, champion, time).await?;
        }
        let (checks, met) = made;
        for check in &checks {
            let labels = [("check", check.kind.as_str()), ("outcome", check.outcome.as_str())];
            self.registry.counter(ADMISSION_CHECKS, &labels).increment(1);
            let (model, version) = (&candidate.model, &candidate.version);
            tracing::info!(%model, %version, check = check.kind.as_str(), outcome = check.outcome.as_str(), detail = check.detail, "a version is checked");
        }
        Ok(Checked { checks: Checks { began, checks }, met })
    }

    async fn checks(
        &self,
        subject: &Subject,
        champion: Option<&Subject>,
        time: Duration,
    ) -> Result<(Vec<Check>, Vec<Met>), CheckError> {
        let all = Box::pin(self.checks_within(subject, champion, time));
        let checks = tokio::time::timeout(time, all).await;
        checks.map_err(|_elapsed| CheckError::Time(time))?
    }

    async fn checks_within(
        &self,
        subject: &Subject,
        champion: Option<&Subject>,
        time: Duration,
    ) -> Result<(Vec<Check>, Vec<Met>), CheckError> {
        let started = Instant::now();
        // Each part has its share, so that a slow one does not take the others' time.
        let until = |share: f64| started + time.mul_f64(share);
        let mut bench = Bench::new(subject, &self.limits).await.map_err(CheckError::Candidate)?;
        if let Some(why) = bench.golden_fault() {
            return Err(CheckError::Golden(why.to_owned()));
        }
        let mut other = None;
        if let Some(champion) = champion {
            let bench = Bench::new(champion, &self.limits).await;
            other = Some(bench.map_err(CheckError::Champion)?);
        }
        let truths = Truths::new(&bench, other.as_ref());
        let reading = truths.reading(self.labels.as_ref());
        let ends = (until(0.3), until(0.6));
        let tours = Tours::make(&mut bench, other.as_mut(), &truths, &reading, ends).await?;
        let own = tours.own.as_ref();
        let probed = probes::probe(&mut bench, other.as_mut(), own, until(0.75)).await?;
        let mut checks = vec![probed.check.clone()];
        let both = (&mut bench, other.as_mut());
        checks.extend(self.asked(subject, both, &probed, until(0.95)).await?);
        checks.push(metric::golden(&bench, own));
        let read = (&truths, &reading);
        let trial = tours.trial(&bench, other.as_ref(), read, self.limits.margin);
        checks.push(match &trial {
            Some(trial) => trial.metric(),
            None => skipped(CheckKind::GoldenMetric, "no golden row has a label".to_owned()),
        });
        checks.push(metric::collapse(&probed, own, trial.as_ref()));
        checks.push(baseline(&bench));
        checks.sort_by_key(|check| check.kind);
        let met = match &bench.runner.place {
            Place::Local(_) => Vec::new(),
            Place::Remote(remote) => remote.met(),
        };
        Ok((checks, met))
    }

    /// The checks that ask rows which the probes have found.
    async fn asked(
        &self,
        subject: &Subject,
        (bench, mut champion): (&mut Bench, Option<&mut Bench>),
        probed: &Probed,
        deadline: Instant,
    ) -> Result<[Check; 5], CheckError> {
        let first = probed.answered.first();
        let row = first.map(|(inputs, _)| inputs.as_slice());
        let mut theirs = None;
        if let (Some(champion), Some(row)) = (&mut champion, row) {
            theirs = champion.runner.run(row, &[]).await.ok();
        }
        let answers = first.zip(theirs.as_ref());
        let answers = answers.map(|((_, ours), ran)| (ours.as_slice(), ran.outputs.as_slice()));
        let interface = interface::interface(bench, champion.as_deref(), answers);
        let identity = identity::identity(subject, bench, row).await?;
        let determinism = probes::determinism(bench, probed).await;
        let batch = probes::batch(bench, probed).await?;
        let latency = latency::latency(bench, champion, row, &self.limits, deadline).await?;
        Ok([identity, interface, determinism, batch, latency])
    }

    /// Runs a version until its latency is steady.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn warm(&self, subject: &Subject, began: Steady) -> Result<Warmth, CheckError> {
        let deadline = Instant::now() + self.limits.time;
        let warm = Box::pin(async {
            let mut bench =
                Bench::new(subject, &self.limits).await.map_err(CheckError::Candidate)?;
            let rows = bench.answered(WARM_ROWS).await.map_err(CheckError::Candidate)?;
            let rows: Vec<&[Tensor]> = rows.iter().map(Vec::as_slice).collect();
            latency::warm(&mut bench, &rows, began, deadline).await
        });
        let warm = tokio::time::timeout(self.limits.time, warm).await;
        warm.map_err(|_elapsed| CheckError::Time(self.limits.time))?
    }

    /// Looks at a loaded version again: the golden set, or where there is none the probe rows. What fails is tried
    /// once more, so that it is not the moment's.
    ///
    /// # Errors
    /// When nobody is there to ask: that says nothing about the version.
    pub async fn look(&self, subject: &Subject, at: Steady) -> Result<Looked, CheckError> {
        let (mut check, mut golden) = self.look_once(subject).await?;
        if check.outcome == Outcome::Failed {
            tokio::time::sleep(AGAIN).await;
            (check, golden) = self.look_once(subject).await?;
        }
        let found = match check.outcome {
            Outcome::Failed => Found::Unsound,
            Outcome::Skipped => Found::Nothing,
            Outcome::Passed | Outcome::NeedsApproval => Found::Sound,
        };
        let outcome = check.outcome.as_str();
        self.registry.counter(ADMISSION_LOOKS, &[("outcome", outcome)]).increment(1);
        let how = format!("{}: {}", check.kind.words(), check.detail);
        Ok(Looked { look: Look { at, found, how }, golden })
    }

    async fn look_once(&self, subject: &Subject) -> Result<(Check, bool), CheckError> {
        let time = self.limits.time / 2;
        let deadline = Instant::now() + time.mul_f64(0.8);
        let looked = Box::pin(async {
            let mut bench =
                Bench::new(subject, &self.limits).await.map_err(CheckError::Candidate)?;
            if let Some(why) = bench.golden_fault() {
                // That it answers is worth knowing all the same: where a standby is not looked at, there is no way back.
                tracing::warn!(why, "a version is looked at without the golden set of its model");
            }
            let (classes, task) = (bench.classes().clone(), self.labels.as_ref());
            let reading = Reading::new(std::iter::empty(), task, &classes);
            let golden = bench.golden_set().is_some_and(GoldenSet::has_answers);
            let check = match &bench.golden {
                Ok(Some(set)) if golden => {
                    let bounds = (LOOK_CASES_MAX, deadline);
                    let tour = Tour::make(&mut bench.runner, set, &reading, bounds).await;
                    let tour = tour.map_err(CheckError::Candidate)?;
                    metric::golden(&bench, Some(&tour))
                }
                _ => probes::probe(&mut bench, None, None, deadline).await?.check,
            };
            Ok((check, golden))
        });
        let looked = tokio::time::timeout(time, looked).await;
        looked.map_err(|_elapsed| CheckError::Time(time))?
    }

    /// Whether `newcomer`, one server that has come to a version, may answer for it: it is who it claims to be, and
    /// answers as `known`, those that do so already. What fails is asked once more before it counts.
    ///
    /// # Errors
    /// When it cannot be asked: that says nothing about it.
    pub async fn join(
        &self,
        newcomer: &Subject,
        known: Option<&Subject>,
    ) -> Result<Shown, CheckError> {
        let mut shown = self.within_half(join::join(newcomer, known, &self.limits)).await?;
        if shown.check.outcome == Outcome::Failed {
            tokio::time::sleep(AGAIN).await;
            shown = self.within_half(join::join(newcomer, known, &self.limits)).await?;
        }
        self.count_server(&shown);
        Ok(shown)
    }

    /// Whether a server that answers for a version still is the one that it claims to be. What fails is asked once
    /// more before it counts.
    ///
    /// # Errors
    /// When it cannot be asked: that says nothing about it.
    pub async fn watch(&self, server: &Subject) -> Result<Shown, CheckError> {
        let mut shown = self.within_half(join::watch(server, &self.limits)).await?;
        if shown.check.outcome == Outcome::Failed {
            tokio::time::sleep(AGAIN).await;
            shown = self.within_half(join::watch(server, &self.limits)).await?;
        }
        if shown.check.outcome == Outcome::Failed {
            self.count_server(&shown);
        }
        Ok(shown)
    }

    /// Asks one server for no longer than half of what all checks of a version may take.
    async fn within_half(
        &self,
        asked: impl Future<Output = Result<Shown, CheckError>>,
    ) -> Result<Shown, CheckError> {
        let time = self.limits.time / 2;
        let asked = tokio::time::timeout(time, Box::pin(asked)).await;
        asked.map_err(|_elapsed| CheckError::Time(time))?
    }

    fn count_server(&self, shown: &Shown) {
        let outcome = shown.check.outcome.as_str();
        self.registry.counter(ADMISSION_SERVERS, &[("outcome", outcome)]).increment(1);
    }
}

/// What is wrong in the golden set at `path`, which an operator has named, and in which of its lines. Blocks.
pub fn mistake_in_golden(path: &Path) -> Option<(usize, String)> {
    GoldenSet::read_named(path).err().map(|error| (error.line(), error.to_string()))
}

/// The baseline beside the artifact is sound and about it.
fn baseline(bench: &Bench) -> Check {
    const KIND: CheckKind = CheckKind::Baseline;
    match &bench.baseline {
        Err(why) => failed(KIND, why.clone()),
        Ok(None) => skipped(KIND, "there is no baseline.json".to_owned()),
        Ok(Some(baseline)) => passed(
            KIND,
            format!(
                "{} features of {} rows{}",
                baseline.layout().features().len(),
                baseline.rows,
                if baseline.digest.is_some() { ", made for this artifact" } else { "" }
            ),
        ),
    }
}

const fn made(kind: CheckKind, outcome: Outcome, detail: String) -> Check {
    Check { kind, outcome, detail }
}

const fn passed(kind: CheckKind, detail: String) -> Check {
    made(kind, Outcome::Passed, detail)
}

const fn failed(kind: CheckKind, detail: String) -> Check {
    made(kind, Outcome::Failed, detail)
}

const fn skipped(kind: CheckKind, detail: String) -> Check {
    made(kind, Outcome::Skipped, detail)
}

const fn needs_approval(kind: CheckKind, detail: String) -> Check {
    made(kind, Outcome::NeedsApproval, detail)
}
