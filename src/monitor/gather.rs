//! The monitor's thread: gathers the shards of minutes that are over, looks into bodies that wait, closes
//! windows, and tells those who follow.
//!
//! Owns the time at which a minute is closed, and what looking into bodies may cost. Never runs on a worker.
//!
//! ```text
//! begin: baselines ─▶ stored windows ─▶ the log is counted from there
//! each tick: bodies that wait ─▶ values ─▶ counts
//! each minute: shards ─▶ store ─▶ closed ─▶ files ─▶ followers
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::budget::Budget;
use super::disk::{Disk, Resume};
use super::observe::{VersionMonitor, Versions};
use super::references::{ForgetError, References};
use super::store::{MonitorReader, Shed, Store, VersionKey};
use super::tally::Batch;
use super::waiting::Waiting;
use crate::domain::record::{Entry, Kind};
use crate::domain::stats::window::{Minute, Unseen, WindowCounts, WindowLength};
use crate::prediction_log::query::{Log, LogError, Scope};
use crate::prediction_log::{Item, Progress};

/// How long after its end a minute is closed: the end of an exchange is told by a clock that is read at
/// its beginning, and one that measures durations.
const GRACE_US: u64 = 2_000_000;
/// How often it is looked whether something was counted in a minute that is closed: on a worker that stood still.
const LATE_US: u64 = 1_000_000;
/// How often it is looked what waits.
const TICK: Duration = Duration::from_millis(100);
/// The most closed minutes that followers are told of at once, after the machine has slept.
const TOLD_MAX: u32 = 24 * 60;
/// By how much more than this the clock must be behind what was closed to have been set back.
pub(super) const BACK_MINUTES: u64 = 3;
/// How often versions that are gone are forgotten, in minutes.
const FORGET_EVERY: u32 = 60;
/// How long before the end of a minute the log's position is noted for it.
const MARK_US: u64 = 1_000_000;

/// Told of every minute that is closed, in order, on the monitor's thread.
pub trait Follower {
    /// What was kept before this process is there again.
    fn resumed(&mut self, _reader: &MonitorReader) {}

    /// All windows that end with `minute` or before it are closed.
    fn closed(&mut self, minute: Minute, reader: &MonitorReader);
}

/// What the thread is asked to do.
pub(super) enum Order {
    /// The snapshot is published: begin.
    Begin(SyncSender<()>),
    /// Take a baseline for a version.
    Adopt(VersionKey, Vec<u8>, SyncSender<Result<(), String>>),
    /// Forget the one that was handed over or learned.
    Forget(VersionKey, SyncSender<Result<(), ForgetError>>),
}

/// Where the thread finds and keeps what it needs.
#[derive(Debug, Clone)]
pub struct Places {
    /// The data directory, with the log.
    pub data_dir: PathBuf,
    /// How far the log has come; `None` without a log.
    pub log: Option<Arc<Progress>>,
}

impl Places {
    pub(super) fn state(&self) -> PathBuf {
        self.data_dir.join("state").join("monitor")
    }
}

/// The state of the thread.
pub(super) struct Gatherer {
    versions: Arc<Versions>,
    store: Arc<Store>,
    places: Places,
    /// The last record before this process.
    first_lsn: u64,
    references: References,
    followers: Vec<Box<dyn Follower + Send>>,
    disk: Option<Disk>,
    /// The minute in which this process began.
    began: Minute,
    /// The first minute that is not closed.
    open: Minute,
    /// When the log was where.
    marks: VecDeque<(u64, u64)>,
    waiting: VecDeque<(usize, Arc<VersionMonitor>, Box<Waiting>)>,
    /// Minutes to which something was added since they were last written.
    touched: BTreeSet<Minute>,
    budget: Budget,
    /// When it was last said that the memory is too small.
    told_short: Option<Minute>,
    /// When it was last looked for what came late.
    late_us: u64,
}

impl Gatherer {
    pub(super) fn new(
        versions: Arc<Versions>,
        store: Arc<Store>,
        places: Places,
        budget: Budget,
        followers: Vec<Box<dyn Follower + Send>>,
    ) -> Self {
        let state = places.state();
        let disk = Disk::open(&state);
        let disk = disk.inspect_err(|error| {
            tracing::error!(path = %state.display(), %error, "windows cannot be kept: a restart forgets them");
        });
        Self {
            first_lsn: places.log.as_ref().map_or(0, |log| log.written()),
            references: References::new(&state),
            began: Minute::of_us(unix_us()),
            open: Minute::of_us(unix_us()),
            marks: VecDeque::new(),
            waiting: VecDeque::new(),
            touched: BTreeSet::new(),
            disk: disk.ok(),
            versions,
            store,
            places,
            budget,
            followers,
            told_short: None,
            late_us: 0,
        }
    }

