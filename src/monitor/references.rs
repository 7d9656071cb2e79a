//! What the traffic of each version is held against, and how its values are counted for that.
//!
//! Owns the choice of the baseline: the file beside the artifact; else the one that was kept for the
//! version, uploaded or learned; else that of the champion; else it is learned from the first traffic,
//! unless the version is on trial. A baseline that cannot be taken is refused with its reason, and the version
//! is served and counted without one: another would hide the mistake. What is kept on disk is the
//! [shelf](super::shelf)'s. Runs on the monitor's thread alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::about::About;
use super::bodies;
use super::learner::{Learner, ROWS};
use super::observe::{VersionMonitor, Versions};
use super::plan::{Plan, ROLES, Tensors, names, place};
use super::shelf::{Shelf, read_baseline};
use super::store::{Store, VersionKey};
use super::values::Values;
use super::waiting::Waiting;
use crate::domain::stats::baseline::{Baseline, BaselineError, BaselineFile};
use crate::domain::stats::window::Unseen;

/// How a version stands with its baseline.
#[derive(Debug, Clone)]
pub enum Standing {
    /// It has one.
    Ready {
        /// The baseline.
        baseline: Arc<Baseline>,
        /// The version that it was made for, where it is another's.
        of: Option<VersionKey>,
    },
    /// It is being learned from the first traffic.
    Learning {
        /// Rows seen.
        rows: usize,
        /// Rows wanted.
        wanted: usize,
    },
    /// There is none, and none is learned from a version on trial.
    Absent,
    /// There is one that cannot be taken.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Standing {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Learning { .. } => "learning",
            Self::Absent => "absent",
            Self::Refused { .. } => "refused",
        }
    }

    /// The baseline, if there is one.
    pub fn baseline(&self) -> Option<&Arc<Baseline>> {
        match self {
            Self::Ready { baseline, .. } => Some(baseline),
            Self::Learning { .. } | Self::Absent | Self::Refused { .. } => None,
        }
    }
}

/// Why a baseline cannot be taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("cannot read the baseline `{path}`: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the baseline `{path}` is refused: {source}")]
    Content { path: PathBuf, source: BaselineError },
}

/// Why a baseline is not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// There is none that was handed over or learned.
    #[error("no baseline was handed over for it, and none was learned from its traffic")]
    Nothing,
    /// It belongs to the artifact.
    #[error("its baseline is `{0}`, beside the model: remove that file")]
    Beside(PathBuf),
    /// The file stays.
    #[error("cannot remove `{path}`: {source}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no monitor, or no such version.
    #[error("it is not monitored")]
    Unmonitored,
}

/// All references.
#[derive(Debug)]
pub(super) struct References {
    /// What is kept of versions that have no artifact to lie beside.
    shelf: Shelf,
    known: BTreeMap<VersionKey, Reference>,
}

#[derive(Debug)]
struct Reference {
    about: Arc<About>,
    tensors: Tensors,
    baseline: Option<Arc<Baseline>>,
    plan: Option<Arc<Plan>>,
    learner: Option<Learner>,
    /// The learner has seen more than is on the shelf.
    is_behind: bool,
    /// It has none of its own, and takes the champion's where that has one.
    may_borrow: bool,
}

impl References {
    /// Keeps what is learned below `state`.
    pub(super) fn new(state: &Path) -> Self {
        Self { shelf: Shelf::new(state), known: BTreeMap::new() }
    }

    /// Reads what was kept below `state`, and keeps nothing there.
    pub(super) fn reading(state: &Path) -> Self {
        Self { shelf: Shelf::read_only(state), known: BTreeMap::new() }
    }

    /// Looks for versions that are new or described anew, or that borrow from a champion which has another baseline by
    /// now. Of the others no file is read: this is called with every tick.
    pub(super) fn settle(&mut self, versions: &Versions, store: &Store) {
        let all = versions.all();
        // Those that stand for themselves first: others may borrow from them.
        let described = all.into_iter().filter(|version| version.is_described());
        let (own, borrowing): (Vec<_>, Vec<_>) =
            described.partition(|version| version.about().champion.is_none());
        for version in own.iter().chain(&borrowing) {
            let about = version.about();
            let stands = |known: &Reference| {
                Arc::ptr_eq(&known.about, &about) && !self.would_borrow_another(known)
            };
            if !self.known.get(version.key()).is_some_and(stands) {
                self.resolve(version, about, store);
            }
        }
    }

