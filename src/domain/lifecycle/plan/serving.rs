//! Versions that have served: rollback, draining, the way back to standby, proof by living.

use std::time::Duration;

use super::{Outlook, Scene};
use crate::domain::ids::VersionName;
use crate::domain::lifecycle::event::{Move, What};
use crate::domain::lifecycle::guard::{self, Aim, Ground, may_evict};
use crate::domain::lifecycle::health::{Level, Reading, Signal};
use crate::domain::lifecycle::observed::{ObservedVersion, Progress};
use crate::domain::lifecycle::proof::{Found, Gate, Look, Sound, Verdict, is_sound, is_warm};
use crate::domain::lifecycle::stage::{Edge, Purpose, Rest, Stage};
use crate::domain::lifecycle::state::Version;
use crate::domain::lifecycle::time::{Spell, Steady};

/// How long a fresh look at a way back may be on its way before someone is told that there is none.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);
/// How long after a look the next one may begin for another version's sake.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long a drain may take before what is still in flight is left behind.
pub(in crate::domain::lifecycle) const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Why no earlier champion may take over now.
struct NoWayBack {
    why: String,
    /// A look at one that may be sound is on its way.
    is_looked_for: bool,
}

impl<'a> Scene<'a> {
    /// The signal that says the champion is degraded, on evidence of now.
    pub(in crate::domain::lifecycle) fn degraded(
        &self,
    ) -> Option<(&'a VersionName, &'a Version, Signal, &'a Reading)> {
        let (name, version) = self.champion?;
        let (signal, reading) = self.seen(name)?.health.verdict()?;
        let fresh = self.now.steady.since(reading.at) <= self.policy.guard.fresh;
        let enough = self.has_samples(signal, reading);
        (fresh && enough).then_some((name, version, signal, reading))
    }

    /// Whether a verdict rests on enough responses, where it counts any.
    pub(super) fn has_samples(&self, signal: Signal, reading: &Reading) -> bool {
        let counted = matches!(signal, Signal::SloBurn | Signal::Labelled);
        !counted || reading.samples >= self.policy.guard.samples
    }

    /// The signal by which champion and a standby are degraded together, if there is one.
    pub(in crate::domain::lifecycle) fn correlated(&self) -> Option<Signal> {
        let (champion, _) = self.champion?;
        let health = &self.seen(champion)?.health;
        let standbys = &self.standbys;
        health.readings().map(|(signal, _)| signal).find(|signal| {
            health.is_degraded_by(*signal)
                && standbys.iter().any(|(standby, _)| {
                    self.seen(standby).is_some_and(|seen| {
                        let reading = seen.health.reading(*signal);
                        let reading = reading.filter(|reading| reading.level == Level::Degraded);
                        reading.is_some_and(|reading| !self.is_over(seen, *signal, reading))
                    })
                })
        })
    }

    /// Whether what windows once said of a version is over: no requests have renewed it for as long as evidence
    /// is fresh, and a look since then has found nothing. Labels are not: no look tells what they tell.
    fn is_over(&self, seen: &ObservedVersion, signal: Signal, reading: &Reading) -> bool {
        let is_old = self.now.steady.since(reading.at) > self.policy.guard.fresh;
        let has_passed = |look: &Look| look.at > reading.at && look.found == Found::Sound;
        let can_be_looked_for = matches!(signal, Signal::SloBurn | Signal::InvalidOutput);
        can_be_looked_for && is_old && seen.look.as_ref().is_some_and(has_passed)
    }

    /// The earlier champion that may take over now, or why none may. Trouble of the host passes: a look before
    /// the champion was found degraded, at `since`, says nothing about now.
    fn way_back(&self, since: Steady) -> Result<(&'a VersionName, Sound), NoWayBack> {
        let (mut refusals, mut is_looked_for) = (Vec::new(), false);
        for (name, version) in &self.standbys {
            let refusal = match self.seen(name) {
                _ if version.killed().is_some() => "it is cut off".to_owned(),
                _ if self.model.condemned(&version.release().digest).is_some() => {
                    "its content is condemned".to_owned()
                }
                Some(seen) if seen.ready => match seen
                    .health
                    .verdict_of(|signal, reading| !self.is_over(seen, signal, reading))
                {
                    Some((signal, _)) => format!("{} speaks against it", signal.words()),
                    None => {
                        let fresh = self.policy.guard.fresh;
                        let look = seen.look.as_ref();
                        is_looked_for |=
                            look.is_none_or(|look| look.at < since && look.found == Found::Sound);
                        match is_sound(look, self.now.steady, fresh) {
                            Ok(sound) if sound.told().1 >= since => return Ok((name, sound)),
                            Ok(_) => "it was last checked before that".to_owned(),
                            Err(why) => why,
                        }
                    }
                },
                _ => "it is not loaded".to_owned(),
            };
            refusals.push(format!("{name}: {refusal}"));
        }
        if refusals.is_empty() {
            refusals.push("no earlier champion is loaded".to_owned());
        }
        Err(NoWayBack { why: refusals.join("; "), is_looked_for })
    }

