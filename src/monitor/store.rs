//! The windows of all versions.
//!
//! Owns the rings and the bound on the memory that they take together. The monitor's thread writes;
//! operators read. No worker ever waits for its lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::references::Standing;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::routing::TargetKind;
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::drift::docket::Judgement;
use crate::domain::stats::layout::{Layout, LayoutHash};
use crate::domain::stats::rings::{KEPT, Rings};
use crate::domain::stats::strangers::Strangers;
use crate::domain::stats::window::{Minute, Window, WindowCounts, WindowLength};

/// How long a closed window is kept for certain, in minutes: as long as the windows of those alarms that call at once.
const YOUNG: u32 = 10;

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionKey {
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: VersionName,
}

impl VersionKey {
    /// The key of a target; pools have none.
    pub fn of(kind: &TargetKind) -> Option<Self> {
        match kind {
            TargetKind::Version(model, version) => {
                Some(Self { model: model.clone(), version: version.clone() })
            }
            TargetKind::Pool(_) => None,
        }
    }
}

impl fmt::Display for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.version)
    }
}

/// What the monitor tells about itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MonitorStats {
    /// Bytes of all windows.
    pub memory: usize,
    /// The most that they may take.
    pub memory_max: usize,
    /// Windows that are kept.
    pub windows: usize,
    /// Windows that were forgotten early for want of memory.
    pub forgotten: u64,
    /// Minutes of one worker and version that were lost, because the monitor's thread did not come to them.
    pub lost: u64,
    /// Bytes of bodies that wait to be looked into.
    pub waiting: usize,
    /// Of the exchanges of proxied versions, one of so many is looked into.
    pub one_of: u32,
    /// Bytes of rows that baselines are being learned from.
    pub learning: usize,
    /// Files of baselines that were forgotten, since nobody came for them.
    pub baselines_forgotten: u64,
}

/// The windows of all versions.
#[derive(Debug)]
pub(super) struct Store {
    memory_max: usize,
    /// Models whose values are not told by name; `None` where those of no model are.
    nameless: Option<BTreeSet<String>>,
    kept: Mutex<Kept>,
}

/// Values of a version that its baseline does not know: of this hour and of the one before.
#[derive(Debug)]
struct Named {
    layout: LayoutHash,
    hour: Minute,
    now: Strangers,
    before: Strangers,
}

#[derive(Debug, Default)]
struct Kept {
    versions: BTreeMap<VersionKey, Rings>,
    standings: BTreeMap<VersionKey, Standing>,
    judgements: BTreeMap<VersionKey, Arc<Judgement>>,
    strangers: BTreeMap<VersionKey, Named>,
    /// By length, the end of the newest window that was forgotten for want of memory.
    lacking: [Minute; WindowLength::ALL.len()],
    /// The first minute that is not closed.
    open: Minute,
    bytes: usize,
    forgotten: u64,
    waiting: usize,
    halvings: u8,
    lost: u64,
    learning: usize,
    baselines_forgotten: u64,
}

impl Store {
    /// An empty store of at most `memory` bytes.
    pub(super) fn new(memory: u64) -> Self {
        let memory_max = usize::try_from(memory).unwrap_or(usize::MAX);
        Self { memory_max, nameless: None, kept: Mutex::new(Kept::default()) }
    }

    /// Keeps values by name, but for those of some models.
    pub(super) fn naming(self, nameless: Option<BTreeSet<String>>) -> Self {
        Self { nameless, ..self }
    }

    /// Takes note of values that the baseline of a version does not know.
    pub(super) fn name(
        &self,
        key: &VersionKey,
        minute: Minute,
        layout: &Layout,
        strangers: &Strangers,
    ) {
        let may_name = |nameless: &BTreeSet<String>| !nameless.contains(key.model.as_str());
        if strangers.is_empty() || !self.nameless.as_ref().is_some_and(may_name) {
            return;
        }
        let hour = WindowLength::Hour.start_of(minute);
        let fresh = |before| Named { layout: layout.hash(), hour, now: strangers.clone(), before };
        let mut kept = self.kept.lock();
        match kept.strangers.get_mut(key) {
            Some(named) if named.layout == layout.hash() && named.hour == hour => {
                named.now.merge(strangers);
            }
            Some(named) if named.layout == layout.hash() => {
                *named = fresh(std::mem::take(&mut named.now));
            }
            Some(_) | None => {
                kept.strangers.insert(key.clone(), fresh(Strangers::default()));
            }
        }
    }

