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
//! Everything is level-triggered: a plan that was lost with its process is made again from the journal.

mod content;
mod effects;
mod examine;
mod feeds;
mod governed;
mod guests;
mod handle;
mod ledger;
mod loaded;
mod observe;
mod routes;
mod sightings;
mod store;
mod trials;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

pub(super) use self::handle::Ask;
pub use self::handle::{CarriedOut, Moves, NotCarriedOut, ReleasesHandle, View};
pub use self::ledger::LedgerError;

use self::feeds::Feeds;
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
use crate::domain::lifecycle::event::{By, Draft, Scope, What};
use crate::domain::lifecycle::explain::sentence;
use crate::domain::lifecycle::observed::Observed;
use crate::domain::lifecycle::order::{Command, Order, OrderError, carry_out};
use crate::domain::lifecycle::plan::{Policies, plan};
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::Version;
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
/// How long nothing is written after the journal has refused an event.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

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
    /// Sources have said something that is not taken in yet.
    has_news: bool,
    store: Store,
    /// Contents that are on disk here.
    stored: BTreeSet<(Key, Digest)>,
    /// Contents that lie elsewhere and are not to be used again.
    given_up: BTreeSet<(Key, Digest)>,
    loaded: Loaded,
    work: Work,
    observed: Observed,
    /// Exchanges that have ended, by version: what tells that somebody has asked.
    exchanges: BTreeMap<Key, u64>,
    /// The rest of the plan that is being written down.
    drafts: VecDeque<Draft>,
    routes: Routes,
    trials: Trials,
    feeds: Feeds,
    replays: Replays,
    tick: Option<Interval>,
    /// The journal has refused an event: nothing is written before then.
    rests_until: Option<tokio::time::Instant>,
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
        let ledger = Ledger::open(&intent.data_dir, events)?;
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
            has_news: true,
            store: Store::new(&intent.data_dir),
            stored: BTreeSet::new(),
            given_up: BTreeSet::new(),
            loaded: Loaded::open(&intent.data_dir),
            work: Work::default(),
            observed: Observed::default(),
            exchanges: BTreeMap::new(),
            drafts: VecDeque::new(),
            routes: Routes::default(),
            trials,
            feeds: Feeds::new(monitor, quality),
            replays,
            tick: None,
            rests_until: None,
        };
        Ok((releases, handle))
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
    pub(super) async fn begin(&mut self) {
        let (intent, store) = (Arc::clone(&self.intent), self.store.clone());
        let state = Arc::clone(self.ledger.state());
        let looked = tokio::task::spawn_blocking(move || {
            (Sightings::read_named(&intent), store.take_up(&state))
        });
        match looked.await {
            Ok((named, stored)) => {
                self.sightings.name(named);
                self.has_news = true;
                self.stored = stored;
            }
            Err(error) => tracing::error!(%error, "what is on disk is not known"),
        }
    }

    /// Takes in a view of discovery.
    pub(super) fn see(&mut self, seen: Arc<Seen>) {
        self.sightings.look(&seen);
        self.loaded.meet(&seen);
        self.has_news = true;
        self.seen = seen;
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
            Some(ask) = self.desk.asks.recv() => Happened::Asked(ask),
            report = self.work.next() => Happened::Ended(report),
            _ = tick.tick() => Happened::Ticked,
        }
    }

    /// An order that waits.
    pub(super) fn waiting(&mut self) -> Option<Ask> {
        self.desk.asks.try_recv().ok()
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

    /// One step: writes down one event of the plan or, where there is none, does what is to be done.
    pub(super) async fn step(&mut self) -> Step {
        if self.rests_until.is_some_and(|until| tokio::time::Instant::now() < until) {
            return Step::Rest;
        }
        if self.drafts.is_empty() {
            self.drop_unwanted();
            self.observe();
            let now = self.ledger.now();
            let plan = plan(self.ledger.state(), &self.observed, &self.policies, now);
            self.drafts = plan.drafts.into();
            if self.drafts.is_empty() {
                let mut changed = false;
                for effect in plan.effects {
                    changed |= self.perform(effect);
                }
                return if changed { Step::Again } else { Step::Rest };
            }
        }
        let Some(draft) = self.drafts.pop_front() else { return Step::Rest };
        match self.ledger.append(draft).await {
            Ok(_) => Step::Again,
            Err(error) => {
                self.refused(&error);
                Step::Rest
            }
        }
    }

    fn refused(&mut self, error: &LedgerError) {
        self.drafts.clear();
        self.rests_until = Some(tokio::time::Instant::now() + REFUSED_PAUSE);
        tracing::error!(error = %chain(error), "an event of the life cycle is not written; nothing changes");
    }

    /// Writes an order down. It counts once that is done; whoever called publishes it then.
    pub(super) async fn order(&mut self, order: &Order) -> Result<CarriedOut, NotCarriedOut> {
        // What was planned before it may be void.
        self.drafts.clear();
        self.observe();
        let draft = self.draft_of(order)?;
        let event = self.ledger.append(draft).await.map_err(NotCarriedOut::Journal)?;
        let model = event.what.model().and_then(|name| self.ledger.state().model(name));
        Ok(CarriedOut {
            number: event.seq,
            words: sentence(&event),
            generation: model.map(|model| model.generation()),
        })
    }

    fn draft_of(&self, order: &Order) -> Result<Draft, OrderError> {
        let state = self.ledger.state();
        if let Command::Kill(Scope::Model(model), true) = &order.command
            && state.model(model).is_none()
            && self.governed.is_configured(model)
            && order.expected.is_none()
            && !order.who.trim().is_empty()
            && !order.why.trim().is_empty()
        {
            // A model that the life cycle does not know can be cut off as well.
            let by = By::Operator { who: order.who.clone(), why: order.why.clone() };
            let scope = Scope::Model(model.clone());
            return Ok(Draft { by, what: What::Killed { scope, on: true } });
        }
        carry_out(state, &self.observed, &self.policies, self.ledger.now(), order)
    }

    /// What is to be published, if it differs from what was.
    pub(super) fn news(&mut self) -> Option<Publication> {
        let now = self.ledger.now().steady;
        self.trials.follow(self.ledger.state(), &self.policies, now);
        let routes = Routes::of(self.ledger.state(), &self.loaded, &self.seen);
        if routes == self.routes {
            return None;
        }
        self.routes = routes;
        Some(self.publication())
    }

    /// What is to be published.
    pub(super) fn publication(&self) -> Publication {
        Publication {
            intent: self.routes.effective(&self.intent, &self.governed),
            closed: self.routes.closed(&self.intent),
            trials: self.trials.all(),
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
    pub(super) fn show(&self) {
        let view = View {
            state: Arc::clone(self.ledger.state()),
            observed: Arc::new(self.observed.clone()),
            policies: Arc::clone(&self.policies),
            now: self.ledger.now(),
            failures: self.ledger.failures(),
            moves: self.ledger.moves(),
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
