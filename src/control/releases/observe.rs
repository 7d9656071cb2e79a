//! What is seen of versions at one moment, put together for the plan.
//!
//! Owns where each part comes from. What a task found stays until the content of the version is another. Never
//! judges: a number that nobody has is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::feeds::rules;
use super::guests;
use super::work::{Task, Work};
use super::{Key, Releases};
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::observed::{ObservedVersion, Progress};
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::{Model, State, Version};
use crate::domain::lifecycle::time::Steady;
use crate::domain::routing::TargetKind;

/// How long all servers of a version on trial must be gone before it counts as broken.
const LOST_MIN: Duration = Duration::from_secs(30);

impl Releases {
    /// Looks around.
    pub(super) fn observe(&mut self) {
        let now = self.ledger.now().steady;
        // Thousands of versions are gone through only when a source has said something.
        let mut sightings = match std::mem::replace(&mut self.has_news, false) {
            true => self.sightings.all(&self.governed, &self.seen),
            false => BTreeMap::new(),
        };
        let state = Arc::clone(self.ledger.state());
        let mut names: Vec<ModelName> = sightings.keys().cloned().collect();
        names.extend(state.models().map(|(name, _)| name.clone()));
        names.extend(self.governed.configured().cloned());
        names.sort();
        names.dedup();
        for name in names {
            let memory = self.loaded.memory(&name);
            let doubt = self.sightings.doubt(&name, &self.seen);
            let found = sightings.remove(&name).unwrap_or_default();
            let seen = self.observed.models.entry(name.clone()).or_default();
            // Absence is no decision: what was sighted once stays so.
            seen.sightings.extend(found);
            seen.listing_doubt = doubt;
            seen.memory = memory;
            let Some(model) = state.model(&name) else { continue };
            self.look_at(&name, model, now);
        }
        self.loaded.guests().retain(|(model, version)| {
            let known = state.model(model).and_then(|model| model.version(version));
            known.is_some_and(|known| !is_gone(known.stage()))
        });
        if let Some(news) = self.loaded.guests().take_news() {
            self.work.aside(move || guests::write(news));
        }
        if self.feeds.is_due() {
            self.feel(&state);
        }
    }

    /// Takes in what the monitor has counted of the versions that serve, once a minute.
    fn feel(&mut self, state: &State) {
        let now = self.ledger.now();
        let serves = |(model, version): &Key, digest: &Digest| {
            let known = state.model(model).and_then(|model| model.version(version));
            known.is_some_and(|known| is_serving(known) && known.release().digest == *digest)
        };
        self.feeds.retain(serves);
        for (name, model) in state.models() {
            let own = self.intent.models.get(name).map(|spec| &spec.alarms);
            let alarms = own.unwrap_or(&self.intent.alarms.rules);
            let rules = rules(&self.policies.of(name).guard, alarms);
            for (version, known) in model.versions().filter(|(_, known)| is_serving(known)) {
                let digest = known.release().digest.clone();
                let content = ((name.clone(), version.clone()), digest.clone());
                for (signal, window) in self.feeds.windows(content, &rules, now) {
                    self.entry(name, version, &digest).health.observe(signal, &window);
                }
            }
        }
    }

    fn look_at(&mut self, name: &ModelName, model: &Model, now: Steady) {
        let mut disk = 0;
        for (version, known) in model.versions() {
            let stage = known.stage();
            let digest = &known.release().digest;
            let key = (name.clone(), version.clone());
            let content = (key.clone(), digest.clone());
            let ready = self.loaded.is_ready(&key, digest, &self.seen);
            let is_stored = self.stored.contains(&content);
            let lies_elsewhere = known.release().named || known.release().bytes == 0;
            let deleting = self.work.is_running(&key, Task::Delete);
            let on_disk =
                (is_stored && !deleting) || (lies_elsewhere && !self.given_up.contains(&content));
            let references = self.governed.references(name, version);
            let (in_flight, asked) = self.traffic(&key);
            disk += if is_stored { known.release().bytes } else { 0 };
            self.loaded.track(&key, ready);
            self.work.forget(&key, stage);
            if Task::Join.is_wanted_at(stage) {
                self.greet(&key, digest);
            }
            let waits = |work: &Work, task| work.is_queued(&key, task);
            let [fetches, checks, warms] =
                [Task::Fetch, Task::Check, Task::Warm].map(|task| !waits(&self.work, task));
            let waited = match stage {
                Stage::Validating(_) => self.work.waited(&key, Task::Check),
                Stage::Warming(_) => self.work.waited(&key, Task::Warm),
                _ => Duration::ZERO,
            };
            let at = self.entry(name, version, digest);
            at.forget_failures(stage);
            begun(&mut at.fetch, fetches);
            begun(&mut at.checks, checks);
            begun(&mut at.warmth, warms);
            at.waited = waited;
            at.ready = ready;
            at.on_disk = on_disk;
            at.deleting = deleting;
            at.in_flight = in_flight;
            at.references = references;
            if asked {
                at.last_request = Some(now);
            }
        }
        self.count(name, model);
        if let Some(seen) = self.observed.models.get_mut(name) {
            seen.disk = disk;
            seen.versions.retain(|version, _| model.version(version).is_some());
        }
    }

