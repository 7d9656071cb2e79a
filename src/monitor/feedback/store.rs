//! The join store: predictions that may still get or change a label, and statements whose prediction has not come.
//!
//! Owns who is found under which name, and the bound. Predictions lie in buckets of a minute, which go with the join
//! window, and before that, the oldest first, when there is no memory. Never counts quality.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use twox_hash::XxHash3_128;

use super::answer::Answer;
use super::ledger::{Ledger, Said, Statement};
use crate::domain::ids::RecordId;
use crate::domain::record::FeedbackTarget;
use crate::domain::spec::LabelPolicy;
use crate::domain::stats::window::Minute;

/// The most statements that wait for their prediction.
pub(super) const WAITING_MAX: usize = 50_000;
/// How long a statement waits for its prediction, by the time of the log.
const WAITING_US: u64 = 10 * 60 * 1_000_000;

/// A name of a prediction, hashed: 128 bits, so that no two are taken for one.
pub(super) type Name = u128;

/// The hash of what feedback calls a prediction.
pub(super) fn name(target: FeedbackTarget<'_>) -> Name {
    match target {
        FeedbackTarget::Prediction(id) => XxHash3_128::oneshot_with_seed(1, id.as_bytes()),
        FeedbackTarget::Request(text) => XxHash3_128::oneshot_with_seed(2, text.as_bytes()),
        FeedbackTarget::Key(text) => XxHash3_128::oneshot_with_seed(3, text.as_bytes()),
    }
}

/// Where a prediction is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Home {
    /// The model, by its place in the table.
    pub(super) model: u16,
    /// The version, by its place in the model's.
    pub(super) version: u16,
    /// The slice, by its place in the model's; 0 is all.
    pub(super) slice: u16,
    /// The minute in which the exchange ended.
    pub(super) minute: Minute,
}

/// A prediction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) home: Home,
    /// When it was asked for, in microseconds since the Unix epoch.
    pub(super) ts_us: u64,
    /// What it said, row by row; none if it cannot be scored.
    #[serde(with = "crate::domain::small")]
    pub(super) rows: SmallVec<[Row; 1]>,
    /// What was stated about it; most predictions never get a label.
    pub(super) ledger: Option<Box<Ledger>>,
    /// What else it is called.
    #[serde(with = "crate::domain::small")]
    pub(super) names: SmallVec<[Name; 2]>,
}

/// A row of a prediction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    /// `None` if it cannot be scored.
    pub(super) answer: Option<Answer>,
    /// How many microseconds after the prediction its label came; `None` while it has none.
    pub(super) label_us: Option<u64>,
}

impl Row {
    /// A row without a label.
    pub(super) fn new(answer: Option<Answer>) -> Self {
        Self { answer, label_us: None }
    }

    fn heap_bytes(&self) -> usize {
        match &self.answer {
            Some(Answer::Class { probabilities: Some(all), .. }) => size_of_val::<[f64]>(all),
            Some(Answer::Class { .. } | Answer::Value(_) | Answer::Anything) | None => 0,
        }
    }
}

impl Entry {
    /// What is true of it, as far as is stated.
    pub(super) fn truth(&self, policy: LabelPolicy) -> Option<Said> {
        self.ledger.as_ref()?.truth(policy)
    }

    /// Bytes of what was stated.
    pub(super) fn ledger_bytes(&self) -> usize {
        self.ledger.as_ref().map_or(0, |ledger| size_of::<Ledger>() + ledger.heap_bytes())
    }

    /// Bytes with its places in the tables.
    fn bytes(&self) -> usize {
        let several = if self.rows.spilled() { self.rows.len() * size_of::<Row>() } else { 0 };
        let rows = several + self.rows.iter().map(Row::heap_bytes).sum::<usize>();
        // A table is between half and nearly full, and each name and id stands in one more place.
        2 * (size_of::<(RecordId, Self)>() + self.names.len() * size_of::<(Name, RecordId)>())
            + size_of::<RecordId>()
            + rows
            + self.ledger_bytes()
    }
}

/// A statement whose prediction has not come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) statement: Statement,
    pub(super) ts_us: u64,
    pub(super) metric: String,
    pub(super) source: String,
    pub(super) value: Option<f64>,
    pub(super) label: Option<String>,
    pub(super) retracted: bool,
}

/// Where a statement waits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Place {
    name: Name,
    lsn: u64,
    ts_us: u64,
}

/// The store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Store {
    entries: HashMap<RecordId, Entry>,
    names: HashMap<Name, RecordId>,
    /// Copies that went to a version on trial, by the prediction that the client got.
    shadows: HashMap<RecordId, Vec<RecordId>>,
    /// The other way round.
    parents: HashMap<RecordId, RecordId>,
    buckets: BTreeMap<Minute, Vec<RecordId>>,
    waiting: HashMap<Name, Vec<Waiting>>,
    /// Where the statements wait, in the order in which they came; some are gone already.
    order: VecDeque<Place>,
    /// Statements that wait, and the bytes of their texts.
    waiting_len: usize,
    waiting_bytes: usize,
    bytes: usize,
}

impl Store {
    /// Weighs everything anew, after it was read back.
    pub(super) fn weigh(&mut self) {
        self.bytes = self.entries.values().map(Entry::bytes).sum();
        self.waiting_bytes = self.waiting.values().flatten().map(Waiting::heap_bytes).sum();
    }

