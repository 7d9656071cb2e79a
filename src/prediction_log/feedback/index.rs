//! The bounded index: names of predictions, and statements that are kept.
//!
//! Owns what a repetition is and what a replacement is. Knows names and statements by their hashes
//! alone (XXH3 with a seed of its own): 64 bits for names, 128 for statements, so that no two
//! statements are ever taken for one. One table holds the names of all kinds, and only those that there
//! are. Never reads the log.

use std::collections::HashMap;

use twox_hash::{XxHash3_64, XxHash3_128};

use super::memory::Memory;
use super::{AHEAD_MAX, Standing, is_ours};
use crate::domain::ids::RecordId;
use crate::domain::record::{FeedbackRecord, FeedbackTarget, PredictionRecord};
use crate::domain::spec::FeedbackSpec;

/// What is to be done with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is kept already, as the row of this id.
    Duplicate(RecordId),
    /// It is kept already, as the row of this id, and another has taken its place since.
    Superseded(RecordId),
    /// Somebody is writing the same statement just now.
    Busy,
    /// It is new, and reserved for the caller.
    New {
        /// Its place among the statements of the same target, metric and source.
        place: Place,
    },
}

/// The place of a new statement among those of the same target, metric and source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the first.
    First,
    /// There is an earlier one, which it takes the place of.
    Replaces,
    /// There is one that was found out later, as both say, and still counts.
    Behind,
}

/// The statement that stands of a topic.
#[derive(Debug, Clone, Copy)]
struct Stands {
    /// A few bits of its hash: whoever mistakes it for another says `duplicate` for `superseded`.
    tag: u16,
    /// When it was found out, in seconds since the Unix epoch, the highest byte first; 0 where it does not say. As bytes
    /// it takes two less.
    observed: [u8; 4],
}

impl Stands {
    fn new(record: &FeedbackRecord<'_>, statement: u128) -> Self {
        let seconds = record.observed_us.unwrap_or(0) / 1_000_000;
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        Self { tag: tag(statement), observed: seconds.to_be_bytes() }
    }

    /// Whether what stands was found out later than a new statement, as both say.
    fn is_after(self, new: Self) -> bool {
        new.observed != [0; 4] && self.observed > new.observed
    }
}

/// What is known. Names and statements are bounded each by the same number; the oldest go first.
#[derive(Debug)]
pub(super) struct Index {
    seed: u64,
    window_ms: u64,
    /// When the prediction of a name was made, in seconds since the Unix epoch.
    names: Memory<u64, u32>,
    /// Statements that are kept, as which rows.
    statements: Memory<u128, RecordId>,
    /// Targets, metrics and sources of which there is a statement. One that is mistaken for another
    /// costs no statement, only the word `replaced`, so that 64 bits are enough.
    topics: Memory<u64, Stands>,
    /// Statements that are being written, for which rows: as many as the requests in flight have.
    reserved: HashMap<u128, RecordId>,
}

