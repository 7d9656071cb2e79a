//! What was stated about one prediction, and what of it counts.
//!
//! Owns the rules of the prediction log's feedback, applied once more: the same statement counts once, however often
//! and in whatever order it comes; statements of several sources, or by several names of the prediction, stand side
//! by side; a retraction takes back those of its own. So the answer is the same after any repetition, and after a
//! restart.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::domain::spec::LabelPolicy;

/// The most different statements about one prediction; beyond, a repetition may count again.
const SEEN_MAX: usize = 64;
/// The most sources and names of one prediction.
const TOPICS_MAX: usize = 16;

/// What is true of one row, as feedback says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Truth {
    /// The class of this number.
    Class(u16),
    /// This number; also a reward.
    Value(f64),
}

/// What is true of a prediction, as feedback says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Said {
    /// Of its only row.
    One(Truth),
    /// Of each of its rows; `None` where nothing is known.
    Rows(Box<[Option<Truth>]>),
}

impl Said {
    /// What is true of a row.
    pub(super) fn row(&self, at: usize) -> Option<Truth> {
        match self {
            Self::One(truth) => (at == 0).then_some(*truth),
            Self::Rows(rows) => rows.get(at).copied().flatten(),
        }
    }

    /// Of how many rows it speaks.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Rows(rows) => rows.len(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Rows(rows) => size_of_val::<[Option<Truth>]>(rows),
        }
    }
}

/// A statement, by the hashes that the log compares statements with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Statement {
    /// What it is about: the name that was used for the prediction, and the source.
    pub(super) topic: u64,
    /// What makes it the same as another.
    pub(super) identity: u64,
    /// Its place in the log.
    pub(super) lsn: u64,
    /// When it was found out, if it says so, in microseconds since the Unix epoch.
    pub(super) observed_us: Option<u64>,
    /// What it says; `None` takes back what was said.
    pub(super) truth: Option<Said>,
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is the same as an earlier one.
    Repeated,
    /// There are too many about this prediction.
    Excess,
    /// It was taken note of.
    Taken,
}

/// The statements about one prediction.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    #[serde(with = "crate::domain::small")]
    seen: SmallVec<[u64; 1]>,
    #[serde(with = "crate::domain::small")]
    topics: SmallVec<[Topic; 1]>,
}

/// Since when something stands.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Since {
    lsn: u64,
    observed_us: Option<u64>,
}

