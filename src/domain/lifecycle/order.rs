//! The operator's hand: what an order does, and why it is refused.
//!
//! Owns what each order means in each stage. [`carry_out`] is pure: it gives the one event of the order or the
//! reason why there is none. An order says who gives it and why; it may say what its giver saw, so
//! that two operators cannot overrule each other without noticing.

use super::event::{By, Draft, Mark, Move, Scope, What};
use super::evidence::CanaryEvidence;
use super::guard::{self, Aim, Ground, Refusal, may_evict};
use super::observed::{Observed, ObservedModel};
use super::plan::{Policies, Scene};
use super::proof::{self, Gate, Promoted, Verdict};
use super::stage::{Edge, Purpose, Rest, Stage};
use super::state::{Model, State, Version};
use super::time::Now;
use crate::domain::ids::{ModelName, VersionName};

/// An order with its giver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who gives it.
    pub who: String,
    /// Why.
    pub why: String,
    /// The generation of the model that the giver saw; `None` to order whatever is.
    pub expected: Option<u64>,
    /// What is to be done.
    pub command: Command,
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make this version live now. It must be loaded: in shadow, in canary or standby.
    Promote(ModelName, VersionName),
    /// End the rollout, or, where there is none, go back to the latest earlier champion or this one.
    Rollback(ModelName, Option<VersionName>),
    /// Take a standby out of memory.
    Drain(ModelName, VersionName),
    /// Delete the artifact of a version that is not loaded.
    Evict(ModelName, VersionName, Force),
    /// Bring back a version that is retired, quarantined or evicted.
    Restore(ModelName, VersionName),
    /// Never evict it, or no longer so.
    Pin(ModelName, VersionName, bool),
    /// Leave it where it is, or no longer so.
    Hold(ModelName, VersionName, bool),
    /// Let it answer clients.
    Approve(ModelName, VersionName),
    /// Stop it for good before or during its trial.
    Reject(ModelName, VersionName),
    /// Cut traffic off, or let it flow again.
    Kill(Scope, bool),
}

/// Whether an order overrules the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// The guard decides.
    No,
    /// Everything but use is overruled.
    Yes,
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Who or why is missing.
    #[error("an order says who gives it and why")]
    Anonymous,
    /// The model has changed since the giver looked.
    #[error("the model has changed: generation {actual} and not {expected}; look again")]
    Conflict {
        /// What the giver saw.
        expected: u64,
        /// What is.
        actual: u64,
    },
    /// There is no such model.
    #[error("there is no model {0} with versions under the life cycle")]
    UnknownModel(ModelName),
    /// There is no such version.
    #[error("model {0} has no version {1}")]
    UnknownVersion(ModelName, VersionName),
    /// The order does not fit the stage.
    #[error("{version} is {stage}: {hint}")]
    Stage {
        /// The version.
        version: VersionName,
        /// Where it is.
        stage: &'static str,
        /// What can be done instead.
        hint: &'static str,
    },
    /// The version cannot answer now.
    #[error("{0} is not loaded, so that it cannot answer")]
    NotReady(VersionName),
    /// It is cut off: live, it would answer nobody.
    #[error("{0} is cut off; let traffic flow to it first (`versions unkill`)")]
    CutOff(VersionName),
    /// There is nothing to go back to.
    #[error("no earlier champion is loaded; restore one first")]
    NoWayBack,
    /// The content was stopped.
    #[error("the content of {0} was stopped as {1}: {2}; restore {1} if that was wrong")]
    Condemned(VersionName, VersionName, String),
    /// The guard refuses.
    #[error("{0} stays: {told}", told = guard::told(.1))]
    Refused(VersionName, Vec<Refusal>),
    /// It is so already.
    #[error("nothing to do: it is so already")]
    Already,
}

/// The event of an order.
///
/// # Errors
///
/// [`OrderError`] says what stands against it.
pub fn carry_out(
    state: &State,
    observed: &Observed,
    policies: &Policies,
    now: Now,
    order: &Order,
) -> Result<Draft, OrderError> {
    if order.who.trim().is_empty() || order.why.trim().is_empty() {
        return Err(OrderError::Anonymous);
    }
    let by = By::Operator { who: order.who.clone(), why: order.why.clone() };
    let command = &order.command;
    if let Command::Kill(scope, on) = command {
        return kill(state, scope, *on, order.expected).map(|what| Draft { by, what });
    }
    let Some(name) = command.model() else { return Err(OrderError::Already) };
    let model = state.model(name).ok_or_else(|| OrderError::UnknownModel(name.clone()))?;
    expect(model, order.expected)?;
    let nothing = ObservedModel::default();
    let seen = observed.models.get(name).map_or(&nothing, |seen| &**seen);
    let scene = Scene::new(state, (name, model), observed, seen, policies, now);
    scene.order(command, &order.why).map(|what| Draft { by, what })
}

fn expect(model: &Model, expected: Option<u64>) -> Result<(), OrderError> {
    match expected {
        Some(expected) if expected != model.generation() => {
            Err(OrderError::Conflict { expected, actual: model.generation() })
        }
        _ => Ok(()),
    }
}

