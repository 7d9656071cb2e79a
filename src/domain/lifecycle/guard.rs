//! The guard of eviction: one function between a reason to remove a version and its removal.
//!
//! Owns every ground on which a version stays. [`may_evict`] looks at all of them and returns either
//! leave or every refusal. Unloading a standby and deleting an artifact go through the same function. What is
//! not known refuses, but for capacity: a model that is hardly asked needs none.

use std::fmt;
use std::time::Duration;

use super::observed::Capacity;
use super::time::Spell;
use crate::domain::ids::VersionName;

/// Why a version is to go.
#[derive(Debug, Clone, PartialEq)]
pub enum Ground {
    /// Its age since its release.
    Ttl(Duration),
    /// The age of its training data.
    MaxAge(Duration),
    /// Nobody has asked for it for so long.
    Idle(Duration),
    /// A newer version stands by.
    Replaced(VersionName),
    /// Bytes on disk, and how many there may be.
    Disk(u64, u64),
    /// Bytes in memory, and how many there may be.
    Memory(u64, u64),
    /// It has been in quarantine for so long.
    Quarantine(Duration),
    /// It is degraded.
    Degraded(String),
    /// An operator says so; `force` overrules everything but use.
    Order {
        /// Overrules.
        force: bool,
    },
}

impl Ground {
    /// Whether the ground rests on a clock.
    fn is_timed(&self) -> bool {
        matches!(self, Self::Ttl(_) | Self::MaxAge(_) | Self::Idle(_) | Self::Quarantine(_))
    }

    fn is_order(&self) -> bool {
        matches!(self, Self::Order { .. })
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ttl(age) => write!(f, "it is {} old", Spell(*age)),
            Self::MaxAge(age) => write!(f, "it was trained {} ago", Spell(*age)),
            Self::Idle(idle) => write!(f, "nobody has asked for it for {}", Spell(*idle)),
            Self::Replaced(by) => write!(f, "{by} stands by in its place"),
            Self::Disk(used, max) => write!(f, "artifacts take {used} of {max} bytes on disk"),
            Self::Memory(used, max) => write!(f, "models take {used} of {max} bytes of memory"),
            Self::Quarantine(age) => write!(f, "it has been in quarantine for {}", Spell(*age)),
            Self::Degraded(why) => write!(f, "it is degraded: {why}"),
            Self::Order { .. } => f.write_str("an operator says so"),
        }
    }
}

/// What is to be done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// It leaves memory and stays on disk.
    Unload,
    /// Its artifact goes.
    Delete,
}

/// Everything that speaks for a version.
#[derive(Debug, Clone)]
pub struct Defence {
    /// What is to be done.
    pub aim: Aim,
    /// Why.
    pub ground: Ground,
    /// Who uses it: routes, aliases, replays.
    pub users: Vec<String>,
    /// Requests that it holds.
    pub in_flight: u64,
    /// Who pinned it.
    pub pinned: Option<String>,
    /// Who holds it.
    pub held: Option<String>,
    /// What is left of its undo window.
    pub undo_left: Option<Duration>,
    /// No other version of its model is loaded.
    pub last_loaded: bool,
    /// Proven versions of its model that would remain on disk.
    pub proven_left: usize,
    /// It is proven, and among the last of those that are kept.
    pub kept_proven: bool,
    /// A version of its model is on trial.
    pub rollout: bool,
    /// Whether the others can take over.
    pub capacity: Option<Capacity>,
    /// Why the listing of artifacts is in doubt.
    pub listing_doubt: Option<String>,
    /// What is left of the cool-down of its model.
    pub cool_down_left: Option<Duration>,
    /// Evictions within the hour have reached the limit.
    pub rate_limited: bool,
    /// Another gateway of the fleet is evicting.
    pub lease_taken: bool,
    /// Champion and standby are degraded by the same signal.
    pub correlated: bool,
    /// The evidence that it is degraded is so old.
    pub evaluator_stale: Option<Duration>,
    /// It rests on so many responses, fewer than needed.
    pub short_of_samples: Option<u64>,
    /// How much longer dates decide nothing.
    pub clock_doubt: Option<Duration>,
}

/// A ground on which a version stays.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// A route, an alias or a replay leads to it.
    InUse(String),
    /// It holds requests.
    InFlight(u64),
    /// Someone pinned it.
    Pinned(String),
    /// Someone holds it.
    Held(String),
    /// It stands by within its undo window.
    Undo(Duration),
    /// No other version is loaded.
    LastLoaded,
    /// No other proven version would remain.
    LastProven,
    /// It is one of the proven versions that are kept.
    KeptProven,
    /// A version is on trial.
    Rollout,
    /// The others could not take over.
    Capacity(Capacity),
    /// The listing of artifacts is in doubt.
    Listing(String),
    /// Another version went a short while ago.
    CoolDown(Duration),
    /// Too many went within the hour.
    RateLimited,
    /// Another gateway of the fleet is evicting.
    Lease,
    /// Champion and standby are degraded by the same signal.
    Correlated,
    /// The evidence is too old.
    EvaluatorStale(Duration),
    /// The evidence is too thin.
    ShortOfSamples(u64),
    /// The clock was set.
    Clock(Duration),
}