    /// The champion is degraded: an earlier one that is sound now takes over.
    pub(in crate::domain::lifecycle) fn rollback(&self) -> Outlook {
        let Some((name, version, signal, reading)) = self.degraded() else {
            return Outlook::nothing();
        };
        if let Some(signed) = version.held() {
            return Outlook::waits(format!("{} to end the hold", signed.told()));
        }
        if let Some(common) = self.correlated() {
            return Outlook::waits(format!(
                "someone to look at the input or the host: {} speaks against the standby, too",
                common.words()
            ));
        }
        let (target, sound) = match self.way_back(reading.since) {
            Ok(found) => found,
            Err(NoWayBack { why, .. }) => {
                return Outlook::waits(format!("a sound version to go back to ({why})"));
            }
        };
        let verdict =
            Verdict { gate: Gate::Live, why: format!("{}: {}", signal.words(), reading.detail) };
        let why = format!(
            "{} speaks against {name} ({}); {target} was found sound {} ago",
            signal.words(),
            reading.detail,
            Spell(self.now.steady.since(sound.told().1))
        );
        let mut moves = vec![
            Move { version: name.clone(), edge: Edge::Drain(Rest::Quarantined(verdict)) },
            Move { version: target.clone(), edge: Edge::Return(sound) },
        ];
        // What was compared with the degraded champion is worth nothing.
        if let Some((candidate, on_trial)) = self.candidate {
            let reason = format!("its control, {name}, was rolled back");
            let edge = self.leave(on_trial, Rest::Retired(reason));
            moves.push(Move { version: candidate.clone(), edge });
        }
        Outlook::Now(self.moved(moves, why))
    }

    /// A version that drains has ended its requests, or its time is over.
    pub(super) fn drained(&self) -> Option<What> {
        let (name, version) =
            self.model.versions().find(|(name, version)| self.drains_no_more(name, version))?;
        let left = self.seen(name).map_or(0, |seen| seen.in_flight);
        let took = Spell(self.now.steady.since(version.since()));
        let why = match left {
            0 => format!("its requests ended within {took}"),
            _ => format!("{left} requests had not ended after {took}; they end on their own"),
        };
        Some(self.step(name, Edge::Drained(left), why))
    }

    fn drains_no_more(&self, name: &VersionName, version: &Version) -> bool {
        matches!(version.stage(), Stage::Draining(_))
            && (self.seen(name).is_none_or(|seen| seen.in_flight == 0)
                || self.now.steady.since(version.since()) >= DRAIN_MAX)
    }

    /// A restored version is warm again, or cannot be.
    pub(super) fn undone(&self) -> Option<What> {
        self.model.versions().find_map(|(name, version)| self.undo_of(name, version).into_what())
    }

    pub(in crate::domain::lifecycle) fn undo_of(
        &self,
        name: &VersionName,
        version: &Version,
    ) -> Outlook {
        let Stage::Warming(warming) = version.stage() else { return Outlook::nothing() };
        if *warming.purpose() != Purpose::Undo {
            return Outlook::nothing();
        }
        let stopped = self.condemned(version).or_else(|| self.died_under(name, version));
        if let Some(why) = stopped {
            return Outlook::Now(self.step(name, Edge::Retire(why.clone()), why));
        }
        let unseen = ObservedVersion::default();
        let seen = self.seen(name).unwrap_or(&unseen);
        match &seen.warmth {
            Progress::Done(warmth) if warmth.began >= version.since() && seen.ready => {
                match is_warm(warmth) {
                    Ok(warm) => {
                        let why = "it is loaded and warm again";
                        return Outlook::Now(self.step(name, Edge::Ready(warm), why));
                    }
                    Err(_) if self.warms_too_long(version, seen) => {}
                    Err(_) => return Outlook::waits("a steady latency"),
                }
            }
            Progress::Queued => return Outlook::waits("room for its warm-up"),
            _ if self.warms_too_long(version, seen) => {}
            _ => return Outlook::waits("the end of its warm-up"),
        }
        // It has served before, so that this is no proof against its content.
        let why = "it could not be loaded again in time".to_owned();
        Outlook::Now(self.step(name, Edge::Retire(why.clone()), why))
    }

    fn warms_too_long(&self, version: &Version, seen: &ObservedVersion) -> bool {
        self.tried_for(version, seen) > self.policy.release.warming
    }

    /// A champion without a trial has lived soundly for long enough.
    pub(super) fn proven(&self) -> Option<What> {
        let (name, version) = self.champion?;
        let seen = self.seen(name)?;
        let lived = version.lived().map(|at| self.now.steady.since(at))?;
        let sound = is_sound(seen.look.as_ref(), self.now.steady, self.policy.guard.golden * 2);
        let holds = version.proven().is_none()
            && lived >= self.policy.release.proving
            && !seen.health.is_in_question()
            && sound.is_ok();
        holds.then(|| What::Proven { model: self.name.clone(), version: name.clone() })
    }