/// Cuts traffic off, without asking anyone: a kill switch never waits for evidence.
fn kill(state: &State, scope: &Scope, on: bool, expected: Option<u64>) -> Result<What, OrderError> {
    let known =
        |name: &ModelName| state.model(name).ok_or_else(|| OrderError::UnknownModel(name.clone()));
    let is_on = match scope {
        Scope::Gateway => state.killed().is_some(),
        Scope::Model(name) => {
            let model = known(name)?;
            expect(model, expected)?;
            model.killed().is_some()
        }
        Scope::Version(name, version) => {
            let model = known(name)?;
            expect(model, expected)?;
            let is_on = model.killed_version(version).is_some();
            if model.version(version).is_none() && !is_on {
                return Err(OrderError::UnknownVersion(name.clone(), version.clone()));
            }
            is_on
        }
    };
    if is_on == on {
        return Err(OrderError::Already);
    }
    Ok(What::Killed { scope: scope.clone(), on })
}

impl Command {
    /// The model that it is about; none for kill switches, which look at nothing.
    pub fn model(&self) -> Option<&ModelName> {
        match self {
            Self::Promote(model, _)
            | Self::Rollback(model, _)
            | Self::Drain(model, _)
            | Self::Evict(model, ..)
            | Self::Restore(model, _)
            | Self::Pin(model, ..)
            | Self::Hold(model, ..)
            | Self::Approve(model, _)
            | Self::Reject(model, _) => Some(model),
            Self::Kill(..) => None,
        }
    }
}

fn wrong(name: &VersionName, version: &Version, hint: &'static str) -> OrderError {
    OrderError::Stage { version: name.clone(), stage: version.stage().word(), hint }
}