/// The kinds of names, which are mixed into their hashes.
#[derive(Debug, Clone, Copy)]
enum Name<'a> {
    Prediction(RecordId),
    Request(&'a str),
    Key(&'a str),
}

impl Index {
    pub(super) fn new(spec: &FeedbackSpec) -> Self {
        let capacity = spec.index;
        Self {
            seed: fastrand::u64(..),
            window_ms: u64::try_from(spec.window.as_millis()).unwrap_or(u64::MAX),
            names: Memory::new(capacity),
            statements: Memory::new(capacity),
            topics: Memory::new(capacity),
            reserved: HashMap::new(),
        }
    }

    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.names.len(), self.statements.len(), self.topics.len()]
    }

    /// Bytes of memory, without what is being written.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.names.bytes() + self.statements.bytes() + self.topics.bytes()
    }

    /// Learns of a prediction that is in the log.
    pub(super) fn saw_prediction(&mut self, record: &PredictionRecord<'_>) {
        let seconds = u32::try_from(record.ts_us / 1_000_000).unwrap_or(u32::MAX);
        self.names.put(self.name(Name::Prediction(record.record_id)), seconds);
        // A request id that was minted is the record's own id, which is there already.
        if !record.request_id.is_empty()
            && RecordId::parse(record.request_id) != Some(record.record_id)
        {
            self.names.put(self.name(Name::Request(record.request_id)), seconds);
        }
        if !record.feedback_key.is_empty() {
            self.names.put(self.name(Name::Key(record.feedback_key)), seconds);
        }
    }

    /// Learns of a statement that is in the log. One that is reserved stays so until its owner settles it.
    pub(super) fn saw_feedback(&mut self, record: &FeedbackRecord<'_>) {
        let (topic, statement) = self.hashes(record);
        // What was settled here is known, and in order; it is read later than it was written.
        if !self.statements.contains(statement) {
            self.statements.put(statement, record.record_id);
            self.stand(topic, Stands::new(record, statement));
        }
    }

    /// The newer takes its place, unless what stands was found out later.
    fn stand(&mut self, topic: u64, new: Stands) {
        if !self.topics.get(topic).is_some_and(|stands| stands.is_after(new)) {
            self.topics.put(topic, new);
        }
    }

    pub(super) fn decide(&mut self, record: &FeedbackRecord<'_>) -> Decision {
        let (topic, statement) = self.hashes(record);
        if self.reserved.contains_key(&statement) {
            return Decision::Busy;
        }
        if let Some(id) = self.statements.get(statement) {
            let stands = self.topics.get(topic).is_none_or(|stands| stands.tag == tag(statement));
            // A client that tells repetitions by an id, or says when it found out, means what it said before.
            let is_told = !record.feedback_id.is_empty() || record.observed_us.is_some();
            return match stands || is_told {
                true => Decision::Duplicate(id),
                false => Decision::Superseded(id),
            };
        }
        self.reserved.insert(statement, record.record_id);
        let new = Stands::new(record, statement);
        let place = match self.topics.get(topic) {
            None => {
                self.topics.put(topic, new);
                Place::First
            }
            Some(stands) if stands.is_after(new) => Place::Behind,
            Some(_) => Place::Replaces,
        };
        Decision::New { place }
    }

    pub(super) fn settle(&mut self, record: &FeedbackRecord<'_>, place: Place, kept: bool) {
        let (topic, statement) = self.hashes(record);
        self.reserved.remove(&statement);
        if kept {
            self.statements.put(statement, record.record_id);
            self.stand(topic, Stands::new(record, statement));
        } else if place == Place::First && !self.statements.contains(statement) {
            self.topics.remove(topic);
        }
    }

    pub(super) fn standing(&self, target: FeedbackTarget<'_>, now_ms: u64) -> Standing {
        let known = |name| self.names.get(self.name(name));
        // When it was made; the id of a prediction tells it, also of one that is not remembered.
        let (known, made_ms) = match target {
            FeedbackTarget::Prediction(id) => {
                let ahead = u64::try_from(AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
                if !is_ours(id) || id.unix_ms() > now_ms.saturating_add(ahead) {
                    return Standing::Impossible;
                }
                (known(Name::Prediction(id)).is_some(), Some(id.unix_ms()))
            }
            FeedbackTarget::Request(request) => {
                let minted = || known(Name::Prediction(RecordId::parse(request)?));
                let made = known(Name::Request(request)).or_else(minted);
                (made.is_some(), made.map(end_of_second))
            }
            FeedbackTarget::Key(key) => {
                let made = known(Name::Key(key));
                (made.is_some(), made.map(end_of_second))
            }
        };
        match made_ms {
            Some(ms) if now_ms.saturating_sub(ms) > self.window_ms => Standing::Late,
            _ if known => Standing::Known,
            _ => Standing::Pending,
        }
    }

    /// When a prediction was made, in milliseconds since the Unix epoch: its id tells it, and names that are remembered.
    pub(super) fn made_ms(&self, target: FeedbackTarget<'_>) -> Option<u64> {
        let known = |name| self.names.get(self.name(name)).map(end_of_second);
        match target {
            FeedbackTarget::Prediction(id) => Some(id.unix_ms()),
            FeedbackTarget::Request(request) => known(Name::Request(request))
                .or_else(|| known(Name::Prediction(RecordId::parse(request)?))),
            FeedbackTarget::Key(key) => known(Name::Key(key)),
        }
    }

    fn name(&self, name: Name<'_>) -> u64 {
        let hash = |kind, bytes| XxHash3_64::oneshot_with_seed(self.seed.wrapping_add(kind), bytes);
        match name {
            Name::Prediction(id) => hash(0, id.as_bytes()),
            Name::Request(request) => hash(1, request.as_bytes()),
            Name::Key(key) => hash(2, key.as_bytes()),
        }
    }

    /// The hashes of what a statement is about, and of the statement.
    fn hashes(&self, record: &FeedbackRecord<'_>) -> (u64, u128) {
        let mut text = Vec::with_capacity(256);
        match &record.target {
            FeedbackTarget::Prediction(id) => field(&mut text, 1, id.as_bytes()),
            FeedbackTarget::Request(request) => field(&mut text, 2, request.as_bytes()),
            FeedbackTarget::Key(key) => field(&mut text, 3, key.as_bytes()),
        }
        field(&mut text, 4, record.metric.as_bytes());
        field(&mut text, 5, record.source.as_bytes());
        let topic = XxHash3_64::oneshot_with_seed(self.seed, &text);
        if record.feedback_id.is_empty() {
            if let Some(value) = record.value {
                field(&mut text, 6, &value.to_bits().to_le_bytes());
            }
            if let Some(label) = record.label {
                field(&mut text, 7, label.as_bytes());
            }
            field(&mut text, 8, &[u8::from(record.retracted)]);
            if let Some(observed_us) = record.observed_us {
                field(&mut text, 10, &observed_us.to_le_bytes());
            }
        } else {
            field(&mut text, 9, record.feedback_id.as_bytes());
        }
        (topic, XxHash3_128::oneshot_with_seed(self.seed, &text))
    }
}

/// A few bits of the hash of a statement, others than those that choose its slot.
#[expect(clippy::cast_possible_truncation, reason = "a few bits are wanted")]
const fn tag(statement: u128) -> u16 {
    (statement >> 96) as u16
}

/// Adds a field so that no two lists of fields have the same bytes.
fn field(text: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    text.push(tag);
    text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    text.extend_from_slice(bytes);
}

/// The last millisecond of a second: nothing is late before its time.
fn end_of_second(seconds: u32) -> u64 {
    u64::from(seconds) * 1000 + 999
}
