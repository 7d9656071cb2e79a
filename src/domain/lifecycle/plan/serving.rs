//! Versions that have served: rollback, draining, the way back to standby, proof by living.

use std::time::Duration;

use super::{Outlook, Scene};
use crate::domain::ids::VersionName;
use crate::domain::lifecycle::event::{Move, What};
use crate::domain::lifecycle::guard::{self, Aim, Ground, may_evict};
use crate::domain::lifecycle::health::{Reading, Signal};
use crate::domain::lifecycle::observed::{ObservedVersion, Progress};
use crate::domain::lifecycle::proof::{Gate, Sound, Verdict, is_sound, is_warm};
use crate::domain::lifecycle::stage::{Edge, Purpose, Rest, Stage};
use crate::domain::lifecycle::state::Version;
use crate::domain::lifecycle::time::Spell;

/// How long a drain may take before what is still in flight is left behind.
pub(in crate::domain::lifecycle) const DRAIN_MAX: Duration = Duration::from_secs(30);

impl<'a> Scene<'a> {
    /// The signal that says the champion is degraded, on evidence of now.
    pub(in crate::domain::lifecycle) fn degraded(
        &self,
    ) -> Option<(&'a VersionName, &'a Version, Signal, &'a Reading)> {
        let (name, version) = self.champion?;
        let (signal, reading) = self.seen(name)?.health.verdict()?;
        let fresh = self.now.steady.since(reading.at) <= self.policy.guard.fresh;
        let counted = matches!(signal, Signal::SloBurn | Signal::Labelled);
        let enough = !counted || reading.samples >= self.policy.guard.samples;
        (fresh && enough).then_some((name, version, signal, reading))
    }

    /// The signal by which champion and a standby are degraded together, if there is one.
    pub(in crate::domain::lifecycle) fn correlated(&self) -> Option<Signal> {
        let (champion, _) = self.champion?;
        let health = &self.seen(champion)?.health;
        let standbys = &self.standbys;
        health.readings().map(|(signal, _)| signal).find(|signal| {
            health.is_degraded_by(*signal)
                && standbys.iter().any(|(standby, _)| {
                    self.seen(standby).is_some_and(|seen| seen.health.is_degraded_by(*signal))
                })
        })
    }

    /// The earlier champion that may take over now, or why none may.
    fn way_back(&self) -> Result<(&'a VersionName, Sound), String> {
        let mut refusals = Vec::new();
        for (name, version) in &self.standbys {
            let refusal = match self.seen(name) {
                _ if version.killed().is_some() => "it is cut off".to_owned(),
                _ if self.model.condemned(&version.release().digest).is_some() => {
                    "its content is condemned".to_owned()
                }
                Some(seen) if seen.ready => match seen.health.verdict() {
                    Some((signal, _)) => format!("{} speaks against it", signal.words()),
                    None => {
                        let fresh = self.policy.guard.fresh;
                        match is_sound(seen.look.as_ref(), self.now.steady, fresh) {
                            Ok(sound) => return Ok((name, sound)),
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
        Err(refusals.join("; "))
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
        let (target, sound) = match self.way_back() {
            Ok(found) => found,
            Err(why) => return Outlook::waits(format!("a sound version to go back to ({why})")),
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
        if let Some(why) = self.condemned(version) {
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
                    Err(_) if self.warms_too_long(version) => {}
                    Err(_) => return Outlook::waits("a steady latency"),
                }
            }
            _ if self.warms_too_long(version) => {}
            _ => return Outlook::waits("the end of its warm-up"),
        }
        // It has served before, so that this is no proof against its content.
        let why = "it could not be loaded again in time".to_owned();
        Outlook::Now(self.step(name, Edge::Retire(why.clone()), why))
    }

    fn warms_too_long(&self, version: &Version) -> bool {
        self.now.steady.since(version.since()) > self.policy.release.warming
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

    /// A standby that is broken is no way back: it goes, if the guard lets it.
    pub(super) fn broken_standby(&self) -> Option<What> {
        self.standbys.iter().copied().find_map(|(name, version)| {
            let seen = self.seen(name)?;
            let since = version.since();
            let failed = seen.look.as_ref().filter(|look| !look.passed && look.at >= since);
            let degraded = || {
                let (signal, reading) = seen.health.verdict()?;
                Some(format!("{}: {}", signal.words(), reading.detail))
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

    /// Whether a loaded version should be looked at again: on a schedule, and at once where the champion
    /// is in question and the last look is getting old.
    pub(super) fn look_is_due(&self, seen: &ObservedVersion) -> bool {
        let guard = &self.policy.guard;
        let age = seen.look.as_ref().map(|look| self.now.steady.since(look.at));
        let pressing = self
            .champion
            .and_then(|(champion, _)| self.seen(champion))
            .is_some_and(|champion| champion.health.is_in_question());
        let limit = if pressing { guard.golden.min(guard.fresh / 2) } else { guard.golden };
        age.is_none_or(|age| age >= limit)
    }

    /// Why the champion cannot be rolled back, where it should be.
    pub(super) fn stuck(&self) -> Option<(&'a VersionName, String)> {
        let (name, version, ..) = self.degraded()?;
        if self.correlated().is_some() || version.held().is_some() {
            return None;
        }
        self.way_back().err().map(|why| (name, why))
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
