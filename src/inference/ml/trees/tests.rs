mod golden;
mod hostile;

use proptest::prelude::*;

use super::forest::{Branch, Child, Forest, Test, Vote};
use super::key::Real;
use super::table::{Table, Votes};
use super::walk::Fold;

const FEATURES: usize = 5;
const NUMBERS: [f64; 10] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    f32::MIN_POSITIVE as f64,
];

/// How the leaves of a random forest vote.
#[derive(Debug, Clone, Copy)]
enum Voting {
    OneTarget,
    AllTargets,
    AnyTargets,
}

/// A forest of which any branch may lead to any later one: paths may join, as sets do in files.
fn random_forest(random: &mut fastrand::Rng, voting: Voting, targets: usize) -> Forest {
    let (branches, leaves) = (random.usize(1..60), random.usize(1..20));
    let mut forest = Forest { targets, ..Forest::default() };
    for number in 0..branches {
        let mut child = || {
            let later = number + 1..(number + 6).min(branches);
            if later.is_empty() || random.u8(..4) == 0 {
                Child::Leaf(random.usize(..leaves) as u32)
            } else {
                Child::Branch(random.usize(later) as u32)
            }
        };
        let (passed, failed) = (child(), child());
        let test = match random.u8(..8) {
            0 => Test::Below,
            1 => Test::AtLeast,
            2 => Test::Above,
            3 => Test::Equal,
            4 => Test::NotEqual,
            5 => {
                let members = 0..random.usize(..9);
                let set = members.map(|_| NUMBERS[random.usize(..NUMBERS.len())]);
                forest.sets.push(set.collect());
                Test::Member(forest.sets.len() as u32 - 1)
            }
            _ => Test::AtMost,
        };
        forest.branches.push(Branch {
            feature: random.u32(..FEATURES as u32),
            test,
            value: NUMBERS[random.usize(..NUMBERS.len())],
            missing_passes: random.bool(),
            passed,
            failed,
        });
    }
    let root = |random: &mut fastrand::Rng| match random.u8(..6) {
        0 => Child::Leaf(random.usize(..leaves) as u32),
        _ => Child::Branch(random.usize(..branches) as u32),
    };
    forest.roots = (0..random.usize(1..30)).map(|_| root(random)).collect();
    let mut votes = Vec::new();
    for leaf in 0..leaves as u32 {
        let mut vote = |target: usize| {
            let weight = f64::from(random.f32() - 0.5);
            votes.push((leaf, Vote { target: target as u32, weight }));
        };
        match voting {
            Voting::OneTarget => vote(targets - 1),
            Voting::AllTargets => (0..targets).for_each(vote),
            Voting::AnyTargets => (0..3).for_each(|n| vote((leaf as usize * 7 + n * n) % targets)),
        }
    }
    forest.set_votes(leaves, &votes);
    forest
}

fn random_rows<T: Real>(random: &mut fastrand::Rng, rows: usize) -> Vec<T> {
    let number = |_| match random.u8(..3) {
        0 => T::from_f64(f64::from(random.f32()) * 4.0 - 2.0),
        _ => T::from_f64(NUMBERS[random.usize(..NUMBERS.len())]),
    };
    (0..rows * FEATURES).map(number).collect()
}

impl Test {
    /// What the specification says.
    fn passes(self, x: f64, branch: &Branch, sets: &[Vec<f64>]) -> bool {
        let value = branch.value;
        (x.is_nan() && branch.missing_passes)
            || match self {
                Self::AtMost => x <= value,
                Self::Below => x < value,
                Self::AtLeast => x >= value,
                Self::Above => x > value,
                Self::Equal => x == value,
                Self::NotEqual => x != value,
                Self::Member(set) => sets[set as usize].contains(&x),
            }
    }
}

/// The scores of one row by the book.
fn naive<T: Real>(forest: &Forest, row: &[T], fold: Fold) -> (Vec<T>, Vec<bool>) {
    let mut scores = vec![T::ZERO; forest.targets];
    let mut voted = vec![false; forest.targets];
    for root in &forest.roots {
        let mut at = *root;
        let leaf = loop {
            match at {
                Child::Leaf(leaf) => break leaf,
                Child::Branch(number) => {
                    let branch = &forest.branches[number as usize];
                    let x: f64 = row[branch.feature as usize].into();
                    let passes = branch.test.passes(x, branch, &forest.sets);
                    at = if passes { branch.passed } else { branch.failed };
                }
            }
        };
        for vote in forest.votes_of(leaf) {
            let (score, voted) =
                (&mut scores[vote.target as usize], &mut voted[vote.target as usize]);
            let weight = T::from_f64(vote.weight);
            match fold {
                Fold::Sum => *score += weight,
                Fold::Min if *voted && *score <= weight => {}
                Fold::Max if *voted && *score >= weight => {}
                Fold::Min | Fold::Max => *score = weight,
            }
            *voted = true;
        }
    }
    (scores, voted)
}

#[track_caller]
fn agrees_with_naive<T: Real>(forest: &Forest, rows: &[T], fold: Fold) {
    let table = Table::<T>::build(forest);
    let mut expected = rows.chunks_exact(FEATURES);
    table.score(rows, FEATURES, fold, |actual| {
        let (scores, voted) =
            naive(forest, expected.next().expect("no row is counted twice"), fold);
        let bits = |scores: &[T]| scores.iter().map(|s| T::widen(s.bits())).collect::<Vec<_>>();
        assert_eq!((bits(actual.scores), actual.voted), (bits(&scores), &*voted));
    });
    assert_eq!(expected.next().map(<[T]>::len), None, "every row is counted");
}