    /// Whether the champion of a version has another baseline than the one that was borrowed from it.
    fn would_borrow_another(&self, reference: &Reference) -> bool {
        if !reference.may_borrow {
            return false;
        }
        let champion = reference.about.champion.as_ref().and_then(|key| self.known.get(key));
        champion.is_some_and(|champion| match (&champion.baseline, &reference.baseline) {
            (None, None) => false,
            (Some(theirs), Some(borrowed)) => !Arc::ptr_eq(theirs, borrowed),
            (Some(_), None) | (None, Some(_)) => true,
        })
    }

    fn resolve(&mut self, version: &VersionMonitor, about: Arc<About>, store: &Store) {
        let key = version.key();
        let champion = about.champion.as_ref().and_then(|key| Some((key, self.known.get(key)?)));
        let found = find(&about, &self.shelf.baseline(key));
        let may_borrow = about.champion.is_some() && matches!(found, Ok(None));
        let standing = match (found, champion) {
            (Ok(Some((baseline, path))), _) => {
                self.greet(key, &baseline, &path);
                Standing::Ready { baseline: Arc::new(baseline), of: None }
            }
            (Err(refusal), _) => {
                tracing::error!(version = %key, reason = %refusal, "a baseline is refused; the version is served without one");
                Standing::Refused { reason: refusal.to_string() }
            }
            (Ok(None), Some((of, Reference { baseline: Some(baseline), .. }))) => {
                Standing::Ready { baseline: Arc::clone(baseline), of: Some(of.clone()) }
            }
            (Ok(None), None) if about.champion.is_none() => {
                Standing::Learning { rows: 0, wanted: ROWS }
            }
            (Ok(None), _) => Standing::Absent,
        };
        if let Standing::Ready { baseline, of: None } = &standing
            && let Some((what, own, theirs)) = differs(baseline, key)
            && (about.digest.is_none() || baseline.digest != about.digest)
        {
            tracing::warn!(version = %key, "its baseline says that it is of the {what} `{own}`, not `{theirs}`, and names no digest");
        }
        let baseline = standing.baseline().cloned();
        let tensors = match self.known.get(key) {
            // What was discovered in bodies stays.
            Some(known) if !about.is_local => known.tensors.clone(),
            _ => about.tensors(),
        };
        let plan =
            baseline.as_ref().map(|baseline| Plan::new(Arc::clone(baseline.layout()), &tensors));
        let plan = plan.map(Arc::new);
        version.follow(plan.clone());
        let learner =
            matches!(standing, Standing::Learning { .. }).then(|| self.learner(key, &about));
        let standing = match &learner {
            Some(learner) => Standing::Learning { rows: learner.rows(), wanted: ROWS },
            None => standing,
        };
        if matches!(standing, Standing::Ready { of: None, .. }) {
            // Nothing is learned any more. Who borrows may have to go on one day.
            self.shelf.drop_rows(key);
        }
        version.want(learner.as_ref().map_or(0, |learner| ROWS.saturating_sub(learner.rows())));
        store.stand(key, standing);
        let is_behind = learner.as_ref().is_some_and(|learner| learner.rows() > 0);
        let reference =
            Reference { about, tensors, baseline, plan, learner, is_behind, may_borrow };
        self.known.insert(key.clone(), reference);
    }

    /// What a version has learned from so far: in this process, or in the one before.
    fn learner(&mut self, key: &VersionKey, about: &About) -> Learner {
        let known = self.known.get_mut(key).filter(|known| known.about.digest == about.digest);
        let known = known.and_then(|known| known.learner.take());
        known.unwrap_or_else(|| {
            let learner = self.shelf.take_up(key, about.digest);
            if learner.rows() > 0 {
                tracing::info!(version = %key, rows = learner.rows(), wanted = ROWS, "a baseline goes on being learned");
            }
            learner
        })
    }

    /// Says it where a baseline has waited for its version: the one that was served then may have been another.
    fn greet(&self, key: &VersionKey, baseline: &Baseline, path: &Path) {
        if *path != self.shelf.baseline(key) || self.known.contains_key(key) {
            return;
        }
        if let Some(days) = self.shelf.waited(key, SystemTime::now()) {
            let origin = baseline.origin.as_str();
            tracing::warn!(version = %key, days, origin, "a baseline is taken up that nobody needed for days; `DELETE` it if this is not the version that it was made for");
        }
    }

