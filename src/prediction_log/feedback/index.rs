//! The bounded index: names of predictions, and statements that are kept.
//!
//! Owns what a repetition is and what a replacement is. Knows names and statements by their hashes
//! alone (XXH3 with a seed of its own): 64 bits for names, 128 for statements, so that no two
//! statements are ever taken for one. Never reads the log.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use twox_hash::{XxHash3_64, XxHash3_128};

use super::{AHEAD_MAX, Standing, is_ours};
use crate::domain::ids::RecordId;
use crate::domain::record::{FeedbackRecord, FeedbackTarget, PredictionRecord};
use crate::domain::spec::FeedbackSpec;

/// What is to be done with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is kept already, as the row of this id.
    Duplicate(RecordId),
    /// Somebody is writing the same statement just now.
    Busy,
    /// It is new, and reserved for the caller.
    New {
        /// There is an earlier statement of the same target, metric and source.
        replaces: bool,
    },
}

/// A statement that is kept or being written.
#[derive(Debug, Clone, Copy)]
struct Kept {
    id: RecordId,
    settled: bool,
}

/// What is known. Names and statements are bounded each by the same number; the oldest go first.
#[derive(Debug)]
pub(super) struct Index {
    seed: u64,
    window_ms: u64,
    /// When the prediction of this name was made, in milliseconds since the Unix epoch.
    ids: Ring<u64, u64>,
    requests: Ring<u64, u64>,
    keys: Ring<u64, u64>,
    statements: Ring<u128, Kept>,
    /// Targets, metrics and sources of which there is a statement.
    topics: Ring<u128, ()>,
}

impl Index {
    pub(super) fn new(spec: &FeedbackSpec) -> Self {
        let capacity = spec.index;
        Self {
            seed: fastrand::u64(..),
            window_ms: u64::try_from(spec.window.as_millis()).unwrap_or(u64::MAX),
            ids: Ring::new(capacity),
            requests: Ring::new(capacity),
            keys: Ring::new(capacity),
            statements: Ring::new(capacity),
            topics: Ring::new(capacity),
        }
    }

    pub(super) fn predictions(&self) -> usize {
        self.ids.map.len()
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        let (a, b) = (&self.statements, &self.topics);
        [a.order.len(), a.map.len(), b.order.len(), b.map.len()]
    }

    /// Learns of a prediction that is in the log.
    pub(super) fn saw_prediction(&mut self, record: &PredictionRecord<'_>) {
        let ms = record.ts_us / 1000;
        self.ids.put(self.name(record.record_id.as_bytes()), ms);
        // A request id that was minted is the record's own id, which is there already.
        if !record.request_id.is_empty()
            && RecordId::parse(record.request_id) != Some(record.record_id)
        {
            self.requests.put(self.name(record.request_id.as_bytes()), ms);
        }
        if !record.feedback_key.is_empty() {
            self.keys.put(self.name(record.feedback_key.as_bytes()), ms);
        }
    }

    /// Learns of a statement that is in the log. One that is reserved stays so until its owner settles it.
    pub(super) fn saw_feedback(&mut self, record: &FeedbackRecord<'_>) {
        let (topic, statement) = self.hashes(record);
        self.topics.put(topic, ());
        if !self.statements.map.contains_key(&statement) {
            self.statements.put(statement, Kept { id: record.record_id, settled: true });
        }
    }

    pub(super) fn decide(&mut self, record: &FeedbackRecord<'_>) -> Decision {
        let (topic, statement) = self.hashes(record);
        match self.statements.map.get(&statement) {
            Some(Kept { settled: false, .. }) => return Decision::Busy,
            Some(Kept { id, .. }) => return Decision::Duplicate(*id),
            None => {}
        }
        self.statements.put(statement, Kept { id: record.record_id, settled: false });
        let replaces = self.topics.map.contains_key(&topic);
        self.topics.put(topic, ());
        Decision::New { replaces }
    }

    pub(super) fn settle(&mut self, record: &FeedbackRecord<'_>, replaces: bool, kept: bool) {
        let (topic, statement) = self.hashes(record);
        // With a small index the reservation may have made room for others.
        if let Entry::Occupied(mut entry) = self.statements.map.entry(statement)
            && entry.get().id == record.record_id
        {
            if kept {
                entry.get_mut().settled = true;
            } else {
                entry.remove();
            }
        }
        if !kept && !replaces {
            self.topics.map.remove(&topic);
        }
    }

    pub(super) fn standing(&self, target: FeedbackTarget<'_>, now_ms: u64) -> Standing {
        let (made, fallback) = match target {
            FeedbackTarget::Prediction(id) => {
                let ahead = u64::try_from(AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
                if !is_ours(id) || id.unix_ms() > now_ms.saturating_add(ahead) {
                    return Standing::Impossible;
                }
                (self.ids.map.get(&self.name(id.as_bytes())), Some(id.unix_ms()))
            }
            FeedbackTarget::Request(request) => {
                let minted = || self.ids.map.get(&self.name(RecordId::parse(request)?.as_bytes()));
                (self.requests.map.get(&self.name(request.as_bytes())).or_else(minted), None)
            }
            FeedbackTarget::Key(key) => (self.keys.map.get(&self.name(key.as_bytes())), None),
        };
        // The id of a prediction tells its age, also of one that is not remembered.
        match made.copied().or(fallback) {
            Some(ms) if now_ms.saturating_sub(ms) > self.window_ms => Standing::Late,
            _ if made.is_some() => Standing::Known,
            _ => Standing::Pending,
        }
    }

    fn name(&self, name: &[u8]) -> u64 {
        XxHash3_64::oneshot_with_seed(self.seed, name)
    }

    /// The hashes of what a statement is about, and of the statement.
    fn hashes(&self, record: &FeedbackRecord<'_>) -> (u128, u128) {
        let mut text = Vec::with_capacity(256);
        match &record.target {
            FeedbackTarget::Prediction(id) => field(&mut text, 1, id.as_bytes()),
            FeedbackTarget::Request(request) => field(&mut text, 2, request.as_bytes()),
            FeedbackTarget::Key(key) => field(&mut text, 3, key.as_bytes()),
        }
        field(&mut text, 4, record.metric.as_bytes());
        field(&mut text, 5, record.source.as_bytes());
        let topic = XxHash3_128::oneshot_with_seed(self.seed, &text);
        if record.feedback_id.is_empty() {
            if let Some(value) = record.value {
                field(&mut text, 6, &value.to_bits().to_le_bytes());
            }
            if let Some(label) = record.label {
                field(&mut text, 7, label.as_bytes());
            }
            field(&mut text, 8, &[u8::from(record.retracted)]);
        } else {
            field(&mut text, 9, record.feedback_id.as_bytes());
        }
        (topic, XxHash3_128::oneshot_with_seed(self.seed, &text))
    }
}

/// Adds a field so that no two lists of fields have the same bytes.
fn field(text: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    text.push(tag);
    text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    text.extend_from_slice(bytes);
}

/// A map that forgets its oldest keys.
#[derive(Debug)]
struct Ring<K, V> {
    map: HashMap<K, V>,
    /// Keys in the order in which they came. One that was taken out of the map may stand here still, and
    /// twice once it is back: it is then forgotten a little early.
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Hash + Eq + Copy, V> Ring<K, V> {
    fn new(capacity: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), capacity }
    }

    fn put(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.map.remove(&oldest);
            }
        }
    }
}
