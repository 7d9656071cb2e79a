//! The version on trial: validating, warming, shadow, canary.

use std::time::Duration;

use super::{Outlook, Scene};
use crate::domain::ids::{Permille, VersionName};
use crate::domain::lifecycle::event::{Move, What};
use crate::domain::lifecycle::evidence::{CanaryEvidence, ShadowEvidence};
use crate::domain::lifecycle::observed::{ObservedVersion, Progress};
use crate::domain::lifecycle::policy::Mode;
use crate::domain::lifecycle::proof::{
    self, Gate, Stop, Tried, Verdict, disagrees, may_be_first, may_promote, may_step,
    may_take_traffic, may_warm, must_stop,
};
use crate::domain::lifecycle::release::is_prerelease;
use crate::domain::lifecycle::stage::{Canary, Edge, Purpose, Rest, Shadow, Stage, Warming};
use crate::domain::lifecycle::state::Version;
use crate::domain::lifecycle::time::Spell;
use crate::domain::lifecycle::uncompared::Uncompared;

impl<'a> Scene<'a> {
    /// The version on trial with its outlook.
    pub(in crate::domain::lifecycle) fn trial(&self) -> Option<(&'a VersionName, Outlook)> {
        let (name, version) = self.candidate?;
        Some((name, self.trial_of(name, version)))
    }

    fn trial_of(&self, name: &VersionName, version: &Version) -> Outlook {
        let unseen = ObservedVersion::default();
        let seen = self.seen(name).unwrap_or(&unseen);
        if let Some(why) = self.condemned(version) {
            return self.fail(name, version, Verdict { gate: Gate::Known, why });
        }
        if let Some(why) = self.died_under(name, version) {
            return self.fail(name, version, Verdict { gate: Gate::Deaths, why });
        }
        let outlook = match version.stage() {
            Stage::Validating(_) => self.validating(name, version, seen),
            Stage::Warming(warming) => self.warming(name, version, warming, seen),
            Stage::Shadow(shadow) => self.shadow(name, version, shadow, seen),
            Stage::Canary(canary) => self.canary(name, version, *canary, seen),
            _ => Outlook::nothing(),
        };
        self.or_in_its_place(name, version, seen, outlook)
    }

    /// Why the content of a version is not to be tried: it was stopped under another name.
    pub(super) fn condemned(&self, version: &Version) -> Option<String> {
        let known = self.model.condemned(&version.release().digest)?;
        Some(format!("its content is that of {}: {}", known.version, known.verdict.why))
    }

    /// Why the gateway runs a version no more: it died too often while it did.
    pub(super) fn died_under(&self, name: &VersionName, version: &Version) -> Option<String> {
        let deaths = version.deaths(self.now.steady);
        (deaths >= self.policy.release.deaths).then(|| {
            let stage = version.stage().word();
            format!(
                "the gateway ended without a farewell {deaths} times in a row, a day or less apart, while {name} was on \
                 trial, the last time in {stage}"
            )
        })
    }

    /// Whether nobody answers but this candidate: it stays for those who have it.
    pub(super) fn answers_alone(&self, candidate: &VersionName) -> bool {
        self.exposure.champion.is_none() && self.exposure.share_of(candidate) > Permille::NONE
    }

    /// How long a version has been where it is.
    fn stayed(&self, version: &Version) -> Duration {
        self.now.steady.since(version.since())
    }

    /// For how long it was worked on where it is: what we had no room for is not its fault.
    pub(super) fn tried_for(&self, version: &Version, seen: &ObservedVersion) -> Duration {
        self.stayed(version).saturating_sub(seen.waited)
    }

    /// Whether a version that is compared has used up its time: `once` before it is given more, and as much again after
    /// that; both together where a restart has begun its stay anew in between. Time in which nothing could be
    /// compared is not used, but for what it was itself away for longer than all the time that it has.
    fn used_up(
        &self,
        version: &Version,
        seen: &ObservedVersion,
        once: Duration,
        is_extended: bool,
    ) -> bool {
        let begins_anew = is_extended && version.more().is_none();
        let time = once.saturating_mul(if begins_anew { 2 } else { 1 });
        let Uncompared { control_away, itself_away } = seen.uncompared;
        let unused = control_away.saturating_add(itself_away.min(time));
        self.now.steady.since(version.time_from()).saturating_sub(unused) > time
    }

