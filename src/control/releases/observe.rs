//! What is seen of versions at one moment, put together for the plan.
//!
//! Owns where each part comes from. What a task found stays until the content of the version is another. Never
//! judges: a number that nobody has is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::capacity;
use super::feeds::rules;
use super::guests;
use super::work::{Standing, Task};
use super::{Ended, Key, Releases};
use crate::control::health::Rules;
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::observed::{
    Alone, ObservedModel, ObservedVersion, Progress, Sighting,
};
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::{MODELS_MAX, Model, Version};
use crate::domain::lifecycle::time::Steady;
use crate::domain::record::Outcome;
use crate::domain::routing::TargetKind;

/// How long all servers of a version on trial must be gone, beside a champion that is there, before it counts as broken.
const LOST_MIN: Duration = Duration::from_secs(30);

impl Releases {
    /// Looks around: at these models.
    pub(super) fn observe(&mut self, names: &BTreeSet<ModelName>) {
        let now = self.ledger.now().steady;
        let state = Arc::clone(self.ledger.state());
        for name in names {
            let model = state.model(name);
            // What is on its way out frees its memory by itself.
            let memory = self.loaded.memory(name, |version| {
                let known = model.and_then(|model| model.version(version));
                known.is_none_or(|known| !matches!(known.stage(), Stage::Draining(_)))
            });
            let doubt = self.sightings.doubt(name);
            let known = self.observed.models.get(name);
            let same = known.is_some_and(|seen| {
                seen.memory == memory && seen.listing_doubt.as_deref() == doubt
            });
            if !same {
                let doubt = doubt.map(str::to_owned);
                let seen = self.seen_mut(name);
                (seen.listing_doubt, seen.memory) = (doubt, memory);
            }
            self.loaded.guests().retain_of(name, |version| {
                let known = model.and_then(|model| model.version(version));
                known.is_some_and(|known| !is_gone(known.stage()))
            });
            if let Some(model) = model {
                self.look_at(name, model, now);
            }
        }
        if let Some(news) = self.loaded.guests().take_news() {
            self.work.aside(move || guests::write(news));
        }
    }

    /// Takes in what sources have said. Absence is no decision: what was sighted once stays so while it is in the
    /// table, and until its artifact is deleted. What is in neither is forgotten, whatever names a source makes up.
    pub(super) fn take_in_sightings(&mut self) {
        let mut all = self.sightings.all(&self.governed, &self.seen);
        for (name, seen) in &self.observed.models {
            if !seen.sightings.is_empty() && !all.contains_key(name) {
                all.insert(name.clone(), BTreeMap::new());
            }
        }
        let state = Arc::clone(self.ledger.state());
        for (name, found) in all {
            let known = self.observed.models.get(&name);
            if known.is_none() && self.observed.models.len() >= MODELS_MAX {
                self.left_out = self.left_out.saturating_add(1);
                continue;
            }
            let sighted = known.map(|seen| Arc::clone(&seen.sightings)).unwrap_or_default();
            let model = state.model(&name);
            let is_over = |version: &&VersionName| {
                !found.contains_key(*version)
                    && model.and_then(|model| model.version(version)).is_none_or(is_deleted)
            };
            let over: Vec<VersionName> = sighted.keys().filter(is_over).cloned().collect();
            let is_known = |(version, sighting): (&VersionName, &Sighting)| {
                sighted.get(version) == Some(sighting)
            };
            if known.is_some() && over.is_empty() && found.iter().all(is_known) {
                continue;
            }
            // The only other holder must be gone, or all of it is copied.
            drop(sighted);
            let sightings = Arc::make_mut(&mut self.seen_mut(&name).sightings);
            over.iter().for_each(|version| drop(sightings.remove(version)));
            sightings.extend(found);
            self.due.mark(&name);
        }
    }

    /// What is seen of a model, to be changed.
    pub(super) fn seen_mut(&mut self, name: &ModelName) -> &mut ObservedModel {
        self.shown = None;
        self.observed.model_mut(name)
    }