    /// Whether any window of a version is kept.
    pub(super) fn has_windows(&self, key: &VersionKey) -> bool {
        self.kept.lock().versions.contains_key(key)
    }

    /// Forgets a version that is gone.
    pub(super) fn drop_version(&self, key: &VersionKey) {
        let mut kept = self.kept.lock();
        kept.standings.remove(key);
        kept.judgements.remove(key);
        kept.strangers.remove(key);
    }

    /// Adds what was counted about a version in a minute.
    pub(super) fn add(&self, key: &VersionKey, minute: Minute, counts: &WindowCounts) {
        let mut kept = self.kept.lock();
        let rings = match kept.versions.get_mut(key) {
            Some(rings) => rings,
            None => kept.versions.entry(key.clone()).or_default(),
        };
        rings.add(minute, counts);
    }

    /// Adds counts to the window of one length.
    pub(super) fn add_to(
        &self,
        key: &VersionKey,
        length: WindowLength,
        minute: Minute,
        counts: &WindowCounts,
    ) {
        let mut kept = self.kept.lock();
        kept.versions.entry(key.clone()).or_default().add_to(length, minute, counts);
    }

    /// The windows of one length that begin with `start`, closed or not.
    pub(super) fn at(&self, length: WindowLength, start: Minute) -> Vec<(VersionKey, Arc<Window>)> {
        self.select(length, |window| window.start == start)
    }

    /// The windows of one length from `start` on, closed or not.
    pub(super) fn from(
        &self,
        length: WindowLength,
        start: Minute,
    ) -> Vec<(VersionKey, Arc<Window>)> {
        self.select(length, |window| window.start >= start)
    }

    fn select(
        &self,
        length: WindowLength,
        wanted: impl Fn(&Window) -> bool,
    ) -> Vec<(VersionKey, Arc<Window>)> {
        let kept = self.kept.lock();
        let of = |(key, rings): (&VersionKey, &Rings)| {
            let windows = rings.of(length).filter(|window| wanted(window));
            windows.map(|window| (key.clone(), Arc::clone(window))).collect::<Vec<_>>()
        };
        kept.versions.iter().flat_map(of).collect()
    }

    /// The window of one length of a version, closed or not.
    pub(super) fn window(
        &self,
        key: &VersionKey,
        length: WindowLength,
        start: Minute,
    ) -> Option<Arc<Window>> {
        let kept = self.kept.lock();
        kept.versions.get(key)?.of(length).rev().find(|window| window.start == start).cloned()
    }

    /// Says what waits to be looked into, and how often the share that is was halved.
    pub(super) fn note_looking(&self, waiting: usize, halvings: u8, lost: u64) {
        let mut kept = self.kept.lock();
        (kept.waiting, kept.halvings, kept.lost) = (waiting, halvings, lost);
    }

    /// Says what the rows take that baselines are being learned from, and how many files of baselines were forgotten.
    pub(super) fn note_learning(&self, bytes: usize, forgotten: u64) {
        let mut kept = self.kept.lock();
        (kept.learning, kept.baselines_forgotten) = (bytes, forgotten);
    }

    /// Says how a version stands with its baseline.
    pub(super) fn stand(&self, key: &VersionKey, standing: Standing) {
        self.kept.lock().standings.insert(key.clone(), standing);
    }

