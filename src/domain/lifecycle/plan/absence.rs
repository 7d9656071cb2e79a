//! A champion that answers nobody, with no earlier one in its place: the version on trial takes over in the end.
//!
//! Owns when a champion counts as absent, and what the version on trial must be and must not have shown. A trial goes no
//! further without a control; this is no step of it but its end, and is told as such.

use std::time::Duration;

use super::serving::LOOK_AGAIN;
use super::{Outlook, Scene};
use crate::domain::ids::VersionName;
use crate::domain::lifecycle::event::Move;
use crate::domain::lifecycle::observed::ObservedVersion;
use crate::domain::lifecycle::policy::Mode;
use crate::domain::lifecycle::proof::{Absence, Promoted, may_take_over, measured_against};
use crate::domain::lifecycle::release::is_prerelease;
use crate::domain::lifecycle::stage::Edge;
use crate::domain::lifecycle::state::Version;
use crate::domain::lifecycle::time::Spell;

/// How long clients must have asked a champion in vain before the version on trial is looked at for its sake.
const LOOK_AFTER: Duration = Duration::from_secs(10);

impl Scene<'_> {
    /// The champion that answers nobody while nobody stands in for it, for how long clients have asked in vain, and why. Not
    /// one that is still being loaded: it is coming.
    pub(super) fn absent(&self) -> Option<(&VersionName, Duration, String)> {
        if self.exposure.champion.is_some() || self.policy.release.absence.is_zero() {
            return None;
        }
        let (name, away, why) = self.away()?;
        let (_, version) = self.champion?;
        let seen = self.seen(name)?;
        let is_loading = version.release().bytes > 0 && seen.trouble.is_none();
        // Its servers may answer those who ask all the same, whatever their source says.
        let silent = seen.answered.map_or(away, |at| away.min(self.now.steady.since(at)));
        // Nobody is worse off for waiting where nobody asks.
        let missed = seen.missed.map(|at| self.now.steady.since(at));
        let silent = missed.map_or(Duration::ZERO, |missed| missed.min(silent));
        (!is_loading).then_some((name, silent, why))
    }

    /// Has a version on trial that waits take the place of a champion that is gone.
    pub(super) fn or_in_its_place(
        &self,
        name: &VersionName,
        version: &Version,
        seen: &ObservedVersion,
        outlook: Outlook,
    ) -> Outlook {
        let Outlook::Waits(mut waits) = outlook else { return outlook };
        let is_tried = version.stage().is_compared();
        let Some((champion, away, why)) = self.absent().filter(|_| is_tried) else {
            return Outlook::Waits(waits);
        };
        let mut lacking = self.hinders(name, version, seen);
        if away.is_zero() {
            lacking.push("a client that it gives no answer".to_owned());
        }
        let away = self.could_end(away, seen);
        let wanted = self.policy.release.absence;
        let (now, guard) = (self.now.steady, &self.policy.guard);
        match may_take_over(away, wanted, seen.look.as_ref(), seen.alone, now, guard) {
            Ok(absence) if lacking.is_empty() => {
                return self.takes_over(name, seen, (champion, &why), absence, &waits);
            }
            Ok(_) => {}
            Err(more) => lacking.extend(more),
        }
        waits.push(format!(
            "or, to take the place of {champion}, its control, which has not answered for {}: {}",
            Spell(away),
            lacking.join(", ")
        ));
        Outlook::Waits(waits)
    }

    /// How much of an absence a version could have ended: who was away with the champion waits as long again.
    fn could_end(&self, away: Duration, seen: &ObservedVersion) -> Duration {
        let back = seen.back_since.map(|at| self.now.steady.since(at));
        back.map_or(away, |back| away.min(back))
    }

    /// What forbids a version to take over, besides time.
    fn hinders(
        &self,
        name: &VersionName,
        version: &Version,
        seen: &ObservedVersion,
    ) -> Vec<String> {
        let mut lacking = Vec::new();
        let held = [Some(version), self.champion.map(|(_, champion)| champion)];
        for signed in held.into_iter().flatten().filter_map(Version::held) {
            lacking.push(format!("{} to end the hold", signed.told()));
        }
        if let Some(signed) = version.killed() {
            lacking.push(format!("{} to end the kill switch", signed.told()));
        }
        if is_prerelease(name) {
            lacking.push("another name: it is a prerelease".to_owned());
        }
        if self.policy.release.mode == Mode::Manual && !version.is_approved() {
            lacking.push("an operator's approval".to_owned());
        }
        if !seen.ready {
            lacking.push("it to answer itself".to_owned());
        }
        let (shadow, guard) = (&self.policy.release.shadow, &self.policy.guard);
        let against = measured_against(seen.shadow.as_ref(), seen.canary.as_ref(), (shadow, guard));
        lacking.extend(against.map(|why| format!("a better trial: {why}")));
        lacking
    }

    fn takes_over(
        &self,
        name: &VersionName,
        seen: &ObservedVersion,
        (champion, why): (&VersionName, &str),
        absence: Absence,
        lacks: &[String],
    ) -> Outlook {
        let looked = Spell(self.now.steady.since(absence.sound().told().1));
        let why = format!(
            "{champion} has given no answer for {}, as {why}, and no earlier champion stands in; {name} was found sound \
             {looked} ago and was not compared to the end: {}",
            Spell(absence.away()),
            lacks.join("; ")
        );
        let evidence = seen.canary.clone().unwrap_or_default();
        let edge = Edge::Promote(Promoted::by_absence(evidence, absence));
        let moves = vec![
            Move { version: name.clone(), edge },
            Move { version: champion.clone(), edge: Edge::StandBy },
        ];
        Outlook::Now(self.moved(moves, why))
    }

    /// Whether the version on trial is to be looked at, as it may have to take over.
    pub(super) fn stand_in_is_unseen(&self, seen: &ObservedVersion) -> bool {
        let soon = LOOK_AFTER.min(self.policy.release.absence / 2);
        let Some((_, away, _)) = self.absent().filter(|(_, away, _)| *away >= soon) else {
            return false;
        };
        let age = seen.look.as_ref().map(|look| self.now.steady.since(look.at));
        let limit = (self.policy.guard.fresh / 2).max(LOOK_AGAIN);
        let away = self.could_end(away, seen);
        age.is_none_or(|age| age >= limit || (age > away && age >= LOOK_AGAIN))
    }
}