proptest! {
    #[test]
    fn a_table_answers_what_the_specification_says(
        seed in any::<u64>(),
        rows in 0_usize..150,
        voting in prop_oneof![
            Just(Voting::OneTarget), Just(Voting::AllTargets), Just(Voting::AnyTargets)
        ],
        targets in 1_usize..5,
        fold in prop_oneof![Just(Fold::Sum), Just(Fold::Min), Just(Fold::Max)],
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let forest = random_forest(&mut random, voting, targets);
        prop_assert_eq!(forest.cycle(), None);
        agrees_with_naive(&forest, &random_rows::<f32>(&mut random, rows), fold);
        agrees_with_naive(&forest, &random_rows::<f64>(&mut random, rows), fold);
    }
}

fn branch(test: Test, value: f64, missing_passes: bool) -> Branch {
    let (passed, failed) = (Child::Leaf(0), Child::Leaf(1));
    Branch { feature: 0, test, value, missing_passes, passed, failed }
}

fn stump(branch: Branch, sets: Vec<Vec<f64>>) -> Forest {
    let mut forest = Forest {
        branches: vec![branch],
        roots: vec![Child::Branch(0)],
        sets,
        targets: 1,
        ..Forest::default()
    };
    let vote = |leaf, weight| (leaf, Vote { target: 0, weight });
    forest.set_votes(2, &[vote(0, 1.0), vote(1, -1.0)]);
    forest
}

#[test]
fn the_usual_tests_take_one_step_whatever_they_do_with_nan() {
    for test in [Test::AtMost, Test::Below, Test::AtLeast, Test::Above] {
        for missing in [false, true] {
            let table = Table::<f32>::build(&stump(branch(test, 0.5, missing), Vec::new()));
            assert_eq!(table.records.len(), 3, "{test:?}");
        }
    }
}

#[test]
fn a_test_that_decides_nothing_takes_no_step() {
    let nan = Table::<f32>::build(&stump(branch(Test::AtMost, f64::NAN, false), Vec::new()));
    assert_eq!(nan.records.len(), 1);
    let empty = Table::<f32>::build(&stump(branch(Test::Member(0), 0.0, false), vec![Vec::new()]));
    assert_eq!((empty.records.len(), empty.features), (1, 0));
}

#[test]
fn a_large_set_takes_few_steps() {
    let set: Vec<f64> = (0..1000).map(|n| f64::from(n) * 3.0).collect();
    let forest = stump(branch(Test::Member(0), 0.0, true), vec![set]);
    let table = Table::<f32>::build(&forest);
    assert!(table.records.len() < 4100, "{}", table.records.len());
    let rows: Vec<f32> = (-10..3010).map(|n| n as f32).chain([f32::NAN, 1.5]).collect();
    let mut expected =
        rows.iter().map(|x| x.is_nan() || (*x >= 0.0 && *x < 3000.0 && x % 3.0 == 0.0));
    table.score(&rows, 1, Fold::Sum, |row| {
        assert_eq!(row.scores[0] == 1.0, expected.next().expect("a row"));
    });
}

#[test]
fn what_many_branches_lead_to_is_stored_once() {
    // Each level leads to the next one whether it passes or not: 2^40 paths.
    let mut forest = Forest { targets: 1, roots: vec![Child::Branch(0)], ..Forest::default() };
    for level in 1..=40 {
        let next = if level == 40 { Child::Leaf(0) } else { Child::Branch(level) };
        let test = branch(Test::AtMost, f64::from(level), false);
        forest.branches.push(Branch { passed: next, failed: next, ..test });
    }
    forest.set_votes(1, &[(0, Vote { target: 0, weight: 2.0 })]);
    let table = Table::<f64>::build(&forest);
    assert_eq!(table.records.len(), 81);
}

#[test]
fn votes_take_the_leanest_form() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut form =
        |voting, targets| Table::<f32>::build(&random_forest(&mut random, voting, targets)).votes;
    assert!(matches!(form(Voting::OneTarget, 3), Votes::One { target: 2 }));
    assert!(matches!(form(Voting::AllTargets, 3), Votes::Rows { .. }));
    assert!(matches!(form(Voting::AnyTargets, 3), Votes::Lists { .. }));
}

#[test]
fn a_path_that_comes_back_is_found() {
    let go = |passed, failed| Branch { passed, failed, ..branch(Test::AtMost, 0.0, false) };
    let forest = |branches| Forest { branches, roots: vec![Child::Branch(0)], ..Forest::default() };
    let leaf = Child::Leaf(0);
    let own = forest(vec![go(leaf, Child::Branch(0))]);
    assert_eq!(own.cycle(), Some(0));
    let far = forest(vec![
        go(Child::Branch(1), leaf),
        go(leaf, Child::Branch(2)),
        go(Child::Branch(1), leaf),
    ]);
    assert_eq!(far.cycle(), Some(1));
    let joined = forest(vec![
        go(Child::Branch(1), Child::Branch(2)),
        go(Child::Branch(2), leaf),
        go(leaf, leaf),
    ]);
    assert_eq!(joined.cycle(), None);
}