    /// How long a version that is compared has been where it is, in words.
    fn spent(&self, version: &Version, seen: &ObservedVersion) -> String {
        let stayed = Spell(self.stayed(version));
        match seen.uncompared.in_all() {
            Duration::ZERO => format!("after {stayed}"),
            idle => format!("after {stayed}, {} of it with nothing to compare,", Spell(idle)),
        }
    }

    /// Stops a trial for good.
    fn fail(&self, name: &VersionName, version: &Version, verdict: Verdict) -> Outlook {
        let why = verdict.why.clone();
        let edge = self.leave(version, Rest::Quarantined(verdict));
        Outlook::Now(self.step(name, edge, why))
    }

    fn too_late(
        &self,
        name: &VersionName,
        version: &Version,
        gate: Gate,
        lacking: &[String],
    ) -> Outlook {
        if version.held().is_some() {
            return Outlook::Waits(lacking.to_vec());
        }
        let spent = match (version.stage(), self.seen(name)) {
            (Stage::Shadow(_) | Stage::Canary(_), Some(seen)) => self.spent(version, seen),
            _ => format!("after {}", Spell(self.stayed(version))),
        };
        let why = format!("{spent} it still lacks {}", lacking.join("; "));
        self.fail(name, version, Verdict { gate, why })
    }

    fn validating(&self, name: &VersionName, version: &Version, seen: &ObservedVersion) -> Outlook {
        let policy = &self.policy.release;
        let lacking = match &seen.checks {
            Progress::Done(checks) if checks.began >= version.since() => {
                match may_warm(&checks.checks, version.is_approved(), policy) {
                    Ok(admitted) => {
                        let n = admitted.checks().len();
                        let edge = Edge::Warm(admitted);
                        return Outlook::Now(self.step(name, edge, format!("{n} checks passed")));
                    }
                    Err(Stop::Fail(verdict)) => {
                        let why = verdict.why.clone();
                        let edge = Edge::Quarantine(verdict, checks.checks.clone());
                        return Outlook::Now(self.step(name, edge, why));
                    }
                    // An approval may take days, and nothing is wrong meanwhile.
                    Err(Stop::Wait(open)) => return Outlook::Waits(open),
                }
            }
            Progress::Queued => return Outlook::waits("room for its checks"),
            // What could not be checked was not shown to be bad.
            Progress::Failed { why, .. } => vec![format!("checks that can be made: {why}")],
            _ => vec!["the end of its checks".to_owned()],
        };
        if self.tried_for(version, seen) > policy.validating {
            return self.too_late(name, version, Gate::Insufficient, &lacking);
        }
        Outlook::Waits(lacking)
    }

    fn warming(
        &self,
        name: &VersionName,
        version: &Version,
        warming: &Warming,
        seen: &ObservedVersion,
    ) -> Outlook {
        let Purpose::Rollout(admitted) = warming.purpose() else { return Outlook::nothing() };
        let policy = &self.policy.release;
        let lacking = match &seen.warmth {
            Progress::Done(warmth) if warmth.began >= version.since() && seen.ready => {
                match proof::is_warm(warmth) {
                    Ok(warm) if self.champion.is_some() => {
                        let edge = Edge::Try(warm);
                        return Outlook::Now(self.step(name, edge, "it is loaded and warm"));
                    }
                    Ok(warm) if !is_prerelease(name) => {
                        let (approved, manual) =
                            (version.is_approved(), policy.mode == Mode::Manual);
                        match may_be_first(warm, admitted, approved, manual, policy) {
                            Ok(first) => {
                                let why = "there is no champion to compare it with";
                                return Outlook::Now(self.step(name, Edge::Begin(first), why));
                            }
                            Err(Stop::Wait(open)) => return Outlook::Waits(open),
                            Err(Stop::Fail(verdict)) => return self.fail(name, version, verdict),
                        }
                    }
                    Ok(_prerelease) => return Outlook::waits("a champion: it is a prerelease"),
                    Err(Stop::Wait(lacking)) => lacking,
                    Err(Stop::Fail(verdict)) => return self.fail(name, version, verdict),
                }
            }
            Progress::Queued => return Outlook::waits("room for its warm-up"),
            Progress::Failed { why, .. } => vec![format!("a warm-up that can be made: {why}")],
            _ => vec!["the end of its warm-up".to_owned()],
        };
        if self.tried_for(version, seen) > policy.warming {
            // Only what was measured speaks against its content.
            let gate = match &seen.warmth {
                Progress::Done(warmth) if !warmth.settled => Gate::WarmUp,
                _ => Gate::Insufficient,
            };
            return self.too_late(name, version, gate, &lacking);
        }
        Outlook::Waits(lacking)
    }

