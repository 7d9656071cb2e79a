//! Discovery: asking the sources and keeping what they say.
//!
//! Owns the keepers of all sources and the registrations, and publishes the merged view. One task owns
//! them; each source has a task of its own that looks and reports. Never decides what follows from a
//! sighting, and never takes an absence for a decision: [`crate::domain::discovery`] judges.
//!
//! ```text
//! directory, file, dns, … (a task each) ── report ──▶ ┌───────────┐── view ──▶ controller, admin
//! POST /api/v1/registrations ── order ──────────────▶ │ Discovery │── events, metrics
//!                                                     └───────────┘── state/discovery.json
//! ```

mod announce;
mod asked;
mod catalogue;
mod counts;
mod declared;
mod directory;
mod dns;
mod file;
mod hints;
mod incomplete;
#[cfg(feature = "discovery-kubernetes")]
mod kubernetes;
mod leases;
mod listed;
mod memory;
mod resolver;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::announce::announce;
pub use self::announce::standing;
pub use self::counts::Counts;
use self::incomplete::Incomplete;
use self::leases::Leases;
pub use self::leases::{Granted, RegisterError, Registration};
use self::memory::Memory;
use self::source::{Report, Reporter};
use super::events::{Events, Weight};
use super::steady::{Steady, millis};
use crate::domain::discovery::{Answer, Changes, Keeper, Policy, Seen, Standing, Thing};
use crate::domain::ids::SourceName;
use crate::domain::spec::{DiscoveryPlace, DiscoverySpec, Intent};

/// Reports and orders that may wait.
const WAITING_MAX: usize = 64;
/// How often registrations are looked through, and changes written.
const TICK: Duration = Duration::from_millis(500);
/// The least time between two answers that make a thing absent.
const CONFIRM: Duration = Duration::from_secs(1);

/// What the operator or a prediction server asks of the registrations.
#[derive(Debug)]
enum Order {
    Add(Registration),
    Renew(String),
    Remove(String),
}

type Answered = oneshot::Sender<Result<Granted, RegisterError>>;

/// The running side: owns everything.
#[derive(Debug)]
pub struct Discovery {
    intent: Arc<Intent>,
    steady: Steady,
    keepers: BTreeMap<SourceName, Arc<Keeper>>,
    leases: BTreeMap<SourceName, Leases>,
    orders: mpsc::Receiver<(Order, Answered)>,
    seen: watch::Sender<Arc<Seen>>,
    events: Arc<Events>,
    counts: Arc<Counts>,
    memory: Memory,
    generation: u64,
    incomplete: Incomplete,
    /// Whether the file is behind.
    unsaved: bool,
}

/// What others hold: the view, and the way to register.
#[derive(Debug, Clone)]
pub struct DiscoveryHandle {
    seen: watch::Receiver<Arc<Seen>>,
    orders: mpsc::Sender<(Order, Answered)>,
    events: Arc<Events>,
    counts: Arc<Counts>,
    specs: Arc<BTreeMap<SourceName, DiscoverySpec>>,
    steady: Steady,
}

impl Discovery {
    /// Brings back what was known before. Asks nobody yet.
    pub fn open(intent: &Arc<Intent>, events: Arc<Events>) -> (Self, DiscoveryHandle) {
        let steady = Steady::start();
        let memory = Memory::new(&intent.data_dir);
        let mut known = memory.read(&events, steady.now_ms());
        let mut keepers = BTreeMap::new();
        let mut leases = BTreeMap::new();
        for (name, spec) in &intent.discovery {
            let (things, registrations) = known.take(name, spec);
            keepers.insert(
                name.clone(),
                Arc::new(Keeper::restored(policy_of(spec.shrink_after), things)),
            );
            if let DiscoveryPlace::Lease(lease) = &spec.place {
                let held = Leases::restored(name.clone(), *lease, registrations, steady.now_ms());
                leases.insert(name.clone(), held);
            }
        }
        if let Some((name, keeper)) = declared::declared(intent, steady.now_ms()) {
            keepers.insert(name, Arc::new(keeper));
        }
        let first = Seen::merge(0, steady.now_ms(), keepers.clone());
        let (seen, reader) = watch::channel(Arc::new(first));
        let (sender, orders) = mpsc::channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        let handle = DiscoveryHandle {
            seen: reader,
            orders: sender,
            events: Arc::clone(&events),
            counts: Arc::clone(&counts),
            specs: Arc::new(intent.discovery.clone()),
            steady,
        };
        let discovery = Self {
            intent: Arc::clone(intent),
            steady,
            keepers,
            leases,
            orders,
            seen,
            events,
            counts,
            memory,
            generation: 0,
            incomplete: Incomplete::default(),
            unsaved: false,
        };
        (discovery, handle)
    }

