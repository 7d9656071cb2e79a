//! The plan: from what is and what is seen to what happens next.
//!
//! [`plan`] is pure, total and deterministic: the same state, observation, policy and moment always give
//! the same plan. It looks at levels, not at edges, so that a plan that was lost with its process is made
//! again. At most one change for each model and round: the caller writes it down, folds it, publishes the
//! routes, does the effects, and plans again. Models are planned each by itself, so that a caller who knows which
//! have changed may leave the others out ([`plan_for`]).
//!
//! Order within a model, first come first served: what takes traffic away from a bad version stands before
//! everything that gives traffic to another. It does so over all models as well; what is only told comes last.

mod absence;
mod alerts;
mod expiry;
mod intake;
mod serving;
#[cfg(test)]
mod tests;
mod trial;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use self::trial::Percent;
use super::event::{Draft, Move, Subject, What};
use super::exposure::{Exposure, exposure as exposure_of};
use super::guard::{Aim, Defence, Ground};
use super::observed::{Capacity, Observed, ObservedModel, ObservedVersion, Progress};
use super::policy::Policy;
use super::proof::{Verdict, is_warm};
use super::stage::{Edge, Purpose, Rest, Stage};
use super::state::{Model, State, Version};
use super::time::{Now, Steady, millis};
use crate::domain::ids::{ModelName, VersionName};

/// How often the journal is told that time passes.
pub const TICK: Duration = Duration::from_secs(600);
/// Logged requests that are replayed where traffic is low.
pub const REPLAY_ROWS: u64 = 2000;

/// What each model's versions follow.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// For models without an entry.
    pub default: Policy,
    /// By model.
    pub models: BTreeMap<ModelName, Policy>,
}

impl Policies {
    /// What `model` follows.
    pub fn of(&self, model: &ModelName) -> &Policy {
        self.models.get(model).unwrap_or(&self.default)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// To be written down, in this order; each is folded before its routes are published.
    pub drafts: Vec<Draft>,
    /// To be done, each as often as it is planned: doing one again is harmless. None of models that have
    /// drafts: an effect follows from what is written, and is void once anything else is written.
    pub effects: Vec<Effect>,
}

/// One action on the world. The state says when it is wanted and what is seen says when it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Fetch the artifact and compare its digest.
    Fetch(ModelName, VersionName),
    /// Make the checks before any traffic.
    Check(ModelName, VersionName),
    /// Load it and warm it.
    Warm(ModelName, VersionName),
    /// Load it: it serves.
    Load(ModelName, VersionName),
    /// Replay logged requests through it, at most so many.
    Replay(ModelName, VersionName, u64),
    /// Run its golden set, or else probe rows.
    Look(ModelName, VersionName),
    /// Take it out of memory.
    Unload(ModelName, VersionName),
    /// Delete its artifact. Once begun it counts as gone, so that nothing restores it meanwhile.
    Delete(ModelName, VersionName),
}

impl Effect {
    /// The model of the version that it is about.
    pub const fn model(&self) -> &ModelName {
        match self {
            Self::Fetch(model, _)
            | Self::Check(model, _)
            | Self::Warm(model, _)
            | Self::Load(model, _)
            | Self::Replay(model, ..)
            | Self::Look(model, _)
            | Self::Unload(model, _)
            | Self::Delete(model, _) => model,
        }
    }
}

/// Plans the next round of all models.
pub fn plan(state: &State, observed: &Observed, policies: &Policies, now: Now) -> Plan {
    let seen = observed.models.keys().filter(|name| state.model(name).is_none());
    let names: Vec<&ModelName> = state.models().map(|(name, _)| name).chain(seen).collect();
    plan_for(names, state, observed, policies, now, &|_| false)
}

/// Plans the next round of these models. What `passes` says of a subject is left out, and what stands behind it in
/// its model comes up in its place.
pub fn plan_for<'a>(
    mut names: Vec<&'a ModelName>,
    state: &'a State,
    observed: &'a Observed,
    policies: &'a Policies,
    now: Now,
    passes: &dyn Fn(&Subject) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    if let Some(draft) = clock(state, policies, now) {
        plan.drafts.push(draft);
        return plan;
    }
    names.sort_unstable();
    names.dedup();
    let nothing = (Model::default(), ObservedModel::default());
    let mut evicts_already = false;
    for name in names {
        let model = state.model(name).unwrap_or(&nothing.0);
        let seen = observed.models.get(name).map_or(&nothing.1, |seen| &**seen);
        let scene = Scene::new(state, (name, model), observed, seen, policies, now);
        let next = scene.next(passes);
        if next.is_empty() {
            plan.effects.extend(scene.effects());
            continue;
        }
        // The hourly limit counts what is written: one a round keeps it exact over all models.
        let evicts = next.iter().any(is_eviction);
        if !(evicts && evicts_already) {
            plan.drafts.extend(next.into_iter().map(Draft::own));
        }
        evicts_already |= evicts;
    }
    plan.drafts.sort_by_key(|draft| urgency(&draft.what));
    plan
}

