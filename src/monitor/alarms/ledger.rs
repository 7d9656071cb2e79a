//! What is known of alarms: the board, the last events, and calls that are not delivered yet.
//!
//! Owns this state and its file. The monitor's thread steps it once a minute, the thread of the webhook
//! takes calls off it, operators read it; none of them is a worker. It is written down after every change
//! that someone was or will be told of, before anyone is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::file;
use super::told::Told;
use crate::domain::spec::WebhookSpec;
use crate::domain::stats::alarm::{
    AlarmKey, AlarmKind, Board, Change, Event, Notice, Standing, Watch,
};
use crate::domain::stats::rate_band::History;
use crate::monitor::gather::BACK_MINUTES;
use crate::prediction_log::FailureReason;

/// Events that are kept.
const EVENTS_MAX: usize = 500;
/// The most versions of a model that are remembered as seen, beyond those that there are.
const VERSIONS_MAX: usize = 1000;

/// What is written down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    board: Board,
    /// Oldest first.
    events: VecDeque<Event>,
    /// Calls that are not delivered, oldest first.
    outbox: VecDeque<Call>,
    /// The number of the next call.
    next_call: u64,
    /// When versions came, by model.
    arrivals: BTreeMap<String, Arrivals>,
    /// The number of the last event that became a call.
    told: Option<u64>,
}

/// A call and its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) number: u64,
    #[serde(flatten)]
    pub(super) what: CallWhat,
}

/// What someone is called for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallWhat {
    /// An alarm.
    Notice(Notice),
    /// An event of a release or a source.
    Event(Told),
}

impl CallWhat {
    /// Whether others are given up before it.
    const fn is_pressing(&self) -> bool {
        match self {
            Self::Notice(_) => true,
            Self::Event(told) => told.is_alarm,
        }
    }
}

/// When the versions of a model came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrivals {
    /// Those that were there already.
    versions: BTreeSet<String>,
    /// The minute in which the last one came, since the Unix epoch.
    pub(super) latest: u64,
}

/// How calls went since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Calls that the receiver acknowledged.
    pub delivered: u64,
    /// Attempts that failed, in the order of [`FailureReason::ALL`].
    pub failures: Vec<u64>,
    /// Calls that were given up: refused for good, or more than may wait.
    pub given_up: u64,
    /// Calls that wait.
    pub waiting: u64,
    /// What went wrong last, until a call is delivered.
    pub last_error: Option<String>,
}

/// What alarms tell about themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlarmStats {
    /// How often each became active since the start.
    pub fired: BTreeMap<(String, AlarmKind), u64>,
    /// How calls went; `None` without a webhook.
    pub calls: Option<CallStats>,
    /// Times that the state could not be written down.
    pub write_errors: u64,
}

#[derive(Debug, Default)]
struct State {
    kept: Kept,
    stats: AlarmStats,
    /// The traffic of models, for what is usual.
    histories: BTreeMap<String, History>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The files of alarms and of histories; `None` where nothing is written down.
    files: Option<[PathBuf; 2]>,
    /// Calls that may wait; 0 where nobody takes them.
    queue: usize,
    /// Never held while something is written, or by a worker.
    state: Mutex<State>,
    /// Keeps the versions of the file in order.
    writing: Mutex<()>,
    stopped: AtomicBool,
}

impl Ledger {
    /// Takes up what lies in `dir`.
    pub(super) fn open(dir: &Path, webhook: Option<&WebhookSpec>) -> Self {
        let files = ["alarms.json", "traffic.json"].map(|name| dir.join(name));
        let [path, histories_path] = &files;
        let mut kept: Kept = file::read(path);
        let histories = file::read(histories_path);
        let queue = webhook.map_or(0, |webhook| webhook.queue);
        let mut stats = AlarmStats::default();
        if webhook.is_some() {
            let failures = vec![0; FailureReason::ALL.len()];
            stats.calls = Some(CallStats { failures, ..CallStats::default() });
        }
        bound(&mut kept, queue, &mut stats);
        let state = Mutex::new(State { kept, stats, histories });
        let stopped = AtomicBool::new(false);
        Self { files: Some(files), queue, state, writing: Mutex::new(()), stopped }
    }

    /// One that knows nothing of before and writes nothing down.
    pub(super) fn blank() -> Self {
        let (state, writing) = (Mutex::default(), Mutex::default());
        Self { files: None, queue: 0, state, writing, stopped: AtomicBool::new(false) }
    }