    /// Whether copies of requests come too slowly for the trial to end in time.
    pub(super) fn is_quiet(&self, version: &Version, seen: &ObservedVersion) -> bool {
        let policy = &self.policy.release.shadow;
        let pairs = seen.shadow.as_ref().map_or(0, |evidence| evidence.pairs);
        let replayed = seen.shadow.as_ref().map_or(0, |evidence| evidence.replayed);
        pairs < policy.pairs && replayed == 0 && self.stayed(version) >= policy.limit / 4
    }

    fn shadow(
        &self,
        name: &VersionName,
        version: &Version,
        shadow: &Shadow,
        seen: &ObservedVersion,
    ) -> Outlook {
        let policy = &self.policy.release;
        if self.champion.is_none() {
            return Outlook::waits("a champion to compare it with");
        }
        let nothing = ShadowEvidence::default();
        let evidence = seen.shadow.as_ref().filter(|evidence| evidence.began >= version.since());
        let mut lacking = match may_take_traffic(evidence.unwrap_or(&nothing), &policy.shadow) {
            Ok(tried) => return self.expose(name, version, tried),
            Err(Stop::Fail(verdict)) => return self.fail(name, version, verdict),
            Err(Stop::Wait(lacking)) => lacking,
        };
        lacking.extend(self.silent_control());
        if !self.used_up(version, seen, policy.shadow.limit, shadow.is_extended()) {
            return Outlook::Waits(lacking);
        }
        if !shadow.is_extended() {
            let why = format!("it still lacks {}", lacking.join("; "));
            return Outlook::Now(self.step(name, Edge::Extend(lacking), why));
        }
        if let Some(verdict) = evidence.and_then(|all| disagrees(all, &policy.shadow)) {
            return self.fail(name, version, verdict);
        }
        match evidence {
            Some(evidence) if policy.unproven => {
                self.expose(name, version, Tried::by_policy(evidence.clone(), lacking))
            }
            _ => self.too_late(name, version, Gate::Insufficient, &lacking),
        }
    }

    /// The first requests of clients, where nothing forbids them.
    fn expose(&self, name: &VersionName, version: &Version, tried: Tried) -> Outlook {
        let policy = &self.policy.release;
        let mut waits = self.frozen(version);
        if is_prerelease(name) {
            waits.push("another name: it is a prerelease, which never answers clients".to_owned());
        }
        if policy.mode == Mode::Manual && !version.is_approved() {
            waits.push("an operator's approval".to_owned());
        }
        let Some(first) = policy.steps.first() else {
            waits.push("a policy with steps".to_owned());
            return Outlook::Waits(waits);
        };
        if !waits.is_empty() {
            return Outlook::Waits(waits);
        }
        let why = format!(
            "{} pairs of answers compared, agreement at least {:.3}",
            tried.evidence().pairs,
            tried.evidence().agreement_low.unwrap_or(0.0)
        );
        Outlook::Now(self.step(name, Edge::Expose(tried, first.share), why))
    }

    /// The control, where it cannot answer.
    fn silent_control(&self) -> Option<String> {
        let (name, champion) = self.champion?;
        (champion.killed().is_some() || !self.is_ready(name))
            .then(|| format!("{name}, its control, to answer"))
    }

    /// What forbids every increase of exposure now.
    fn frozen(&self, version: &Version) -> Vec<String> {
        let mut waits = Vec::new();
        if let Some(signed) = version.held() {
            waits.push(format!("{} to end the hold", signed.told()));
        }
        let killed =
            version.killed().or_else(|| self.model.killed()).or_else(|| self.state.killed());
        if let Some(signed) = killed {
            waits.push(format!("{} to end the kill switch", signed.told()));
        }
        match self.champion {
            None => waits.push("a champion to compare it with".to_owned()),
            Some((name, _)) => {
                waits.extend(self.silent_control());
                if self.seen(name).is_some_and(|seen| seen.health.verdict().is_some()) {
                    waits.push(format!("{name}, its control, to be healthy"));
                }
            }
        }
        waits
    }

