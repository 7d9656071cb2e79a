//! The stages of a version, and the only ways between them.
//!
//! Each stage is a type of its own, and each way is a method that consumes it and returns the next: a
//! way that is not here cannot be written. Ways towards more exposure take a [proof](super::proof).
//! `Stage::follow` is the one place where an [`Edge`] read from the journal meets a stage; it refuses
//! what does not fit.
//!
//! ```text
//! discovered ─▶ staged ─▶ validating ─▶ warming ─▶ shadow ─▶ canary(0..n) ─▶ live ⇄ standby
//!     │           │           │          ▲ │  └───────────────────────────────▲ │        │
//!     │           │           │     undo │ └─undo─▶ standby      first version   ▼        ▼
//!     └───────────┴───────────┴──────────┼─────────┐               canary ─▶ draining ◀───┘
//!                                        │         ▼                          │
//!                   evicted ◀── retired / quarantined ◀───────────────────────┘
//! ```

use serde::{Deserialize, Serialize};

use super::evidence::Check;
use super::policy::CANDIDATE_SHARE_MAX;
use super::proof::{Admitted, Fetched, First, Promoted, Sound, Stepped, Tried, Verdict, Warm};
use super::time::Steady;
use crate::domain::ids::Permille;

/// Where a version is, and since when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// When it came there.
    pub since: Steady,
    /// When it was given more time there: its time begins anew, and all that was counted goes on to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<Steady>,
    /// The stage.
    pub stage: Stage,
    /// What brought it there, with its event: of stages that do not say it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// The stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A source told of it.
    Discovered(Discovered),
    /// Its artifact is being fetched, or waits for its turn.
    Staged(Staged),
    /// It is being checked.
    Validating(Validating),
    /// It is being loaded and warmed.
    Warming(Warming),
    /// It answers copies of requests.
    Shadow(Shadow),
    /// It answers a share of the requests.
    Canary(Canary),
    /// It answers.
    Live(Live),
    /// It was live and stays loaded.
    Standby(Standby),
    /// It takes no more requests and ends those it has.
    Draining(Draining),
    /// It is on disk, not loaded.
    Retired(Retired),
    /// It was stopped, and its content is not tried again.
    Quarantined(Quarantined),
    /// It is gone, or will be once its grace is over.
    Evicted(Evicted),
}

/// See [`Stage::Discovered`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {}

/// See [`Stage::Staged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {}

/// See [`Stage::Validating`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validating {
    fetched: Fetched,
}

/// See [`Stage::Warming`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warming {
    purpose: Purpose,
}

/// What a version is loaded for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A rollout.
    Rollout(Admitted),
    /// To stand ready again, without another trial.
    Undo,
}

/// See [`Stage::Shadow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    extended: bool,
}

/// See [`Stage::Canary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    step: usize,
    share: Permille,
    extended: bool,
}

/// See [`Stage::Live`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {}

/// See [`Stage::Standby`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {}

/// See [`Stage::Draining`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    towards: Rest,
}

/// Where a version ends that leaves its requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Kept, for this reason not loaded.
    Retired(String),
    /// Stopped.
    Quarantined(Verdict),
}

/// See [`Stage::Retired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    why: String,
}

/// See [`Stage::Quarantined`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    verdict: Verdict,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Check>,
}

/// See [`Stage::Evicted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    why: String,
    deleted: bool,
}

/// One way from a stage to another, with what justified it. One journal record carries all edges that
/// happen at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Discovered → staged: it is complete.
    Stage,
    /// Staged → validating.
    Validate(Fetched),
    /// Validating → warming.
    Warm(Admitted),
    /// Warming → shadow.
    Try(Warm),
    /// Warming → live: the first version of its model.
    Begin(First),
    /// Warming → standby: an undo.
    Ready(Warm),
    /// Shadow → the first step of a canary, with its share.
    Expose(Tried, Permille),
    /// Canary → its next step, with its share.
    Step(Stepped, Permille),
    /// Shadow or canary → itself, once: more time.
    Extend(Vec<String>),
    /// Shadow or canary → live.
    Promote(Promoted),
    /// Live → standby.
    StandBy,
    /// Standby → live: a rollback by evidence.
    Return(Sound),
    /// Standby → live: a rollback by order.
    Recall(String),
    /// Canary, live or standby → draining.
    Drain(Rest),
    /// Draining → retired or quarantined; requests that had not ended by then.
    Drained(u64),
    /// Discovered, staged, validating, warming or shadow → retired.
    Retire(String),
    /// Discovered, staged, validating, warming or shadow → quarantined.
    Quarantine(Verdict, Vec<Check>),
    /// Retired, or evicted and not yet deleted → warming: it has been live, so it stands by without
    /// another trial.
    Restore,
    /// Retired, quarantined, or evicted and not yet deleted → staged: another trial, by an operator
    /// only.
    Retry,
    /// Retired or quarantined → evicted.
    Evict(String),
    /// Evicted, and now the artifact is gone.
    Delete,
}

