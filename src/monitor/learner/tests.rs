//! What is learned is what is counted afterwards.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::layout::Guard;
use crate::monitor::plan::{Plan, TensorAbout};
use crate::monitor::values::{Cell, Part};

/// Inputs `a`, `b`, `c`, `d` of one column, an output `p` of three and one of one.
fn tensors() -> Tensors {
    let about = |name: &str, width| TensorAbout {
        name: name.to_owned(),
        columns: Vec::new(),
        width: Some(width),
    };
    let inputs = ["a", "b", "c", "d"].map(|name| about(name, 1)).to_vec();
    [inputs, vec![about("p", 3), about("q", 1)]]
}

fn key() -> VersionKey {
    VersionKey { model: ModelName::new("m"), version: VersionName::new("v1") }
}

/// The members of one exchange, by the number of their tensor; each has a value for each row.
#[derive(Debug, Clone)]
struct Exchange {
    inputs: Vec<(u16, Vec<Cell>)>,
    scores: Option<Vec<Cell>>,
    answer: Option<Vec<Cell>>,
}

impl Exchange {
    fn values(&self) -> Values {
        let inputs = self.inputs.iter().map(|(at, cells)| (Role::Input, *at, 1, cells));
        let scores = self.scores.iter().map(|cells| (Role::Output, 0, 3, cells));
        let answer = self.answer.iter().map(|cells| (Role::Output, 1, 1, cells));
        let parts = inputs.chain(scores).chain(answer);
        let part = |(role, tensor, width, cells): (_, _, _, &Vec<Cell>)| {
            Part::of_cells(role, tensor, width, cells.clone())
        };
        Values { parts: parts.map(part).collect() }
    }
}

fn number() -> impl Strategy<Value = Cell> {
    prop_oneof![
        6 => (-5i32..5).prop_map(|n| Cell::Number(f64::from(n) / 2.0)),
        1 => Just(Cell::Number(f64::NAN)),
        1 => Just(Cell::Number(f64::INFINITY)),
        1 => Just(Cell::Missing),
    ]
}

/// A member that half of the exchanges have.
fn optional(
    cell: impl Strategy<Value = Cell> + Clone + 'static,
    rows: usize,
) -> impl Strategy<Value = Option<Vec<Cell>>> {
    prop::option::of(prop::collection::vec(cell, rows))
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let text = || prop_oneof![Just("x"), Just("y"), Just("z")].prop_map(|t| Cell::Text(t.into()));
    let truth = || any::<bool>().prop_map(Cell::Boolean);
    // What is not a number shows no type.
    let score = || {
        prop_oneof![9 => (0i32..9).prop_map(|n| f64::from(n) / 9.0), 1 => Just(f64::NAN)]
            .prop_map(Cell::Number)
    };
    (1usize..4).prop_flat_map(move |rows| {
        let a = prop::collection::vec((-9i64..9).prop_map(Cell::Integer), rows);
        let rest = (optional(text().boxed(), rows), optional(truth().boxed(), rows));
        let d = optional(number().boxed(), rows);
        let scores = prop::option::of(prop::collection::vec(score(), rows * 3));
        (a, rest, d, scores, optional(number().boxed(), rows)).prop_map(
            |(a, (b, c), d, scores, answer)| {
                let all = [Some(a), b, c, d].into_iter().zip(0..);
                let inputs = all.filter_map(|(cells, at)| Some((at, cells?))).collect();
                Exchange { inputs, scores, answer }
            },
        )
    })
}

