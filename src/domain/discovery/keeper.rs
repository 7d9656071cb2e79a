//! What is believed of one source: the last good set, and what became of each thing in it.
//!
//! Owns the judgement over an answer. Never removes a thing because it is not listed; it is forgotten only
//! when more than [`KEPT_MAX`] are kept, those first that are gone for longest.
//!
//! ```text
//! whole answer ── empty, or less than half of what is there ──▶ doubted: adds, never takes away
//!      │                     └─ the same for `shrink_after`, and not empty ─┐
//!      └────────────────────────────────────────────────────────────────────┴▶ trusted
//! trusted, not listed once ─▶ missed ── trusted, not listed again, `confirm` later ──▶ absent since
//! ```

use std::collections::BTreeMap;

use super::damping::Damping;
use super::{Endpoint, Facts, Listing, Release, Thing};
use crate::domain::spec::BackendAddress;

/// The most things of one answer; the rest is left out and counted.
pub const LISTED_MAX: usize = 4096;
/// The most things that are kept, those that are gone among them.
pub const KEPT_MAX: usize = LISTED_MAX + 1024;
/// Trusted answers in a row that must lack a thing before it is absent.
const MISSES: u32 = 2;

/// How a source is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// For how long a source must lack more than half before it is believed.
    pub shrink_after_ms: u64,
    /// The least time between the two answers that make a thing absent.
    pub confirm_ms: u64,
}

/// What a source has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All that there is.
    Whole(Listing),
    /// A part of it, and why not all.
    Part(Listing, String),
    /// Nothing, and why.
    Failed(String),
    /// That one thing is gone: a statement, not a listing that lacks it.
    Gone(Thing),
}

/// Why an answer is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is empty, and something was there.
    Empty,
    /// It lists less than half of what was there.
    Shrunken,
    /// It is not whole.
    Partial(String),
    /// There is none.
    Failed(String),
}

impl Why {
    /// One word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Shrunken => "shrunken",
            Self::Partial(_) => "partial",
            Self::Failed(_) => "failed",
        }
    }
}

/// What the last answers were worth.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nothing has been answered in this run.
    #[default]
    Unasked,
    /// The last answer is trusted.
    Fresh,
    /// Since a time, no answer has been trusted; the last reason why.
    Stale(u64, Why),
}

/// How a source is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// What the last answers were worth.
    pub standing: Standing,
    /// The last trusted answer.
    pub trusted_ms: Option<u64>,
    /// Things that answers had beyond [`LISTED_MAX`].
    pub left_out: u64,
    /// Things that were forgotten to keep within [`KEPT_MAX`].
    pub forgotten: u64,
}

/// One thing and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What was last said about it.
    pub facts: Facts,
    /// When it was first listed.
    pub first_seen_ms: u64,
    /// When it was last listed.
    pub last_seen_ms: u64,
    /// Since when it is absent.
    pub absent_since_ms: Option<u64>,
    /// Whether it comes and goes.
    pub damping: Damping,
    /// Trusted answers in a row that lack it, and when the first did.
    missed: (u32, u64),
}

impl Kept {
    /// Something that was kept before this run.
    pub fn restored(
        facts: Facts,
        first_seen_ms: u64,
        last_seen_ms: u64,
        absent: Option<u64>,
    ) -> Self {
        Self {
            facts,
            first_seen_ms,
            last_seen_ms,
            absent_since_ms: absent,
            damping: Damping::default(),
            missed: (0, 0),
        }
    }

    /// Whether it is there, as far as is known.
    pub fn is_present(&self) -> bool {
        self.absent_since_ms.is_none()
    }
}

/// What an answer has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Listed for the first time.
    pub appeared: Vec<Thing>,
    /// Listed again after an absence.
    pub returned: Vec<Thing>,
    /// Listed with other facts.
    pub changed: Vec<Thing>,
    /// Absent from now on.
    pub gone: Vec<Thing>,
    /// Not used from now on, because they come and go.
    pub damped: Vec<Thing>,
    /// Used again, after a rest.
    pub steady: Vec<Thing>,
    /// Forgotten, to keep within bounds.
    pub forgotten: Vec<Thing>,
    /// Listed beyond the bound.
    pub left_out: usize,
    /// Whether the source's standing is another one.
    pub turn: Option<Turn>,
}

/// A change of a source's standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Not trusted from now on.
    Doubted {
        /// Why.
        why: Why,
        /// So many things were listed.
        listed: usize,
        /// So many are kept.
        kept: usize,
    },
    /// Trusted again.
    Recovered {
        /// After so long.
        after_ms: u64,
    },
    /// A set that shrank by more than half is believed, because the source has not said anything else.
    Believed {
        /// For so long.
        after_ms: u64,
        /// So many things were listed.
        listed: usize,
        /// So many were kept.
        kept: usize,
    },
}

