//! What is written down: one event for each thing that changed.
//!
//! The state is the sum of its events, so an event holds everything that the state needs, and the
//! evidence for whoever asks later. An event is written before anything follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::release::Release;
use super::stage::Edge;
use super::time::{Now, Steady};
use crate::domain::ids::{ModelName, VersionName};

/// The format of events; a reader refuses a higher one.
pub const FORMAT: u32 = 1;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The format.
    pub v: u32,
    /// Counts events from 1, without gaps.
    pub seq: u64,
    /// When it was decided.
    pub at: Now,
    /// Who decided.
    pub by: By,
    /// What happened.
    pub what: What,
}

/// Something that is decided and not yet written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Who decided.
    pub by: By,
    /// What is to happen.
    pub what: What,
}

impl Draft {
    /// Decided by the gateway.
    pub(super) fn own(what: What) -> Self {
        Self { by: By::Gateway, what }
    }
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The gateway, by its evidence.
    Gateway,
    /// A person or a program of theirs.
    Operator {
        /// Who.
        who: String,
        /// Why, in their words.
        why: String,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A source told of a version.
    Sighted {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
        /// What it told.
        release: Release,
    },
    /// Versions changed their stages, all at once.
    Moved {
        /// The model.
        model: ModelName,
        /// Each version with its edge.
        moves: Vec<Move>,
        /// Why: the end of a sentence.
        why: String,
    },
    /// A version has shown that it can be relied upon.
    Proven {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
    },
    /// An operator set or took off a mark.
    Marked {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
        /// Which.
        mark: Mark,
        /// Set or taken off.
        on: bool,
    },
    /// An operator cut traffic off, or let it flow again.
    Killed {
        /// From what.
        scope: Scope,
        /// Cut or restored.
        on: bool,
    },
    /// A condition that someone should know of began or ended.
    Alerted {
        /// The model.
        model: ModelName,
        /// The condition.
        alert: Alert,
        /// Began or ended.
        on: bool,
        /// The numbers: the end of a sentence.
        detail: String,
    },
    /// A version that is long gone was struck from the table.
    Forgotten {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
    },
    /// The process started and took up the state.
    Recovered,
    /// The process before this one had served requests and ended without a farewell: it crashed, was killed, or the
    /// power failed.
    Died {
        /// Which versions were on trial then, or live for a short while: the end of a sentence.
        among: String,
    },
    /// The clock of the machine was set.
    ClockSet {
        /// By how much, in milliseconds.
        step_ms: u64,
        /// Until when dates decide nothing.
        doubtful_until: Steady,
    },
    /// Time passed: keeps the life cycle's own time over restarts.
    Ticked,
}

/// One version's part of [`What::Moved`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// The version.
    pub version: VersionName,
    /// Its way.
    pub edge: Edge,
}

/// What an operator may set on a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It is never evicted.
    Pinned,
    /// It is not moved by evidence towards more traffic, nor rolled back once live.
    Held,
    /// It may answer clients.
    Approved,
}

impl Mark {
    /// The word of a sentence.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Held => "held",
            Self::Approved => "approved",
        }
    }
}

/// From what a kill switch cuts traffic off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every model.
    Gateway,
    /// All versions of one.
    Model(ModelName),
    /// One version.
    Version(ModelName, VersionName),
}

/// A condition that someone should know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alert {
    /// A version lies incomplete for too long.
    Incomplete(VersionName),
    /// A known version is announced with other content.
    Republished(VersionName),
    /// The champion is out of date and nothing can follow it.
    Overdue(VersionName),
    /// The champion is degraded and nothing sound can take its place.
    NoWayBack(VersionName),
    /// Champion and standby are degraded by the same signal: the input or the host is at fault.
    Correlated(VersionName),
    /// Candidate and control do not get the requests that their shares say.
    Ratio(VersionName),
    /// A publisher's releases wait for an operator.
    PublisherHeld(String),
    /// More versions than the table takes.
    TooMany,
    /// What an eviction would remove, were it not a dry run.
    WouldEvict(VersionName),
    /// The gateway has died again and again since a version is live.
    Deaths(VersionName),
    /// A live version cannot answer.
    NotReady(VersionName),
    /// The golden set that is named for versions at servers cannot be used.
    Golden,
}