fn learned(exchanges: &[Exchange], strict: bool) -> Baseline {
    let mut learner = Learner::default();
    exchanges.iter().for_each(|one| learner.learn(&one.values(), &tensors(), strict));
    learner.finish(&key(), None, &[]).expect("a sound baseline").1
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counting_what_was_learned_gives_the_same_shares(
        exchanges in prop::collection::vec(exchange(), 1..40), strict: bool,
    ) {
        let baseline = learned(&exchanges, strict);
        let plan = Plan::new(Arc::clone(baseline.layout()), &tensors());
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        exchanges.iter().for_each(|one| plan.count(&one.values(), strict, &mut counts));
        for (at, feature) in baseline.layout().features().iter().enumerate() {
            let (own, reference) = (&counts.features()[at], baseline.reference(at).expect("it"));
            let share = |guards: &[Guard]| {
                let n: u64 = guards.iter().map(|guard| own.guard(*guard)).sum();
                n as f64 / own.seen() as f64
            };
            // A category that is not a number is learned as missing.
            let none = share(&[Guard::Missing, Guard::Nan]);
            prop_assert!((none - reference.missing - reference.nan).abs() < 1e-9, "{}", feature.name());
            let infinite = share(&[Guard::Infinite]);
            prop_assert!((infinite - reference.infinite).abs() < 1e-9, "{}", feature.name());
            for (bin, learned) in own.bins().iter().zip(reference.counts()) {
                prop_assert!((*bin as f64 - learned).abs() < 1e-6, "{}", feature.name());
            }
        }
    }
}

#[test]
fn a_member_that_comes_late_was_missing_before() {
    let number = |n: i64| vec![Cell::Integer(n)];
    let exchange = |n: i64| {
        let mut inputs = vec![(0, number(n))];
        if n >= 900 && n % 5 == 0 {
            inputs.push((3, number(n)));
        }
        Exchange { inputs, scores: None, answer: Some(number(1)) }
    };
    let exchanges: Vec<_> = (0..1000).map(exchange).collect();
    let missing = |strict| {
        let baseline = learned(&exchanges, strict);
        let at = baseline.layout().index_of(Role::Input, "d").expect("it is a feature");
        baseline.reference(at).expect("it").missing
    };
    assert!((missing(true) - 0.98).abs() < 1e-9, "{}", missing(true));
    assert!(missing(false).abs() < 1e-9, "a model in this process says what it has");
}

#[test]
fn a_name_that_no_layout_takes_does_not_cost_the_baseline() {
    let name = |name: String| TensorAbout { name, columns: Vec::new(), width: Some(1) };
    let inputs = ["a".to_owned(), String::new(), "x".repeat(300)].map(name).to_vec();
    let mut learner = Learner::default();
    let cells = |n| Part::of_cells(Role::Input, n, 1, vec![Cell::Integer(7)]);
    let values = Values { parts: [0, 1, 2].map(cells).into_iter().collect() };
    learner.learn(&values, &[inputs, Vec::new()], true);
    let (file, baseline) = learner.finish(&key(), None, &[]).expect("a sound baseline");
    let names: Vec<_> = baseline.layout().features().iter().map(|feature| feature.name()).collect();
    assert_eq!((names, file.features.len()), (vec!["a"], 1));
}

#[test]
fn a_column_is_bounded_whatever_one_exchange_has() {
    let rows = |n: usize| vec![Cell::Integer(3); n];
    let exchange = |inputs| Exchange { inputs, scores: None, answer: None };
    let exchanges = [
        exchange(vec![(0, rows(1999))]),
        exchange(vec![(0, rows(8000)), (3, rows(8000))]),
        exchange(vec![(0, rows(8000))]),
    ];
    let mut learner = Learner::default();
    for one in &exchanges {
        learner.learn(&one.values(), &tensors(), true);
        assert!(learner.rows() <= VALUES_MAX);
    }
}

/// One exchange in which each of some inputs has one cell.
fn wide(cells: impl IntoIterator<Item = Cell>) -> Values {
    let part = |(at, cell)| Part::of_cells(Role::Input, at, 1, vec![cell]);
    Values { parts: (0..).zip(cells).map(part).collect() }
}

fn columns(count: usize) -> Tensors {
    let about = |at: usize| TensorAbout {
        name: format!("column {at}"),
        columns: Vec::new(),
        width: Some(1),
    };
    [(0..count).map(about).collect(), Vec::new()]
}