/// What takes traffic away from a bad version comes first, and what is only told last.
fn urgency(what: &What) -> u8 {
    let What::Moved { moves, .. } = what else {
        return if matches!(what, What::Sighted { .. }) { 3 } else { 2 };
    };
    let takes_away = |m: &Move| {
        matches!(m.edge, Edge::Drain(Rest::Quarantined(_)) | Edge::Quarantine(..) | Edge::Return(_))
    };
    u8::from(!moves.iter().any(takes_away))
}

fn is_eviction(what: &What) -> bool {
    let evicts = |m: &Move| matches!(m.edge, Edge::Evict(_));
    matches!(what, What::Moved { moves, .. } if moves.iter().any(evicts))
}

/// Time itself: a clock that was set, or a while without an event.
fn clock(state: &State, policies: &Policies, now: Now) -> Option<Draft> {
    let last = state.clock().last;
    if state.seq() == 0 {
        return Some(Draft::own(What::Ticked));
    }
    let step = now.clock_step(last);
    let policy = &policies.default.evict;
    if step >= policy.clock_step {
        let doubtful_until = now.steady.after(policy.clock_doubt);
        return Some(Draft::own(What::ClockSet { step_ms: millis(step), doubtful_until }));
    }
    (now.steady.since(last.steady) >= TICK).then(|| Draft::own(What::Ticked))
}

/// One model with everything that its plan depends on.
pub(super) struct Scene<'a> {
    pub(super) state: &'a State,
    pub(super) name: &'a ModelName,
    pub(super) model: &'a Model,
    pub(super) all: &'a Observed,
    pub(super) observed: &'a ObservedModel,
    pub(super) policy: &'a Policy,
    pub(super) now: Now,
    pub(super) champion: Option<(&'a VersionName, &'a Version)>,
    pub(super) candidate: Option<(&'a VersionName, &'a Version)>,
    /// The latest first.
    pub(super) standbys: Vec<(&'a VersionName, &'a Version)>,
    /// Who answers now.
    pub(super) exposure: Exposure,
    /// What the guard asks for each version alike, found once.
    common: OnceCell<Common<'a>>,
}

/// What speaks for all versions of a model alike.
struct Common<'a> {
    /// Proven versions, the latest first.
    proven: Vec<(&'a VersionName, &'a Version)>,
    /// Champion and standbys that can answer, and are not cut off.
    loaded: Vec<&'a VersionName>,
    cool_down_left: Option<Duration>,
    rate_limited: bool,
    correlated: bool,
}

/// What may happen to a version: something now, or what it waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outlook {
    /// This happens.
    Now(What),
    /// These are missing; empty where nothing is waited for.
    Waits(Vec<String>),
}

impl Outlook {
    pub(super) fn nothing() -> Self {
        Self::Waits(Vec::new())
    }

    pub(super) fn waits(reason: impl Into<String>) -> Self {
        Self::Waits(vec![reason.into()])
    }

    pub(super) fn into_what(self) -> Option<What> {
        match self {
            Self::Now(what) => Some(what),
            Self::Waits(_) => None,
        }
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        state: &'a State,
        (name, model): (&'a ModelName, &'a Model),
        all: &'a Observed,
        observed: &'a ObservedModel,
        policies: &'a Policies,
        now: Now,
    ) -> Self {
        let exposure = Exposure::default();
        let policy = policies.of(name);
        let (champion, candidate) = (model.champion(), model.candidate());
        let standbys = model.standbys();
        let mut scene = Self {
            state,
            name,
            model,
            all,
            observed,
            policy,
            now,
            champion,
            candidate,
            standbys,
            exposure,
            common: OnceCell::new(),
        };
        scene.exposure = exposure_of(state, name, |version| scene.is_ready(version));
        scene
    }