/// What a draft is about: one that cannot be written is known again by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The model; `None` for what is about all of them.
    pub model: Option<ModelName>,
    /// The version, or the condition.
    pub about: String,
    /// What would happen to it.
    pub way: &'static str,
}

impl What {
    /// What it is about, without its numbers.
    pub fn subject(&self) -> Subject {
        let (about, way) = match self {
            Self::Sighted { version, .. } => (version.to_string(), "sighted"),
            Self::Moved { moves, .. } => match moves.first() {
                Some(first) => (first.version.to_string(), first.edge.word()),
                None => (String::new(), "moved"),
            },
            Self::Proven { version, .. } => (version.to_string(), "proven"),
            Self::Marked { version, mark, .. } => (version.to_string(), mark.word()),
            Self::Killed { .. } => (String::new(), "killed"),
            Self::Alerted { alert, .. } => (alert.to_string(), "alerted"),
            Self::Forgotten { version, .. } => (version.to_string(), "forgotten"),
            Self::Recovered => (String::new(), "recovered"),
            Self::Died { .. } => (String::new(), "died"),
            Self::ClockSet { .. } => (String::new(), "clock set"),
            Self::Ticked => (String::new(), "ticked"),
        };
        Subject { model: self.model().cloned(), about, way }
    }

    /// The model that it is about.
    pub fn model(&self) -> Option<&ModelName> {
        match self {
            Self::Sighted { model, .. }
            | Self::Moved { model, .. }
            | Self::Proven { model, .. }
            | Self::Marked { model, .. }
            | Self::Alerted { model, .. }
            | Self::Forgotten { model, .. }
            | Self::Killed { scope: Scope::Model(model) | Scope::Version(model, _), .. } => {
                Some(model)
            }
            Self::Killed { scope: Scope::Gateway, .. }
            | Self::Recovered
            | Self::Died { .. }
            | Self::ClockSet { .. }
            | Self::Ticked => None,
        }
    }
}

impl Alert {
    /// Whether somebody should look now: clients get no answers, or others than they should.
    pub const fn is_critical(&self) -> bool {
        matches!(self, Self::NotReady(_))
    }

    /// Whether it is about `version`.
    pub(super) fn is_about(&self, version: &VersionName) -> bool {
        match self {
            Self::Incomplete(name)
            | Self::Republished(name)
            | Self::Overdue(name)
            | Self::NoWayBack(name)
            | Self::Correlated(name)
            | Self::Ratio(name)
            | Self::WouldEvict(name)
            | Self::Deaths(name)
            | Self::NotReady(name) => name == version,
            Self::PublisherHeld(_) | Self::TooMany | Self::Golden => false,
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete(name) => write!(f, "{name} is incomplete"),
            Self::Republished(name) => write!(f, "{name} was published again with other content"),
            Self::Overdue(name) => write!(f, "{name} is overdue"),
            Self::NoWayBack(name) => write!(f, "{name} is degraded and there is no way back"),
            Self::Correlated(name) => write!(f, "{name} and its standby are degraded together"),
            Self::Ratio(name) => write!(f, "{name} gets other requests than its share says"),
            Self::PublisherHeld(name) => write!(f, "the releases of {name} wait for an operator"),
            Self::TooMany => f.write_str("there are too many versions"),
            Self::WouldEvict(name) => write!(f, "{name} would be evicted"),
            Self::NotReady(name) => write!(f, "{name} is live and cannot answer"),
            Self::Golden => f.write_str("its golden set cannot be used"),
            Self::Deaths(name) => {
                write!(f, "the gateway dies again and again while {name} is live")
            }
        }
    }
}
