//! Conditions that someone should know of: raised once when they begin, cleared once when they end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Scene;
use crate::domain::ids::VersionName;
use crate::domain::lifecycle::event::{Alert, What};
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::{VERSIONS_MAX, Version};
use crate::domain::lifecycle::time::Spell;

/// How long a live version may be unable to answer before someone is told.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// How long it must be able to again before that is told: one that comes and goes is one condition.
const BACK_MIN: Duration = Duration::from_secs(30);

impl Scene<'_> {
    /// The first condition that has begun or ended since it was last written down.
    pub(super) fn alerted(&self) -> Option<What> {
        let holds = self.conditions();
        let told = |alert: &Alert, on: bool, detail: &str| What::Alerted {
            model: self.name.clone(),
            alert: alert.clone(),
            on,
            detail: detail.to_owned(),
        };
        let begun = holds.iter().find(|(alert, _)| !self.model.alerts.contains(alert));
        begun.map(|(alert, detail)| told(alert, true, detail)).or_else(|| {
            let gone = |alert: &&Alert| !holds.contains_key(alert) && self.has_ended(alert);
            let ended = self.model.alerts().find(gone);
            ended.map(|alert| told(alert, false, "it no longer holds"))
        })
    }

    /// Whether a condition that was told and does not show is over. What lives in memory is not known at a start: it
    /// is over once this process has looked for as long as evidence counts as fresh; counts that do not fit, once enough were
    /// counted again.
    fn has_ended(&self, alert: &Alert) -> bool {
        let looked = self.now.steady.since(self.all.began);
        let is_settled = looked >= self.policy.guard.fresh;
        match alert {
            Alert::NoWayBack(name) | Alert::Correlated(name) => {
                is_settled || self.champion.is_none_or(|(champion, _)| champion != name)
            }
            Alert::Ratio(name) => {
                let is_tried = self.candidate.is_some_and(|(candidate, _)| candidate == name);
                let canary = self.seen(name).and_then(|seen| seen.canary.as_ref());
                !is_tried || canary.is_some_and(|evidence| evidence.sample_ratio.is_some())
            }
            Alert::Republished(name) => {
                let gives_way = self.model.version(name).is_none_or(Version::gives_way);
                gives_way || self.observed.sightings.contains_key(name)
            }
            Alert::TooMany | Alert::WouldEvict(_) => is_settled,
            Alert::Golden => self.observed.golden.is_some() || self.policy.release.golden.is_none(),
            Alert::Incomplete(_)
            | Alert::Overdue(_)
            | Alert::PublisherHeld(_)
            | Alert::Deaths(_)
            | Alert::NotReady(_) => true,
        }
    }

    /// Everything that holds now, with its numbers.
    fn conditions(&self) -> BTreeMap<Alert, String> {
        let mut holds = BTreeMap::new();
        let now = self.now.steady;
        for (name, version) in self.model.versions() {
            let age = now.since(version.since());
            if matches!(version.stage(), Stage::Discovered(_))
                && age >= self.policy.release.incomplete
            {
                let detail = format!(
                    "it has been incomplete for more than {}",
                    Spell(self.policy.release.incomplete)
                );
                holds.insert(Alert::Incomplete(name.clone()), detail);
            }
            let waits = matches!(version.stage(), Stage::Discovered(_) | Stage::Staged(_));
            if let Some(publisher) = self.held_publisher(version).filter(|_| waits) {
                let failures = self.state.failures_of(publisher);
                let detail = format!("its last {failures} releases failed; approve one to go on");
                holds.insert(Alert::PublisherHeld(publisher.to_owned()), detail);
            }
        }
        for (name, sighting) in self.observed.sightings.iter() {
            match self.model.version(name) {
                Some(known)
                    if !known.gives_way() && known.release().digest != sighting.release.digest =>
                {
                    let source = &sighting.release.source;
                    let detail = format!("{source} shows other content; publish under a new name");
                    holds.insert(Alert::Republished(name.clone()), detail);
                }
                None if self.model.versions.len() >= VERSIONS_MAX => {
                    holds.insert(Alert::TooMany, format!("there are {VERSIONS_MAX} already"));
                }
                _ => {}
            }
        }
        let named = self.policy.release.golden.is_some();
        if let Some(Err(why)) = self.observed.golden.as_ref().filter(|_| named) {
            holds.insert(Alert::Golden, why.clone());
        }
        self.champions_conditions(&mut holds);
        if let Some((name, ground)) = self.overdue() {
            holds.insert(Alert::Overdue(name.clone()), format!("{ground} and stays live"));
        }
        if let Some((name, why)) = self.stuck() {
            holds.insert(Alert::NoWayBack(name.clone()), why);
        }
        if let (Some(signal), Some((name, _))) = (self.correlated(), self.champion) {
            let detail = format!("{} speaks against the standby, too", signal.words());
            holds.insert(Alert::Correlated(name.clone()), detail);
        }
        if let Some((name, _)) = self.candidate {
            let ratio = self.seen(name).and_then(|seen| seen.canary.as_ref()?.sample_ratio);
            if let Some(chance) = ratio.filter(|chance| *chance < self.policy.guard.sample_ratio) {
                let detail = format!("the chance of such counts is {chance:.1e}");
                holds.insert(Alert::Ratio(name.clone()), detail);
            }
        }
        if self.policy.evict.dry_run {
            for (name, _, _, ground) in self.removable() {
                holds.insert(Alert::WouldEvict(name.clone()), ground.to_string());
            }
        }
        holds
    }

    /// What holds of the champion as such: it is there, and the gateway lives with it.
    fn champions_conditions(&self, holds: &mut BTreeMap<Alert, String>) {
        // What was told stands until the version answers: not until the next process has waited as long.
        let stands =
            |name: &VersionName| self.model.alerts.contains(&Alert::NotReady(name.clone()));
        let away = self.away().filter(|(name, away, _)| *away >= AWAY_MAX || stands(name));
        if let Some((name, away, why)) = away {
            let instead = match (&self.exposure.champion, &self.exposure.candidate) {
                (Some(other), _) => format!("{other} answers in its place"),
                (None, Some(candidate)) if candidate.stands_in => {
                    format!("{}, on trial, is asked in its place", candidate.version)
                }
                (None, Some(candidate)) => format!("only {} has its share", candidate.version),
                (None, None) => "nobody answers in its place".to_owned(),
            };
            let detail = format!("for {} now, as {why}; {instead}", Spell(away));
            holds.insert(Alert::NotReady(name.clone()), detail);
        }
        if let Some((name, version)) = self.champion {
            let back = self.seen(name).map(|seen| (seen.ready, seen.back_since));
            let detail = match back {
                None => Some("nothing is known of it yet".to_owned()),
                Some((true, Some(since))) => {
                    let back = self.now.steady.since(since);
                    (back < BACK_MIN).then(|| format!("it answers again, for {} now", Spell(back)))
                }
                Some(_) => None,
            };
            if let Some(detail) = detail.filter(|_| stands(name)) {
                holds.insert(Alert::NotReady(name.clone()), detail);
            }
            let deaths = version.deaths(self.now.steady);
            if deaths >= self.policy.release.deaths {
                let detail =
                    format!("it ended without a farewell {deaths} times, a day or less apart");
                holds.insert(Alert::Deaths(name.clone()), detail);
            }
        }
    }

    /// The champion that cannot answer, for how long, and why. One that is cut off is not to.
    pub(in crate::domain::lifecycle) fn away(&self) -> Option<(&VersionName, Duration, String)> {
        let (name, version) = self.champion?;
        let killed = version.killed().or_else(|| self.model.killed());
        if killed.or_else(|| self.state.killed()).is_some() {
            return None;
        }
        let seen = self.seen(name).filter(|seen| !seen.ready)?;
        let why = match &seen.trouble {
            Some(trouble) => trouble.clone(),
            None if version.release().bytes == 0 => "none of its servers is there".to_owned(),
            None => "it is not loaded yet".to_owned(),
        };
        Some((name, self.now.steady.since(seen.away_since?), why))
    }
}