/// What is believed of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    policy: Policy,
    things: BTreeMap<Thing, Kept>,
    health: Health,
    /// Since when the source has answered, without a break, with less than half of what was there.
    shrunken_since_ms: Option<u64>,
}

impl Keeper {
    /// Nothing is known yet.
    pub fn new(policy: Policy) -> Self {
        Self::restored(policy, BTreeMap::new())
    }

    /// What was known in an earlier run: kept, until the source says more.
    pub fn restored(policy: Policy, things: BTreeMap<Thing, Kept>) -> Self {
        Self { policy, things, health: Health::default(), shrunken_since_ms: None }
    }

    /// How the source is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// All things that are kept.
    pub fn things(&self) -> &BTreeMap<Thing, Kept> {
        &self.things
    }

    /// Whether something was missed and waits for a second answer.
    pub fn awaits_confirmation(&self) -> bool {
        self.things.values().any(|kept| kept.is_present() && kept.missed.0 > 0)
    }

    /// Judges an answer.
    pub fn observe(&mut self, now_ms: u64, answer: Answer) -> Changes {
        let mut changes = Changes::default();
        let answer = match answer {
            Answer::Whole(listing) => match listing.refused().map(str::to_owned) {
                Some(why) => Answer::Part(listing, why),
                None => Answer::Whole(listing),
            },
            answer => answer,
        };
        match answer {
            Answer::Failed(why) => self.doubt(now_ms, Why::Failed(why), 0, &mut changes),
            Answer::Part(listing, why) => {
                let listed = listing.len();
                self.add(now_ms, listing, &mut changes);
                self.doubt(now_ms, Why::Partial(why), listed, &mut changes);
            }
            Answer::Whole(listing) => self.whole(now_ms, listing, &mut changes),
            Answer::Gone(thing) => {
                if let Some(kept) = self.things.get_mut(&thing).filter(|kept| kept.is_present()) {
                    kept.absent_since_ms = Some(now_ms);
                    changes.gone.push(thing);
                }
            }
        }
        for (thing, kept) in &mut self.things {
            if kept.damping.rested(now_ms) {
                changes.steady.push(thing.clone());
            }
        }
        self.forget(&mut changes);
        changes
    }

