//! Versions before their trial: what sources tell, and whose turn it is.

use std::time::Duration;

use super::Scene;
use crate::domain::ids::VersionName;
use crate::domain::lifecycle::event::{Move, What};
use crate::domain::lifecycle::observed::{ObservedVersion, Progress, Sighting};
use crate::domain::lifecycle::proof::{Gate, Verdict};
use crate::domain::lifecycle::stage::{Edge, Rest, Stage};
use crate::domain::lifecycle::state::{MODELS_MAX, VERSIONS_MAX, Version};
use crate::domain::lifecycle::time::Spell;

/// How long an artifact is tried to be fetched at least, so that a store that is away for a moment stops nothing.
const FETCH_MIN: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(86_400);

impl<'a> Scene<'a> {
    /// What sources tell, and who of those that wait is complete, or need not wait any longer.
    pub(super) fn intake(&self) -> Vec<What> {
        let sighted = self.sighted();
        if !sighted.is_empty() {
            return sighted;
        }
        let newest = self.newest_waiting();
        let waiting: Vec<_> = self
            .model
            .versions()
            .filter(|(_, version)| {
                matches!(version.stage(), Stage::Discovered(_) | Stage::Staged(_))
            })
            .collect();
        let away =
            waiting.iter().filter_map(|(name, version)| self.turned_away(name, version, newest));
        let away: Vec<What> = away.collect();
        if !away.is_empty() {
            return away;
        }
        waiting.into_iter().filter_map(|(name, version)| self.complete(name, version)).collect()
    }

    /// Versions that are not in the table, or may take the name of a past one.
    fn sighted(&self) -> Vec<What> {
        let is_full =
            self.state.model(self.name).is_none() && self.state.models.len() >= MODELS_MAX;
        let room = match is_full {
            true => 0,
            false => VERSIONS_MAX.saturating_sub(self.model.versions.len()),
        };
        let is_new = |(name, sighting): &(&VersionName, &Sighting)| match self.model.version(name) {
            None => true,
            Some(known) => {
                // What is still in memory under this name has to leave first.
                let idle = self.seen(name).is_none_or(|seen| !seen.ready);
                known.gives_way() && known.release().digest != sighting.release.digest && idle
            }
        };
        let news = self.observed.sightings.iter().filter(is_new).take(room);
        news.map(|(version, sighting)| What::Sighted {
            model: self.name.clone(),
            version: version.clone(),
            release: sighting.release.clone(),
        })
        .collect()
    }

    /// A version that needs no trial: its content is known, or something newer is ahead of it.
    fn turned_away(
        &self,
        name: &VersionName,
        version: &Version,
        newest: Option<&VersionName>,
    ) -> Option<What> {
        let digest = &version.release().digest;
        if let Some(why) = self.condemned(version) {
            let verdict = Verdict { gate: Gate::Known, why: why.clone() };
            return Some(self.step(name, Edge::Quarantine(verdict, Vec::new()), why));
        }
        let retire = |why: String| Some(self.step(name, Edge::Retire(why.clone()), why));
        let champion = self.champion;
        if let Some((champion, _)) =
            champion.filter(|(_, champion)| champion.release().digest == *digest)
        {
            return retire(format!("its content is that of {champion}, which is live"));
        }
        if version.is_ordered() || version.held().is_some() {
            return None;
        }
        let ahead = champion.into_iter().chain(self.candidate);
        for (ahead, _) in ahead {
            if self.model.is_newer(ahead, name) {
                return retire(format!("{ahead} is newer"));
            }
        }
        // Of several that wait, only the newest is tried.
        let newest = newest?;
        (newest != name && matches!(version.stage(), Stage::Staged(_)))
            .then(|| retire(format!("{newest} is newer")))
            .flatten()
    }

    /// A version of which everything is there.
    fn complete(&self, name: &VersionName, version: &Version) -> Option<What> {
        let is_discovered = matches!(version.stage(), Stage::Discovered(_));
        let sighting = self.observed.sightings.get(name).filter(|_| is_discovered)?;
        let same = sighting.release.digest == version.release().digest;
        let source = &version.release().source;
        (sighting.complete && same)
            .then(|| self.step(name, Edge::Stage, format!("{source} has all of it")))
    }