    /// Asks the sources until nobody holds a handle any more.
    pub async fn run(mut self) {
        let (sender, mut reports) = mpsc::channel(WAITING_MAX);
        let mut tasks = self.start(&sender);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(report) = reports.recv() => self.report(report),
                order = self.orders.recv() => {
                    let Some((order, answer)) = order else { return };
                    let done = self.carry_out(order).await;
                    // Whoever asked may be gone.
                    drop(answer.send(done));
                }
                Some(ended) = tasks.join_next() => self.ended(ended),
                _ = tick.tick() => self.tick().await,
            }
        }
    }

    /// Starts a task for each source that looks by itself.
    fn start(&self, reports: &mpsc::Sender<Report>) -> JoinSet<SourceName> {
        let mut tasks = JoinSet::new();
        for (name, spec) in &self.intent.discovery {
            let reporter = Reporter::new(name.clone(), reports.clone());
            let Some(keeper) = self.keepers.get(name) else { continue };
            if let Some(task) = source::task(spec, keeper, &self.intent, reporter) {
                let name = name.clone();
                tasks.spawn(async move {
                    task.await;
                    name
                });
            }
        }
        tasks
    }

    /// A source's task has no end of its own.
    fn ended(&self, ended: Result<SourceName, tokio::task::JoinError>) {
        let (about, why) = match ended {
            Ok(name) => (name.to_string(), "its task ended".to_owned()),
            Err(error) => ("discovery".to_owned(), error.to_string()),
        };
        let words =
            format!("a source of discovery is not asked any more ({why}); restart the gateway");
        self.events.tell(self.steady.now_ms(), "discovery.ended", Weight::Alarm, &about, &words);
    }

    fn report(&mut self, report: Report) {
        let Report { source, answer, judged } = report;
        self.observe(&source, answer);
        let awaits = self.keepers.get(&source).is_some_and(|keeper| keeper.awaits_confirmation());
        if judged.send(awaits).is_err() {
            tracing::debug!(%source, "a source that has reported is gone");
        }
        self.publish();
    }

    /// Judges an answer and tells what it has changed.
    fn observe(&mut self, source: &SourceName, answer: Answer) {
        let now_ms = self.steady.now_ms();
        let Some(keeper) = self.keepers.get_mut(source) else { return };
        let counted = !matches!(answer, Answer::Gone(_));
        let changes = Arc::make_mut(keeper).observe(now_ms, answer);
        if counted {
            let result = match &keeper.health().standing {
                Standing::Stale(_, why) => why.as_str(),
                Standing::Fresh | Standing::Unasked => "trusted",
            };
            self.counts.answered(source, result);
        }
        announce(&self.events, now_ms, source, keeper, &changes);
        for (thing, waits_for) in self.incomplete.look(now_ms, source, keeper) {
            let words = format!("{thing} has been incomplete for ten minutes: {waits_for}");
            self.events.tell(
                now_ms,
                "discovery.incomplete",
                Weight::Alarm,
                source.as_str(),
                &words,
            );
        }
        // That a standing turned needs no file: every start begins with unasked sources.
        self.unsaved |= Changes { turn: None, ..changes } != Changes::default();
    }

    fn publish(&mut self) {
        self.generation += 1;
        let next = Seen::merge(self.generation, self.steady.now_ms(), self.keepers.clone());
        self.seen.send_replace(Arc::new(next));
    }

    async fn tick(&mut self) {
        let now_ms = self.steady.now_ms();
        let mut due = Vec::new();
        for (name, leases) in &mut self.leases {
            let awaits = self.keepers.get(name).is_some_and(|keeper| keeper.awaits_confirmation());
            if leases.expire(now_ms) || awaits || leases.is_due(now_ms) {
                due.push((name.clone(), leases.listing(now_ms)));
            }
        }
        let any = !due.is_empty();
        for (name, listing) in due {
            self.observe(&name, Answer::Whole(listing));
        }
        if any {
            self.publish();
        }
        if self.unsaved {
            self.save().await;
        }
    }

    /// Writes what is known; whether it is on the disk.
    async fn save(&mut self) -> bool {
        let saved = self.memory.write(&self.intent.discovery, &self.keepers, &self.leases).await;
        match saved {
            Ok(()) => {
                self.unsaved = false;
                true
            }
            Err(error) => {
                self.counts.unsaved();
                tracing::warn!(%error, "what discovery knows is not written; it is tried again");
                false
            }
        }
    }

    /// Changes the registrations. What is granted is on the disk first.
    async fn carry_out(&mut self, order: Order) -> Result<Granted, RegisterError> {
        let done = match order {
            Order::Add(registration) => self.add(registration).await,
            Order::Renew(id) => self.renew(&id),
            Order::Remove(id) => self.remove(&id).await,
        };
        if let Err(error) = &done {
            self.counts.refused(error.reason());
        }
        done
    }

    async fn add(&mut self, registration: Registration) -> Result<Granted, RegisterError> {
        let now_ms = self.steady.now_ms();
        let name = match &registration.source {
            Some(name) => name.clone(),
            None => self.leases.keys().next().cloned().ok_or(RegisterError::NoSource)?,
        };
        let leases = self.leases.get_mut(&name);
        let leases = leases.ok_or_else(|| RegisterError::UnknownSource(name.clone()))?;
        let before = leases.clone();
        let registration = named(registration, self.intent.discovery.get(&name));
        let granted = leases.add(now_ms, registration)?;
        if granted.is_new && !self.save().await {
            self.leases.insert(name, before);
            return Err(RegisterError::Unsaved);
        }
        if granted.is_new {
            self.list(&name, now_ms);
        }
        Ok(granted)
    }

    fn renew(&mut self, id: &str) -> Result<Granted, RegisterError> {
        let now_ms = self.steady.now_ms();
        let mut renewed = self.leases.values_mut().filter_map(|leases| leases.renew(now_ms, id));
        renewed.next().ok_or(RegisterError::UnknownId)
    }

    async fn remove(&mut self, id: &str) -> Result<Granted, RegisterError> {
        let now_ms = self.steady.now_ms();
        let removed = self.leases.iter_mut().find_map(|(name, leases)| {
            let (granted, unused) = leases.remove(id)?;
            Some((name.clone(), granted, unused))
        });
        let (name, granted, unused) = removed.ok_or(RegisterError::UnknownId)?;
        if let Some(address) = unused {
            self.observe(&name, Answer::Gone(Thing::Backend(address)));
        }
        self.list(&name, now_ms);
        self.save().await;
        Ok(granted)
    }

    /// Reports the registrations of a source.
    fn list(&mut self, name: &SourceName, now_ms: u64) {
        let Some(listing) = self.leases.get_mut(name).map(|leases| leases.listing(now_ms)) else {
            return;
        };
        self.observe(name, Answer::Whole(listing));
        self.publish();
    }
}

