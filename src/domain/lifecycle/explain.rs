//! One sentence for every version, and one for every event.
//!
//! A version's sentence says where it is, since when and why, and what it waits for. The reasons are those of
//! the plan itself: the same code decides and explains, so that they cannot differ.

use std::fmt;

use super::event::{By, Event, Move, Scope, What};
use super::guard::Aim;
use super::observed::{Observed, ObservedModel, Progress};
use super::plan::{Outlook, Percent, Policies, Scene};
use super::proof::standing;
use super::stage::{Edge, Purpose, Rest, Stage};
use super::state::{State, Version};
use super::time::{Now, Spell};
use crate::domain::ids::{ModelName, VersionName};

/// Why a version is where it is, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Where it is, since when and why: a clause.
    pub place: String,
    /// What has to come for it to go on; empty where nothing is waited for.
    pub waits_for: Vec<String>,
    /// What holds it beside its stage: marks and kill switches.
    pub marks: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if !self.marks.is_empty() {
            write!(f, ", {}", self.marks.join(", "))?;
        }
        if !self.waits_for.is_empty() {
            write!(f, "; it waits for {}", self.waits_for.join("; "))?;
        }
        f.write_str(".")
    }
}

/// Explains one version.
pub fn explain(
    state: &State,
    observed: &Observed,
    policies: &Policies,
    now: Now,
    model: &ModelName,
    version: &VersionName,
) -> Option<Explanation> {
    explain_all(state, observed, policies, now, model, [version]).pop().map(|(_, told)| told)
}

/// Explains versions of one model; those that are not in the table are left out.
pub fn explain_all<'v>(
    state: &State,
    observed: &Observed,
    policies: &Policies,
    now: Now,
    model: &ModelName,
    versions: impl IntoIterator<Item = &'v VersionName>,
) -> Vec<(&'v VersionName, Explanation)> {
    let Some(entry) = state.model(model) else { return Vec::new() };
    let nothing = ObservedModel::default();
    let seen = observed.models.get(model).map_or(&nothing, |seen| &**seen);
    let scene = Scene::new(state, (model, entry), observed, seen, policies, now);
    let told = versions.into_iter().filter_map(|version| {
        let known = entry.version(version)?;
        let (place, waits_for) = scene.place(version, known);
        Some((version, Explanation { place, waits_for, marks: scene.marks(known) }))
    });
    told.collect()
}