    /// The newest version that is complete and waits.
    fn newest_waiting(&self) -> Option<&'a VersionName> {
        let mut newest: Option<&VersionName> = None;
        for (name, version) in self.model.versions() {
            let waits = matches!(version.stage(), Stage::Staged(_)) && version.held().is_none();
            if waits && newest.is_none_or(|newest| self.model.is_newer(name, newest)) {
                newest = Some(name);
            }
        }
        newest
    }

    /// The version whose artifact is fetched: an approved one first, else the newest.
    pub(super) fn turn(&self) -> Option<&'a VersionName> {
        let approved = self.model.versions().find(|(_, version)| {
            matches!(version.stage(), Stage::Staged(_))
                && version.is_ordered()
                && version.held().is_none()
        });
        approved.map(|(name, _)| name).or_else(|| self.newest_waiting())
    }

    /// Why the rollout of a staged version cannot begin yet; empty if it can.
    pub(in crate::domain::lifecycle) fn hindrances(
        &self,
        name: &VersionName,
        version: &Version,
    ) -> Vec<String> {
        let policy = &self.policy.release;
        let now = self.now.steady;
        let mut waits = Vec::new();
        if let Some(signed) = version.held() {
            waits.push(format!("{} to end the hold", signed.told()));
        }
        if let Some(publisher) = self.held_publisher(version) {
            waits.push(format!(
                "an operator's approval: the last {} releases of {publisher} failed",
                self.state.failures_of(publisher)
            ));
        }
        if self.champion.is_some() && !version.is_ordered() {
            if let Some(last) = self.model.started.back() {
                let left = policy.between.saturating_sub(now.since(*last));
                if !left.is_zero() {
                    waits.push(format!("{} since the last rollout began", Spell(left)));
                }
            }
            let today = self.model.started.iter().filter(|at| now.since(**at) < DAY).count();
            if today >= policy.daily {
                waits.push(format!("a day with fewer than {} rollouts", policy.daily));
            }
        }
        if let Some((candidate, on_trial)) = self.candidate
            && let Some(why) = self.keeps_its_place(candidate, on_trial, name)
        {
            waits.push(why);
        }
        if self.turn().is_some_and(|turn| turn != name) {
            waits.push("its turn".to_owned());
        }
        if self.degraded().is_some() {
            waits.push("a champion that is not degraded".to_owned());
        }
        waits
    }

    /// The publisher whose releases wait for an operator.
    pub(super) fn held_publisher<'v>(&self, version: &'v Version) -> Option<&'v str> {
        let publisher = version.release().publisher.as_deref()?;
        let failures = self.state.failures_of(publisher);
        (failures >= self.policy.release.failures && !version.is_ordered()).then_some(publisher)
    }

    /// Why the version on trial is not superseded by `newer`.
    fn keeps_its_place(
        &self,
        candidate: &VersionName,
        version: &Version,
        newer: &VersionName,
    ) -> Option<String> {
        let policy = &self.policy.release;
        let advanced = match version.stage() {
            Stage::Canary(canary) => canary.share() >= policy.protected,
            _ => false,
        };
        let starved = self.model.superseded >= policy.superseded;
        let held = version.held().is_some() || version.pinned().is_some();
        let alone = self.answers_alone(candidate) || self.is_the_last_hope(version);
        (advanced || starved || held || alone || !self.model.is_newer(newer, candidate))
            .then(|| format!("the end of the trial of {candidate}"))
    }

    /// Whether the champion is away, nobody stands in, and this version is on trial: whoever came in its place could not be
    /// compared with anybody, and nobody would be left to take over.
    fn is_the_last_hope(&self, version: &Version) -> bool {
        let killed = self.model.killed().or_else(|| self.state.killed());
        let is_away = self.champion.is_some_and(|(_, champion)| champion.killed().is_none());
        let is_tried = version.stage().is_compared();
        self.exposure.champion.is_none() && is_away && killed.is_none() && is_tried
    }

    /// The rollout of the version whose turn it is begins; an older one on trial makes way.
    pub(super) fn begin(&self) -> Option<What> {
        let name = self.turn()?;
        let version = self.model.version(name)?;
        let unseen = ObservedVersion::default();
        let seen = self.seen(name).unwrap_or(&unseen);
        let policy = &self.policy.release;
        let fetched = match &seen.fetch {
            Progress::Done(fetched) => fetched.clone(),
            Progress::Failed { why, corrupt, attempts, since }
                if *corrupt
                    || (*attempts >= policy.fetch_attempts
                        && self.now.steady.since(*since) >= FETCH_MIN) =>
            {
                let why = format!("{attempts} attempts to fetch it failed: {why}");
                let gate = if *corrupt { Gate::Admission } else { Gate::Fetch };
                let verdict = Verdict { gate, why: why.clone() };
                return Some(self.step(name, Edge::Quarantine(verdict, Vec::new()), why));
            }
            _ => return None,
        };
        if !self.hindrances(name, version).is_empty() {
            return None;
        }
        let mut moves = vec![Move { version: name.clone(), edge: Edge::Validate(fetched) }];
        let mut why = "its artifact is here and is what it claims to be".to_owned();
        if let Some((older, on_trial)) = self.candidate {
            let reason = format!("superseded by {name}");
            moves.push(Move {
                version: older.clone(),
                edge: self.leave(on_trial, Rest::Retired(reason)),
            });
            why = format!("it is newer than {older}, whose trial ends");
        }
        Some(self.moved(moves, why))
    }
}