    /// Takes in what the monitor has counted of the versions that serve, once a minute.
    pub(super) fn feel(&mut self) {
        let (now, state) = (self.ledger.now(), Arc::clone(self.ledger.state()));
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
                    self.due.mark(name);
                }
            }
            self.feel_copies(name, model, &rules, now.steady);
            self.weigh(name, model, now.steady);
        }
    }

    /// Takes in what the copies that a standby gets have shown.
    fn feel_copies(&mut self, name: &ModelName, model: &Model, rules: &Rules, now: Steady) {
        let Some((champion, standby, told)) = self.trials.copied(name, rules, now) else { return };
        let of_champion = (champion, vec![told.champion]);
        for (version, windows) in [of_champion, (standby, told.standby.to_vec())] {
            let Some(known) = model.version(&version) else { continue };
            let entry = self.entry(name, &version, &known.release().digest);
            windows.iter().for_each(|(signal, window)| entry.health.observe(*signal, window));
        }
        self.due.mark(name);
    }

    /// Whether the other versions of a model could take what it is asked, were a standby not loaded. Once a minute, and
    /// as long as a minute of now has not closed.
    fn weigh(&mut self, name: &ModelName, model: &Model, now: Steady) {
        let serving = || model.versions().filter(|(_, known)| is_serving(known));
        if serving().count() < 2 {
            return;
        }
        let loads = serving().map(|(version, known)| {
            let seen = self.observed.version(name, version);
            let is_well = known.killed().is_none()
                && seen.is_some_and(|seen| seen.ready && seen.health.is_well());
            (version.clone(), self.feeds.load((name, version), is_well))
        });
        let loads: Vec<_> = loads.collect();
        let is_known = self.is_measured(model, now);
        let asked: u64 = serving()
            .filter_map(|(version, _)| self.exchanges.get(&(name.clone(), version.clone())))
            .map(|ended| ended.answered.saturating_add(ended.lost))
            .sum();
        for (version, known) in serving() {
            let needed = capacity::without(version, &loads);
            let capacity = capacity::judge(needed, is_known, asked);
            let seen = self.observed.version(name, version);
            if seen.is_none_or(|seen| seen.capacity != capacity) {
                self.entry(name, version, &known.release().digest).capacity = capacity;
            }
        }
    }

    /// The same, as long as a whole minute has not been counted: then nothing else asks for it.
    fn weigh_early(&mut self, name: &ModelName, model: &Model, now: Steady) {
        if !self.is_measured(model, now) {
            self.weigh(name, model, now);
        }
    }

    /// Whether a whole minute of the champion of now was counted by this process.
    fn is_measured(&self, model: &Model, now: Steady) -> bool {
        let began = self.ledger.began();
        let since = model.champion().map(|(_, live)| live.since().max(began));
        since.is_some_and(|since| now.since(since) >= capacity::LIVED_MIN)
    }

    fn look_at(&mut self, name: &ModelName, model: &Model, now: Steady) {
        let (mut disk, mut versions) = (0, 0);
        let is_alone = !self.routes.compares(name);
        let mut asked_of = self.asked(name, is_alone);
        for (version, known) in model.versions() {
            let stage = known.stage();
            let digest = &known.release().digest;
            let content = ((name.clone(), version.clone()), digest.clone());
            let key = &content.0;
            let ready = self.loaded.is_ready(key, digest, &self.seen);
            let is_stored = self.stored.contains(&content);
            let lies_elsewhere = known.release().named || known.release().bytes == 0;
            let standing = self.work.standing(key, stage);
            let on_disk = (is_stored && !standing.deleting)
                || (lies_elsewhere && !self.given_up.contains(&content));
            let Traffic { in_flight, asked, fails, gave } = self.traffic(key);
            if fails {
                self.loaded.guests().hasten(key);
            }
            asked_of.note(stage, gave);
            // What is evicted already goes by itself, once its grace is over.
            let is_counted = is_stored && !matches!(stage, Stage::Evicted(_));
            disk += if is_counted { known.release().bytes } else { 0 };
            versions += 1;
            self.loaded.track(key, ready);
            self.work.forget(key, stage);
            if Task::Join.is_wanted_at(stage) {
                self.greet(key, digest);
            }
            let references = self.governed.references(key);
            let is_away = !ready && self.governed.has(name);
            let same = !asked
                && self.observed.version(name, version).is_some_and(|seen| {
                    seen.digest.as_ref() == Some(digest)
                        && (seen.ready, seen.on_disk, seen.in_flight) == (ready, on_disk, in_flight)
                        && (seen.deleting, seen.waited) == (standing.deleting, standing.waited)
                        && seen.references == references
                        && seen.away_since.is_some() == is_away
                        && !begins(seen, &standing)
                        && !seen.has_what_is_over(stage)
                });
            // Nearly all are as they were.
            if same {
                continue;
            }
            let references = references.to_vec();
            let is_known = self.observed.version(name, version).is_some();
            let since = if is_known { now } else { self.ledger.began() };
            let at = self.entry(name, version, digest);
            at.note_ready(ready, is_away.then_some(since), now);
            note_given(at, is_alone && stage.is_on_trial(), gave, now);
            at.forget_what_is_over(stage);
            begun(&mut at.fetch, standing.fetch_waits);
            begun(&mut at.checks, standing.check_waits);
            begun(&mut at.warmth, standing.warm_waits);
            (at.on_disk, at.in_flight) = (on_disk, in_flight);
            (at.deleting, at.waited) = (standing.deleting, standing.waited);
            at.references = references;
            if asked {
                at.last_request = Some(now);
            }
        }
        self.note_asked(name, model, asked_of, now);
        self.count(name, model, now);
        self.weigh_early(name, model, now);
        let seen = self.observed.models.get(name);
        if seen.is_some_and(|seen| seen.disk != disk || seen.versions.len() != versions) {
            let seen = self.seen_mut(name);
            seen.disk = disk;
            seen.versions.retain(|version, _| model.version(version).is_some());
        }
    }

    /// What has become of the requests for the champion of a model, as far as no version tells it.
    fn asked(&mut self, name: &ModelName, is_alone: bool) -> Asked {
        let is_replaced = is_alone && !self.routes.has_champion(name);
        Asked { answered: false, missed: self.trials.has_missed(name), is_replaced }
    }

    /// Notes whether clients who asked for the champion had an answer of it.
    fn note_asked(&mut self, name: &ModelName, model: &Model, asked: Asked, now: Steady) {
        let Some((champion, known)) = model.champion() else { return };
        let Some(seen) = self.observed.version(name, champion) else { return };
        if asked.missed || seen.missed.is_some() {
            let entry = self.entry(name, champion, &known.release().digest);
            entry.note_asked(asked.answered, asked.missed, now);
        }
    }

    /// What the trial of a model has shown until now.
    fn count(&mut self, name: &ModelName, model: &Model, now: Steady) {
        let Some((version, trial)) = self.trials.of(name) else { return };
        let Some(known) = model.version(version) else { return };
        let version = version.clone();
        let digest = known.release().digest.clone();
        let (shadow, canary) = match known.stage() {
            Stage::Shadow(_) => (Some(trial.shadow()), None),
            Stage::Canary(_) => {
                let key = (name.clone(), version.clone());
                let lost = self.loaded.lost_for(&key).unwrap_or_default();
                let lost = lost.min(self.control_answers_for(name, model, now));
                if lost >= LOST_MIN {
                    let seconds = lost.as_secs();
                    trial.crash(&format!("none of its servers has been there for {seconds} s"));
                }
                (None, Some(trial.canary()))
            }
            _ => (None, None),
        };
        let ready = |version: &VersionName| {
            self.observed.version(name, version).is_some_and(|seen| seen.ready)
        };
        let uncompared = self.trials.watch(self.ledger.state(), name, ready, now);
        let entry = self.entry(name, &version, &digest);
        (entry.shadow, entry.canary, entry.uncompared) = (shadow, canary, uncompared);
    }

    /// For how long the champion of a model has been there. What takes both away (a host, a switch, the way to them) says
    /// nothing about the version on trial.
    fn control_answers_for(&self, name: &ModelName, model: &Model, now: Steady) -> Duration {
        let seen = model.champion().and_then(|(champion, _)| self.observed.version(name, champion));
        seen.and_then(|seen| seen.answers_for(now)).unwrap_or_default()
    }

    /// What clients want of a version.
    fn traffic(&mut self, key: &Key) -> Traffic {
        let kind = TargetKind::Version(key.0.clone(), key.1.clone());
        let Some(metrics) = self.registry.find(&kind) else { return Traffic::default() };
        let in_flight = u64::try_from(metrics.in_flight()).unwrap_or(0);
        let tally = metrics.tally();
        let failed = tally.fail.count;
        let of = |outcomes: &[Outcome]| -> u64 {
            outcomes.iter().map(|outcome| metrics.outcomes(*outcome)).sum()
        };
        let lost = [Outcome::ModelError, Outcome::UpstreamError, Outcome::Timeout, Outcome::Shed];
        let ended = Ended {
            all: tally.success.count + failed,
            failed,
            answered: of(&[Outcome::Ok]),
            lost: of(&lost),
        };
        let before = match self.exchanges.get_mut(key) {
            Some(before) => std::mem::replace(before, ended),
            None => self.exchanges.insert(key.clone(), ended).unwrap_or_default(),
        };
        let asked = ended.all > before.all || in_flight > 0;
        let gave = Alone {
            answered: ended.answered.saturating_sub(before.answered),
            failed: ended.lost.saturating_sub(before.lost),
        };
        Traffic { in_flight, asked, fails: failed > before.failed, gave }
    }

    /// What is seen of a content; what was seen of an earlier one of the same name is forgotten.
    pub(super) fn entry(
        &mut self,
        model: &ModelName,
        version: &VersionName,
        digest: &Digest,
    ) -> &mut ObservedVersion {
        let entry = self.seen_mut(model).version_mut(version);
        if entry.digest.as_ref() != Some(digest) {
            *entry = ObservedVersion { digest: Some(digest.clone()), ..ObservedVersion::default() };
        }
        entry
    }

    /// Nobody works on it any more.
    pub(super) fn idle(&mut self, (model, version): &Key, task: Task) {
        if self.observed.version(model, version).is_none() {
            return;
        }
        self.due.mark(model);
        let entry = self.seen_mut(model).version_mut(version);
        match task {
            Task::Fetch => entry.fetch = Progress::Idle,
            Task::Check => entry.checks = Progress::Idle,
            Task::Warm => entry.warmth = Progress::Idle,
            Task::Load | Task::Look | Task::Join | Task::Replay | Task::Delete => {}
        }
    }
}

