//! The invariants, held against what happened in the world.
//!
//! Owns its own books: which contents were stopped, which versions are proven, who was found sound when, what
//! was last published. None of the guards of the life cycle is called here.

mod promotion;
mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::Tally;
use super::deaths::Deaths;
use super::process::Process;
use super::tally::{alert_word, gate_word};
use super::world::{Key, World};
use crate::domain::ids::{Digest, ModelName, Permille, VersionName};
use crate::domain::lifecycle::event::{By, Event, Move, What};
use crate::domain::lifecycle::exposure::Exposure;
use crate::domain::lifecycle::health::{Level, Signal};
use crate::domain::lifecycle::observed::ObservedVersion;
use crate::domain::lifecycle::policy::Policy;
use crate::domain::lifecycle::proof::{Found, Gate, Verdict};
use crate::domain::lifecycle::stage::{Edge, Rest, Stage};
use crate::domain::lifecycle::state::{Model, State, Version};
use crate::domain::lifecycle::time::Steady;

/// An invariant that does not hold.
#[derive(Debug)]
pub(super) struct Broken(String);

impl Broken {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hold(holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(what())) }
}

/// The books.
#[derive(Default)]
pub(super) struct Checks {
    policy: Policy,
    /// What the journal adds up to, folded apart from the process.
    durable: State,
    stopped: BTreeMap<ModelName, BTreeSet<Digest>>,
    proven: BTreeMap<ModelName, BTreeSet<VersionName>>,
    looks: BTreeMap<Key, (Steady, bool)>,
    /// The candidate's share as last published.
    shares: BTreeMap<ModelName, (VersionName, Permille)>,
    /// Shares that an event has granted since.
    granted: BTreeMap<ModelName, (VersionName, Permille)>,
    evictions: Vec<(ModelName, Steady)>,
    /// When somebody last answered for all that a candidate does not.
    answered: BTreeMap<ModelName, Steady>,
    deaths: Deaths,
    tally: Tally,
    /// When the last event was written.
    at: Steady,
}