    /// Forgets what a clock that was ahead has left; `open` is the first minute that is not over. Minutes before
    /// it may be looked at again after a start: that is no sign of such a clock.
    pub(super) fn set_right(&self, open: u64) {
        let mut state = self.state.lock();
        let State { kept, histories, .. } = &mut *state;
        let until = kept.board.minute();
        if until <= open + BACK_MINUTES {
            return;
        }
        tracing::warn!(minute = open, until, "the clock was set back: alarms go on from here");
        kept.board.set_back(open);
        histories.values_mut().for_each(|history| history.set_back(open));
    }

    /// Takes in the looks of one minute, writes down what follows, and returns whom to tell.
    pub(super) fn step(&self, minute: u64, watched: Vec<Watch<'_>>) -> Vec<Notice> {
        let (notices, changed) = {
            let mut state = self.state.lock();
            let State { kept, stats, .. } = &mut *state;
            let step = kept.board.step(minute, watched);
            for event in &step.events {
                // One that ends is known from then on, too: it may have become active before the start.
                let key = (event.key.model.clone(), event.key.alarm);
                *stats.fired.entry(key).or_default() += u64::from(event.change == Change::Started);
            }
            let changed = !step.events.is_empty() || !step.notices.is_empty();
            kept.events.extend(step.events);
            if self.queue > 0 {
                for notice in &step.notices {
                    kept.call(CallWhat::Notice(notice.clone()));
                }
            }
            bound(kept, self.queue, stats);
            (step.notices, changed)
        };
        if changed {
            self.save();
        }
        notices
    }

    /// Takes in an event, unless it is known; whether it is a call now. It is written down with the next call that
    /// ends.
    pub(super) fn tell(&self, told: Told) -> bool {
        let mut state = self.state.lock();
        let State { kept, stats, .. } = &mut *state;
        if kept.told.is_some_and(|known| told.number <= known) {
            return false;
        }
        kept.told = Some(told.number);
        kept.call(CallWhat::Event(told));
        bound(kept, self.queue, stats);
        true
    }

    /// The number of the last event that was taken in.
    pub(super) fn last_told(&self) -> Option<u64> {
        self.state.lock().kept.told
    }

    /// Notes which versions a model has; returns when the last one came.
    pub(super) fn arrivals(&self, model: &str, minute: u64, versions: &BTreeSet<String>) -> u64 {
        let (latest, changed) = {
            let mut state = self.state.lock();
            let arrivals = match state.kept.arrivals.get_mut(model) {
                Some(arrivals) => arrivals,
                None => state.kept.arrivals.entry(model.to_owned()).or_default(),
            };
            let mut changed = false;
            for version in versions {
                if !arrivals.versions.contains(version) {
                    arrivals.versions.insert(version.clone());
                    (arrivals.latest, changed) = (minute, true);
                }
            }
            // Those that are gone make room; one of them that came back would be a new one.
            while arrivals.versions.len() > VERSIONS_MAX {
                let gone = arrivals.versions.iter().find(|known| !versions.contains(*known));
                let Some(gone) = gone.cloned() else { break };
                arrivals.versions.remove(&gone);
            }
            (arrivals.latest, changed)
        };
        if changed {
            self.save();
        }
        latest
    }

    /// Works on the memory of a model's traffic.
    pub(super) fn with_history<T>(&self, model: &str, work: impl FnOnce(&mut History) -> T) -> T {
        let mut state = self.state.lock();
        match state.histories.get_mut(model) {
            Some(history) => work(history),
            None => work(state.histories.entry(model.to_owned()).or_default()),
        }
    }

    /// Forgets the traffic of models that are no longer there.
    pub(super) fn forget_other_models(&self, is_there: impl Fn(&str) -> bool) {
        let mut state = self.state.lock();
        state.histories.retain(|model, _| is_there(model));
        state.kept.arrivals.retain(|model, _| is_there(model));
    }

    /// The oldest call that waits.
    pub(super) fn next_call(&self) -> Option<Call> {
        self.state.lock().kept.outbox.front().cloned()
    }

    /// A call was acknowledged.
    pub(super) fn delivered(&self, number: u64) {
        self.end(number, |stats| {
            stats.delivered += 1;
            stats.last_error = None;
        });
    }

