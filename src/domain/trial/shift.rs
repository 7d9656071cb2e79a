//! How the answers of two versions to the same requests are spread: paired histograms.
//!
//! Owns the groups that answers fall into, and the bound on by how much one of them has become more or less frequent.
//! What both versions say alike cancels: only pairs that differ move anything, so that a shift of one in twenty is told
//! from chance by some hundreds of pairs. Two versions may agree as often as is asked for and yet differ in one direction
//! only. Never says whether a pair differs.

use std::collections::BTreeMap;

use super::BOUND_ALPHA;
use super::pairs::Both;
use crate::domain::lifecycle::evidence::Shift;
use crate::domain::stats::confidence::rate;
use crate::domain::stats::layout::Value;

/// Groups that are told apart; what belongs to none of them is left out.
const GROUPS_MAX: usize = 32;
/// The longest name of a label, in characters.
const LABEL_MAX: usize = 64;

/// What an answer says, so far as histograms tell answers apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// A label.
    Label(Box<str>),
    /// The place of the largest of several scores.
    Place(usize),
    /// A lone score, by its size: tenths up to one, then by doublings.
    Size(i32),
}

impl Group {
    /// The groups of two answers; `None` where they have nothing that can be grouped.
    pub fn of<'a>(row: impl Iterator<Item = Both<'a>>) -> Option<(Self, Self)> {
        let mut scores = Vec::new();
        for both in row {
            match (number(both.ours), number(both.theirs)) {
                (Some(ours), Some(theirs)) => scores.push((ours, theirs)),
                _ => return label(both.ours).zip(label(both.theirs)),
            }
        }
        match scores.as_slice() {
            [] => None,
            [(ours, theirs)] => Some((size(*ours), size(*theirs))),
            many => {
                let place = |of: fn(&(f64, f64)) -> f64| {
                    let scores = many.iter().map(of).enumerate();
                    let largest = scores.max_by(|(_, a), (_, b)| a.total_cmp(b));
                    Self::Place(largest.map_or(0, |(place, _)| place))
                };
                Some((place(|(ours, _)| *ours), place(|(_, theirs)| *theirs)))
            }
        }
    }

    /// As the object of a sentence.
    fn told(&self) -> String {
        match self {
            Self::Label(label) => format!("`{label}`"),
            Self::Place(place) => format!("the class at place {place}"),
            Self::Size(size @ -10..=9) => format!("a score from {:.1}", f64::from(*size) / 10.0),
            Self::Size(size) => {
                format!("a number of about {:.0}", f64::from(size.signum()) * doubled(*size))
            }
        }
    }
}

/// A score; a whole number is one only beside another score.
fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

fn label(value: Value<'_>) -> Option<Group> {
    let text = match value {
        Value::Text(text) => text.chars().take(LABEL_MAX).collect(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(is_so) => is_so.to_string(),
        // In JSON a score that happens to be whole may come without its point.
        Value::Number(_) | Value::Missing | Value::Wrong => return None,
    };
    Some(Group::Label(text.into()))
}

#[expect(clippy::cast_possible_truncation, reason = "small by then")]
fn size(score: f64) -> Group {
    let beyond = score.abs();
    Group::Size(if beyond < 1.0 {
        (score * 10.0).floor() as i32
    } else {
        let doublings = beyond.log2().floor().min(1024.0) as i32;
        if score < 0.0 { -11 - doublings } else { 10 + doublings }
    })
}

/// Where the doubling of a size begins.
fn doubled(size: i32) -> f64 {
    let doublings = if size < 0 { -11 - size } else { size - 10 };
    f64::from(doublings).exp2()
}

/// What pairs have said of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    ours: u64,
    theirs: u64,
    /// The version on trial alone says it.
    only_theirs: u64,
    /// The champion alone says it.
    only_ours: u64,
}

/// Paired histograms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histograms {
    groups: BTreeMap<Group, Counts>,
    pairs: u64,
}

impl Histograms {
    /// Counts a pair; of one that agrees both say what the champion says.
    pub fn add(&mut self, ours: &Group, theirs: &Group, agrees: bool) {
        self.pairs += 1;
        let theirs = if agrees { ours } else { theirs };
        let moves = u64::from(ours != theirs);
        self.count(ours, |counts| {
            counts.ours += 1;
            counts.only_ours += moves;
        });
        self.count(theirs, |counts| {
            counts.theirs += 1;
            counts.only_theirs += moves;
        });
    }

    fn count(&mut self, group: &Group, add: impl FnOnce(&mut Counts)) {
        if let Some(counts) = self.groups.get_mut(group) {
            add(counts);
        } else if self.groups.len() < GROUPS_MAX {
            add(self.groups.entry(group.clone()).or_default());
        }
    }