impl Discovered {
    fn stage(self) -> Staged {
        Staged {}
    }
}

impl Staged {
    fn validate(self, fetched: Fetched) -> Validating {
        Validating { fetched }
    }
}

impl Validating {
    fn warm(self, admitted: Admitted) -> Warming {
        Warming { purpose: Purpose::Rollout(admitted) }
    }
}

impl Warming {
    fn attempt(self, _warm: Warm) -> Shadow {
        Shadow { extended: false }
    }

    fn begin(self, _first: First) -> Live {
        Live {}
    }

    fn ready(self, _warm: Warm) -> Standby {
        Standby {}
    }

    /// What it is loaded for.
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }
}

impl Shadow {
    fn expose(self, _tried: Tried, share: Permille) -> Canary {
        Canary { step: 0, share: share.min(CANDIDATE_SHARE_MAX), extended: false }
    }

    fn promote(self, _proof: Promoted) -> Live {
        Live {}
    }

    /// Whether it has been given more time.
    pub fn is_extended(&self) -> bool {
        self.extended
    }
}

impl Canary {
    /// A share never shrinks within a rollout, so that no caller changes back.
    fn step_on(self, _stepped: Stepped, share: Permille) -> Self {
        let share = share.clamp(self.share, CANDIDATE_SHARE_MAX.max(self.share));
        Self { step: self.step.saturating_add(1), share, extended: false }
    }

    fn promote(self, _proof: Promoted) -> Live {
        Live {}
    }

    fn drain(self, towards: Rest) -> Draining {
        Draining { towards }
    }

    /// Its share of the requests.
    pub fn share(&self) -> Permille {
        self.share
    }

    /// The position of its step in the policy.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether its step has been given more time.
    pub fn is_extended(&self) -> bool {
        self.extended
    }
}

impl Live {
    fn stand_by(self) -> Standby {
        Standby {}
    }

    fn drain(self, towards: Rest) -> Draining {
        Draining { towards }
    }
}

impl Standby {
    fn back(self, _sound: Sound) -> Live {
        Live {}
    }

    fn recall(self) -> Live {
        Live {}
    }

    fn drain(self, towards: Rest) -> Draining {
        Draining { towards }
    }
}

impl Draining {
    fn drained(self) -> Stage {
        match self.towards {
            Rest::Retired(why) => Stage::Retired(Retired { why }),
            Rest::Quarantined(verdict) => {
                Stage::Quarantined(Quarantined { verdict, checks: Vec::new() })
            }
        }
    }

    /// Where it ends.
    pub fn towards(&self) -> &Rest {
        &self.towards
    }
}

impl Retired {
    fn retry(self) -> Staged {
        Staged {}
    }

    fn restore(self) -> Warming {
        Warming { purpose: Purpose::Undo }
    }

    fn evict(self, why: String) -> Evicted {
        Evicted { why, deleted: false }
    }

    /// Why it is not loaded.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl Quarantined {
    fn retry(self) -> Staged {
        Staged {}
    }

    fn evict(self, why: String) -> Evicted {
        Evicted { why, deleted: false }
    }

    /// What stopped it.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The checks that were made before any traffic.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

impl Evicted {
    fn retry(self) -> Option<Staged> {
        (!self.deleted).then_some(Staged {})
    }

    fn restore(self) -> Option<Warming> {
        (!self.deleted).then_some(Warming { purpose: Purpose::Undo })
    }

    fn delete(self) -> Self {
        Self { deleted: true, ..self }
    }

    /// Why it was evicted.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Whether the artifact is gone.
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }
}

/// An edge that does not start where the version is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{edge}` does not start at {stage}")]
pub struct Illegal {
    /// The edge.
    pub edge: &'static str,
    /// The stage.
    pub stage: &'static str,
}

impl Stage {
    /// Where every version begins.
    pub(super) fn first() -> Self {
        Self::Discovered(Discovered {})
    }