    /// Runs until the other end of `orders` is dropped; then everything is gathered and kept.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut begun = false;
        loop {
            match orders.recv_timeout(TICK) {
                Ok(Order::Begin(settled)) => {
                    self.references.settle(&self.versions, &self.store);
                    // Whoever waits may be gone.
                    let _gone = settled.send(());
                    self.resume();
                    let reader = MonitorReader::new(Arc::clone(&self.store));
                    self.followers.iter_mut().for_each(|follower| follower.resumed(&reader));
                    // On disk is more than the memory holds, where that is small.
                    self.shed(self.open);
                    begun = true;
                }
                Ok(Order::Adopt(key, json, answer)) => {
                    let _gone = answer.send(self.adopt(&key, &json));
                }
                Ok(Order::Forget(key, answer)) => {
                    let _gone = answer.send(self.forget(&key));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if begun {
                self.tick(unix_us());
            }
        }
        if begun {
            self.park();
        }
    }

    fn adopt(&mut self, key: &VersionKey, json: &[u8]) -> Result<(), String> {
        let version = self.versions.find(key.model.as_str(), key.version.as_str());
        let version = version.ok_or_else(|| format!("there is no version {key}"))?;
        self.references.adopt(&version, json, &self.store)?;
        // Others may borrow it.
        self.references.settle(&self.versions, &self.store);
        Ok(())
    }

    fn forget(&mut self, key: &VersionKey) -> Result<(), ForgetError> {
        let version = self.versions.find(key.model.as_str(), key.version.as_str());
        let version = version.ok_or(ForgetError::Unmonitored)?;
        self.references.forget(&version, &self.store)?;
        self.references.settle(&self.versions, &self.store);
        Ok(())
    }

    fn tick(&mut self, now_us: u64) {
        self.mark(now_us);
        self.references.settle(&self.versions, &self.store);
        self.collect();
        self.look(true);
        let halvings = self.versions.sampling.halvings(Minute::of_us(now_us));
        let room = &self.versions.room;
        self.store.note_looking(room.bytes(), halvings, room.lost());
        self.store.note_learning(self.references.learning_bytes(), self.references.forgotten());
        let open = Minute::of_us(now_us.saturating_sub(GRACE_US));
        if u64::from(self.open.0) > u64::from(open.0) + BACK_MINUTES {
            self.set_back(open);
        }
        if open > self.open {
            self.close(open);
        } else if now_us.saturating_sub(self.late_us) >= LATE_US {
            self.late_us = now_us;
            self.take_late();
        }
    }

    /// Takes what was counted in minutes that are closed, and writes it: after anything but SIGTERM, records of these
    /// minutes are not counted again.
    fn take_late(&mut self) {
        if self.gather(self.open) {
            self.store.close(self.open);
            self.write(self.open);
        }
    }

    /// Goes on from `open`: the clock was ahead, and has been set right. What was counted after it has no place in
    /// time, and would keep every minute from being closed until the clock comes there.
    fn set_back(&mut self, open: Minute) {
        tracing::warn!(
            from = self.open.start_us() / 1_000_000,
            to = open.start_us() / 1_000_000,
            "the clock was set back: windows after it are forgotten"
        );
        // With it what workers have counted by the wrong clock.
        self.gather(Minute(u32::MAX));
        self.waiting.retain(|(worker, _, waiting)| {
            let stays = waiting.minute <= open.plus(1);
            if !stays {
                self.versions.room.give(*worker, waiting.bytes());
            }
            stays
        });
        self.store.set_back(open);
        self.touched.retain(|minute| *minute <= open.plus(1));
        self.marks.clear();
        if let Some(disk) = &mut self.disk {
            disk.set_back(open);
        }
        self.open = open;
    }

    /// Notes where the log is.
    fn mark(&mut self, now_us: u64) {
        let Some(log) = &self.places.log else { return };
        // A clock that was set back makes later notes useless.
        self.marks.retain(|(us, _)| *us <= now_us);
        self.marks.push_back((now_us, log.written()));
        while self.marks.len() > 1200 {
            self.marks.pop_front();
        }
    }

    /// A record before all that ended in `open` or later.
    fn lsn_before(&self, open: Minute) -> u64 {
        let limit = open.start_us().saturating_sub(MARK_US);
        let before = self.marks.iter().rev().find(|(us, _)| *us <= limit);
        before.map_or(self.first_lsn, |(_, lsn)| *lsn)
    }

    /// Takes what waits from the workers.
    fn collect(&mut self) {
        for version in self.versions.all() {
            version.take_waiting(|worker, waiting| {
                self.waiting.push_back((worker, Arc::clone(&version), waiting));
            });
        }
    }

    /// Looks into what waits, as far as the budget goes where it is `bounded`.
    fn look(&mut self, bounded: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        while !bounded || self.budget.has_any() {
            let Some((worker, version, waiting)) = self.waiting.pop_front() else { break };
            batch.look(&version, &waiting, &mut self.references, &self.store);
            self.versions.room.give(worker, waiting.bytes());
            self.budget.looked();
        }
        self.budget.pause();
        self.touched.extend(batch.flush(&self.store));
    }

    /// Closes every minute before `open`.
    fn close(&mut self, open: Minute) {
        self.gather(open);
        // Bodies that arrived with the last shards.
        self.collect();
        self.look(true);
        self.pass_over(open);
        self.store.close(open);
        self.write(open);
        self.choose_share(open);
        if open.0 / FORGET_EVERY > self.open.0 / FORGET_EVERY {
            self.forget_gone(open);
        }
        let reader = MonitorReader::new(Arc::clone(&self.store));
        let first = self.open.max(Minute(open.0.saturating_sub(TOLD_MAX)));
        for minute in (first.0..open.0).map(Minute) {
            self.followers.iter_mut().for_each(|follower| follower.closed(minute, &reader));
        }
        self.open = open;
        self.shed(open);
    }

    /// Keeps windows within the memory, once they are written and followers have seen them.
    fn shed(&mut self, open: Minute) {
        let disk = self.disk.as_ref();
        let is_written = |length, start| disk.is_none_or(|disk| disk.has(length, start));
        let Shed { windows, bytes, bytes_max } = self.store.shed(is_written);
        let is_short = windows > 0 || bytes > bytes_max;
        if !is_short || self.told_short.is_some_and(|told| told.plus(FORGET_EVERY) > open) {
            return;
        }
        self.told_short = Some(open);
        if bytes > bytes_max {
            tracing::error!(
                bytes,
                bytes_max,
                "`monitor.memory` is too small even for the windows that are being filled and those of the last minutes; they are kept in spite of it"
            );
        } else {
            tracing::warn!(
                windows,
                bytes_max,
                "`monitor.memory` is too small: the oldest windows are forgotten before their time"
            );
        }
    }

    /// Forgets versions that are gone and of which no window is kept, and what waits for versions that do not come back.
    fn forget_gone(&mut self, open: Minute) {
        // Not before those that are served had the time to be found.
        if open >= self.began.plus(FORGET_EVERY) {
            self.references.clear_shelf(&self.versions.held(), SystemTime::now());
        }
        let store = &self.store;
        for key in self.versions.forget(|key| !store.has_windows(key)) {
            self.references.drop_version(&key);
            self.store.drop_version(&key);
        }
    }

    /// Counts what still waits of minutes that are closed now as not seen.
    fn pass_over(&mut self, open: Minute) {
        let mut batch = Batch::default();
        let (over, later) =
            self.waiting.drain(..).partition(|(_, _, waiting)| waiting.minute < open);
        self.waiting = later;
        let over: VecDeque<_> = over;
        for (worker, version, waiting) in over {
            batch.pass_over(&version, &waiting, &self.store);
            self.versions.room.give(worker, waiting.bytes());
        }
        self.touched.extend(batch.flush(&self.store));
    }

    /// Takes what was counted before `open`; tells whether that was anything.
    fn gather(&mut self, open: Minute) -> bool {
        let mut any = false;
        for version in self.versions.all() {
            version.take(open, |shard| {
                let mut counts = WindowCounts::default();
                counts.traffic.add_recorded(&shard.traffic);
                counts.inputs.merge(&shard.inputs);
                if let Some(counting) = &shard.counting {
                    counts.add_values(&counting.counts);
                    let (key, layout) = (version.key(), counting.counts.layout());
                    self.store.name(key, shard.minute, layout, &counting.strangers);
                }
                for values in &shard.unplanned {
                    self.references.learn(&version, values, &self.store);
                }
                self.store.add(version.key(), shard.minute, &counts);
                self.touched.insert(shard.minute);
                any = true;
            });
        }
        any
    }

    fn write(&mut self, open: Minute) {
        // Before the windows: a kill in between learns from a minute twice, and from none never.
        self.references.keep_rows();
        let lsn = self.lsn_before(open);
        let touched: Vec<_> = self.touched.range(..open).copied().collect();
        let Some(disk) = &mut self.disk else { return };
        match disk.close(&self.store, &touched, open, lsn) {
            Ok(()) => self.touched.retain(|minute| *minute >= open),
            Err(error) => {
                tracing::error!(%error, "closed windows cannot be written; it is tried again with the next minute");
            }
        }
    }

    /// Chooses the share that is looked into in the minute after the one that has begun.
    fn choose_share(&mut self, open: Minute) {
        let mut offered = 0;
        for version in self.versions.all() {
            let minute = Minute(open.0.saturating_sub(1));
            let window = self.store.window(version.key(), WindowLength::Minute, minute);
            if let Some(window) = window.filter(|_| !version.about().is_local) {
                let traffic = &window.counts.traffic;
                let missed = [Unseen::Sampled, Unseen::Busy, Unseen::Unreadable];
                let missed: u64 = missed.into_iter().map(|reason| traffic.not_seen(reason)).sum();
                offered += traffic.seen + missed;
            }
        }
        let next = Minute::of_us(unix_us()).plus(1);
        let current = self.versions.sampling.halvings(next);
        let wanted = self.budget.halvings(offered, current);
        if wanted == current {
            return;
        }
        if let Some(disk) = &mut self.disk
            && let Err(error) = disk.note_rate(next, wanted)
        {
            tracing::warn!(%error, "the share of exchanges that is looked into stays as it is: it cannot be kept");
            return;
        }
        self.versions.sampling.change(next, wanted);
        tracing::info!(
            one_of = 1u32 << wanted,
            "the share of exchanges that is looked into changes"
        );
    }

    /// Reads what was kept, and counts the records that came after it.
    fn resume(&mut self) {
        let began = Instant::now();
        let Some(disk) = &mut self.disk else { return };
        let now = Minute::of_us(unix_us());
        // What a clock that was ahead has left is not believed.
        disk.set_back(now.plus(1));
        let halvings = disk.halvings(now);
        self.versions.sampling.change(now, halvings);
        let Some(resume) = disk.load(&self.store) else {
            let resume = Resume { lsn: self.first_lsn, minute: Minute(now.0.saturating_sub(1)) };
            if let Err(error) = disk.begin(resume) {
                tracing::error!(%error, "windows cannot be kept: a restart forgets them");
            }
            return;
        };
        self.store.set_back(now);
        // What was counted before the last stop is closed, however long ago that was.
        self.store.close(resume.minute.plus(1));
        self.open = resume.minute.plus(1).min(now);
        if self.places.log.is_none() || resume.lsn >= self.first_lsn {
            return;
        }
        match self.recount(resume) {
            Ok(records) => tracing::info!(
                records,
                after_lsn = resume.lsn,
                ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "what the last stop left open is counted from the prediction log"
            ),
            Err(error) => {
                tracing::error!(%error, "the prediction log cannot be counted; counts of the last minutes are missing");
            }
        }
    }

    fn recount(&mut self, resume: Resume) -> Result<u64, LogError> {
        let now = Minute::of_us(unix_us());
        let scope = Scope::of_lsns(resume.lsn + 1, self.first_lsn);
        let mut log = Log::open_scope(&self.places.data_dir, scope)?;
        let mut batch = Batch::default();
        let mut records = 0;
        while let Some(item) = log.next_item()? {
            let Item::Row(row) = item else { continue };
            let Entry::Prediction(record) = &row.entry else { continue };
            let minute = Minute::of_exchange(record.ts_us, record.latency.t_total);
            if minute <= resume.minute || minute > now.plus(1) {
                continue;
            }
            // A version may be loaded later than this, or not any more.
            if record.kind == Kind::Inference {
                self.versions.named(record.decision.model, record.decision.model_version);
            }
            let halvings = |minute| self.disk.as_ref().map_or(0, |disk| disk.halvings(minute));
            let (versions, store) = (&self.versions, &self.store);
            let counted = batch.recount(versions, record, &mut self.references, store, halvings);
            records += u64::from(counted.is_some());
            self.touched.extend(counted);
        }
        batch.flush(&self.store);
        Ok(records)
    }

    /// Keeps everything at the end of the process. Workers have ended, and the log is closed.
    fn park(mut self) {
        self.tick(unix_us());
        self.collect();
        self.look(false);
        self.gather(Minute(u32::MAX));
        self.references.keep_rows();
        let lsn = self.places.log.as_ref().map_or(0, |log| log.written());
        if let Some(disk) = &self.disk
            && let Err(error) = disk.park(&self.store, self.open, lsn)
        {
            tracing::error!(%error, "open windows cannot be written; they are counted from the log at the next start");
        }
    }
}

/// The time of the system clock, in microseconds since the Unix epoch.
pub(super) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