    /// The answer whose share has changed most for certain. The bound holds at any number of looks, and for all
    /// groups at once; `None` where there is no pair.
    pub fn shift(&self) -> Option<Shift> {
        let n = self.pairs;
        let each = BOUND_ALPHA / (2.0 * self.groups.len().max(1) as f64);
        let shifts = self.groups.iter().filter_map(|(group, counts)| {
            let more = rate(counts.only_theirs, n, each)?;
            let less = rate(counts.only_ours, n, each)?;
            let difference = more.minus(less);
            let low = difference.lower.max(-difference.upper).max(0.0);
            Some((low, group, counts))
        });
        let (low, group, counts) = shifts.max_by(|(a, ..), (b, ..)| a.total_cmp(b))?;
        let share = |count: u64| count as f64 / n as f64;
        let (ours, theirs) = (share(counts.ours), share(counts.theirs));
        Some(Shift { answer: group.told(), ours, theirs, low })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(text: &str) -> Group {
        Group::Label(text.into())
    }

    fn of(ours: &[Value<'static>], theirs: &[Value<'static>]) -> Option<(Group, Group)> {
        let both = ours.iter().zip(theirs);
        Group::of(both.map(|(ours, theirs)| Both { ours: *ours, theirs: *theirs }))
    }

    #[test]
    fn answers_are_grouped_by_label_by_the_largest_score_and_by_size() {
        use Value::{Boolean, Integer, Number, Text, Wrong};
        let labels = of(&[Number(0.1), Text("a")], &[Number(0.2), Text("b")]);
        assert_eq!(labels, Some((label("a"), label("b"))));
        assert_eq!(of(&[Integer(3)], &[Integer(4)]), Some((label("3"), label("4"))));
        assert_eq!(of(&[Boolean(true)], &[Boolean(false)]), Some((label("true"), label("false"))));
        let places = of(&[Number(0.1), Number(0.9)], &[Number(0.7), Number(0.3)]);
        assert_eq!(places, Some((Group::Place(1), Group::Place(0))));
        let sizes = of(&[Number(0.31)], &[Number(-0.31)]);
        assert_eq!(sizes, Some((Group::Size(3), Group::Size(-4))));
        let sizes = of(&[Number(9.0)], &[Number(-9.0)]);
        assert_eq!(sizes, Some((Group::Size(13), Group::Size(-14))));
        assert_eq!(of(&[Wrong], &[Integer(1)]), None);
        assert_eq!(of(&[], &[]), None);
    }

    #[test]
    fn groups_have_names() {
        let told = |group: Group| group.told();
        assert_eq!(told(label("fraud")), "`fraud`");
        assert_eq!(told(Group::Size(3)), "a score from 0.3");
        assert_eq!(told(Group::Size(-4)), "a score from -0.4");
        assert_eq!(told(Group::Size(13)), "a number of about 8");
        assert_eq!(told(Group::Size(-14)), "a number of about -8");
    }

    /// So many pairs of each kind: both say no, both say yes, and one of them alone says yes.
    fn pairs(no: u64, yes: u64, only_ours: u64, only_theirs: u64) -> Histograms {
        let mut all = Histograms::default();
        let mut add = |times: u64, ours: &str, theirs: &str| {
            for _ in 0..times {
                all.add(&label(ours), &label(theirs), ours == theirs);
            }
        };
        add(no, "no", "no");
        add(yes, "yes", "yes");
        add(only_ours, "yes", "no");
        add(only_theirs, "no", "yes");
        all
    }

    #[test]
    fn what_differs_in_both_directions_is_no_shift_and_what_differs_in_one_is() {
        let even = pairs(400, 20, 40, 40).shift().expect("pairs");
        assert!(even.low < 0.01, "{even:?}");
        let odd = pairs(400, 20, 0, 80).shift().expect("pairs");
        assert!(odd.low > 0.05 && odd.low < 0.16, "{odd:?}");
        assert!((odd.theirs - odd.ours).abs() > 0.15, "{odd:?}");
        assert_eq!(Histograms::default().shift(), None);
    }

    #[test]
    fn pairs_that_agree_move_nothing_whatever_their_groups() {
        let mut all = Histograms::default();
        for _ in 0..500 {
            all.add(&Group::Size(3), &Group::Size(4), true);
        }
        let shift = all.shift().expect("pairs");
        assert!(shift.low.abs() < 1e-9 && (shift.theirs - shift.ours).abs() < 1e-9, "{shift:?}");
    }

    #[test]
    fn the_groups_are_bounded() {
        let mut all = Histograms::default();
        for number in 0..1000 {
            all.add(&Group::Place(number), &Group::Place(number + 1), false);
        }
        assert_eq!((all.groups.len(), all.pairs), (GROUPS_MAX, 1000));
    }

    proptest! {
        #[test]
        fn the_bound_is_never_beyond_what_was_seen(
            no in 0u64..300, yes in 0u64..300, ours in 0u64..100, theirs in 0u64..100,
        ) {
            prop_assume!(no + yes + ours + theirs > 0);
            let n = (no + yes + ours + theirs) as f64;
            let shift = pairs(no, yes, ours, theirs).shift().expect("pairs");
            let seen = (theirs as f64 - ours as f64).abs() / n;
            prop_assert!((0.0..=1.0).contains(&shift.low));
            prop_assert!(shift.low <= seen + 1e-9, "{shift:?} {seen}");
        }
    }
}