    /// Takes a baseline that an operator hands over, and keeps it.
    pub(super) fn adopt(
        &mut self,
        version: &VersionMonitor,
        json: &[u8],
        store: &Store,
    ) -> Result<(), String> {
        let baseline = Baseline::from_json(json).map_err(|error| error.to_string())?;
        let about = version.about();
        check_baseline(&baseline, &about).map_err(|error| error.to_string())?;
        if let Some(beside) = about.baseline.as_ref().filter(|path| path.exists()) {
            let beside = beside.display();
            return Err(format!(
                "`{beside}` lies beside the model and comes first: replace that file"
            ));
        }
        // The digest of the artifact says more than names do.
        let is_its = about.digest.is_some() && baseline.digest == about.digest;
        if let Some((what, own, theirs)) = differs(&baseline, version.key()).filter(|_| !is_its) {
            return Err(format!(
                "it is a baseline of the {what} `{own}`, and this is `{theirs}`: if that is meant, change `{what}` in it"
            ));
        }
        self.shelf.keep_baseline(version.key(), json).map_err(|error| {
            let path = self.shelf.baseline(version.key());
            format!("cannot keep the baseline in `{}`: {error}", path.display())
        })?;
        self.resolve(version, about, store);
        Ok(())
    }

    /// Forgets the baseline that was handed over for a version, or learned from its traffic, and looks for another.
    pub(super) fn forget(
        &mut self,
        version: &VersionMonitor,
        store: &Store,
    ) -> Result<(), ForgetError> {
        let path = self.shelf.baseline(version.key());
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let about = version.about();
                return Err(match about.baseline.as_ref().filter(|beside| beside.exists()) {
                    Some(beside) => ForgetError::Beside(beside.clone()),
                    None => ForgetError::Nothing,
                });
            }
            Err(source) => return Err(ForgetError::Remove { path, source }),
        }
        self.resolve(version, version.about(), store);
        Ok(())
    }

    /// The values of an exchange that waits, or of a record.
    pub(super) fn values(
        &mut self,
        version: &VersionMonitor,
        waiting: &Waiting,
    ) -> Result<Values, Unseen> {
        let reference = self.known.get_mut(version.key()).ok_or(Unseen::Unreadable)?;
        if reference.about.is_local {
            return bodies::of_tensors(waiting, &reference.about);
        }
        let features = reference.baseline.as_ref().map(|baseline| baseline.layout().features());
        let is_wanted = |name: &str| {
            features.unwrap_or_default().iter().any(|feature| {
                let rest = feature.name().strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
            })
        };
        let tensors = &mut reference.tensors;
        let found = bodies::of_bodies(waiting, &reference.about, tensors, &is_wanted);
        let (values, grown) = found?;
        if grown && let Some(baseline) = &reference.baseline {
            let plan = Plan::new(Arc::clone(baseline.layout()), &reference.tensors);
            reference.plan = Some(Arc::new(plan));
        }
        Ok(values)
    }

    /// How the values of a version are counted; `None` while that is not known.
    pub(super) fn plan(&self, key: &VersionKey) -> Option<&Arc<Plan>> {
        self.known.get(key)?.plan.as_ref()
    }

    /// Whether features that an exchange does not have count as missing.
    pub(super) fn is_strict(&self, key: &VersionKey) -> bool {
        self.known.get(key).is_some_and(|reference| !reference.about.is_local)
    }

    /// Learns from values, where a baseline is being learned, and keeps it once there are enough.
    pub(super) fn learn(&mut self, version: &VersionMonitor, values: &Values, store: &Store) {
        let key = version.key();
        let Some(reference) = self.known.get_mut(key) else { return };
        let Some(learner) = &mut reference.learner else { return };
        learner.learn(values, &reference.tensors, !reference.about.is_local);
        reference.is_behind = true;
        let rows = learner.rows();
        if !learner.is_full() {
            store.stand(key, Standing::Learning { rows, wanted: ROWS });
            version.learned(values.bytes(), ROWS.saturating_sub(rows));
            return;
        }
        version.want(0);
        let about = &reference.about;
        match learner.finish(key, about.digest, &about.classes) {
            Ok((file, baseline)) => {
                let baseline = Arc::new(baseline);
                let plan = Plan::new(Arc::clone(baseline.layout()), &reference.tensors);
                let plan = Arc::new(plan);
                reference.plan = Some(Arc::clone(&plan));
                reference.baseline = Some(Arc::clone(&baseline));
                version.follow(Some(plan));
                store.stand(key, Standing::Ready { baseline, of: None });
                tracing::info!(version = %key, rows, "a baseline is learned from the first traffic");
                keep_learned(&self.shelf, key, &file);
            }
            Err(error) => {
                tracing::error!(version = %key, %error, "no baseline can be learned");
                store.stand(key, Standing::Refused { reason: error.to_string() });
                self.shelf.drop_rows(key);
            }
        }
        reference.learner = None;
    }

    /// Keeps what is being learned from, as far as it is not kept yet.
    pub(super) fn keep_rows(&mut self) {
        for (key, reference) in &mut self.known {
            let Some(learner) = reference.learner.as_ref().filter(|_| reference.is_behind) else {
                continue;
            };
            match self.shelf.keep_rows(key, reference.about.digest, learner) {
                Ok(()) => reference.is_behind = false,
                Err(error) => {
                    tracing::warn!(version = %key, %error, "rows that a baseline is learned from cannot be kept; a restart learns from the beginning");
                }
            }
        }
    }

    /// The bytes of all rows that are being learned from.
    pub(super) fn learning_bytes(&self) -> usize {
        self.known.values().filter_map(|it| it.learner.as_ref()).map(Learner::bytes).sum()
    }

    /// Forgets what is kept of versions that have not been `served` for a month.
    pub(super) fn clear_shelf(&mut self, served: &[VersionKey], now: SystemTime) {
        self.shelf.clear(served, now);
    }

    /// How many files were forgotten so.
    pub(super) const fn forgotten(&self) -> u64 {
        self.shelf.forgotten()
    }

    /// Forgets a version that is gone; what is kept on disk waits for it.
    pub(super) fn drop_version(&mut self, key: &VersionKey) {
        self.known.remove(key);
    }

    /// Whether a baseline is being learned for a version.
    pub(super) fn learns(&self, key: &VersionKey) -> bool {
        self.known.get(key).is_some_and(|reference| reference.learner.is_some())
    }
}