    fn canary(
        &self,
        name: &VersionName,
        version: &Version,
        canary: Canary,
        seen: &ObservedVersion,
    ) -> Outlook {
        let (policy, guard) = (&self.policy.release, &self.policy.guard);
        if let Some(verdict) = seen.canary.as_ref().and_then(|all| must_stop(all, guard)) {
            return self.fail(name, version, verdict);
        }
        let nothing = CanaryEvidence::default();
        let evidence = seen
            .canary
            .as_ref()
            .filter(|evidence| evidence.began >= version.since())
            .unwrap_or(&nothing);
        let dwelt = self.stayed(version).saturating_sub(seen.uncompared.in_all());
        let mut lacking = self.frozen(version);
        let Some(step) = policy.steps.get(canary.step()).or_else(|| policy.steps.last()) else {
            return Outlook::waits("a policy with steps");
        };
        match may_step(evidence, *step, dwelt, policy.dwell, guard) {
            Err(Stop::Fail(verdict)) => return self.fail(name, version, verdict),
            Err(Stop::Wait(more)) => lacking.extend(more),
            Ok(stepped) => match policy.steps.get(canary.step().saturating_add(1)) {
                Some(next) if lacking.is_empty() => {
                    let share = next.share.max(canary.share());
                    let why = passed(evidence, share);
                    return Outlook::Now(self.step(name, Edge::Step(stepped, share), why));
                }
                Some(_) => {}
                None => match may_promote(&stepped, guard) {
                    Ok(promoted) if lacking.is_empty() => {
                        return Outlook::Now(self.promote(name, Edge::Promote(promoted)));
                    }
                    Ok(_) => {}
                    Err(Stop::Wait(more)) => lacking.extend(more),
                    Err(Stop::Fail(verdict)) => return self.fail(name, version, verdict),
                },
            },
        }
        let patience = policy.dwell.saturating_mul(policy.patience);
        let used_up = self.used_up(version, seen, patience, canary.is_extended());
        if !used_up || version.held().is_some() || self.answers_alone(name) {
            return Outlook::Waits(lacking);
        }
        if canary.is_extended() && !self.frozen(version).is_empty() {
            let why =
                format!("{} it still lacks {}", self.spent(version, seen), lacking.join("; "));
            let edge = self.leave(version, Rest::Retired(why.clone()));
            return Outlook::Now(self.step(name, edge, why));
        }
        if canary.is_extended() {
            return self.too_late(name, version, Gate::Insufficient, &lacking);
        }
        let why = format!("it still lacks {}", lacking.join("; "));
        Outlook::Now(self.step(name, Edge::Extend(lacking), why))
    }

    /// The candidate answers and the champion stands by, in one swap.
    pub(in crate::domain::lifecycle) fn promote(&self, name: &VersionName, edge: Edge) -> What {
        // An order promotes whatever the evidence says.
        let is_proven = !matches!(&edge, Edge::Promote(proof) if proof.overruled().is_some());
        let mut moves = vec![Move { version: name.clone(), edge }];
        let mut why =
            if is_proven { "it is not worse than the control slice" } else { "it is ordered" }
                .to_owned();
        if let Some((champion, _)) = self.champion {
            moves.push(Move { version: champion.clone(), edge: Edge::StandBy });
            why = match is_proven {
                true => format!("it is not worse than {champion}, which now stands by"),
                false => format!("it takes the place of {champion}"),
            };
        }
        self.moved(moves, why)
    }
}

fn passed(evidence: &CanaryEvidence, share: Permille) -> String {
    format!(
        "{} responses on this step: {}; its share grows to {}",
        evidence.responses,
        proof::standing(evidence),
        Percent(share),
    )
}

/// A share in percent.
#[derive(Debug, Clone, Copy)]
pub(in crate::domain::lifecycle) struct Percent(pub(in crate::domain::lifecycle) Permille);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", f64::from(self.0.thousandths()) / 10.0)
    }
}