    /// What the trial of a model has shown until now.
    fn count(&mut self, name: &ModelName, model: &Model) {
        let Some((version, trial)) = self.trials.of(name) else { return };
        let Some(known) = model.version(version) else { return };
        let version = version.clone();
        let digest = known.release().digest.clone();
        let (shadow, canary) = match known.stage() {
            Stage::Shadow(_) => (Some(trial.shadow()), None),
            Stage::Canary(_) => {
                let key = (name.clone(), version.clone());
                if let Some(lost) = self.loaded.lost_for(&key).filter(|lost| *lost >= LOST_MIN) {
                    let seconds = lost.as_secs();
                    trial.crash(&format!("none of its servers has been there for {seconds} s"));
                }
                (None, Some(trial.canary()))
            }
            _ => (None, None),
        };
        let entry = self.entry(name, &version, &digest);
        (entry.shadow, entry.canary) = (shadow, canary);
    }

    /// Requests that a version holds, and whether any has ended since the last look.
    fn traffic(&mut self, key: &Key) -> (u64, bool) {
        let kind = TargetKind::Version(key.0.clone(), key.1.clone());
        let Some(metrics) = self.registry.find(&kind) else { return (0, false) };
        let in_flight = u64::try_from(metrics.in_flight()).unwrap_or(0);
        let tally = metrics.tally();
        let ended = tally.success.count + tally.fail.count;
        let before = self.exchanges.insert(key.clone(), ended).unwrap_or(0);
        (in_flight, ended > before || in_flight > 0)
    }

    /// What is seen of a content; what was seen of an earlier one of the same name is forgotten.
    pub(super) fn entry(
        &mut self,
        model: &ModelName,
        version: &VersionName,
        digest: &Digest,
    ) -> &mut ObservedVersion {
        let seen = self.observed.models.entry(model.clone()).or_default();
        let entry = seen.versions.entry(version.clone()).or_default();
        if entry.digest.as_ref() != Some(digest) {
            *entry = ObservedVersion { digest: Some(digest.clone()), ..ObservedVersion::default() };
        }
        entry
    }

    /// Nobody works on it any more.
    pub(super) fn idle(&mut self, (model, version): &Key, task: Task) {
        let seen = self.observed.models.get_mut(model);
        let Some(entry) = seen.and_then(|seen| seen.versions.get_mut(version)) else { return };
        match task {
            Task::Fetch => entry.fetch = Progress::Idle,
            Task::Check => entry.checks = Progress::Idle,
            Task::Warm => entry.warmth = Progress::Idle,
            Task::Load | Task::Look | Task::Join | Task::Replay | Task::Delete => {}
        }
    }
}

/// Work that waited for room and waits no more is under way.
fn begun<T>(progress: &mut Progress<T>, has_room: bool) {
    if has_room && matches!(progress, Progress::Queued) {
        *progress = Progress::Running;
    }
}

/// Whether a version is not to be asked any more.
fn is_gone(stage: &Stage) -> bool {
    matches!(stage, Stage::Retired(_) | Stage::Quarantined(_) | Stage::Evicted(_))
}

/// Whether a version answers clients, or has and may again.
fn is_serving(version: &Version) -> bool {
    matches!(version.stage(), Stage::Live(_) | Stage::Standby(_))
}
