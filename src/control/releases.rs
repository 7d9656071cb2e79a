//! The life cycle at work: versions come to answer clients, and go, without a person.
//!
//! Owns the loop around the plan of [`lifecycle`](crate::domain::lifecycle): what is seen is put together, the plan
//! is made, each of its events is written down before anything follows from it, routes are published, and what
//! is left to do is done. Takes the orders of operators in between. Never decides by itself, and never
//! touches a request.
//!
//! ```text
//! discovery, counts, work that ended ─▶ observed ─┐
//! journal ─▶ state ──────────────────────────────┴▶ plan ─┬─▶ events ─▶ journal ─▶ state ─▶ routes ─▶ snapshot
//! orders ─────────────────────────────────────────────────┘└─▶ effects: fetch, check, warm, load, unload, delete
//! ```
//!
//! Everything is level-triggered: a plan that was lost with its process is made again from the journal. Only models
//! that something has happened to, or that have versions on their way, are gone through at once; the others in turn.

mod capacity;
mod content;
mod due;
mod effects;
mod examine;
mod farewell;
mod feeds;
mod golden;
mod governed;
mod guests;
mod handle;
mod ledger;
mod loaded;
mod observe;
mod orders;
mod routes;
mod sightings;
mod store;
#[cfg(test)]
pub(super) mod tests;
mod trials;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use self::due::{Due, Turn};
pub use self::farewell::take_leave;
pub(super) use self::handle::Ask;
pub use self::handle::{CarriedOut, Moves, NotCarriedOut, ReleasesHandle, View};
pub use self::ledger::LedgerError;

use self::farewell::Farewell;
use self::feeds::Feeds;
use self::golden::GoldenFiles;
use self::governed::Governed;
use self::handle::Desk;
use self::ledger::Ledger;
use self::loaded::Loaded;
use self::routes::Routes;
use self::sightings::Sightings;
use self::store::Store;
use self::trials::Trials;
use self::work::{Report, Task, Work};
use super::discovery::DiscoveryHandle;
use super::load::Loader;
use super::members::Members;
use super::{LoadedModels, events::Events};
use crate::domain::discovery::Seen;
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::event::{Draft, Event, Subject, What};
use crate::domain::lifecycle::observed::Observed;
use crate::domain::lifecycle::plan::{Plan, Policies, plan_for};
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::{Model, Version};
use crate::domain::routing::TargetKind;
use crate::domain::spec::Intent;
use crate::monitor::{MonitorReader, QualityReader};
use crate::snapshot::{Replays, Trial};
use crate::telemetry::Registry;
use crate::telemetry::logging::chain;

/// A version of a model.
type Key = (ModelName, VersionName);

/// How often the plan is made though nothing has happened.
const TICK: Duration = Duration::from_millis(500);
/// How long nothing is written after the journal could not be.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);
/// Drafts of one plan that are written, together; then all is planned anew, on what is seen by then.
const TOGETHER_MAX: usize = 256;
/// How long a draft that does not fit is passed over, so that what stands behind it has its turn.
const PASSED_OVER: Duration = Duration::from_secs(60);
/// Drafts that are passed over at a time.
const PASSED_OVER_MAX: usize = 1024;

/// The life cycle of all versions.
#[derive(Debug)]
pub struct Releases {
    intent: Arc<Intent>,
    governed: Governed,
    policies: Arc<Policies>,
    ledger: Ledger,
    desk: Desk,
    registry: Arc<Registry>,
    loader: Arc<Loader>,
    seen: Arc<Seen>,
    sightings: Sightings,
    store: Store,
    /// Contents that are on disk here.
    stored: BTreeSet<(Key, Digest)>,
    /// Contents that lie elsewhere and are not to be used again.
    given_up: BTreeSet<(Key, Digest)>,
    loaded: Loaded,
    work: Work,
    observed: Observed,
    /// The same, as it was last shown; `None` once anything is seen that differs.
    shown: Option<Arc<Observed>>,
    /// Times that a source has named a model for which there is no room.
    left_out: u64,
    /// Exchanges that have ended, and failed, by version: what tells that somebody has asked.
    exchanges: BTreeMap<Key, Ended>,
    /// Who is gone through next.
    due: Due,
    /// Drafts that do not fit, until when they are passed over.
    passed_over: BTreeMap<Subject, Instant>,
    routes: Routes,
    /// Models whose routes may differ from those that are published.
    unrouted: Unrouted,
    trials: Trials,
    feeds: Feeds,
    golden: GoldenFiles,
    replays: Replays,
    tick: Option<Interval>,
    /// The journal has refused an event: nothing is written before then.
    rests_until: Option<Instant>,
}