    /// Closes every minute before `open`.
    pub(super) fn close(&self, open: Minute) {
        let mut kept = self.kept.lock();
        kept.open = kept.open.max(open);
        for rings in kept.versions.values_mut() {
            rings.age(open);
        }
        kept.versions.retain(|_, rings| !rings.is_empty());
        kept.bytes = kept.versions.values().map(Rings::bytes).sum();
    }

    /// Keeps within the memory: forgets closed windows that are written, as far as `is_written` says so. What is read
    /// with every minute stays, whatever it takes: windows that ended in the last [`YOUNG`] minutes, and those that are
    /// being filled.
    pub(super) fn shed(&self, is_written: impl Fn(WindowLength, Minute) -> bool) -> Shed {
        let mut kept = self.kept.lock();
        let windows = kept.shed(self.memory_max, is_written);
        kept.forgotten += windows;
        Shed { windows, bytes: kept.bytes, bytes_max: self.memory_max }
    }
}

/// What had to go for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shed {
    /// Windows that were forgotten.
    pub(super) windows: u64,
    /// The bytes of those that stay.
    pub(super) bytes: usize,
    /// The most that they may take.
    pub(super) bytes_max: usize,
}

impl Store {
    /// Forgets what was counted after `open`: the clock was ahead, and has been set right.
    pub(super) fn set_back(&self, open: Minute) {
        let mut kept = self.kept.lock();
        kept.open = kept.open.min(open);
        kept.lacking.iter_mut().for_each(|end| *end = open.min(*end));
        kept.versions.values_mut().for_each(|rings| rings.set_back(open.plus(1)));
        kept.versions.retain(|_, rings| !rings.is_empty());
    }
}

impl Kept {
    /// Forgets the oldest windows beyond so many bytes; returns how many. How old a window is is told in parts of the time
    /// for which windows of its length are kept, so that minutes, hours and days all reach back by the same part of it.
    fn shed(
        &mut self,
        memory_max: usize,
        is_written: impl Fn(WindowLength, Minute) -> bool,
    ) -> u64 {
        if self.bytes <= memory_max {
            return 0;
        }
        let open = self.open;
        let mut rings: Vec<&mut Rings> = self.versions.values_mut().collect();
        let mut old: Vec<(u64, usize, WindowLength, Minute)> = Vec::new();
        for (at, rings) in rings.iter().enumerate() {
            for length in WindowLength::ALL {
                // A ring is shortened from its old end only.
                let may_go = rings.of(length).take_while(|window| {
                    window.end().plus(YOUNG) <= open && is_written(length, window.start)
                });
                old.extend(may_go.map(|window| (age(window, open), at, length, window.end())));
            }
        }
        old.sort_unstable_by_key(|(age, at, length, _)| (Reverse(*age), *at, *length));
        let mut windows = 0;
        for (_, at, length, end) in old {
            if self.bytes <= memory_max {
                break;
            }
            let lacking = &mut self.lacking[length as usize];
            *lacking = end.max(*lacking);
            let bytes = rings.get_mut(at).map_or(0, |rings| rings.forget_oldest(length));
            self.bytes = self.bytes.saturating_sub(bytes);
            windows += 1;
        }
        windows
    }
}

/// How old a closed window is, in millionths of the time for which windows of its length are kept.
fn age(window: &Window, open: Minute) -> u64 {
    let reach = KEPT[window.length as usize] as u64 * u64::from(window.length.minutes());
    u64::from(open.0.saturating_sub(window.end().0)) * 1_000_000 / reach
}

/// Reads what the monitor has counted.
#[derive(Debug, Clone)]
pub struct MonitorReader {
    store: Arc<Store>,
}

impl MonitorReader {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The versions of which something is kept.
    pub fn versions(&self) -> Vec<VersionKey> {
        self.store.kept.lock().versions.keys().cloned().collect()
    }

    /// How each monitored version stands with its baseline.
    pub fn standings(&self) -> Vec<(VersionKey, Standing)> {
        let kept = self.store.kept.lock();
        kept.standings.iter().map(|(key, standing)| (key.clone(), standing.clone())).collect()
    }