    /// The changes of this round: one that matters, or several of the intake that do not touch each
    /// other.
    fn next(&self, passes: &dyn Fn(&Subject) -> bool) -> Vec<What> {
        type Steps<'a> = [fn(&Scene<'a>) -> Option<What>];
        let first: &Steps<'a> = &[
            |scene| scene.rollback().into_what(),
            |scene| scene.trial().and_then(|(_, outlook)| outlook.into_what()),
            |scene| scene.drained(),
            |scene| scene.undone(),
        ];
        let last: &Steps<'a> = &[
            |scene| scene.begin(),
            |scene| scene.proven(),
            |scene| scene.broken_standby(),
            |scene| scene.expired(),
            |scene| scene.deleted(),
            |scene| scene.alerted(),
        ];
        let is_open = |what: &What| !passes(&what.subject());
        let find = |steps: &Steps<'a>| {
            steps.iter().find_map(|step| step(self).filter(|what| is_open(what)))
        };
        if let Some(first) = find(first) {
            return vec![first];
        }
        let mut intake = self.intake();
        intake.retain(is_open);
        if !intake.is_empty() {
            return intake;
        }
        find(last).into_iter().collect()
    }

    /// What is seen of a version, if it is about its present content.
    pub(super) fn seen(&self, version: &VersionName) -> Option<&'a ObservedVersion> {
        let digest = &self.model.version(version)?.release().digest;
        let seen = self.observed.versions.get(version).map(|seen| &**seen);
        seen.filter(|seen| seen.digest.as_ref() == Some(digest))
    }

    pub(super) fn is_ready(&self, version: &VersionName) -> bool {
        self.seen(version).is_some_and(|seen| seen.ready)
    }

    pub(super) fn moved(&self, moves: Vec<Move>, why: impl Into<String>) -> What {
        What::Moved { model: self.name.clone(), moves, why: why.into() }
    }

    /// One version takes one edge.
    pub(super) fn step(&self, version: &VersionName, edge: Edge, why: impl Into<String>) -> What {
        self.moved(vec![Move { version: version.clone(), edge }], why)
    }

    /// How a version on trial leaves its trial.
    pub(super) fn leave(&self, version: &Version, towards: Rest) -> Edge {
        match (version.stage(), towards) {
            (Stage::Canary(_), towards) => Edge::Drain(towards),
            (_, Rest::Retired(why)) => Edge::Retire(why),
            (_, Rest::Quarantined(verdict)) => self.quarantine(version, verdict),
        }
    }

    pub(super) fn quarantine(&self, version: &Version, verdict: Verdict) -> Edge {
        let checks = match version.stage() {
            Stage::Warming(warming) => match warming.purpose() {
                Purpose::Rollout(admitted) => admitted.checks().to_vec(),
                Purpose::Undo => Vec::new(),
            },
            _ => Vec::new(),
        };
        Edge::Quarantine(verdict, checks)
    }

    /// Everything that speaks for `version` against `ground`.
    pub(super) fn defence(
        &self,
        name: &VersionName,
        version: &Version,
        aim: Aim,
        ground: Ground,
    ) -> Defence {
        let policy = &self.policy.evict;
        let now = self.now.steady;
        let seen = self.seen(name);
        // A route names a version, whatever its content.
        let named = self.observed.versions.get(name);
        let mut users: Vec<String> = named.map(|seen| seen.references.clone()).unwrap_or_default();
        if self.exposure.reaches(name) {
            users.push("the traffic of its model".to_owned());
        }
        let common = self.common();
        let proven = &common.proven;
        let kept = proven.iter().take(policy.keep_proven.max(1)).any(|(kept, _)| *kept == name);
        let proven_left = proven.len().saturating_sub(usize::from(self.model.is_proven(version)));
        let others_loaded = common.loaded.iter().any(|other| *other != name);
        let loaded = version.stage().wants_loaded();
        let verdict = seen.and_then(|seen| seen.health.verdict());
        let stale = verdict.map(|(_, reading)| now.since(reading.at));
        Defence {
            aim,
            ground,
            users,
            in_flight: named.map_or(0, |seen| seen.in_flight),
            pinned: version.pinned().map(|signed| signed.told()),
            held: version.held().map(|signed| signed.told()),
            undo_left: self
                .stands_in_window(name, version)
                .then(|| self.left(version.since(), self.policy.release.undo))
                .flatten(),
            last_loaded: loaded && !others_loaded,
            proven_left,
            kept_proven: version.proven().is_some() && kept,
            rollout: self.candidate.is_some(),
            capacity: loaded
                .then(|| seen.and_then(|seen| seen.capacity).unwrap_or(Capacity::UNKNOWN)),
            listing_doubt: self.observed.listing_doubt.clone(),
            cool_down_left: common.cool_down_left,
            rate_limited: common.rate_limited,
            lease_taken: self.all.lease_taken,
            correlated: common.correlated,
            evaluator_stale: stale.filter(|age| *age > self.policy.guard.fresh),
            short_of_samples: verdict
                .filter(|(signal, reading)| !self.has_samples(*signal, reading))
                .map(|(_, reading)| reading.samples),
            clock_doubt: self.state.clock().doubt(self.now),
        }
    }

    fn common(&self) -> &Common<'a> {
        self.common.get_or_init(|| {
            let policy = &self.policy.evict;
            let now = self.now.steady;
            let answers = |(name, version): &(&'a VersionName, &'a Version)| {
                version.killed().is_none() && self.is_ready(name)
            };
            let serving = self.champion.into_iter().chain(self.standbys.iter().copied());
            let recent = self.state.evictions.iter().rev();
            let hour = Duration::from_secs(3600);
            let recent = recent.take_while(|at| now.since(**at) < hour);
            Common {
                proven: self.model.proven(),
                loaded: serving.filter(answers).map(|(name, _)| name).collect(),
                cool_down_left: self
                    .model
                    .last_eviction
                    .and_then(|at| self.left(at, policy.cool_down)),
                rate_limited: recent.count() >= policy.hourly,
                correlated: self.correlated().is_some(),
            }
        })
    }

    /// What is left of a wait that began then.
    fn left(&self, since: Steady, wait: Duration) -> Option<Duration> {
        let left = wait.saturating_sub(self.now.steady.since(since));
        (!left.is_zero()).then_some(left)
    }

    /// Whether nothing of this model may be deleted now, whichever version it is.
    fn spares_all(&self) -> bool {
        let common = self.common();
        common.cool_down_left.is_some() || common.rate_limited
    }

    /// Whether the undo window protects a standby: that of the latest ones only.
    fn stands_in_window(&self, name: &VersionName, version: &Version) -> bool {
        matches!(version.stage(), Stage::Standby(_))
            && self
                .standbys
                .iter()
                .take(self.policy.release.standbys.max(1))
                .any(|(standby, _)| *standby == name)
    }

    /// Whether an evicted version can be deleted: nobody has pinned it meanwhile.
    fn grace_is_over(&self, version: &Version) -> bool {
        matches!(version.stage(), Stage::Evicted(evicted) if !evicted.is_deleted())
            && version.pinned().is_none()
            && self.now.steady.since(version.since()) >= self.policy.evict.grace
    }

    /// What the stages want done that is not done yet.
    fn effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let turn = self.turn();
        for (name, version) in self.model.versions() {
            let unseen = ObservedVersion::default();
            let seen = self.seen(name).unwrap_or(&unseen);
            let named = || (self.name.clone(), name.clone());
            let since = version.since();
            let mut want = |effect: fn(ModelName, VersionName) -> Effect| {
                let (model, version) = named();
                effects.push(effect(model, version));
            };
            match version.stage() {
                Stage::Staged(_) if turn == Some(name) => match seen.fetch {
                    Progress::Idle | Progress::Failed { .. } => want(Effect::Fetch),
                    Progress::Queued | Progress::Running | Progress::Done(_) => {}
                },
                Stage::Validating(_) => match &seen.checks {
                    Progress::Queued | Progress::Running => {}
                    Progress::Done(checks) if checks.began >= since => {}
                    _ => want(Effect::Check),
                },
                Stage::Warming(_) => match &seen.warmth {
                    Progress::Queued | Progress::Running => {}
                    Progress::Done(warmth)
                        if warmth.began >= since && seen.ready && is_warm(warmth).is_ok() => {}
                    _ => want(Effect::Warm),
                },
                Stage::Shadow(_) | Stage::Canary(_) if !seen.ready => want(Effect::Load),
                Stage::Shadow(_) | Stage::Canary(_) if self.stand_in_is_unseen(seen) => {
                    want(Effect::Look);
                }
                Stage::Shadow(_) if self.is_quiet(version, seen) => {
                    let (model, version) = named();
                    effects.push(Effect::Replay(model, version, REPLAY_ROWS));
                }
                Stage::Live(_) | Stage::Standby(_) if !seen.ready => want(Effect::Load),
                Stage::Live(_) | Stage::Standby(_) if self.look_is_due(name, seen) => {
                    want(Effect::Look);
                }
                Stage::Retired(_) | Stage::Quarantined(_) | Stage::Evicted(_) => {
                    let idle = seen.in_flight == 0
                        && seen.references.is_empty()
                        && !self.exposure.reaches(name);
                    if seen.ready && idle {
                        want(Effect::Unload);
                    } else if seen.on_disk && idle && self.grace_is_over(version) {
                        want(Effect::Delete);
                    }
                }
                _ => {}
            }
        }
        effects
    }
}
