//! The monitor: what happens to each version, window by window.
//!
//! Owns the counts that workers keep, the thread that gathers them, the look into bodies of proxied
//! versions, the windows that are kept in memory and on disk, the baseline that each version is held
//! against, and the join of labels with predictions ([`QualityMonitor`]). Never blocks a worker, and never decides what the counts mean: that is `domain::stats`.
//!
//! ```text
//! worker ─▶ its shard of the minute ─┐  (a lock that only the gatherer's swap contends)
//! worker ─▶ its shard of the minute ─┼─▶ thread `monitor` ─▶ store: minutes, hours, days ─▶ readers
//! worker ─▶ bodies that wait ────────┘        ├─▶ files below `state/monitor`
//!                                             └─▶ followers, once a minute is closed
//! ```
//!
//! A window is keyed by the minute in which an exchange ended. Both numbers that say so stand in its
//! record, so that the prediction log gives the same windows.

mod about;
pub mod alarms;
mod bodies;
mod budget;
mod codec;
mod disk;
mod feedback;
mod gather;
mod judge;
mod learner;
mod observe;
pub mod pairs;
mod plan;
mod references;
pub mod replay;
mod sampling;
mod sealed;
mod shelf;
pub mod show;
mod store;
mod tally;
mod values;
pub mod verdicts;
mod waiting;
mod wide;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

pub use self::about::About;
use self::budget::Budget;
pub use self::feedback::{
    ErrorChange, LabelFates, Matured, QualityMonitor, QualityReader, QualityStats,
    Query as QualityQuery, ReportError, VersionStats,
};
pub use self::gather::{Follower, Places};
use self::gather::{Gatherer, Order};
pub use self::judge::Judge;
use self::observe::Versions;
pub use self::observe::{Observation, VersionMonitor};
pub use self::references::{ForgetError, Standing, baseline_beside, check_baseline};
use self::store::Store;
pub use self::store::{MonitorReader, MonitorStats, VersionKey};
pub use self::values::Values;
pub use self::waiting::{Content, Waiting};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BodyPolicy, DriftSpec, Intent, Recording};

/// The models whose values are not told by name, because their bodies are not recorded as they are; `None` where that is
/// so of all.
fn nameless(intent: &Intent) -> Option<BTreeSet<String>> {
    let is_open = |recording: &Recording| {
        recording.body == BodyPolicy::Full && recording.redact.rules.is_empty()
    };
    // What is not named in the configuration is recorded as it says for all.
    let all = intent.routes.values().map(|route| &route.recording).chain([&intent.log.recording]);
    if !all.into_iter().all(is_open) {
        return None;
    }
    let closed = intent.models.iter().filter(|(_, model)| !is_open(&model.recording));
    Some(closed.map(|(name, _)| name.to_string()).collect())
}

/// The monitor of a process.
#[derive(Debug)]
pub struct Monitor {
    /// Absent where nothing is monitored.
    versions: Option<Arc<Versions>>,
    store: Arc<Store>,
    /// The share of a core that looking into bodies may take.
    cpu: f64,
    drift: DriftSpec,
    /// The snapshot is published, so that the versions are described.
    described: Arc<AtomicBool>,
    thread: Mutex<Option<(Sender<Order>, JoinHandle<()>)>>,
}

impl Monitor {
    /// A monitor for `workers` recorders; its thread starts with [`Self::start`].
    pub fn new(intent: &Intent, workers: usize) -> Self {
        let spec = &intent.monitor;
        let versions = spec.enabled.then(|| Arc::new(Versions::new(intent, workers)));
        let cpu = f64::from(spec.cpu.thousandths()) / 1000.0;
        Self {
            versions,
            store: Arc::new(Store::new(spec.memory).naming(nameless(intent))),
            cpu,
            drift: spec.drift,
            described: Arc::default(),
            thread: Mutex::new(None),
        }
    }

    /// Starts the thread, before any worker records. `followers` are told of every minute that is closed,
    /// after the judge.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        &self,
        places: Places,
        mut followers: Vec<Box<dyn Follower + Send>>,
    ) -> io::Result<()> {
        let Some(versions) = &self.versions else { return Ok(()) };
        followers.insert(0, Box::new(Judge::new(&self.drift).keeping(&places.state())));
        let (versions, store) = (Arc::clone(versions), Arc::clone(&self.store));
        let budget = Budget::new(self.cpu);
        let gatherer = Gatherer::new(versions, store, places, budget, followers);
        let (orders, ordered) = channel();
        let thread = std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || gatherer.run(&ordered))?;
        *self.thread.lock() = Some((orders, thread));
        Ok(())
    }

    /// Finds the baselines of all versions that are described, so that the first exchange is counted by
    /// them; then counts what the last stop left open. Blocks until the former is done.
    pub fn begin(&self) {
        self.described.store(true, Ordering::Release);
        let Some(orders) = self.orders() else { return };
        let (settled, wait) = sync_channel(1);
        if orders.send(Order::Begin(settled)).is_err() || wait.recv().is_err() {
            tracing::error!("the monitor's thread is gone: nothing is monitored");
        }
    }

    /// Gives orders to the thread; `None` where nothing is monitored.
    fn orders(&self) -> Option<Sender<Order>> {
        self.thread.lock().as_ref().map(|(orders, _)| orders.clone())
    }

    /// Gives a version a baseline, the content of a `baseline.json`, and keeps it. Blocks.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn adopt(&self, key: &VersionKey, json: Vec<u8>) -> Result<(), String> {
        let (answer, wait) = sync_channel(1);
        let gone = || "nothing is monitored".to_owned();
        let order = Order::Adopt(key.clone(), json, answer);
        self.orders().ok_or_else(gone)?.send(order).map_err(|_gone| gone())?;
        wait.recv().map_err(|_gone| gone())?
    }

    /// Forgets the baseline of a version that was handed over or learned. Blocks.
    ///
    /// # Errors
    ///
    /// Says why it stays.
    pub fn forget_baseline(&self, key: &VersionKey) -> Result<(), ForgetError> {
        let (answer, wait) = sync_channel(1);
        let orders = self.orders().ok_or(ForgetError::Unmonitored)?;
        orders
            .send(Order::Forget(key.clone(), answer))
            .map_err(|_gone| ForgetError::Unmonitored)?;
        wait.recv().map_err(|_gone| ForgetError::Unmonitored)?
    }

    /// What workers record into for a target; `None` for what is not monitored.
    pub fn version(&self, kind: &TargetKind) -> Option<Arc<VersionMonitor>> {
        self.versions.as_ref()?.version(kind)
    }

    /// The index that does not matter, as it is configured.
    pub fn margin(&self) -> f64 {
        self.drift.policy().margin
    }

    /// Reads what was counted.
    pub fn reader(&self) -> MonitorReader {
        MonitorReader::new(Arc::clone(&self.store))
    }

    /// Gathers what was counted, keeps it, and ends the thread. Workers must have ended, and the log must
    /// be closed.
    pub fn close(&self) {
        let Some((orders, thread)) = self.thread.lock().take() else { return };
        drop(orders);
        if thread.join().is_err() {
            tracing::error!("the monitor's thread panicked");
        }
    }
}