impl Since {
    /// By when it was found out where both say so, or else by the order in the log: clocks may be set back.
    fn order(&self, other: &Self) -> Ordering {
        match (self.observed_us, other.observed_us) {
            (Some(own), Some(other)) if own != other => own.cmp(&other),
            _ => self.lsn.cmp(&other.lsn),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Topic {
    id: u64,
    /// Of the statement that stands, also of one that took something back.
    since: Since,
    /// What it says now; `None` for nothing.
    says: Option<Said>,
}

impl Ledger {
    /// Takes note of a statement.
    pub(super) fn take(&mut self, statement: &Statement, policy: LabelPolicy) -> Effect {
        if self.seen.contains(&statement.identity) {
            return Effect::Repeated;
        }
        let known = self.topics.iter().position(|topic| topic.id == statement.topic);
        if self.seen.len() >= SEEN_MAX || (known.is_none() && self.topics.len() >= TOPICS_MAX) {
            return Effect::Excess;
        }
        self.seen.push(statement.identity);
        let at = known.unwrap_or_else(|| {
            self.topics.push(Topic { id: statement.topic, since: Since::default(), says: None });
            self.topics.len() - 1
        });
        if let Some(topic) = self.topics.get_mut(at) {
            topic.hear(statement, policy);
        }
        Effect::Taken
    }

    /// What counts.
    pub(super) fn truth(&self, policy: LabelPolicy) -> Option<Said> {
        let says = self.topics.iter().filter_map(|topic| Some((topic.since, topic.says.as_ref()?)));
        match policy {
            LabelPolicy::Latest => {
                says.max_by(|(a, _), (b, _)| a.order(b)).map(|(_, said)| said.clone())
            }
            LabelPolicy::First => {
                says.min_by_key(|(since, _)| since.lsn).map(|(_, said)| said.clone())
            }
            LabelPolicy::Sum => {
                says.map(|(_, said)| said.clone()).reduce(|sum, more| added(&sum, &more))
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let of = |spilled: bool, bytes: usize| if spilled { bytes } else { 0 };
        of(self.seen.spilled(), self.seen.len() * size_of::<u64>())
            + of(self.topics.spilled(), self.topics.len() * size_of::<Topic>())
            + self
                .topics
                .iter()
                .filter_map(|topic| topic.says.as_ref())
                .map(Said::heap_bytes)
                .sum::<usize>()
    }
}

impl Topic {
    /// Takes note of what is stated. What was found out earlier than what stands changes nothing, however late it comes.
    fn hear(&mut self, statement: &Statement, policy: LabelPolicy) {
        let since = Since { lsn: statement.lsn, observed_us: statement.observed_us };
        match (policy, &self.says, &statement.truth) {
            (LabelPolicy::First, Some(_), Some(_)) => {}
            (LabelPolicy::Sum, Some(sum), Some(more)) => self.says = Some(added(sum, more)),
            (LabelPolicy::Latest, ..) if since.order(&self.since).is_lt() => {}
            (_, _, new) => (self.says, self.since) = (new.clone(), since),
        }
    }
}

/// The sum of two rewards; classes cannot be added, and the configuration refuses to try.
fn added(a: &Said, b: &Said) -> Said {
    match (a, b) {
        (Said::One(Truth::Value(a)), Said::One(Truth::Value(b))) => Said::One(Truth::Value(a + b)),
        (_, b) => b.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn says(lsn: u64, topic: u64, truth: Option<u16>) -> Statement {
        // As in the log without a client's id: the same topic and value is the same statement.
        let identity = topic * 1000 + truth.map_or(999, u64::from);
        Statement {
            topic,
            identity,
            lsn,
            observed_us: None,
            truth: truth.map(|class| Said::One(Truth::Class(class))),
        }
    }

    fn after(statements: &[Statement], policy: LabelPolicy) -> Option<Said> {
        let mut ledger = Ledger::default();
        statements.iter().for_each(|one| {
            ledger.take(one, policy);
        });
        ledger.truth(policy)
    }

    #[test]
    fn the_latest_counts_and_a_retraction_takes_back_its_own() {
        let class = |n| Some(Said::One(Truth::Class(n)));
        let latest = |all: &[Statement]| after(all, LabelPolicy::Latest);
        let mut all = vec![says(1, 1, Some(0)), says(2, 1, Some(1)), says(3, 2, Some(2))];
        assert_eq!(latest(&all), class(2));
        all.push(says(4, 2, None));
        assert_eq!(latest(&all), class(1), "what another source said stands again");
        all.push(says(5, 1, None));
        assert_eq!(latest(&all), None);
        all.push(says(6, 2, Some(2)));
        assert_eq!(latest(&all), None, "the same statement counts once");
        all.push(says(7, 2, Some(5)));
        assert_eq!(latest(&all), class(5));
    }

    /// What was found out later counts, in whichever order it comes; also a retraction.
    #[test]
    fn the_order_is_that_of_finding_out() {
        let at = |us, statement| Statement { observed_us: Some(us), ..statement };
        let all = [at(9, says(1, 1, Some(0))), at(5, says(2, 1, Some(1)))];
        assert_eq!(after(&all, LabelPolicy::Latest), Some(Said::One(Truth::Class(0))));
        let all = [at(9, says(1, 1, None)), at(5, says(2, 1, Some(1)))];
        assert_eq!(after(&all, LabelPolicy::Latest), None);
        let all = [at(9, says(1, 1, Some(0))), at(5, says(2, 2, Some(1)))];
        assert_eq!(after(&all, LabelPolicy::Latest), Some(Said::One(Truth::Class(0))));
    }

    #[test]
    fn the_first_counts_until_it_is_taken_back() {
        let first = |all: &[Statement]| after(all, LabelPolicy::First);
        let mut all = vec![says(1, 1, Some(3)), says(2, 1, Some(4))];
        assert_eq!(first(&all), Some(Said::One(Truth::Class(3))));
        all.extend([says(3, 1, None), says(4, 1, Some(5))]);
        assert_eq!(first(&all), Some(Said::One(Truth::Class(5))));
    }

    #[test]
    fn rewards_add_up() {
        let reward = |lsn, topic, identity, value| Statement {
            topic,
            identity,
            lsn,
            observed_us: None,
            truth: Some(Said::One(Truth::Value(value))),
        };
        let all = [
            reward(1, 1, 1, 2.0),
            reward(2, 1, 2, 3.0),
            reward(3, 2, 3, 4.0),
            reward(4, 1, 2, 3.0),
        ];
        assert_eq!(after(&all, LabelPolicy::Sum), Some(Said::One(Truth::Value(9.0))));
    }

    #[test]
    fn statements_about_one_prediction_are_bounded() {
        let mut ledger = Ledger::default();
        let policy = LabelPolicy::Latest;
        let effects: Vec<Effect> =
            (0..100u16).map(|n| ledger.take(&says(n.into(), n.into(), Some(n)), policy)).collect();
        assert_eq!(effects.iter().filter(|effect| **effect == Effect::Taken).count(), TOPICS_MAX);
        assert!(ledger.heap_bytes() < 4096);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// At-least-once delivery cannot be seen: any statement may come again, any number of times, later.
        #[test]
        fn repetitions_change_nothing(
            statements in prop::collection::vec((0u64..3, prop::option::of(0u16..5)), 1..12),
            again in prop::collection::vec((0usize..12, 0usize..12), 0..20),
            policy in prop::sample::select(&LabelPolicy::ALL[..2]),
        ) {
            let once: Vec<Statement> =
                (1..).zip(&statements).map(|(lsn, (topic, truth))| says(lsn, *topic, *truth)).collect();
            let mut often = once.clone();
            for (which, after) in again {
                let which = which % once.len();
                let at = (which + 1 + after).min(often.len());
                // Behind its first appearance: insertions only push things further back.
                let first = often.iter().position(|one| one.identity == once[which].identity);
                let at = at.max(first.map_or(0, |first| first + 1));
                often.insert(at, once[which].clone());
            }
            for (lsn, one) in (1..).zip(&mut often) {
                one.lsn = lsn;
            }
            prop_assert_eq!(after(&often, policy), after(&once, policy));
        }
    }
}