    /// Predictions.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Statements that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting_len
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.bytes_waiting()
    }

    pub(super) fn contains(&self, id: RecordId) -> bool {
        self.entries.contains_key(&id)
    }

    pub(super) fn get_mut(&mut self, id: RecordId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// The ledger of a prediction.
    pub(super) fn ledger(&self, id: RecordId) -> Option<Box<Ledger>> {
        self.entries.get(&id)?.ledger.clone()
    }

    /// The minutes of a span in which predictions were made.
    pub(super) fn minutes(&self, span: Range<Minute>) -> impl Iterator<Item = Minute> {
        // A span that ends before it begins is none.
        let end = span.end.max(span.start);
        self.buckets.range(span.start..end).map(|(minute, _)| *minute)
    }

    /// The predictions of a minute, in the order of the log.
    pub(super) fn made_in(&self, minute: Minute) -> impl Iterator<Item = &Entry> {
        let ids = self.buckets.get(&minute).into_iter().flatten();
        ids.filter_map(move |id| self.entries.get(id))
    }

    /// Keeps a prediction; the latest with a name is the one that is meant by it.
    pub(super) fn put(&mut self, id: RecordId, parent: Option<RecordId>, entry: Entry) {
        self.bytes += entry.bytes();
        for name in &entry.names {
            self.names.insert(*name, id);
        }
        if let Some(parent) = parent {
            self.parents.insert(id, parent);
            self.shadows.entry(parent).or_default().push(id);
        }
        self.buckets.entry(entry.home.minute).or_default().push(id);
        self.entries.insert(id, entry);
    }

    /// The predictions that feedback about `target` is about: the one of that name, and its copies.
    pub(super) fn find(&self, target: FeedbackTarget<'_>) -> SmallVec<[RecordId; 2]> {
        let id = match target {
            FeedbackTarget::Prediction(id) => Some(id),
            FeedbackTarget::Request(_) | FeedbackTarget::Key(_) => {
                self.names.get(&name(target)).copied()
            }
        };
        let Some(id) = id else { return SmallVec::new() };
        let copies = self.shadows.get(&id).into_iter().flatten().copied();
        [id].into_iter().chain(copies).filter(|id| self.contains(*id)).collect()
    }

    /// Says that the size of an entry has changed.
    pub(super) fn resized(&mut self, before: usize, id: RecordId) {
        let after = self.entries.get(&id).map_or(0, Entry::ledger_bytes);
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    /// Removes the predictions of minutes before `oldest`; they can get no label any more.
    pub(super) fn expire(&mut self, oldest: Minute) {
        while self.buckets.first_key_value().is_some_and(|(minute, _)| *minute < oldest) {
            self.drop_oldest();
        }
    }

    /// Removes the oldest bucket; returns its minute and how many predictions were in it, `None` when there is none.
    pub(super) fn drop_oldest(&mut self) -> Option<(Minute, usize)> {
        let (minute, ids) = self.buckets.pop_first()?;
        for id in &ids {
            let Some(entry) = self.entries.remove(id) else { continue };
            self.bytes = self.bytes.saturating_sub(entry.bytes());
            self.shadows.remove(id);
            if let Some(parent) = self.parents.remove(id)
                && let Some(copies) = self.shadows.get_mut(&parent)
            {
                copies.retain(|copy| copy != id);
                if copies.is_empty() {
                    self.shadows.remove(&parent);
                }
            }
            for name in &entry.names {
                if self.names.get(name) == Some(id) {
                    self.names.remove(name);
                }
            }
        }
        Some((minute, ids.len()))
    }

    /// Keeps a statement for a prediction that has not come.
    pub(super) fn wait(&mut self, target: FeedbackTarget<'_>, waiting: Waiting) {
        let name = name(target);
        self.order.push_back(Place { name, lsn: waiting.statement.lsn, ts_us: waiting.ts_us });
        self.waiting_bytes += waiting.heap_bytes();
        self.waiting.entry(name).or_default().push(waiting);
        self.waiting_len += 1;
    }

    /// Takes the statements that wait for a prediction of this name, in order.
    pub(super) fn take_waiting(&mut self, name: Name) -> Vec<Waiting> {
        let found = self.waiting.remove(&name).unwrap_or_default();
        self.waiting_len -= found.len();
        self.waiting_bytes -= found.iter().map(Waiting::heap_bytes).sum::<usize>();
        found
    }

    /// Bytes of the statements that wait.
    fn bytes_waiting(&self) -> usize {
        self.waiting_len * 2 * size_of::<Waiting>()
            + self.waiting_bytes
            + self.order.len() * size_of::<Place>()
    }

    /// Gives up statements that have waited too long, or of which there are too many; returns how many.
    pub(super) fn give_up(&mut self, now_us: u64, bytes_max: usize) -> u64 {
        let mut given_up = 0;
        while let Some(place) = self.order.front().copied() {
            let is_old = place.ts_us.saturating_add(WAITING_US) < now_us;
            let is_full = self.waiting_len > WAITING_MAX
                || self.order.len() > 4 * WAITING_MAX
                || self.bytes_waiting() > bytes_max;
            if !is_old && !is_full {
                break;
            }
            given_up += self.give_up_oldest().unwrap_or_default();
        }
        given_up
    }

    /// Gives up the statement that waits longest, if it still waits; `None` when there is none.
    pub(super) fn give_up_oldest(&mut self) -> Option<u64> {
        let place = self.order.pop_front()?;
        let Some(waiting) = self.waiting.get_mut(&place.name) else { return Some(0) };
        let gone = waiting.extract_if(.., |one| one.statement.lsn == place.lsn);
        let gone: Vec<usize> = gone.map(|one| one.heap_bytes()).collect();
        if waiting.is_empty() {
            self.waiting.remove(&place.name);
        }
        self.waiting_len -= gone.len();
        self.waiting_bytes -= gone.iter().sum::<usize>();
        Some(gone.len() as u64)
    }
}

impl Waiting {
    fn heap_bytes(&self) -> usize {
        self.metric.len() + self.source.len() + self.label.as_ref().map_or(0, String::len)
    }
}