/// Keeps a baseline that was learned; what it was learned from is not needed any more.
fn keep_learned(shelf: &Shelf, key: &VersionKey, file: &BaselineFile) {
    let json = serde_json::to_vec_pretty(file).map_err(io::Error::from);
    match json.and_then(|json| shelf.keep_baseline(key, &json)) {
        Ok(()) => shelf.drop_rows(key),
        Err(error) => {
            tracing::warn!(version = %key, %error, "a learned baseline cannot be kept; it is learned again after a restart");
        }
    }
}

/// What a baseline says that it is of, where that is not this version: the word, what it says, and what this is.
fn differs<'a>(
    baseline: &'a Baseline,
    key: &'a VersionKey,
) -> Option<(&'static str, &'a str, &'a str)> {
    let model = ("model", baseline.model.as_str(), key.model.as_str());
    let version = ("version", baseline.version.as_str(), key.version.as_str());
    [model, version].into_iter().find(|(_, own, theirs)| own != theirs)
}

/// The baseline of a version and where it lies, if there is one.
fn find(about: &About, kept: &PathBuf) -> Result<Option<(Baseline, PathBuf)>, Refusal> {
    for path in about.baseline.iter().chain([kept]) {
        let json = read_baseline(path);
        let json = json.map_err(|source| Refusal::Read { path: path.clone(), source })?;
        let Some(json) = json else { continue };
        let baseline = Baseline::from_json(&json).and_then(|baseline| {
            check_baseline(&baseline, about)?;
            Ok(baseline)
        });
        match baseline {
            Ok(baseline) => return Ok(Some((baseline, path.clone()))),
            // What was kept for another artifact of the same name is over.
            Err(BaselineError::WrongDigest { .. }) if path == kept => {}
            Err(source) => return Err(Refusal::Content { path: path.clone(), source }),
        }
    }
    Ok(None)
}

/// Whether a baseline fits a version: its artifact, and for one in this process its features.
///
/// # Errors
///
/// Says what does not.
pub fn check_baseline(baseline: &Baseline, about: &About) -> Result<(), BaselineError> {
    if let Some(digest) = &about.digest {
        baseline.check_digest(digest)?;
    }
    if !about.is_local {
        return Ok(());
    }
    let tensors = about.tensors();
    let plan = Plan::new(Arc::clone(baseline.layout()), &tensors);
    for role in ROLES {
        if plan.leaves_out(role) {
            let names = names(&tensors[place(role)], role);
            let mut known: Vec<&str> = names.iter().map(String::as_str).collect();
            let found = baseline.layout().features().iter().enumerate();
            let found = found.filter(|(at, feature)| feature.role() == role && plan.finds(*at));
            known.extend(found.map(|(_, feature)| feature.name()));
            baseline.check_features(role, &known)?;
        }
    }
    Ok(())
}

/// The file that holds the baseline of a model file.
pub fn baseline_beside(model: &Path) -> PathBuf {
    model.with_file_name("baseline.json")
}

#[cfg(test)]
mod tests;