    /// How a version stands with its baseline; `None` for one that is not monitored.
    pub fn standing(&self, key: &VersionKey) -> Option<Standing> {
        self.store.kept.lock().standings.get(key).cloned()
    }

    /// What the values of a version are held against.
    pub fn baseline(&self, key: &VersionKey) -> Option<Arc<Baseline>> {
        self.store.kept.lock().standings.get(key)?.baseline().cloned()
    }

    /// A few values of a category that the baseline with this layout does not know, of this hour and the one before; the
    /// most frequent first. Empty where values are not told by name.
    pub fn strangers(&self, key: &VersionKey, layout: &Layout, feature: usize) -> Vec<String> {
        let kept = self.store.kept.lock();
        let Some(named) = kept.strangers.get(key).filter(|it| it.layout == layout.hash()) else {
            return Vec::new();
        };
        let mut all = named.now.clone();
        all.merge(&named.before);
        all.of(feature).into_iter().map(str::to_owned).collect()
    }

    /// What was last concluded about a version; `None` before there was enough to judge.
    pub fn judgement(&self, key: &VersionKey) -> Option<Arc<Judgement>> {
        self.store.kept.lock().judgements.get(key).cloned()
    }

    /// What was last concluded about each version.
    pub fn judgements(&self) -> Vec<(VersionKey, Arc<Judgement>)> {
        let kept = self.store.kept.lock();
        kept.judgements.iter().map(|(key, it)| (key.clone(), Arc::clone(it))).collect()
    }

    /// Says what was concluded about a version.
    pub(super) fn judge(&self, key: &VersionKey, judgement: Judgement) {
        self.store.kept.lock().judgements.insert(key.clone(), Arc::new(judgement));
    }

    /// Forgets what was concluded about a version: it is held against something else now.
    pub(super) fn retract(&self, key: &VersionKey) {
        self.store.kept.lock().judgements.remove(key);
    }

    /// The first minute that is not closed: windows that end no later never change again.
    pub fn open(&self) -> Minute {
        self.store.kept.lock().open
    }

    /// The closed windows of one length of a version, oldest first. A window without any exchange is not
    /// there.
    pub fn windows(&self, key: &VersionKey, length: WindowLength) -> Vec<Arc<Window>> {
        let kept = self.store.kept.lock();
        let Some(rings) = kept.versions.get(key) else { return Vec::new() };
        let closed = rings.of(length).filter(|window| window.end() <= kept.open);
        closed.cloned().collect()
    }

    /// The closed window of one length of a version that begins with `start`; `None` where no exchange
    /// ended in it.
    pub fn window(
        &self,
        key: &VersionKey,
        length: WindowLength,
        start: Minute,
    ) -> Option<Arc<Window>> {
        let open = self.open();
        self.store.window(key, length, start).filter(|window| window.end() <= open)
    }

    /// Whether the windows of one length that begin with `first` or later are all kept: none of them was forgotten for
    /// want of memory.
    pub fn has_all_since(&self, length: WindowLength, first: Minute) -> bool {
        self.store.kept.lock().lacking[length as usize] <= first
    }

    /// The window of one length that closed minutes are still being added to.
    pub fn filling(&self, key: &VersionKey, length: WindowLength) -> Option<Arc<Window>> {
        let kept = self.store.kept.lock();
        let window = kept.versions.get(key)?.of(length).next_back()?;
        (window.end() > kept.open).then(|| Arc::clone(window))
    }

    /// What the monitor takes.
    pub fn stats(&self) -> MonitorStats {
        let kept = self.store.kept.lock();
        MonitorStats {
            memory: kept.bytes,
            memory_max: self.store.memory_max,
            windows: kept.versions.values().map(Rings::len).sum(),
            forgotten: kept.forgotten,
            lost: kept.lost,
            waiting: kept.waiting,
            one_of: 1 << kept.halvings,
            learning: kept.learning,
            baselines_forgotten: kept.baselines_forgotten,
        }
    }
}

#[cfg(test)]
mod tests;