impl Refusal {
    /// Whether even a forced order is refused: removing it would fail requests.
    pub const fn is_absolute(&self) -> bool {
        matches!(self, Self::InUse(_) | Self::InFlight(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(user) => write!(f, "{user} uses it"),
            Self::InFlight(n) => write!(f, "it holds {n} requests"),
            Self::Pinned(who) => write!(f, "it is pinned by {who}"),
            Self::Held(who) => write!(f, "it is held by {who}"),
            Self::Undo(left) => write!(f, "its undo window ends in {}", Spell(*left)),
            Self::LastLoaded => f.write_str("no other version is loaded"),
            Self::LastProven => f.write_str("no other proven version would remain"),
            Self::KeptProven => f.write_str("it is one of the proven versions that are kept"),
            Self::Rollout => f.write_str("a version is on trial"),
            Self::Capacity(capacity) if capacity.needed.is_nan() => {
                f.write_str("what the others must take is not known yet")
            }
            Self::Capacity(capacity) => write!(
                f,
                "{:.0} requests/s are needed and the others can take {:.0}",
                capacity.needed, capacity.others
            ),
            Self::Listing(doubt) => write!(f, "the listing of artifacts is in doubt: {doubt}"),
            Self::CoolDown(left) => {
                write!(f, "another version went a short while ago: {} left", Spell(*left))
            }
            Self::RateLimited => f.write_str("the limit of evictions within an hour is reached"),
            Self::Lease => f.write_str("another gateway of the fleet is evicting"),
            Self::Correlated => f.write_str(
                "champion and standby are degraded by the same signal: the input or the host is at \
                 fault",
            ),
            Self::EvaluatorStale(age) => write!(f, "the last evidence is {} old", Spell(*age)),
            Self::ShortOfSamples(n) => write!(f, "the evidence rests on {n} responses only"),
            Self::Clock(left) => {
                write!(f, "the clock was set; dates decide nothing for {}", Spell(*left))
            }
        }
    }
}

/// Whether a version may go.
///
/// # Errors
///
/// Every ground on which it stays.
pub fn may_evict(defence: &Defence) -> Result<(), Vec<Refusal>> {
    let Defence { aim, ground, .. } = defence;
    let deletes = *aim == Aim::Delete;
    let mut refusals: Vec<Refusal> =
        defence.users.iter().map(|user| Refusal::InUse(user.clone())).collect();
    let mut refuse = |holds: bool, refusal: Refusal| {
        if holds {
            refusals.push(refusal);
        }
    };
    refuse(deletes && defence.in_flight > 0, Refusal::InFlight(defence.in_flight));
    if let Some(who) = &defence.pinned {
        refuse(true, Refusal::Pinned(who.clone()));
    }
    if let Some(who) = &defence.held {
        refuse(!ground.is_order(), Refusal::Held(who.clone()));
    }
    if let Some(left) = defence.undo_left {
        // One that is broken is no way back.
        refuse(!matches!(ground, Ground::Degraded(_)), Refusal::Undo(left));
    }
    refuse(defence.last_loaded, Refusal::LastLoaded);
    refuse(deletes && defence.kept_proven && defence.proven_left == 0, Refusal::LastProven);
    refuse(deletes && defence.kept_proven && !ground.is_order(), Refusal::KeptProven);
    refuse(defence.rollout && !ground.is_order(), Refusal::Rollout);
    if let Some(capacity) = defence.capacity {
        // Written so that a NaN, of what is not known yet, refuses; whoever orders it need not wait for that.
        let enough = capacity.others >= capacity.needed;
        let is_ordered = capacity.needed.is_nan() && ground.is_order();
        refuse(!enough && !is_ordered, Refusal::Capacity(capacity));
    }
    if let Some(doubt) = &defence.listing_doubt {
        refuse(deletes, Refusal::Listing(doubt.clone()));
    }
    if let Some(left) = defence.cool_down_left {
        refuse(deletes, Refusal::CoolDown(left));
    }
    refuse(deletes && defence.rate_limited, Refusal::RateLimited);
    refuse(defence.lease_taken, Refusal::Lease);
    refuse(defence.correlated, Refusal::Correlated);
    if matches!(ground, Ground::Degraded(_)) {
        if let Some(age) = defence.evaluator_stale {
            refuse(true, Refusal::EvaluatorStale(age));
        }
        if let Some(n) = defence.short_of_samples {
            refuse(true, Refusal::ShortOfSamples(n));
        }
    }
    if let Some(left) = defence.clock_doubt {
        refuse(ground.is_timed(), Refusal::Clock(left));
    }
    if *ground == (Ground::Order { force: true }) {
        refusals.retain(Refusal::is_absolute);
    }
    if refusals.is_empty() { Ok(()) } else { Err(refusals) }
}

/// Several refusals as the end of a sentence.
pub fn told(refusals: &[Refusal]) -> String {
    let all: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
    all.join("; ")
}