    /// Takes `edge`.
    ///
    /// # Errors
    ///
    /// [`Illegal`] if the edge does not start here.
    pub(super) fn follow(self, edge: &Edge) -> Result<Self, Illegal> {
        let illegal = Illegal { edge: edge.word(), stage: self.word() };
        Ok(match (self, edge.clone()) {
            (Self::Discovered(s), Edge::Stage) => Self::Staged(s.stage()),
            (Self::Staged(s), Edge::Validate(proof)) => Self::Validating(s.validate(proof)),
            (Self::Validating(s), Edge::Warm(proof)) => Self::Warming(s.warm(proof)),
            (Self::Warming(s), Edge::Try(proof)) => Self::Shadow(s.attempt(proof)),
            (Self::Warming(s), Edge::Begin(proof)) => Self::Live(s.begin(proof)),
            (Self::Warming(s), Edge::Ready(proof)) => Self::Standby(s.ready(proof)),
            (Self::Shadow(s), Edge::Expose(proof, share)) => Self::Canary(s.expose(proof, share)),
            (Self::Canary(s), Edge::Step(proof, share)) => Self::Canary(s.step_on(proof, share)),
            (Self::Shadow(s), Edge::Extend(_)) if !s.extended => {
                Self::Shadow(Shadow { extended: true })
            }
            (Self::Canary(s), Edge::Extend(_)) if !s.extended => {
                Self::Canary(Canary { extended: true, ..s })
            }
            (Self::Shadow(s), Edge::Promote(proof)) => Self::Live(s.promote(proof)),
            (Self::Canary(s), Edge::Promote(proof)) => Self::Live(s.promote(proof)),
            (Self::Live(s), Edge::StandBy) => Self::Standby(s.stand_by()),
            (Self::Standby(s), Edge::Return(proof)) => Self::Live(s.back(proof)),
            (Self::Standby(s), Edge::Recall(_)) => Self::Live(s.recall()),
            (Self::Canary(s), Edge::Drain(rest)) => Self::Draining(s.drain(rest)),
            (Self::Live(s), Edge::Drain(rest)) => Self::Draining(s.drain(rest)),
            (Self::Standby(s), Edge::Drain(rest)) => Self::Draining(s.drain(rest)),
            (Self::Draining(s), Edge::Drained(_)) => s.drained(),
            (
                Self::Discovered(_)
                | Self::Staged(_)
                | Self::Validating(_)
                | Self::Warming(_)
                | Self::Shadow(_),
                Edge::Retire(why),
            ) => Self::Retired(Retired { why }),
            (
                Self::Discovered(_)
                | Self::Staged(_)
                | Self::Validating(_)
                | Self::Warming(_)
                | Self::Shadow(_),
                Edge::Quarantine(verdict, checks),
            ) => Self::Quarantined(Quarantined { verdict, checks }),
            (Self::Retired(s), Edge::Restore) => Self::Warming(s.restore()),
            (Self::Evicted(s), Edge::Restore) => Self::Warming(s.restore().ok_or(illegal)?),
            (Self::Retired(s), Edge::Retry) => Self::Staged(s.retry()),
            (Self::Quarantined(s), Edge::Retry) => Self::Staged(s.retry()),
            (Self::Evicted(s), Edge::Retry) => Self::Staged(s.retry().ok_or(illegal)?),
            (Self::Retired(s), Edge::Evict(why)) => Self::Evicted(s.evict(why)),
            (Self::Quarantined(s), Edge::Evict(why)) => Self::Evicted(s.evict(why)),
            (Self::Evicted(s), Edge::Delete) if !s.deleted => Self::Evicted(s.delete()),
            (..) => return Err(illegal),
        })
    }

    /// The word in the log, the API and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Discovered(_) => "discovered",
            Self::Staged(_) => "staged",
            Self::Validating(_) => "validating",
            Self::Warming(_) => "warming",
            Self::Shadow(_) => "shadow",
            Self::Canary(_) => "canary",
            Self::Live(_) => "live",
            Self::Standby(_) => "standby",
            Self::Draining(_) => "draining",
            Self::Retired(_) => "retired",
            Self::Quarantined(_) => "quarantined",
            Self::Evicted(_) => "evicted",
        }
    }

    /// Whether the model has to be in memory, or its backends reachable.
    pub const fn wants_loaded(&self) -> bool {
        matches!(
            self,
            Self::Warming(_) | Self::Shadow(_) | Self::Canary(_) | Self::Live(_) | Self::Standby(_)
        )
    }

    /// Whether it is compared with its champion, on copies of requests or on requests.
    pub const fn is_compared(&self) -> bool {
        matches!(self, Self::Shadow(_) | Self::Canary(_))
    }

    /// Whether it takes part in a rollout: it takes up the one place of its model.
    pub const fn is_on_trial(&self) -> bool {
        match self {
            Self::Warming(warming) => matches!(warming.purpose, Purpose::Rollout(_)),
            Self::Validating(_) | Self::Shadow(_) | Self::Canary(_) => true,
            Self::Discovered(_)
            | Self::Staged(_)
            | Self::Live(_)
            | Self::Standby(_)
            | Self::Draining(_)
            | Self::Retired(_)
            | Self::Quarantined(_)
            | Self::Evicted(_) => false,
        }
    }
}

impl Edge {
    /// The word in the log.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Validate(_) => "validate",
            Self::Warm(_) => "warm",
            Self::Try(_) => "try",
            Self::Begin(_) => "begin",
            Self::Ready(_) => "ready",
            Self::Expose(..) => "expose",
            Self::Step(..) => "step",
            Self::Extend(_) => "extend",
            Self::Promote(_) => "promote",
            Self::StandBy => "stand by",
            Self::Return(_) => "return",
            Self::Recall(_) => "recall",
            Self::Drain(_) => "drain",
            Self::Drained(_) => "drained",
            Self::Retire(_) => "retire",
            Self::Quarantine(..) => "quarantine",
            Self::Restore => "restore",
            Self::Retry => "retry",
            Self::Evict(_) => "evict",
            Self::Delete => "delete",
        }
    }
}