impl Scene<'_> {
    fn marks(&self, version: &Version) -> Vec<String> {
        let mut marks = Vec::new();
        let mut mark = |signed: Option<&super::state::Signed>, what: &str| {
            marks.extend(signed.map(|signed| format!("{what} by {}", signed.told())));
        };
        mark(version.pinned(), "pinned");
        mark(version.held(), "held");
        mark(version.killed(), "cut off");
        mark(self.model.killed(), "its model cut off");
        mark(self.state.killed(), "the gateway cut off");
        marks
    }

    fn place(&self, name: &VersionName, version: &Version) -> (String, Vec<String>) {
        let since = Spell(self.now.steady.since(version.since()));
        match version.stage() {
            Stage::Discovered(_) => {
                let source = &version.release().source;
                let rest = "the rest of it, or the mark that says it is complete".to_owned();
                (format!("{name} was discovered {since} ago in {source}"), vec![rest])
            }
            Stage::Staged(_) => {
                (format!("{name} has been staged for {since}"), self.staged_for(name, version))
            }
            Stage::Validating(_) | Stage::Warming(_) | Stage::Shadow(_) | Stage::Canary(_) => {
                self.tried(name, version)
            }
            Stage::Live(_) => self.live(name, version),
            Stage::Standby(_) => {
                let why = because(version);
                (format!("{name} has been standby for {since}{why}"), self.stays(name, version))
            }
            Stage::Retired(retired) => {
                let place = format!("{name} has been retired for {since}: {}", retired.why());
                (place, self.stays(name, version))
            }
            Stage::Quarantined(quarantined) => {
                let verdict = quarantined.verdict();
                let (gate, why) = (verdict.gate.words(), &verdict.why);
                let place =
                    format!("{name} has been quarantined for {since}, stopped {gate}: {why}");
                (place, self.stays(name, version))
            }
            Stage::Draining(draining) => {
                let left = self.seen(name).map_or(0, |seen| seen.in_flight);
                let why = match draining.towards() {
                    Rest::Retired(why) => why,
                    Rest::Quarantined(verdict) => &verdict.why,
                };
                let place = format!("{name} has been draining for {since}: {why}");
                (place, vec![format!("the end of its {left} requests")])
            }
            Stage::Evicted(evicted) => {
                let why = evicted.why();
                if evicted.is_deleted() {
                    return (format!("{name} was deleted {since} ago: {why}"), Vec::new());
                }
                let grace = self.policy.evict.grace;
                let left = Spell(grace.saturating_sub(since.0));
                let place = format!("{name} was evicted {since} ago: {why}");
                (place, vec![format!("its deletion in {left}; until then it can be restored")])
            }
        }
    }

    /// What a staged version waits for.
    fn staged_for(&self, name: &VersionName, version: &Version) -> Vec<String> {
        let mut waits = self.hindrances(name, version);
        match self.seen(name).map(|seen| &seen.fetch) {
            Some(Progress::Done(_)) => {}
            Some(Progress::Failed { attempts, why, .. }) => {
                waits.push(format!("its artifact: {attempts} attempts failed, {why}"));
            }
            Some(Progress::Queued) => waits.push("room to fetch its artifact".to_owned()),
            Some(Progress::Idle | Progress::Running) | None => {
                waits.push("its artifact".to_owned());
            }
        }
        waits
    }

    /// A version on trial, or on its way back.
    fn tried(&self, name: &VersionName, version: &Version) -> (String, Vec<String>) {
        let since = Spell(self.now.steady.since(version.since()));
        let seen = self.seen(name);
        let place = match version.stage() {
            Stage::Shadow(_) => {
                let shadow = seen.and_then(|seen| seen.shadow.as_ref());
                let pairs = shadow.map_or(0, |evidence| evidence.pairs);
                format!(
                    "{name} has been in shadow for {since} with {pairs} pairs of answers compared"
                )
            }
            Stage::Canary(canary) => {
                let evidence = seen.and_then(|seen| seen.canary.as_ref());
                format!(
                    "{name} has been in canary with {} for {since} on step {} of {}: {}",
                    Percent(canary.share()),
                    canary.step() + 1,
                    self.policy.release.steps.len(),
                    evidence.map_or_else(|| "no comparison yet".to_owned(), standing)
                )
            }
            Stage::Warming(warming) if *warming.purpose() == Purpose::Undo => {
                format!("{name} has been warming again for {since}")
            }
            stage => format!("{name} has been {} for {since}", stage.word()),
        };
        let outlook = match self.trial() {
            Some((candidate, outlook)) if candidate == name => outlook,
            _ => self.undo_of(name, version),
        };
        match outlook {
            Outlook::Waits(waits) => (place, waits),
            Outlook::Now(_) => (place, Vec::new()),
        }
    }

    fn live(&self, name: &VersionName, version: &Version) -> (String, Vec<String>) {
        let since = Spell(self.now.steady.since(version.since()));
        let proven = if version.proven().is_some() { "" } else { ", unproven" };
        let why = because(version);
        let mut place = format!("{name} has been live for {since}{proven}{why}");
        if let Some((_, away, why)) = self.away() {
            place.push_str(&format!(", unable to answer for {}: {why}", Spell(away)));
        }
        if let Some((_, _, signal, reading)) = self.degraded() {
            place.push_str(&format!(", degraded by {}: {}", signal.words(), reading.detail));
        }
        if let Some((_, ground)) = self.overdue() {
            place.push_str(&format!(", overdue: {ground}"));
        }
        let waits = match self.rollback() {
            Outlook::Waits(waits) => waits,
            Outlook::Now(_) => Vec::new(),
        };
        (place, waits)
    }

    /// What a version that should go stays for.
    fn stays(&self, name: &VersionName, version: &Version) -> Vec<String> {
        let Some((aim, ground)) = self.ground(name, version) else { return Vec::new() };
        let what = match aim {
            Aim::Unload => "to be unloaded",
            Aim::Delete => "to be deleted",
        };
        match self.refused(name, version, aim, ground.clone()) {
            Some(refusals) => vec![format!("leave {what}, as {ground}: {refusals}")],
            None => vec![format!("its turn {what}, as {ground}")],
        }
    }
}

/// What brought a version where it is, where its stage does not say it.
fn because(version: &Version) -> String {
    version.told().map_or_else(String::new, |told| format!(": {told}"))
}