/// Exchanges of a version that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ended {
    all: u64,
    failed: u64,
    /// Answered by the version.
    answered: u64,
    /// Failed by it, and by nobody else.
    lost: u64,
}

/// What has come to pass.
#[derive(Debug)]
pub(super) enum Happened {
    /// Somebody gives an order.
    Asked(Ask),
    /// A piece of work has ended.
    Ended(Report),
    /// Time has passed.
    Ticked,
}

/// How far one step of a round has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Something has changed: there may be more to do.
    Again,
    /// There is nothing more to do now.
    Rest,
}

/// Which routes are made again.
#[derive(Debug)]
enum Unrouted {
    /// Those of these models.
    Of(BTreeSet<ModelName>),
    /// All of them, and they are published whatever they are.
    All,
}

/// What is to be published.
#[derive(Debug)]
pub(super) struct Publication {
    /// The configured intent with the versions, shares and switches of the life cycle in it.
    pub(super) intent: Intent,
    /// Versions that take no requests, though their names stand in it.
    pub(super) closed: BTreeSet<TargetKind>,
    /// What is counted of versions on trial.
    pub(super) trials: BTreeMap<ModelName, Arc<Trial>>,
}

impl Releases {
    /// Takes up what is written below `data_dir`. Blocks.
    ///
    /// # Errors
    ///
    /// The journal cannot be read or written.
    pub fn open(
        intent: &Arc<Intent>,
        registry: Arc<Registry>,
        events: Arc<Events>,
        discovery: &DiscoveryHandle,
        (monitor, quality): (MonitorReader, QualityReader),
        replays: Replays,
    ) -> Result<(Self, ReleasesHandle), LedgerError> {
        let farewell = Farewell::of(&intent.data_dir);
        let ledger = Ledger::open(&intent.data_dir, events, farewell.is_missing())?;
        if !ledger.has_waiting() {
            // What is written counts; what is not is found again by the next process.
            farewell.take();
        }
        let governed = Governed::new(Arc::clone(intent));
        let policies = Arc::new(governed.policies());
        let first = View {
            state: Arc::clone(ledger.state()),
            policies: Arc::clone(&policies),
            now: ledger.now(),
            ..View::default()
        };
        let (desk, handle) = handle::channel(first);
        let trials = Trials::new(registry.workers());
        let observed = Observed { began: ledger.began(), ..Observed::default() };
        let releases = Self {
            intent: Arc::clone(intent),
            governed,
            policies,
            ledger,
            desk,
            registry,
            loader: Arc::new(Loader::new(intent)),
            seen: discovery.seen(),
            sightings: Sightings::default(),
            store: Store::new(&intent.data_dir),
            stored: BTreeSet::new(),
            given_up: BTreeSet::new(),
            loaded: Loaded::open(&intent.data_dir),
            work: Work::default(),
            observed,
            shown: None,
            left_out: 0,
            exchanges: BTreeMap::new(),
            due: Due::default(),
            passed_over: BTreeMap::new(),
            routes: Routes::default(),
            unrouted: Unrouted::All,
            trials,
            feeds: Feeds::new(monitor, quality),
            golden: GoldenFiles::default(),
            replays,
            tick: None,
            rests_until: None,
        };
        Ok((releases, handle))
    }