impl Scene<'_> {
    fn order(&self, command: &Command, why: &str) -> Result<What, OrderError> {
        match command {
            Command::Promote(_, version) => self.ordered_promotion(version, why),
            Command::Rollback(_, target) => self.ordered_rollback(target.as_ref(), why),
            Command::Drain(_, version) => self.ordered_drain(version),
            Command::Evict(_, version, force) => self.ordered_eviction(version, *force),
            Command::Restore(_, version) => self.ordered_restoration(version, why),
            Command::Pin(_, version, on) => self.mark(version, Mark::Pinned, *on),
            Command::Hold(_, version, on) => self.mark(version, Mark::Held, *on),
            Command::Approve(_, version) => self.mark(version, Mark::Approved, true),
            Command::Reject(_, version) => self.ordered_rejection(version, why),
            Command::Kill(scope, on) => kill(self.state, scope, *on, None),
        }
    }

    fn known(&self, name: &VersionName) -> Result<&Version, OrderError> {
        let unknown = || OrderError::UnknownVersion(self.name.clone(), name.clone());
        self.model.version(name).ok_or_else(unknown)
    }

    fn mark(&self, name: &VersionName, mark: Mark, on: bool) -> Result<What, OrderError> {
        let version = self.known(name)?;
        let is_on = match mark {
            Mark::Pinned => version.pinned().is_some(),
            Mark::Held => version.held().is_some(),
            Mark::Approved => version.is_approved(),
        };
        if is_on == on {
            return Err(OrderError::Already);
        }
        Ok(What::Marked { model: self.name.clone(), version: name.clone(), mark, on })
    }

    /// A version that is to answer must be able to, and its content must not be condemned.
    fn can_answer(&self, name: &VersionName, version: &Version) -> Result<(), OrderError> {
        if let Some(known) = self.model.condemned(&version.release().digest) {
            let why = known.verdict.why.clone();
            return Err(OrderError::Condemned(name.clone(), known.version.clone(), why));
        }
        if version.killed().is_some() {
            return Err(OrderError::CutOff(name.clone()));
        }
        if self.is_ready(name) { Ok(()) } else { Err(OrderError::NotReady(name.clone())) }
    }

    fn ordered_promotion(&self, name: &VersionName, why: &str) -> Result<What, OrderError> {
        let version = self.known(name)?;
        match version.stage() {
            Stage::Shadow(_) | Stage::Canary(_) => {
                self.can_answer(name, version)?;
                let evidence: CanaryEvidence =
                    self.seen(name).and_then(|seen| seen.canary.clone()).unwrap_or_default();
                let missing = proof::lacking(&evidence, &self.policy.guard);
                let edge = Edge::Promote(Promoted::by_order(evidence, missing));
                Ok(self.promote(name, edge))
            }
            Stage::Standby(_) => self.recall(name, version, why),
            Stage::Live(_) => Err(OrderError::Already),
            _ => Err(wrong(name, version, "only a version in shadow, canary or standby is loaded")),
        }
    }

    /// An earlier champion takes over; the one that was live stands by in its turn.
    fn recall(&self, name: &VersionName, version: &Version, why: &str) -> Result<What, OrderError> {
        self.can_answer(name, version)?;
        let edge = Edge::Recall(why.to_owned());
        let mut moves = vec![Move { version: name.clone(), edge }];
        if let Some((champion, _)) = self.champion {
            moves.push(Move { version: champion.clone(), edge: Edge::StandBy });
        }
        if let Some((candidate, on_trial)) = self.candidate {
            let edge = self.leave(on_trial, Rest::Retired(format!("{name} was recalled")));
            moves.push(Move { version: candidate.clone(), edge });
        }
        Ok(self.moved(moves, why))
    }

    fn ordered_rollback(
        &self,
        target: Option<&VersionName>,
        why: &str,
    ) -> Result<What, OrderError> {
        if let (None, Some((candidate, on_trial))) = (target, self.candidate) {
            let verdict = Verdict { gate: Gate::Operator, why: why.to_owned() };
            let edge = self.leave(on_trial, Rest::Quarantined(verdict));
            return Ok(self.step(candidate, edge, why));
        }
        let fits = |(name, version): &&(&VersionName, &Version)| match target {
            // Whoever names one is told what stands against it.
            Some(target) => target == *name,
            None => version.killed().is_none(),
        };
        let mut ready = self.standbys.iter().filter(|(name, _)| self.is_ready(name));
        match ready.find(fits) {
            Some((name, version)) => self.recall(name, version, why),
            None => match target {
                Some(target) => {
                    let version = self.known(target)?;
                    Err(wrong(target, version, "only a loaded standby can take over"))
                }
                None => Err(OrderError::NoWayBack),
            },
        }
    }

    fn guarded(
        &self,
        name: &VersionName,
        version: &Version,
        aim: Aim,
        force: Force,
    ) -> Result<What, OrderError> {
        let ground = Ground::Order { force: force == Force::Yes };
        may_evict(&self.defence(name, version, aim, ground.clone()))
            .map_err(|refusals| OrderError::Refused(name.clone(), refusals))?;
        Ok(self.removal(name, version, aim, &ground))
    }

    fn ordered_drain(&self, name: &VersionName) -> Result<What, OrderError> {
        let version = self.known(name)?;
        match version.stage() {
            Stage::Standby(_) => self.guarded(name, version, Aim::Unload, Force::No),
            Stage::Live(_) => Err(wrong(name, version, "promote another version first")),
            Stage::Canary(_) | Stage::Shadow(_) => {
                Err(wrong(name, version, "roll it back instead"))
            }
            _ => Err(wrong(name, version, "it takes no requests")),
        }
    }

    fn ordered_eviction(&self, name: &VersionName, force: Force) -> Result<What, OrderError> {
        let version = self.known(name)?;
        match version.stage() {
            Stage::Retired(_) | Stage::Quarantined(_) => {
                self.guarded(name, version, Aim::Delete, force)
            }
            Stage::Evicted(_) => Err(OrderError::Already),
            Stage::Live(_) => Err(wrong(name, version, "promote another version first")),
            Stage::Standby(_) => Err(wrong(name, version, "drain it first")),
            Stage::Draining(_) => Err(wrong(
                name,
                version,
                "wait until its requests have ended, half a minute at most",
            )),
            Stage::Warming(warming) if *warming.purpose() == Purpose::Undo => {
                Err(wrong(name, version, "wait until it stands by, and drain it then"))
            }
            _ => Err(wrong(name, version, "reject it first")),
        }
    }

    /// A version that was live comes back to stand by; one that never was gets another trial.
    fn ordered_restoration(&self, name: &VersionName, why: &str) -> Result<What, OrderError> {
        let version = self.known(name)?;
        let on_disk = self.seen(name).is_some_and(|seen| seen.on_disk);
        let again = || Ok(self.step(name, Edge::Retry, why));
        match version.stage() {
            Stage::Quarantined(_) => again(),
            Stage::Retired(_) if version.lived().is_none() => again(),
            Stage::Evicted(evicted) if evicted.is_deleted() || !on_disk => {
                Err(wrong(name, version, "its artifact is gone; publish it again"))
            }
            Stage::Evicted(_) if version.lived().is_none() => again(),
            Stage::Retired(_) | Stage::Evicted(_) => {
                if let Some(known) = self.model.condemned(&version.release().digest) {
                    let why = known.verdict.why.clone();
                    return Err(OrderError::Condemned(name.clone(), known.version.clone(), why));
                }
                Ok(self.step(name, Edge::Restore, why))
            }
            _ => Err(wrong(name, version, "it is there")),
        }
    }

    fn ordered_rejection(&self, name: &VersionName, why: &str) -> Result<What, OrderError> {
        let version = self.known(name)?;
        match version.stage() {
            Stage::Discovered(_) | Stage::Staged(_) => {}
            stage if stage.is_on_trial() => {}
            _ => return Err(wrong(name, version, "only a version before or on trial is rejected")),
        }
        let verdict = Verdict { gate: Gate::Operator, why: why.to_owned() };
        Ok(self.step(name, self.leave(version, Rest::Quarantined(verdict)), why))
    }
}