/// One event in one sentence.
pub fn sentence(event: &Event) -> String {
    let mut sentence = match &event.what {
        What::Sighted { model, version, release } => {
            let size = match release.bytes {
                0 => String::new(),
                bytes => format!(" with {bytes} bytes"),
            };
            format!("{} told of {model} {version}{size}", release.source)
        }
        What::Moved { model, moves, why } => format!("{model}: {}", moves_told(moves, why)),
        What::Proven { model, version } => {
            format!("{model} {version} has lived soundly for long enough to count as proven")
        }
        What::Marked { model, version, mark, on } => {
            let word = mark.word();
            if *on {
                format!("{model} {version} was {word}")
            } else {
                format!("{model} {version} is no longer {word}")
            }
        }
        What::Killed { scope, on } => {
            let scope = match scope {
                Scope::Gateway => "every model".to_owned(),
                Scope::Model(model) => format!("model {model}"),
                Scope::Version(model, version) => format!("{model} {version}"),
            };
            let verb = if *on { "was cut off" } else { "takes traffic again" };
            format!("{scope} {verb}")
        }
        What::Alerted { model, alert, on, detail } => {
            let verb = if *on { "began" } else { "ended" };
            format!("{model}: {verb}: {alert}: {detail}")
        }
        What::Forgotten { model, version } => {
            format!("{model} {version} was struck from the table, deleted long ago")
        }
        What::Recovered => "the gateway started and took up its state".to_owned(),
        What::Died { among } => {
            let cause = "a crash, a kill or a loss of power";
            format!("the gateway had ended without a farewell before ({cause}); {among}")
        }
        What::ClockSet { step_ms, doubtful_until } => {
            let step = Spell(std::time::Duration::from_millis(*step_ms));
            let doubt = Spell(doubtful_until.since(event.at.steady));
            format!("the clock was set by {step}; dates decide nothing for {doubt}")
        }
        What::Ticked => "time passes".to_owned(),
    };
    sentence.push_str(&signed(event));
    sentence.push('.');
    sentence
}

/// The way of all versions that an event moves, with its reason and who gave the order.
pub(super) fn way(event: &Event) -> String {
    match &event.what {
        What::Moved { moves, why, .. } => format!("{}{}", moves_told(moves, why), signed(event)),
        _ => String::new(),
    }
}

fn moves_told(moves: &[Move], why: &str) -> String {
    let all: Vec<String> = moves.iter().map(moved).collect();
    format!("{}: {why}", all.join(" and "))
}

/// Who gave the order, if somebody did.
fn signed(event: &Event) -> String {
    let By::Operator { who, why } = &event.by else { return String::new() };
    let told = matches!(&event.what, What::Moved { why: own, .. } if own == why);
    let reason = if told { String::new() } else { format!(": {why}") };
    format!(" (by {who}{reason})")
}

/// One version's way in one clause.
fn moved(m: &Move) -> String {
    let name = &m.version;
    match &m.edge {
        Edge::Stage => format!("{name} is complete"),
        Edge::Validate(_) => format!("the checks of {name} begin"),
        Edge::Warm(_) => format!("{name} is loaded"),
        Edge::Try(_) => format!("{name} gets copies of requests"),
        Edge::Begin(first) => {
            format!("{name} is live, the first of its model, on {}", first.basis())
        }
        Edge::Ready(_) | Edge::StandBy => format!("{name} stands by"),
        Edge::Expose(_, share) => format!("{name} answers {} of the requests", Percent(*share)),
        Edge::Step(_, share) => format!("{name} goes on to {} of the requests", Percent(*share)),
        Edge::Extend(_) => format!("{name} gets more time"),
        Edge::Promote(proof) => match proof.overruled() {
            None if proof.absence().is_some() => {
                format!("{name} is live, unproven, by the absence of its champion")
            }
            None => format!("{name} is live"),
            Some([]) => format!("{name} is live by order"),
            Some(missing) => format!("{name} is live by order without {}", missing.join(", ")),
        },
        Edge::Return(_) | Edge::Recall(_) => format!("{name} is live again"),
        Edge::Drain(Rest::Retired(_)) => format!("{name} ends its requests"),
        Edge::Drain(Rest::Quarantined(verdict)) => {
            format!("{name} is stopped {} and ends its requests", verdict.gate.words())
        }
        Edge::Drained(_) => format!("{name} has ended its requests"),
        Edge::Retire(_) => format!("{name} is retired"),
        Edge::Quarantine(verdict, _) => {
            format!("{name} is quarantined {}", verdict.gate.words())
        }
        Edge::Restore => format!("{name} is brought back"),
        Edge::Retry => format!("{name} gets another trial"),
        Edge::Evict(_) => format!("{name} is evicted"),
        Edge::Delete => format!("{name} is deleted"),
    }
}