    /// Where events are told.
    pub(super) fn events(&self) -> &Arc<Events> {
        self.ledger.events()
    }

    /// Waits until what was told is in its file. Blocks.
    pub(super) fn flush_events(&self) {
        self.ledger.flush_events();
    }

    /// Whether the life cycle decides about `model`.
    pub(super) fn governs(&self, model: &ModelName) -> bool {
        self.governed.has(model)
    }

    /// Whether any version is written down: its servers may have to be found before it answers.
    pub fn has_versions(&self) -> bool {
        self.ledger.state().models().any(|(_, model)| model.versions().next().is_some())
    }

    /// Looks at what is on disk: what operators have named, and what was fetched.
    ///
    /// # Errors
    ///
    /// The look did not end. Nothing is known then of what is there, and what is not known must not count as gone.
    pub(super) async fn begin(&mut self) -> Result<(), String> {
        let (intent, store) = (Arc::clone(&self.intent), self.store.clone());
        let state = Arc::clone(self.ledger.state());
        let looked = tokio::task::spawn_blocking(move || {
            (Sightings::read_named(&intent), store.take_up(&state))
        });
        let (named, stored) = looked.await.map_err(|gone| gone.to_string())?;
        self.sightings.name(named);
        self.stored = stored;
        // What is known of servers may be older than what is written down.
        let state = Arc::clone(self.ledger.state());
        self.loaded.guests().retain(|(model, version)| {
            state.model(model).is_some_and(|model| model.version(version).is_some())
        });
        Ok(())
    }

    /// From now on requests are answered: if the process ends without a farewell, the next one knows.
    pub(super) async fn begin_to_serve(&self) {
        let farewell = Farewell::of(&self.intent.data_dir);
        let marked = tokio::task::spawn_blocking(move || farewell.owe()).await;
        if marked.is_err() {
            tracing::warn!("whether this process ends with a farewell will not be known");
        }
    }

    /// Takes in a view of discovery.
    pub(super) fn see(&mut self, seen: Arc<Seen>) {
        self.sightings.look(&seen);
        for model in self.loaded.meet(&self.seen, &seen) {
            self.touch(&model);
        }
        self.seen = seen;
        self.take_in_sightings();
    }

    /// Takes servers that have not shown yet who they are out of those that clients are sent to.
    pub(super) fn keep_out(&self, members: &mut Members) {
        self.loaded.keep_out(members);
    }

    /// Waits for something to happen. Loses nothing when it is dropped before that.
    pub(super) async fn next(&mut self) -> Happened {
        let tick = self.tick.get_or_insert_with(|| {
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick
        });
        tokio::select! {
            // Orders go first: one of them may be a kill switch.
            biased;
            Some(ask) = self.desk.next() => Happened::Asked(ask),
            report = self.work.next() => Happened::Ended(report),
            _ = tick.tick() => Happened::Ticked,
        }
    }

    /// An order that waits.
    pub(super) fn waiting(&mut self) -> Option<Ask> {
        self.desk.waiting()
    }

    /// Time has passed: whose turn it is, and once a minute what was counted of those that serve.
    pub(super) fn tick(&mut self) {
        self.due.tick(self.observed.models.iter().map(|(name, seen)| (name, seen.versions.len())));
        if self.feeds.is_due() {
            self.feel();
        }
        self.read_golden_files();
    }

    /// Begins to load what was live when the last process ended, and what stood by: before any plan, so that
    /// nothing that is new holds it up.
    pub(super) fn wake(&mut self) {
        let state = Arc::clone(self.ledger.state());
        let champions = state.models().filter_map(|(name, model)| Some((name, model.champion()?)));
        let standbys = state.models().flat_map(|(name, model)| {
            model.standbys().into_iter().map(move |standby| (name, standby))
        });
        for (name, (version, known)) in champions.chain(standbys) {
            let key = (name.clone(), version.clone());
            self.load(key, known.release().digest.clone());
        }
    }