/// What a registration does not say of its version, the source may.
fn named(registration: Registration, spec: Option<&DiscoverySpec>) -> Registration {
    let default = || spec.and_then(|spec| spec.model.clone().zip(spec.version.clone()));
    Registration { serves: registration.serves.clone().or_else(default), ..registration }
}

fn policy_of(shrink_after: Duration) -> Policy {
    Policy { shrink_after_ms: millis(shrink_after), confirm_ms: millis(CONFIRM) }
}

impl DiscoveryHandle {
    /// The view of now.
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen.borrow())
    }

    /// A receiver that tells of each new view.
    pub fn watch(&self) -> watch::Receiver<Arc<Seen>> {
        self.seen.clone()
    }

    /// Waits until every source has answered once, or `limit` has passed.
    pub async fn first_round(&self, limit: Duration) {
        let mut seen = self.seen.clone();
        let all = |seen: &Arc<Seen>| {
            seen.sources.values().all(|keeper| keeper.health().standing != Standing::Unasked)
        };
        let waited = tokio::time::timeout(limit, seen.wait_for(all)).await;
        if !matches!(waited, Ok(Ok(_))) {
            tracing::warn!(?limit, "not every source of discovery has answered; going on without");
        }
    }

    /// The time of the view's clock.
    pub fn now_ms(&self) -> u64 {
        self.steady.now_ms()
    }

    /// What is configured.
    pub fn specs(&self) -> &BTreeMap<SourceName, DiscoverySpec> {
        &self.specs
    }

    /// The events.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// What is counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Registers a prediction server, or renews it where it is registered.
    ///
    /// # Errors
    /// [`RegisterError`] says why not.
    pub async fn register(&self, registration: Registration) -> Result<Granted, RegisterError> {
        self.order(Order::Add(registration)).await
    }

    /// Renews a registration.
    ///
    /// # Errors
    /// There is none of that id.
    pub async fn renew(&self, id: String) -> Result<Granted, RegisterError> {
        self.order(Order::Renew(id)).await
    }

    /// Ends a registration: the server goes.
    ///
    /// # Errors
    /// There is none of that id.
    pub async fn deregister(&self, id: String) -> Result<Granted, RegisterError> {
        self.order(Order::Remove(id)).await
    }

    async fn order(&self, order: Order) -> Result<Granted, RegisterError> {
        let (answer, answered) = oneshot::channel();
        self.orders.try_send((order, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RegisterError::Busy,
            mpsc::error::TrySendError::Closed(_) => RegisterError::Closed,
        })?;
        answered.await.map_err(|_gone| RegisterError::Closed)?
    }
}