/// Work that waited for room and waits no more is under way.
fn begun<T>(progress: &mut Progress<T>, waits: bool) {
    if !waits && progress.is_queued() {
        *progress = Progress::Running;
    }
}

/// What clients want of a version, and whether they get it.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    /// Requests that it holds.
    in_flight: u64,
    /// Whether any has ended since the last look, or is held now.
    asked: bool,
    /// Whether any has failed since.
    fails: bool,
    /// What clients got of it since.
    gave: Alone,
}

/// What has become of the requests for a champion since the last look.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// It has answered some.
    answered: bool,
    /// It has not answered others, or could not be asked.
    missed: bool,
    /// Nobody is there to ask but the version on trial.
    is_replaced: bool,
}

impl Asked {
    /// Takes in what clients got of a version at `stage`.
    fn note(&mut self, stage: &Stage, gave: Alone) {
        if matches!(stage, Stage::Live(_)) {
            self.answered |= gave.answered > 0;
            self.missed |= gave.failed > 0;
        } else if self.is_replaced && stage.is_on_trial() {
            self.missed |= gave != Alone::default();
        }
    }
}

/// Notes when a version has answered clients, and adds up what it gives them while it is compared with nobody.
fn note_given(seen: &mut ObservedVersion, is_alone: bool, gave: Alone, now: Steady) {
    if gave.answered > 0 {
        seen.answered = Some(now);
    }
    seen.alone = match is_alone {
        true => Alone {
            answered: seen.alone.answered.saturating_add(gave.answered),
            failed: seen.alone.failed.saturating_add(gave.failed),
        },
        false => Alone::default(),
    };
}

/// Whether any work that waited for room waits no more.
fn begins(seen: &ObservedVersion, standing: &Standing) -> bool {
    (seen.fetch.is_queued() && !standing.fetch_waits)
        || (seen.checks.is_queued() && !standing.check_waits)
        || (seen.warmth.is_queued() && !standing.warm_waits)
}

/// Whether a version is not to be asked any more.
fn is_gone(stage: &Stage) -> bool {
    matches!(stage, Stage::Retired(_) | Stage::Quarantined(_) | Stage::Evicted(_))
}

/// Whether the artifact of a version is deleted: all that is left of it is its name.
fn is_deleted(version: &Version) -> bool {
    matches!(version.stage(), Stage::Evicted(evicted) if evicted.is_deleted())
}

/// Whether a version answers clients, or has and may again.
fn is_serving(version: &Version) -> bool {
    matches!(version.stage(), Stage::Live(_) | Stage::Standby(_))
}