impl Checks {
    pub(super) fn new(policy: &Policy) -> Self {
        Self { policy: policy.clone(), ..Self::default() }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub(super) fn died(&mut self, world: &World) {
        self.count(if world.torn { "killed mid-write" } else { "killed" });
    }

    pub(super) fn looked(&mut self, key: Key, at: Steady, passed: bool) {
        self.looks.insert(key, (at, passed));
    }

    /// An event is about to be written.
    pub(super) fn written(&mut self, process: &Process, event: &Event) -> Result<(), Broken> {
        let own = event.by == By::Gateway;
        self.at = event.at.steady;
        self.count(match &event.what {
            What::Recovered => "recovered",
            What::Died { .. } => "died",
            What::ClockSet { .. } => "clock set",
            What::Proven { .. } => "proven by living",
            What::Alerted { alert, on: true, .. } => alert_word(alert),
            _ => "other",
        });
        if let What::Proven { model, version } = &event.what {
            self.prove(model, version);
        }
        if matches!(event.what, What::Died { .. }) {
            self.deaths.note(&process.state, self.at);
        }
        let What::Moved { model, moves, .. } = &event.what else { return Ok(()) };
        self.deaths.follow(model, moves);
        let nothing = Model::default();
        let before = process.state.model(model).unwrap_or(&nothing);
        for m in moves {
            self.edge(process, event, own, model, before, m)
                .map_err(|broken| Broken(format!("{broken} ({} {})", m.version, m.edge.word())))?;
        }
        if moves.iter().any(|m| matches!(m.edge, Edge::Return(_))) {
            self.count("rolled back");
            self.rolled_back(process, event, model, before, moves)?;
        }
        let had_more = |m: &Move| before.version(&m.version).is_some_and(|it| it.more().is_some());
        if moves.iter().any(|m| matches!(m.edge, Edge::Step(..)) && had_more(m)) {
            self.count("stepped after more time");
        }
        let trial = |m: &&Move| matches!(m.edge, Edge::Retire(_) | Edge::Drain(Rest::Retired(_)));
        if moves.iter().any(|m| matches!(m.edge, Edge::Validate(_)))
            && moves.iter().any(|m| trial(&m))
        {
            self.count("superseded");
        }
        Ok(())
    }

    fn edge(
        &mut self,
        process: &Process,
        event: &Event,
        own: bool,
        name: &ModelName,
        before: &Model,
        m: &Move,
    ) -> Result<(), Broken> {
        let at = event.at.steady;
        let Some(version) = before.version(&m.version) else {
            return Err(Broken::new("an edge of a version that is not there"));
        };
        let seen = process.seen.version(name, &m.version).cloned().unwrap_or_default();
        let digest = version.release().digest.clone();
        let stayed = at.since(version.since());
        match &m.edge {
            Edge::Begin(_) => self.count("first"),
            Edge::Extend(_) => self.count("extended"),
            Edge::Restore => {
                self.count("restored");
                if version.proven().is_some() {
                    self.prove(name, &m.version);
                }
            }
            Edge::Expose(_, share) => {
                self.count("exposed");
                let released = !m.version.as_str().starts_with("0.");
                hold(own && released, || "I6: exposed by hand, or a prerelease".to_owned())?;
                self.compared(&seen, version)?;
                self.grant(name, &m.version, *share);
            }
            Edge::Step(_, share) => {
                self.count("stepped");
                self.enough(process, name, before, m, stayed)?;
                self.grant(name, &m.version, *share);
            }
            Edge::Promote(proof) => self.promoted(process, event, name, before, (m, proof))?,
            Edge::Quarantine(verdict, _) | Edge::Drain(Rest::Quarantined(verdict)) => {
                self.count(gate_word(verdict.gate));
                let serves = before.champion().is_some_and(|(_, live)| {
                    live.release().digest == digest && !matches!(version.stage(), Stage::Live(_))
                });
                if verdict.gate.condemns() && !serves {
                    self.stopped.entry(name.clone()).or_default().insert(digest);
                    self.proven.entry(name.clone()).or_default().remove(&m.version);
                }
                if verdict.gate == Gate::Standby {
                    self.stands_out(process, name, before, (&m.version, verdict))?;
                }
            }
            Edge::Retry => {
                self.count("retried");
                self.stopped.entry(name.clone()).or_default().remove(&digest);
            }
            Edge::Drain(Rest::Retired(_)) if matches!(version.stage(), Stage::Standby(_)) => {
                self.count("unloaded");
                self.window_is_over(before, version, stayed)?;
                hold(version.pinned().is_none(), || "a pinned standby goes".to_owned())?;
                self.uncorrelated(process, name, before)?;
            }
            Edge::Evict(_) => self.evicted(process, event, name, before, m)?,
            Edge::Delete => {
                self.count("deleted");
                hold(!seen.on_disk, || "deleted and still there".to_owned())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What the first requests of clients need.
    fn compared(&self, seen: &ObservedVersion, version: &Version) -> Result<(), Broken> {
        let policy = &self.policy.release;
        if policy.unproven || policy.shadow.pairs == 0 {
            return Ok(());
        }
        let Some(shadow) = &seen.shadow else { return Err(Broken::new("I6: nothing compared")) };
        let agrees = shadow.agreement_low.is_some_and(|low| low >= 0.8);
        let fast = shadow.slower_high.is_some_and(|high| high <= 1.5);
        let enough = shadow.pairs >= policy.shadow.pairs && shadow.began >= version.since();
        hold(enough && agrees && fast, || format!("I6: exposed on {shadow:?}"))
    }

    /// What a promotion needs besides a step.
    fn no_worse(&self, seen: &ObservedVersion, version: &Version) -> Result<(), Broken> {
        let excess = seen.canary.as_ref().and_then(|all| all.rates.first()?.excess_high);
        hold(excess.is_some_and(|high| high <= self.policy.guard.margin), || {
            format!("I5: promoted with an excess of up to {excess:?}")
        })?;
        let steps = self.policy.release.steps.len();
        let last = matches!(version.stage(), Stage::Canary(at) if at.step() + 1 == steps);
        hold(last, || "I5: promoted before its last step".to_owned())
    }

    fn window_is_over(
        &self,
        before: &Model,
        version: &Version,
        stayed: Duration,
    ) -> Result<(), Broken> {
        // Those that became live at the same moment, itself too, count as newer.
        let newer = before.versions().filter(|(_, other)| {
            matches!(other.stage(), Stage::Standby(_)) && other.lived() >= version.lived()
        });
        let guarded = newer.count() <= self.policy.release.standbys;
        hold(!guarded || stayed >= self.policy.release.undo, || {
            format!("a standby goes after {stayed:?}, within its undo window")
        })
    }

    /// What a step and a promotion need.
    fn enough(
        &self,
        process: &Process,
        name: &ModelName,
        before: &Model,
        m: &Move,
        stayed: Duration,
    ) -> Result<(), Broken> {
        let version = before.version(&m.version);
        let Some(Stage::Canary(canary)) = version.map(|version| version.stage()) else {
            return Err(Broken::new("I5: it is not in canary"));
        };
        let seen = process.seen.version(name, &m.version).and_then(|seen| seen.canary.clone());
        let Some(seen) = seen else { return Err(Broken::new("I6: nothing was counted")) };
        let wanted = self.policy.release.steps.get(canary.step()).map_or(u64::MAX, |s| s.responses);
        hold(seen.responses >= wanted, || format!("I6: {} of {wanted} responses", seen.responses))?;
        hold(stayed >= self.policy.release.dwell, || format!("I6: after {stayed:?} only"))?;
        hold(version.is_some_and(|version| seen.began >= version.since()), || {
            "I6: on counts of an earlier step".to_owned()
        })?;
        hold(seen.sample_ratio.is_some_and(|chance| chance >= 1e-4), || {
            format!("I6: with a sample ratio of {:?}", seen.sample_ratio)
        })?;
        hold(seen.crashed.is_none(), || "I6: after a crash".to_owned())?;
        // One in a hundred over all metrics together.
        let limit = (100.0 * seen.rates.len() as f64).ln();
        hold(!seen.rates.is_empty() && seen.rates.iter().all(|rate| rate.ln_e < limit), || {
            "I6: with an e-value above its threshold".to_owned()
        })?;
        let control = before.champion();
        hold(
            control.is_some_and(|(control, version)| {
                version.killed().is_none()
                    && process.seen.version(name, control).is_some_and(|seen| seen.ready)
            }),
            || "I6: without a control".to_owned(),
        )?;
        hold(version.is_some_and(|version| version.held().is_none()), || {
            "I6: while it is held".to_owned()
        })
    }

    fn prove(&mut self, model: &ModelName, version: &VersionName) {
        self.proven.entry(model.clone()).or_default().insert(version.clone());
    }

    fn grant(&mut self, model: &ModelName, version: &VersionName, share: Permille) {
        self.granted.insert(model.clone(), (version.clone(), share));
    }

    fn rolled_back(
        &self,
        process: &Process,
        event: &Event,
        name: &ModelName,
        before: &Model,
        moves: &[Move],
    ) -> Result<(), Broken> {
        let target = moves.iter().find(|m| matches!(m.edge, Edge::Return(_)));
        let Some(target) = target else { return Ok(()) };
        let look = self.looks.get(&(name.clone(), target.version.clone()));
        let fresh = look.is_some_and(|(at, passed)| {
            *passed && event.at.steady.since(*at) <= self.policy.guard.fresh
        });
        hold(fresh, || format!("I7: {} was last looked at: {look:?}", target.version))?;
        let ready = process.seen.version(name, &target.version).is_some_and(|seen| seen.ready);
        hold(ready, || format!("I7: {} is not loaded", target.version))?;
        let champion = before.champion().map(|(_, champion)| champion);
        hold(champion.is_some_and(|champion| champion.held().is_none()), || {
            "a held champion is rolled back".to_owned()
        })?;
        self.uncorrelated(process, name, before)
    }

    /// I11.
    fn uncorrelated(
        &self,
        process: &Process,
        name: &ModelName,
        before: &Model,
    ) -> Result<(), Broken> {
        let fresh = self.policy.guard.fresh;
        let degraded = |version: &VersionName, stands_by: bool| -> BTreeSet<Signal> {
            let Some(seen) = process.seen.version(name, version) else { return BTreeSet::new() };
            let degraded = seen.health.readings().filter(|(signal, reading)| {
                // Windows of long ago that a look since then has found to be over.
                let is_over = stands_by
                    && matches!(signal, Signal::SloBurn | Signal::InvalidOutput)
                    && self.at.since(reading.at) > fresh
                    && seen
                        .look
                        .as_ref()
                        .is_some_and(|look| look.at > reading.at && look.found == Found::Sound);
                reading.level == Level::Degraded && !is_over
            });
            degraded.map(|(signal, _)| signal).collect()
        };
        let Some((champion, _)) = before.champion() else { return Ok(()) };
        let bad = degraded(champion, false);
        for (standby, version) in before.versions() {
            if matches!(version.stage(), Stage::Standby(_)) {
                let common: Vec<_> = degraded(standby, true).intersection(&bad).copied().collect();
                hold(common.is_empty(), || {
                    format!("I11: {champion} and {standby} are both degraded by {common:?}")
                })?;
            }
        }
        Ok(())
    }

    /// I11: what a standby alone is blamed for has not befallen the champion in a window that has not closed yet.
    fn stands_out(
        &self,
        process: &Process,
        name: &ModelName,
        before: &Model,
        (standby, verdict): (&VersionName, &Verdict),
    ) -> Result<(), Broken> {
        self.uncorrelated(process, name, before)?;
        let counted = verdict.why.starts_with(Signal::SloBurn.words());
        let Some((champion, _)) = before.champion().filter(|_| counted) else { return Ok(()) };
        let windows = [standby, champion]
            .map(|version| process.windows.get(&(name.clone(), version.clone())));
        let [Some((at, _)), Some((as_late, is_bad))] = windows else {
            return Err(Broken(format!("I11: {standby} goes and no window of {champion} tells")));
        };
        hold(as_late >= at && !is_bad, || {
            format!("I11: {standby} goes by {at:?}, {champion} was last counted at {as_late:?}")
        })
    }

    fn evicted(
        &mut self,
        process: &Process,
        event: &Event,
        name: &ModelName,
        before: &Model,
        m: &Move,
    ) -> Result<(), Broken> {
        self.count("evicted");
        let at = event.at.steady;
        let mut proven = self.proven.get(name).cloned().unwrap_or_default();
        let was_proven = proven.remove(&m.version);
        let routes = process.published.get(name).cloned().unwrap_or_default();
        hold(!routes.reaches(&m.version), || "I2: evicted while requests reach it".to_owned())?;
        let seen = process.seen.version(name, &m.version).cloned().unwrap_or_default();
        hold(seen.in_flight == 0 && seen.references.is_empty(), || {
            format!("I2: evicted with {} requests, used by {:?}", seen.in_flight, seen.references)
        })?;
        if !process.forced {
            hold(!was_proven || !proven.is_empty(), || "I3: the last proven version".to_owned())?;
            let pinned = before.version(&m.version).is_some_and(|v| v.pinned().is_some());
            hold(!pinned, || "a pinned version is evicted".to_owned())?;
            let model = process.seen.models.get(name);
            hold(model.is_some_and(|model| model.listing_doubt.is_none()), || {
                "evicted on a listing in doubt".to_owned()
            })?;
            self.uncorrelated(process, name, before)?;
            hold(!process.seen.lease_taken, || "I12: evicted without the lease".to_owned())?;
            let policy = &self.policy.evict;
            let last = self.evictions.iter().rev().find(|(model, _)| model == name);
            hold(last.is_none_or(|(_, last)| at.since(*last) >= policy.cool_down), || {
                "I12: evicted within the cool-down".to_owned()
            })?;
            let hour = Duration::from_secs(3600);
            let recent = self.evictions.iter().filter(|(_, last)| at.since(*last) < hour).count();
            hold(recent < policy.hourly, || format!("I12: {recent} evictions within the hour"))?;
            if event.by == By::Gateway {
                hold(before.candidate().is_none(), || "evicted during a rollout".to_owned())?;
                let hour = Duration::from_secs(3600);
                let doubt = process.clock_set.is_some_and(|ago| ago < hour);
                let dated = matches!(&m.edge, Edge::Evict(why) if why.contains("trained"));
                hold(!doubt || !dated, || "evicted by a clock that was just set".to_owned())?;
                hold(!policy.dry_run, || "evicted in a dry run".to_owned())?;
            }
        }
        self.proven.insert(name.clone(), proven);
        self.evictions.push((name.clone(), at));
        Ok(())
    }

    /// An event was folded.
    pub(super) fn folded(
        &mut self,
        had: &[ModelName],
        after: &State,
        event: &Event,
    ) -> Result<(), Broken> {
        self.durable.apply(event).map_err(|error| Broken(format!("I8: {error}")))?;
        for name in had {
            let still = after.model(name).is_some_and(|model| model.champion().is_some());
            hold(still, || format!("I1: {name} has lost its champion"))?;
        }
        Ok(())
    }

    /// Routes are about to be published.
    pub(super) fn published(
        &mut self,
        process: &Process,
        name: &ModelName,
        routes: &Exposure,
        now: Steady,
    ) -> Result<(), Broken> {
        if routes.champion.is_some() {
            self.answered.insert(name.clone(), now);
        }
        let Some(model) = self.durable.model(name) else {
            return Err(Broken::new("I8: a model that is not written down"));
        };
        let seen = |version: &VersionName| process.seen.version(name, version);
        let ready = |version: &VersionName| seen(version).is_some_and(|seen| seen.ready);
        let nothing = BTreeSet::new();
        let stopped = self.stopped.get(name).unwrap_or(&nothing);
        let cut = self.durable.killed().is_some() || model.killed().is_some();
        let mut total = 0;
        for (version, known) in model.versions() {
            let share = routes.share_of(version);
            total += u32::from(share.thousandths());
            let reached = routes.reaches(version);
            hold(!reached || ready(version), || format!("I1: {version} is not loaded"))?;
            hold(!reached || !stopped.contains(&known.release().digest), || {
                format!("I4: the content of {version} was stopped")
            })?;
            hold(!reached || !(cut || known.killed().is_some()), || {
                format!("{version} is cut off and gets requests")
            })?;
            let serves = matches!(known.stage(), Stage::Live(_) | Stage::Standby(_));
            let could = serves
                && ready(version)
                && !cut
                && known.killed().is_none()
                && !stopped.contains(&known.release().digest);
            hold(!could || routes.champion.is_some(), || {
                format!("I1: {version} could answer and nobody does")
            })?;
            if reached && known.stage().is_on_trial() {
                let most = self.policy.release.deaths;
                let key = (name.clone(), version.clone());
                let deaths = self.deaths.in_a_row(&key, self.at);
                hold(deaths < most, || format!("I13: {version} is reached after {deaths} deaths"))?;
            }
            if routes.shadow.as_ref() == Some(version) {
                hold(share == Permille::NONE, || format!("I10: {version} answers in shadow"))?;
            }
        }
        // Without a champion, one that answers a share keeps it.
        let tried = routes.candidate.as_ref().map_or(0, |tried| tried.share.thousandths());
        let whole = if routes.champion.is_some() { 1000 } else { u32::from(tried) };
        hold(total == whole, || format!("I9: shares add up to {total}"))?;
        let is_itself = routes.champion.as_ref() == model.champion().map(|(name, _)| name);
        let compared = routes.candidate.as_ref().is_some_and(|tried| tried.is_compared);
        hold(is_itself || (!compared && routes.shadow.is_none()), || {
            format!("I10: {routes:?} compares with another than the champion")
        })?;
        self.grew(name, routes)
    }

    /// I6 and I8: a candidate's share grows only by a grant, and never by coming back.
    fn grew(&mut self, name: &ModelName, routes: &Exposure) -> Result<(), Broken> {
        let Some(candidate) = &routes.candidate else { return Ok(()) };
        let (version, share) = (candidate.version.clone(), candidate.share);
        let granted = self.granted.get(name);
        let allowed = granted.is_some_and(|(to, most)| *to == version && share <= *most);
        hold(allowed, || format!("I6: {version} gets {share:?}, granted is {granted:?}"))?;
        let last = self.shares.insert(name.clone(), (version.clone(), share));
        hold(share <= Permille::saturating(500), || "the control slice is smaller".to_owned())?;
        let shrank = last.is_some_and(|(last, before)| last == version && before > share);
        // A new trial of the same version starts small again.
        let first = self.policy.release.steps.first().map_or(Permille::NONE, |step| step.share);
        hold(!shrank || share == first, || format!("{version} shrank to {share:?}"))
    }

    /// At the end of a step: what is in memory is what is written.
    pub(super) fn agrees(&self, process: &Process) -> Result<(), Broken> {
        hold(self.durable == process.state, || "I8: the journal says something else".to_owned())
    }

    /// I2.
    pub(super) fn unloads(
        &self,
        process: &Process,
        name: &ModelName,
        version: &VersionName,
    ) -> Result<(), Broken> {
        let routes = process.published.get(name).cloned().unwrap_or_default();
        hold(!routes.reaches(version), || format!("I2: {version} is unloaded in use"))?;
        let seen = process.seen.version(name, version).cloned().unwrap_or_default();
        hold(seen.in_flight == 0 && seen.references.is_empty(), || {
            format!("I2: {version} is unloaded with {} requests", seen.in_flight)
        })?;
        let stage = process.state.model(name).and_then(|model| model.version(version));
        hold(stage.is_some_and(|version| !version.stage().wants_loaded()), || {
            format!("I2: {version} is unloaded and still wanted")
        })
    }

    pub(super) fn deletes(
        &self,
        process: &Process,
        name: &ModelName,
        version: &VersionName,
    ) -> Result<(), Broken> {
        let known = process.state.model(name).and_then(|model| model.version(version));
        let evicted = known.is_some_and(|version| {
            matches!(version.stage(), Stage::Evicted(_)) && version.pinned().is_none()
        });
        hold(evicted || process.forced, || format!("{version} is deleted and not evicted"))?;
        let seen = process.seen.version(name, version).cloned().unwrap_or_default();
        hold(seen.in_flight == 0 && !seen.ready, || format!("I2: {version} is deleted in use"))
    }
}
