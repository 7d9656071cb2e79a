//! The monitor's thread: gathers the shards of minutes that are over, closes windows, and tells those who
//! follow.
//!
//! Owns the time at which a minute is closed. Never runs on a worker.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::observe::Versions;
use super::store::{MonitorReader, Store};
use crate::domain::stats::window::{Minute, WindowCounts};

/// How long after its end a minute is closed: the end of an exchange is told by a clock that is read at
/// its beginning, and one that measures durations.
const GRACE_US: u64 = 2_000_000;
/// How often it is looked whether a minute is over.
const TICK: Duration = Duration::from_millis(500);
/// The most closed minutes that followers are told of at once, after the machine has slept.
const TOLD_MAX: u32 = 24 * 60;

/// Told of every minute that is closed, in order, on the monitor's thread.
pub trait Follower: Send {
    /// All windows that end with `minute` or before it are closed.
    fn closed(&mut self, minute: Minute, reader: &MonitorReader);
}

/// The state of the thread.
pub(super) struct Gatherer {
    versions: Arc<Versions>,
    store: Arc<Store>,
    followers: Vec<Box<dyn Follower>>,
    /// The first minute that is not closed.
    open: Minute,
}

impl Gatherer {
    pub(super) fn new(
        versions: Arc<Versions>,
        store: Arc<Store>,
        followers: Vec<Box<dyn Follower>>,
    ) -> Self {
        Self { versions, store, followers, open: Minute::of_us(unix_us()) }
    }

    /// Runs until the other end of `end` is dropped.
    pub(super) fn run(mut self, end: &Receiver<()>) {
        while matches!(end.recv_timeout(TICK), Err(RecvTimeoutError::Timeout)) {
            self.tick(Minute::of_us(unix_us().saturating_sub(GRACE_US)));
        }
        self.gather(Minute(u32::MAX));
    }

    /// Closes every minute before `open`.
    fn tick(&mut self, open: Minute) {
        if open <= self.open {
            return;
        }
        self.gather(open);
        self.store.close(open);
        let reader = MonitorReader::new(Arc::clone(&self.store));
        let first = self.open.max(Minute(open.0.saturating_sub(TOLD_MAX)));
        for minute in (first.0..open.0).map(Minute) {
            self.followers.iter_mut().for_each(|follower| follower.closed(minute, &reader));
        }
        self.open = open;
    }

    /// Takes what was counted before `open`.
    fn gather(&self, open: Minute) {
        for version in self.versions.all() {
            version.take(open, |shard| {
                let mut counts = WindowCounts::default();
                counts.traffic.add_recorded(&shard.traffic);
                self.store.add(version.key(), shard.minute, &counts);
            });
        }
    }
}

/// The time of the system clock, in microseconds since the Unix epoch.
fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
