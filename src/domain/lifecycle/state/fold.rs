//! The fold: an event and the state before it give the state after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{
    CONDEMNED_MAX, Condemned, Deaths, EVICTIONS_MAX, MODELS_MAX, Model, PUBLISHERS_MAX,
    STARTED_MAX, Signed, State, VERSIONS_MAX, Version,
};
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::event::{Event, FORMAT, Mark, Move, Scope, What};
use crate::domain::lifecycle::explain::way;
use crate::domain::lifecycle::proof::Verdict;
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::stage::{Edge, Illegal, Placed, Rest, Stage};
use crate::domain::lifecycle::time::Steady;

/// An event that does not fit the state before it: the journal is damaged, or of a newer program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// Written by a newer program.
    #[error("the event has format {0}; this program reads up to {FORMAT}")]
    Format(u32),
    /// An event is missing or stands twice.
    #[error("event {found} follows event {last}")]
    Gap {
        /// The last event.
        last: u64,
        /// The one that came.
        found: u64,
    },
    /// It speaks of something that does not exist.
    #[error("there is no version {1} of model {0}")]
    Unknown(ModelName, VersionName),
    /// A version is told of for the second time while the first is still there.
    #[error("version {1} of model {0} exists already")]
    Exists(ModelName, VersionName),
    /// The table is full.
    #[error("model {0} has {VERSIONS_MAX} versions")]
    Full(ModelName),
    /// There are too many models.
    #[error("there are {MODELS_MAX} models already")]
    Models,
    /// A version cannot go that way.
    #[error("version {1} of model {0} cannot go there")]
    Illegal(ModelName, VersionName, #[source] Illegal),
    /// Two versions would answer at once, or be on trial at once.
    #[error("model {0} would have two {1} versions")]
    Two(ModelName, &'static str),
    /// A content that is condemned would serve.
    #[error("version {1} of model {0} is condemned")]
    Condemned(ModelName, VersionName),
}

impl State {
    /// Takes in the next event. On an error nothing has changed.
    ///
    /// # Errors
    ///
    /// [`FoldError`] if the event does not fit.
    pub fn apply(&mut self, event: &Event) -> Result<(), FoldError> {
        if event.v > FORMAT {
            return Err(FoldError::Format(event.v));
        }
        if event.seq != self.seq + 1 {
            return Err(FoldError::Gap { last: self.seq, found: event.seq });
        }
        let at = event.at.steady;
        match &event.what {
            What::Sighted { model, version, release } => {
                self.sighted(event, model, version, release)?;
            }
            What::Moved { model, moves, .. } => self.moved(event, model, moves)?,
            What::Proven { model, version } => {
                self.version_mut(model, version)?.proven.get_or_insert(at);
            }
            What::Marked { model, version, mark, on } => {
                let signed = on.then(|| Signed { by: event.by.clone(), at });
                let version = self.version_mut(model, version)?;
                match mark {
                    Mark::Pinned => version.pinned = signed,
                    Mark::Held => version.held = signed,
                    Mark::Approved => version.approved = signed,
                }
            }
            What::Killed { scope, on } => {
                let signed = on.then(|| Signed { by: event.by.clone(), at });
                match scope {
                    Scope::Gateway => self.killed = signed,
                    Scope::Model(model) => {
                        self.model_mut(model).killed = signed;
                    }
                    Scope::Version(model, version) => self.cut_off(model, version, signed),
                }
            }
            What::Alerted { model, alert, on, .. } => {
                let alerts = &mut self.model_mut(model).alerts;
                if *on {
                    alerts.insert(alert.clone())
                } else {
                    alerts.remove(alert)
                };
            }
            What::Forgotten { model, version } => {
                self.version_mut(model, version)?;
                if let Some(entry) = self.models.get_mut(model).map(Arc::make_mut) {
                    let gone = entry.versions.remove(version);
                    // What cut its name off goes on to do so.
                    if let Some(signed) = gone.and_then(|gone| gone.killed.clone()) {
                        entry.killed_names.insert(version.clone(), signed);
                    }
                    entry.alerts.retain(|alert| !alert.is_about(version));
                }
            }
            What::Recovered => self.recovered(at),
            What::Died { .. } => self.died(at),
            What::ClockSet { doubtful_until, .. } => {
                self.clock.doubtful_until = Some(*doubtful_until);
            }
            What::Ticked => {}
        }
        if let Some(model) = event.what.model()
            && let Some(model) = self.models.get_mut(model).map(Arc::make_mut)
        {
            model.generation += 1;
        }
        self.seq = event.seq;
        self.clock.last = event.at;
        Ok(())
    }

    /// A version enters the table.
    fn sighted(
        &mut self,
        event: &Event,
        model: &ModelName,
        version: &VersionName,
        release: &Release,
    ) -> Result<(), FoldError> {
        let known = self.model(model);
        if known.is_none() && self.models.len() >= MODELS_MAX {
            return Err(FoldError::Models);
        }
        let before = known.and_then(|model| model.version(version));
        if before.is_some_and(|known| !known.is_past()) {
            return Err(FoldError::Exists(model.clone(), version.clone()));
        }
        if before.is_none() && known.is_some_and(|model| model.versions.len() >= VERSIONS_MAX) {
            return Err(FoldError::Full(model.clone()));
        }
        let at = event.at.steady;
        // Another content under a name does not end what cut the name off.
        let killed = before.and_then(|before| before.killed.clone());
        let entry = self.model_mut(model);
        let killed = entry.killed_names.remove(version).or(killed);
        let fresh = Version {
            release: release.clone(),
            order: event.seq,
            discovered: at,
            placed: Placed { since: at, more: None, stage: Stage::first(), told: None },
            pinned: None,
            held: None,
            killed,
            approved: None,
            proven: None,
            lived: None,
            released: None,
            rollout: 0,
            deaths: Deaths::default(),
            agreed: None,
            agreed_with: None,
        };
        entry.versions.insert(version.clone(), Arc::new(fresh));
        Ok(())
    }

    /// Cuts a version off, or no longer: one that is in no table by its name.
    fn cut_off(&mut self, model: &ModelName, version: &VersionName, signed: Option<Signed>) {
        let model = self.model_mut(model);
        match (model.versions.get_mut(version), signed) {
            (Some(known), signed) => Arc::make_mut(known).killed = signed,
            (None, Some(signed)) => {
                model.killed_names.insert(version.clone(), signed);
            }
            (None, None) => {
                model.killed_names.remove(version);
            }
        }
    }

    /// A model, which enters the table if it is not there.
    fn model_mut(&mut self, model: &ModelName) -> &mut Model {
        Arc::make_mut(self.models.entry(model.clone()).or_default())
    }

    fn version_mut(
        &mut self,
        model: &ModelName,
        version: &VersionName,
    ) -> Result<&mut Version, FoldError> {
        let unknown = || FoldError::Unknown(model.clone(), version.clone());
        // What is not there must not cost a copy of the model.
        if self.model(model).and_then(|entry| entry.version(version)).is_none() {
            return Err(unknown());
        }
        let entry = self.models.get_mut(model).map(Arc::make_mut);
        let known = entry.and_then(|entry| entry.versions.get_mut(version));
        known.map(Arc::make_mut).ok_or_else(unknown)
    }

    /// Trials begin their stage anew: what was counted in memory is gone.
    fn recovered(&mut self, at: Steady) {
        let restarts = |version: &Version| {
            version.placed.stage.is_on_trial()
                || matches!(version.placed.stage, Stage::Warming(_) | Stage::Draining(_))
        };
        for model in self.models.values_mut() {
            if !model.versions().any(|(_, version)| restarts(version)) {
                continue;
            }
            let versions = Arc::make_mut(model).versions.values_mut();
            for version in versions.filter(|version| restarts(version)) {
                let placed = &mut Arc::make_mut(version).placed;
                (placed.since, placed.more) = (at, None);
            }
        }
    }

    fn moved(&mut self, event: &Event, name: &ModelName, moves: &[Move]) -> Result<(), FoldError> {
        let at = event.at.steady;
        let Some(model) = self.models.get_mut(name) else {
            let first = moves.first().map_or_else(|| VersionName::new("?"), |m| m.version.clone());
            return Err(FoldError::Unknown(name.clone(), first));
        };
        let next = model.after(name, moves)?;
        let model = Arc::make_mut(model);
        let ended = moves.iter().any(|m| {
            model.versions.get(&m.version).is_some_and(|version| version.stage().is_on_trial())
                && next.iter().any(|(v, stage)| *v == m.version && !stage.is_on_trial())
        });
        let began = moves.iter().any(|m| matches!(m.edge, Edge::Validate(_)));
        match (ended, began) {
            (true, true) => model.superseded += 1,
            (true, false) => model.superseded = 0,
            (false, _) => {}
        }
        for (version, stage) in next {
            if let Some(entry) = model.versions.get_mut(&version).map(Arc::make_mut) {
                let told = matches!(stage, Stage::Live(_) | Stage::Standby(_));
                let told = told.then(|| format!("{} (event {})", way(event), event.seq));
                // More time is no other stay.
                let goes_on =
                    moves.iter().any(|m| m.version == version && matches!(m.edge, Edge::Extend(_)));
                let (since, more) = match goes_on {
                    true => (entry.placed.since, Some(at)),
                    false => (at, None),
                };
                entry.placed = Placed { since, more, stage, told };
            }
        }
        for m in moves {
            self.follows(event, name, m);
        }
        Ok(())
    }

    /// What an edge changes besides the stage.
    fn follows(&mut self, event: &Event, name: &ModelName, m: &Move) {
        let at = event.at.steady;
        let Some(model) = self.models.get_mut(name).map(Arc::make_mut) else { return };
        // Thousands of versions are gone through for the one edge only that asks.
        let is_exposed = matches!(m.edge, Edge::Expose(..));
        let champion = is_exposed.then(|| model.champion()).flatten();
        let champion = champion.map(|(_, live)| live.release.digest.clone());
        let Some(version) = model.versions.get_mut(&m.version).map(Arc::make_mut) else { return };
        let publisher = version.release.publisher.clone();
        match &m.edge {
            Edge::Validate(_) => {
                model.rollouts += 1;
                version.rollout = model.rollouts;
                version.deaths = Deaths::default();
                (version.agreed, version.agreed_with) = (None, None);
                keep(&mut model.started, at, STARTED_MAX);
            }
            Edge::Expose(tried, _) => {
                (version.agreed, version.agreed_with) = (tried.evidence().agreement_low, champion);
            }
            Edge::Begin(_) | Edge::Promote(_) | Edge::Return(_) | Edge::Recall(_) => {
                version.lived = Some(at);
                version.released.get_or_insert(at);
                if matches!(&m.edge, Edge::Promote(proof) if proof.is_proof()) {
                    version.proven.get_or_insert(at);
                }
                // Who took over because nobody else answered has shown nothing for its publisher.
                let is_shown =
                    !matches!(&m.edge, Edge::Promote(proof) if proof.absence().is_some());
                if let Some(publisher) = publisher.filter(|_| is_shown) {
                    self.publishers.remove(&publisher);
                }
            }
            Edge::Quarantine(verdict, _) | Edge::Drain(Rest::Quarantined(verdict)) => {
                let digest = version.release.digest.clone();
                model.condemn(event.seq, &m.version, digest, verdict);
                if let Some(publisher) = publisher.filter(|_| verdict.gate.blames_publisher()) {
                    blame(&mut self.publishers, publisher);
                }
            }
            Edge::Retry => {
                version.approved = Some(Signed { by: event.by.clone(), at });
                let digest = version.release.digest.clone();
                model.condemned.remove(&digest);
            }
            // Whoever brings it back lets it be loaded again.
            Edge::Restore => version.deaths = Deaths::default(),
            Edge::Evict(_) => {
                model.last_eviction = Some(at);
                keep(&mut self.evictions, at, EVICTIONS_MAX);
            }
            Edge::Stage
            | Edge::Warm(_)
            | Edge::Try(_)
            | Edge::Ready(_)
            | Edge::Step(..)
            | Edge::Extend(_)
            | Edge::StandBy
            | Edge::Drain(Rest::Retired(_))
            | Edge::Drained(_)
            | Edge::Retire(_)
            | Edge::Delete => {}
        }
    }
}

/// Remembers a moment, and at most so many.
fn keep(moments: &mut VecDeque<Steady>, at: Steady, most: usize) {
    moments.push_back(at);
    if moments.len() > most {
        moments.pop_front();
    }
}

/// Counts a failure; a full table first strikes whoever has failed least.
fn blame(publishers: &mut BTreeMap<String, u32>, publisher: String) {
    if publishers.len() >= PUBLISHERS_MAX && !publishers.contains_key(&publisher) {
        let least = publishers.iter().min_by_key(|(_, failures)| **failures);
        if let Some(least) = least.map(|(name, _)| name.clone()) {
            publishers.remove(&least);
        }
    }
    *publishers.entry(publisher).or_default() += 1;
}

impl Model {
    /// The stages after `moves`; checks what must hold between versions.
    fn after(
        &self,
        name: &ModelName,
        moves: &[Move],
    ) -> Result<Vec<(VersionName, Stage)>, FoldError> {
        let mut next: Vec<(VersionName, Stage)> = Vec::with_capacity(moves.len());
        for m in moves {
            let unknown = || FoldError::Unknown(name.clone(), m.version.clone());
            let version = self.versions.get(&m.version).ok_or_else(unknown)?;
            let illegal = |cause| FoldError::Illegal(name.clone(), m.version.clone(), cause);
            let stage = version.placed.stage.clone().follow(&m.edge).map_err(illegal)?;
            let condemned = self.condemned.contains_key(&version.release.digest);
            if condemned && stage.wants_loaded() {
                return Err(FoldError::Condemned(name.clone(), m.version.clone()));
            }
            next.push((m.version.clone(), stage));
        }
        let moved = |name: &VersionName| next.iter().any(|(moved, _)| moved == name);
        let resting = self.versions().filter(|(name, _)| !moved(name)).map(|(_, v)| v.stage());
        let (mut live, mut trial) = (0, 0);
        for stage in resting.chain(next.iter().map(|(_, stage)| stage)) {
            live += usize::from(matches!(stage, Stage::Live(_)));
            trial += usize::from(stage.is_on_trial());
        }
        if live > 1 {
            return Err(FoldError::Two(name.clone(), "live"));
        }
        if trial > 1 {
            return Err(FoldError::Two(name.clone(), "candidate"));
        }
        Ok(next)
    }

    fn condemn(&mut self, seq: u64, version: &VersionName, digest: Digest, verdict: &Verdict) {
        // The champion may carry the same content under another name: then it is not the content.
        let serves = self.champion().is_some_and(|(_, live)| live.release.digest == digest);
        if !verdict.gate.condemns() || serves {
            return;
        }
        let entry = Condemned { seq, version: version.clone(), verdict: verdict.clone() };
        self.condemned.entry(digest).or_insert(entry);
        if self.condemned.len() > CONDEMNED_MAX {
            let oldest = self.condemned.iter().min_by_key(|(_, condemned)| condemned.seq);
            if let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) {
                self.condemned.remove(&oldest);
            }
        }
    }
}

impl Version {
    /// Whether its entry may be replaced by that of another release.
    fn is_past(&self) -> bool {
        matches!(self.stage(), Stage::Evicted(_) | Stage::Quarantined(_))
    }

    /// Whether another release may take its name now: nothing that an operator has set is lost by it, and nothing
    /// that can still be restored.
    pub(in crate::domain::lifecycle) fn gives_way(&self) -> bool {
        let is_marked = self.killed.is_some() || self.pinned.is_some() || self.held.is_some();
        let is_over = match self.stage() {
            Stage::Evicted(evicted) => evicted.is_deleted(),
            Stage::Quarantined(_) => true,
            _ => false,
        };
        is_over && !is_marked
    }
}