    /// Whether a version that is written down to answer is still being loaded.
    pub(super) fn is_waking(&self) -> bool {
        let open = |(_, known): &(&VersionName, &Version)| known.killed().is_none();
        let answering = self.ledger.state().models().filter_map(|(name, model)| {
            // Where the champion is cut off, an earlier one answers for it.
            let stand_in = || model.standbys().into_iter().find(open);
            let (version, known) = model.champion().filter(open).or_else(stand_in)?;
            Some((name, version, known))
        });
        let mut missing = answering.filter(|(name, version, known)| {
            let key = ((*name).clone(), (*version).clone());
            let is_local = known.release().bytes > 0;
            is_local && self.loaded.get(&key, &known.release().digest).is_none()
        });
        self.work.is_under_way(Task::Load) && missing.next().is_some()
    }

    /// One step: plans for those whose turn it is, writes down what is urgent, and does what is to be done.
    pub(super) async fn step(&mut self) -> Step {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Step::Rest;
        }
        let caught_up = self.ledger.catch_up().await;
        for late in self.ledger.take_late() {
            self.follow(&late);
        }
        if let Err(error) = caught_up {
            return self.refused(&error);
        }
        let names = match self.due.take() {
            None => return Step::Rest,
            Some(Turn::Of(names)) => names,
            Some(Turn::Everyone) => self.every_model(),
        };
        self.drop_unwanted();
        self.observe(&names);
        let Plan { mut drafts, effects } = self.plan(&names);
        if drafts.iter().any(|draft| draft.what.model().is_none()) {
            // Time itself has changed: nothing else was planned.
            names.iter().for_each(|name| self.due.mark(name));
        }
        for late in drafts.split_off(drafts.len().min(TOGETHER_MAX)) {
            late.what.model().into_iter().for_each(|name| self.due.mark(name));
        }
        for effect in effects {
            let model = effect.model().clone();
            if self.perform(effect) {
                self.touch(&model);
            }
        }
        if !drafts.is_empty()
            && let Err(error) = self.write(drafts).await
        {
            names.iter().for_each(|name| self.due.mark(name));
            return self.refused(&error);
        }
        if self.due.is_empty() { Step::Rest } else { Step::Again }
    }

    /// Every model that is known from anywhere.
    fn every_model(&self) -> BTreeSet<ModelName> {
        let written = self.ledger.state().models().map(|(name, _)| name);
        let seen = self.observed.models.keys();
        written.chain(seen).chain(self.governed.configured()).cloned().collect()
    }

    fn plan(&mut self, names: &BTreeSet<ModelName>) -> Plan {
        let wall = Instant::now();
        self.passed_over.retain(|_, until| wall < *until);
        let (state, now) = (self.ledger.state(), self.ledger.now());
        let passes = |subject: &Subject| self.passed_over.contains_key(subject);
        let all = names.iter().collect();
        let plan = plan_for(all, state, &self.observed, &self.policies, now, &passes);
        for name in names {
            self.due.moves(name, state.model(name).is_some_and(is_moving));
        }
        plan
    }

    /// Writes drafts down together. One that does not fit is passed over for a while.
    async fn write(&mut self, drafts: Vec<Draft>) -> Result<(), LedgerError> {
        let subjects: Vec<Subject> = drafts.iter().map(|draft| draft.what.subject()).collect();
        let outcomes = self.ledger.append(drafts).await?;
        for (outcome, subject) in outcomes.into_iter().zip(subjects) {
            match outcome {
                Ok(event) => self.follow(&event),
                Err(error) => {
                    tracing::error!(
                        model = subject.model.as_ref().map(ToString::to_string),
                        about = subject.about,
                        error = %chain(&error),
                        "an event of the life cycle cannot be written and is passed over for a minute"
                    );
                    // Beyond that many, those behind it wait for their next turn.
                    if self.passed_over.len() < PASSED_OVER_MAX {
                        subject.model.iter().for_each(|name| self.due.mark(name));
                        self.passed_over.insert(subject, Instant::now() + PASSED_OVER);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whoever an event is about is gone through again.
    fn follow(&mut self, event: &Event) {
        match (event.what.model(), &event.what) {
            (Some(model), _) => self.touch(&model.clone()),
            (None, What::Ticked) => {}
            (None, _) => {
                self.due.mark_all();
                self.unrouted = Unrouted::All;
            }
        }
    }

    /// Something has changed that routes and plans of a model may depend on.
    fn touch(&mut self, model: &ModelName) {
        self.due.mark(model);
        if let Unrouted::Of(models) = &mut self.unrouted {
            models.insert(model.clone());
        }
    }

    /// The journal could not be written.
    fn refused(&mut self, error: &LedgerError) -> Step {
        self.rests_until = Some(Instant::now() + REFUSED_PAUSE);
        tracing::error!(
            error = %chain(error),
            "the life cycle is not written down; nothing changes but by a kill switch"
        );
        Step::Rest
    }

    /// What is to be published, if it differs from what was.
    pub(super) fn news(&mut self) -> Option<Publication> {
        let now = self.ledger.now().steady;
        let state = self.ledger.state();
        let unrouted = std::mem::replace(&mut self.unrouted, Unrouted::Of(BTreeSet::new()));
        let is_news = match unrouted {
            Unrouted::Of(models) => {
                for model in &models {
                    self.trials.follow(state, &self.policies, model, now);
                }
                let sees = (&self.loaded, &*self.seen);
                self.routes.follow(state, &self.policies, sees, &models)
            }
            Unrouted::All => {
                self.trials.follow_all(state, &self.policies, now);
                self.routes = Routes::of(state, &self.policies, &self.loaded, &self.seen);
                true
            }
        };
        is_news.then(|| self.publication())
    }

    /// What was said to be news has not been published: it is news again.
    pub(super) fn not_published(&mut self) {
        self.unrouted = Unrouted::All;
    }

    /// What is to be published.
    pub(super) fn publication(&self) -> Publication {
        Publication {
            intent: self.routes.effective(&self.intent, &self.governed),
            closed: self.routes.closed(&self.intent),
            trials: self.trials.all(|model| self.routes.compares(model)),
        }
    }

    /// The models in this process that take requests.
    pub(super) fn routed(&self) -> LoadedModels {
        self.routes.models(&self.loaded)
    }

    /// Every model in this process that is loaded, whether or not it takes requests.
    pub(super) fn models(&self) -> LoadedModels {
        self.loaded.models()
    }

    /// Shows others how things stand.
    pub(super) fn show(&mut self) {
        let observed = self.shown.get_or_insert_with(|| Arc::new(self.observed.clone()));
        let view = View {
            state: Arc::clone(self.ledger.state()),
            observed: Arc::clone(observed),
            policies: Arc::clone(&self.policies),
            now: self.ledger.now(),
            failures: self.ledger.failures(),
            moves: self.ledger.moves(),
            left_out: self.left_out,
        };
        self.desk.view.send_replace(Arc::new(view));
    }

    /// Ends work on versions that have gone on without it.
    fn drop_unwanted(&mut self) {
        let state = Arc::clone(self.ledger.state());
        let stage = |(model, version): &Key, digest: &Digest| -> Option<&Stage> {
            let known = state.model(model)?.version(version)?;
            (known.release().digest == *digest).then(|| known.stage())
        };
        for (key, task) in self.work.drop_unwanted(stage) {
            self.idle(&key, task);
        }
    }
}

/// Whether any version of a model is on its way: then time and counts matter at once.
fn is_moving(model: &Model) -> bool {
    model.versions().any(|(_, version)| {
        let stage = version.stage();
        let waits = matches!(
            stage,
            Stage::Discovered(_) | Stage::Staged(_) | Stage::Warming(_) | Stage::Draining(_)
        );
        waits || stage.is_on_trial()
    })
}