    /// The endpoints that may be used for `release`, or for anything. Those that are there and steady; if
    /// there are none, those that are there; if there are none, those that went last: a set that had a
    /// member keeps one.
    pub fn members<'a>(
        &'a self,
        release: Option<&'a Release>,
    ) -> Vec<(&'a BackendAddress, &'a Endpoint)> {
        let all: Vec<_> = self.endpoints(release).collect();
        let last = all.iter().map(|(.., kept)| kept.absent_since_ms).max().flatten();
        let steady = |kept: &Kept| kept.is_present() && !kept.damping.is_damped();
        let pick = |wanted: &dyn Fn(&Kept) -> bool| -> Vec<(&BackendAddress, &Endpoint)> {
            let wanted = all.iter().filter(|(.., kept)| wanted(kept));
            wanted.map(|(address, endpoint, _)| (*address, *endpoint)).collect()
        };
        [pick(&steady), pick(&Kept::is_present)]
            .into_iter()
            .find(|members| !members.is_empty())
            .unwrap_or_else(|| pick(&|kept: &Kept| kept.absent_since_ms == last))
    }

    /// The endpoints for `release`, or for anything, that are there: none where all have gone.
    pub fn present_members<'a>(&'a self, release: Option<&'a Release>) -> Vec<&'a BackendAddress> {
        let there = self.endpoints(release).filter(|(.., kept)| kept.is_present());
        there.map(|(address, ..)| address).collect()
    }

    fn endpoints<'a>(
        &'a self,
        release: Option<&'a Release>,
    ) -> impl Iterator<Item = (&'a BackendAddress, &'a Endpoint, &'a Kept)> {
        let fits = move |endpoint: &Endpoint| {
            endpoint.serves.is_empty()
                || release.is_none_or(|release| endpoint.serves.contains(release))
        };
        self.things.iter().filter_map(move |(thing, kept)| match (thing, &kept.facts) {
            (Thing::Backend(address), Facts::Backend(endpoint)) if fits(endpoint) => {
                Some((address, endpoint, kept))
            }
            _ => None,
        })
    }

    fn present(&self) -> usize {
        self.things.values().filter(|kept| kept.is_present()).count()
    }

    fn whole(&mut self, now_ms: u64, listing: Listing, changes: &mut Changes) {
        let (listed, kept) = (listing.len(), self.present());
        if listed == 0 && kept > 0 {
            self.doubt(now_ms, Why::Empty, listed, changes);
            return;
        }
        if listed * 2 < kept {
            let since = *self.shrunken_since_ms.get_or_insert(now_ms);
            let after_ms = now_ms.saturating_sub(since);
            if after_ms < self.policy.shrink_after_ms {
                self.add(now_ms, listing, changes);
                self.stale(now_ms, Why::Shrunken, listed, changes);
                return;
            }
            // It is said once; the answer that confirms it lacks as much.
            self.trust(now_ms, listing, changes);
            if changes.turn.is_some() {
                changes.turn = Some(Turn::Believed { after_ms, listed, kept });
            }
            return;
        }
        self.shrunken_since_ms = None;
        self.trust(now_ms, listing, changes);
    }

    fn trust(&mut self, now_ms: u64, listing: Listing, changes: &mut Changes) {
        let missing: Vec<Thing> = self
            .things
            .iter()
            .filter(|(thing, kept)| kept.is_present() && !listing.has(thing))
            .map(|(thing, _)| thing.clone())
            .collect();
        self.add(now_ms, listing, changes);
        for thing in missing {
            let Some(kept) = self.things.get_mut(&thing) else { continue };
            let (count, first_ms) = kept.missed;
            let first_ms = if count == 0 { now_ms } else { first_ms };
            kept.missed = (count.saturating_add(1), first_ms);
            let confirmed = now_ms.saturating_sub(first_ms) >= self.policy.confirm_ms;
            if kept.missed.0 >= MISSES && confirmed {
                kept.absent_since_ms = Some(first_ms);
                kept.missed = (0, 0);
                changes.gone.push(thing);
            }
        }
        if let Standing::Stale(since_ms, _) = self.health.standing {
            changes.turn = Some(Turn::Recovered { after_ms: now_ms.saturating_sub(since_ms) });
        }
        self.health.standing = Standing::Fresh;
        self.health.trusted_ms = Some(now_ms);
    }

    /// Adds and refreshes what is listed.
    fn add(&mut self, now_ms: u64, listing: Listing, changes: &mut Changes) {
        let left_out = listing.len().saturating_sub(LISTED_MAX);
        changes.left_out += left_out;
        self.health.left_out += left_out as u64;
        for (thing, facts) in listing.into_things().take(LISTED_MAX) {
            let Some(kept) = self.things.get_mut(&thing) else {
                changes.appeared.push(thing.clone());
                self.things.insert(thing, Kept::restored(facts, now_ms, now_ms, None));
                continue;
            };
            if kept.facts != facts {
                kept.facts = facts;
                changes.changed.push(thing.clone());
            }
            kept.last_seen_ms = now_ms;
            kept.missed = (0, 0);
            if kept.absent_since_ms.take().is_some() {
                if kept.damping.returned(now_ms) {
                    changes.damped.push(thing.clone());
                }
                changes.returned.push(thing);
            }
        }
    }

    /// An answer that says nothing about how much is there.
    fn doubt(&mut self, now_ms: u64, why: Why, listed: usize, changes: &mut Changes) {
        self.shrunken_since_ms = None;
        self.stale(now_ms, why, listed, changes);
    }

    fn stale(&mut self, now_ms: u64, why: Why, listed: usize, changes: &mut Changes) {
        // Two answers in a row make a thing absent: this one is between them.
        for kept in self.things.values_mut() {
            kept.missed = (0, 0);
        }
        let (since_ms, same) = match &self.health.standing {
            Standing::Stale(since_ms, before) => (*since_ms, before.as_str() == why.as_str()),
            Standing::Unasked | Standing::Fresh => (now_ms, false),
        };
        if !same {
            changes.turn = Some(Turn::Doubted { why: why.clone(), listed, kept: self.present() });
        }
        self.health.standing = Standing::Stale(since_ms, why);
    }

    fn forget(&mut self, changes: &mut Changes) {
        let over = self.things.len().saturating_sub(KEPT_MAX);
        if over == 0 {
            return;
        }
        let gone =
            self.things.iter().filter_map(|(thing, kept)| Some((kept.absent_since_ms?, thing)));
        let mut gone: Vec<(u64, Thing)> = gone.map(|(at, thing)| (at, thing.clone())).collect();
        gone.sort_unstable();
        // What is there and was not listed in a doubted answer goes last.
        let mut unlisted: Vec<(u64, Thing)> = self
            .things
            .iter()
            .filter(|(_, kept)| kept.is_present())
            .map(|(thing, kept)| (kept.last_seen_ms, thing.clone()))
            .collect();
        unlisted.sort_unstable();
        for (_, thing) in gone.into_iter().chain(unlisted).take(over) {
            self.things.remove(&thing);
            self.health.forgotten += 1;
            changes.forgotten.push(thing);
        }
    }
}