#[test]
fn columns_that_never_show_a_type_take_no_memory_for_their_values() {
    let (tensors, mut learner) = (columns(FEATURES_MAX), Learner::default());
    for at in 0..ROWS {
        let cell = |_| if at % 2 == 0 { Cell::Missing } else { Cell::Number(f64::NAN) };
        learner.learn(&wide((0..FEATURES_MAX).map(cell)), &tensors, true);
    }
    assert!(learner.is_full());
    assert_eq!(learner.bytes(), FEATURES_MAX * COLUMN_BYTES);
    // Once one does, what came before counts as it was.
    let mut learner = Learner::default();
    let cells = [Cell::Missing, Cell::Number(f64::NAN), Cell::Wrong, Cell::Number(1.0)];
    for cell in cells {
        learner.learn(&wide([cell]), &columns(1), true);
    }
    let (file, _) = learner.finish(&key(), None, &[]).expect("a sound baseline");
    assert_eq!((file.features[0].missing, file.features[0].nan), (0.5, 0.25));
}

#[test]
fn no_traffic_takes_more_memory_than_it_may() {
    let (tensors, mut learner) = (columns(FEATURES_MAX + 50), Learner::default());
    for at in 0..ROWS / 4 {
        let text = |column| Cell::Text(format!("{at:0>150} {column:0>90}").into());
        learner.learn(&wide((0..FEATURES_MAX + 50).map(text)), &tensors, true);
        assert!(learner.bytes() <= BYTES_MAX, "{} bytes after {at}", learner.bytes());
    }
    let rest = ROWS - ROWS / 4;
    let late = || Cell::Text(format!("{:0>240}", "late").into());
    (0..rest).for_each(|_| learner.learn(&wide([late()]), &tensors, true));
    assert!(learner.is_full() && learner.bytes() <= BYTES_MAX);
    let (file, _) = learner.finish(&key(), None, &[]).expect("a sound baseline");
    assert_eq!(file.features.len(), FEATURES_MAX);
    assert!(file.features[0].other.expect("a category") > 0.5, "what came late has no name");
}

#[test]
fn outputs_that_are_a_few_whole_numbers_are_classes() {
    let kinds = |classes: &[String]| {
        let mut learner = Learner::default();
        for at in 0..ROWS {
            let few = i64::try_from(at % 3).expect("it fits");
            let many = i64::try_from(at % 40).expect("it fits");
            let part = |role, tensor, width, cells| Part::of_cells(role, tensor, width, cells);
            let parts = [
                part(Role::Input, 0, 1, vec![Cell::Integer(few)]),
                // One score is 1, and all others are 0: margin and top score are whole numbers.
                part(
                    Role::Output,
                    0,
                    3,
                    (0..3).map(|it| Cell::Integer(i64::from(it == few))).collect(),
                ),
                part(Role::Output, 1, 1, vec![Cell::Integer(many)]),
                part(Role::Output, 2, 1, vec![Cell::Number(few as f64)]),
            ];
            let mut tensors = tensors();
            tensors[1].push(TensorAbout {
                name: "r".to_owned(),
                columns: Vec::new(),
                width: Some(1),
            });
            learner.learn(&Values { parts: parts.into_iter().collect() }, &tensors, true);
        }
        let (file, _) = learner.finish(&key(), None, classes).expect("a sound baseline");
        let all = file.features.into_iter().chain(file.outputs);
        all.map(|it| (it.name, it.kind)).collect::<BTreeMap<_, _>>()
    };
    let found = kinds(&[]);
    let of = |kind| {
        let own = found.iter().filter(move |(_, it)| **it == kind);
        own.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(KindWord::Categorical), ["p.top_class", "r"]);
    assert_eq!(of(KindWord::Numeric), ["a", "p.entropy", "p.margin", "p.top_score", "q"]);
    // Numbers that the configuration names as classes may be more.
    let named: Vec<String> = (0..40).map(|class| class.to_string()).collect();
    assert_eq!(kinds(&named)["q"], KindWord::Categorical);
    assert_eq!(kinds(&named[..39])["q"], KindWord::Numeric);
}