    /// A call will never be taken.
    pub(super) fn refused(&self, number: u64) {
        self.end(number, |stats| stats.given_up += 1);
    }

    /// An attempt failed.
    pub(super) fn failed(&self, reason: FailureReason, detail: String) {
        if let Some(stats) = &mut self.state.lock().stats.calls {
            let at = FailureReason::ALL.iter().position(|it| *it == reason);
            if let Some(count) = at.and_then(|at| stats.failures.get_mut(at)) {
                *count += 1;
            }
            stats.last_error = Some(detail);
        }
    }

    fn end(&self, number: u64, count: impl FnOnce(&mut CallStats)) {
        {
            let mut state = self.state.lock();
            let State { kept, stats, .. } = &mut *state;
            kept.outbox.retain(|call| call.number != number);
            if let Some(stats) = &mut stats.calls {
                count(stats);
            }
        }
        self.save();
    }

    /// Whether the end has begun.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Begins the end: what is not delivered stays.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Writes down the board, the events and the calls.
    fn save(&self) {
        let Some([path, _]) = &self.files else { return };
        let _order = self.writing.lock();
        let kept = self.state.lock().kept.clone();
        self.note(file::write(path, &kept), path);
    }

    /// Writes down the traffic of models.
    pub(super) fn save_histories(&self) {
        let Some([_, path]) = &self.files else { return };
        let _order = self.writing.lock();
        let histories = self.state.lock().histories.clone();
        self.note(file::write(path, &histories), path);
    }

    /// Writes down everything.
    pub(super) fn save_all(&self) {
        self.save();
        self.save_histories();
    }

    fn note(&self, written: std::io::Result<()>, path: &Path) {
        if let Err(error) = written {
            self.state.lock().stats.write_errors += 1;
            tracing::error!(path = %path.display(), %error, "the state of alarms cannot be written");
        }
    }
}

impl Kept {
    fn call(&mut self, what: CallWhat) {
        self.outbox.push_back(Call { number: self.next_call, what });
        self.next_call += 1;
    }
}

/// Keeps what is kept within its bounds.
fn bound(kept: &mut Kept, queue: usize, stats: &mut AlarmStats) {
    let old = kept.events.len().saturating_sub(EVENTS_MAX);
    kept.events.drain(..old);
    let over = kept.outbox.len().saturating_sub(queue);
    for _ in 0..over {
        // What is only to be known makes room for what somebody should look at.
        let at = kept.outbox.iter().position(|call| !call.what.is_pressing());
        kept.outbox.remove(at.unwrap_or(0));
    }
    if let Some(calls) = &mut stats.calls {
        calls.given_up += over as u64;
    }
}

/// Reads the alarms: what is active and why, and what happened last.
#[derive(Debug, Clone)]
pub struct AlarmReader {
    ledger: Arc<Ledger>,
}

impl AlarmReader {
    pub(super) const fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger }
    }

    /// The active alarms, in the order of their keys.
    pub fn active(&self) -> Vec<(AlarmKey, Standing)> {
        let state = self.ledger.state.lock();
        let active = state.kept.board.active();
        active.map(|(key, standing)| (key.clone(), standing.clone())).collect()
    }

    /// The active alarms that concern one version: its own, and those of its model as a whole.
    pub fn active_for(&self, model: &str, version: &str) -> Vec<(AlarmKey, Standing)> {
        let mut active = self.active();
        active.retain(|(key, _)| {
            key.model == model && (key.version.is_empty() || key.version == version)
        });
        active
    }

    /// The last events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.ledger.state.lock().kept.events.iter().cloned().collect()
    }

    /// What happened in one minute, or since.
    pub fn events_since(&self, minute: u64) -> Vec<Event> {
        let state = self.ledger.state.lock();
        let newest_first = state.kept.events.iter().rev();
        let mut events: Vec<Event> =
            newest_first.take_while(|event| event.minute >= minute).cloned().collect();
        events.reverse();
        events
    }

    /// What alarms tell about themselves.
    pub fn stats(&self) -> AlarmStats {
        let state = self.ledger.state.lock();
        let mut stats = state.stats.clone();
        if let Some(calls) = &mut stats.calls {
            calls.waiting = state.kept.outbox.len() as u64;
        }
        stats
    }
}

#[cfg(test)]
mod tests;