    /// A standby that is broken is no way back: it goes, if the guard lets it, and if the champion was found
    /// well later than that. Until then it stays: it may be the input or the host, and once that has passed it is a way
    /// back again.
    pub(super) fn broken_standby(&self) -> Option<What> {
        self.standbys.iter().copied().find_map(|(name, version)| {
            let seen = self.seen(name)?;
            let since = version.since();
            let failed = seen.look.as_ref().filter(|look| look.failed() && look.at >= since);
            let failed = failed.filter(|look| self.champion_is_well_after(look.at));
            let degraded = || {
                // What windows said of it while it was live is past.
                let counts = |signal: Signal, reading: &Reading| {
                    (!signal.is_windowed() || reading.from >= since)
                        && self.champion_is_well_by(signal, reading)
                };
                let (signal, reading) = seen.health.verdict_of(counts)?;
                let told = || format!("{}: {}", signal.words(), reading.detail);
                self.champion_is_well_after(reading.since).then(told)
            };
            let why = self
                .condemned(version)
                .or_else(|| failed.map(|look| look.how.clone()))
                .or_else(degraded)?;
            let ground = Ground::Degraded(why.clone());
            may_evict(&self.defence(name, version, Aim::Unload, ground)).ok()?;
            let verdict = Verdict { gate: Gate::Standby, why: why.clone() };
            Some(self.step(name, Edge::Drain(Rest::Quarantined(verdict)), why))
        })
    }

    /// Whether a look at the champion, no earlier than `at`, has found nothing that speaks against it: what
    /// befalls both is the host's.
    fn champion_is_well_after(&self, at: Steady) -> bool {
        let Some((champion, _)) = self.champion else { return true };
        let look = self.seen(champion).and_then(|seen| seen.look.as_ref());
        look.is_some_and(|look| look.at >= at && !look.failed())
    }

    /// Whether what a standby is degraded by is its own: windows of the champion, as recent, say that it was well
    /// meanwhile. What a look has found another look tells apart.
    fn champion_is_well_by(&self, signal: Signal, of_standby: &Reading) -> bool {
        let Some((champion, _)) = self.champion.filter(|_| signal.is_windowed()) else {
            return true;
        };
        let reading = self.seen(champion).and_then(|seen| seen.health.reading(signal));
        reading.is_some_and(|reading| reading.was_well_throughout(of_standby))
    }

    /// Since when something speaks against the other of champion and standbys, so that a look at `name` has to
    /// tell whether it is the host.
    fn others_failed_at(&self, name: &VersionName) -> Option<Steady> {
        if self.champion.is_none_or(|(champion, _)| champion != name) {
            return self.degraded().map(|(.., reading)| reading.since);
        }
        let failed = self.standbys.iter().filter_map(|(standby, version)| {
            let seen = self.seen(standby)?;
            let look = seen.look.as_ref();
            let look = look.filter(|look| look.failed() && look.at >= version.since());
            let degraded = seen.health.verdict().map(|(_, reading)| reading.since);
            look.map(|look| look.at).or(degraded)
        });
        failed.max()
    }

    /// Whether a loaded version should be looked at again: on a schedule, at once where the champion
    /// is in question and the last look is getting old, and where another one has failed since.
    pub(super) fn look_is_due(&self, name: &VersionName, seen: &ObservedVersion) -> bool {
        let guard = &self.policy.guard;
        let age = seen.look.as_ref().map(|look| self.now.steady.since(look.at));
        let pressing = self
            .champion
            .and_then(|(champion, _)| self.seen(champion))
            .is_some_and(|champion| champion.health.is_in_question());
        let limit = if pressing { guard.golden.min(guard.fresh / 2) } else { guard.golden };
        let last = seen.look.as_ref().map(|look| look.at);
        let asked_for = self.others_failed_at(name).is_some_and(|at| last < Some(at));
        age.is_none_or(|age| age >= limit || (asked_for && age >= LOOK_AGAIN))
    }

    /// Why the champion cannot be rolled back, where it should be.
    pub(super) fn stuck(&self) -> Option<(&'a VersionName, String)> {
        let (name, version, _, reading) = self.degraded()?;
        if self.correlated().is_some() || version.held().is_some() {
            return None;
        }
        let NoWayBack { why, is_looked_for } = self.way_back(reading.since).err()?;
        let is_new = self.now.steady.since(reading.since) < LOOK_PATIENCE;
        (!(is_looked_for && is_new)).then_some((name, why))
    }

    /// Refusals of the guard as the end of a sentence.
    pub(in crate::domain::lifecycle) fn refused(
        &self,
        name: &VersionName,
        version: &Version,
        aim: Aim,
        ground: Ground,
    ) -> Option<String> {
        let defence = self.defence(name, version, aim, ground);
        may_evict(&defence).err().map(|refusals| guard::told(&refusals))
    }
}
