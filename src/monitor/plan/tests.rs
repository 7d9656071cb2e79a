use smallvec::smallvec;

use super::*;
use crate::domain::stats::layout::{Categories, Edges, Feature, FeatureKind, Guard};
use crate::monitor::values::Cell;

fn about(name: &str, width: usize, columns: &[&str]) -> TensorAbout {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    TensorAbout { name: name.to_owned(), columns, width: Some(width) }
}

fn numeric(name: &str, role: Role) -> Feature {
    Feature::new(name, role, FeatureKind::Numeric(Edges::new(&[0.0, 1.0, 2.0], &[]).unwrap()))
}

fn layout(features: Vec<Feature>) -> Arc<Layout> {
    Arc::new(Layout::new(features).unwrap())
}

fn single(role: Role, tensor: u16, width: usize, values: &[f32]) -> Part {
    Part { role, tensor, width, data: Data::Single(values.into()) }
}

fn values(parts: Vec<Part>) -> Values {
    Values { parts: parts.into() }
}

/// What a plan counts: the slots of each feature.
fn counted(plan: &Plan, values: &Values, strict: bool) -> Counts {
    let mut counts = Counts::new(Arc::clone(plan.layout()));
    plan.count(values, strict, &mut counts);
    counts
}

fn means(counts: &Counts) -> Vec<Option<f64>> {
    counts.features().iter().map(|feature| feature.mean()).collect()
}

#[test]
fn columns_are_found_by_name_by_number_and_by_position() {
    let row = values(vec![single(Role::Input, 0, 3, &[10.0, 20.0, 30.0])]);
    for (columns, features, expected) in [
        (&[] as &[&str], ["x[2]", "x[0]", "x[1]"], [30.0, 10.0, 20.0]),
        (&["age", "size", "pay"], ["pay", "age", "x[1]"], [30.0, 10.0, 20.0]),
        // None of these names is known, but there are as many of them as columns.
        (&[], ["age", "size", "pay"], [10.0, 20.0, 30.0]),
    ] {
        let tensors = [vec![about("x", 3, columns)], Vec::new()];
        let layout = layout(features.map(|name| numeric(name, Role::Input)).to_vec());
        let plan = Plan::new(layout, &tensors);
        assert!(!plan.leaves_out(Role::Input), "{features:?}");
        assert_eq!(means(&counted(&plan, &row, false)), expected.map(Some));
    }
}

#[test]
fn names_that_are_not_there_are_told_and_count_as_missing_where_asked() {
    let tensors = [vec![about("x", 2, &[]), about("y", 1, &[])], Vec::new()];
    let features = ["x[0]", "y", "z"].map(|name| numeric(name, Role::Input)).to_vec();
    let plan = Plan::new(layout(features), &tensors);
    assert!(plan.leaves_out(Role::Input));
    assert_eq!([0, 1, 2].map(|feature| plan.finds(feature)), [true, true, false]);
    let rows = values(vec![single(Role::Input, 0, 2, &[1.0, 2.0, 3.0, 4.0])]);
    let missing = |strict| {
        let counts = counted(&plan, &rows, strict);
        [0, 1, 2].map(|feature| counts.features()[feature].guard(Guard::Missing))
    };
    assert_eq!((missing(false), missing(true)), ([0, 0, 0], [0, 2, 2]));
}

#[test]
fn scores_give_their_top_margin_class_and_entropy() {
    let classes = FeatureKind::Categorical(Categories::new(&["cat", "dog"]).unwrap());
    let mut features =
        ["p.top_score", "p.margin", "p.entropy"].map(|name| numeric(name, Role::Output)).to_vec();
    features.push(Feature::new("p.top_class", Role::Output, classes));
    let tensors = [Vec::new(), vec![about("p", 2, &["cat", "dog"])]];
    let plan = Plan::new(layout(features), &tensors);
    let rows = values(vec![single(Role::Output, 0, 2, &[0.25, 0.75, 1.0, 0.0])]);
    let counts = counted(&plan, &rows, true);
    let means = means(&counts);
    assert_eq!(means[..2], [Some(0.875), Some(0.75)]);
    // H(1/4, 3/4) = 0.5623 nats, H(1, 0) = 0.
    assert!((means[2].unwrap() - 0.562_335 / 2.0).abs() < 1e-5, "{means:?}");
    assert_eq!(counts.features()[3].bins(), [1, 1, 0]);
    // A score that is no number has none of them.
    let rows = values(vec![single(Role::Output, 0, 2, &[f32::NAN, 0.5])]);
    assert_eq!(counted(&plan, &rows, true).features()[0].guard(Guard::Nan), 1);
}

#[test]
fn the_entropy_of_logits_is_that_of_their_softmax() {
    let logits = [2.0f32, 0.5, -1.0];
    let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
    let shares = logits.map(|x| f64::from(x).exp() / total);
    let exact: f64 = shares.iter().map(|p| -p * p.ln()).sum();
    assert!((f64::from(entropy(&logits)) - exact).abs() < 1e-6);
    assert!(entropy(&[f32::MAX, 0.0]).abs() < 1e-6);
}

#[test]
fn cells_of_any_type_are_counted_as_what_they_are() {
    let countries = FeatureKind::Categorical(Categories::new(&["de", "7"]).unwrap());
    let features = vec![
        Feature::new("c", Role::Input, countries),
        Feature::new("b", Role::Input, FeatureKind::Boolean),
        numeric("n", Role::Input),
    ];
    let tensors = [vec![about("c", 1, &[]), about("b", 1, &[]), about("n", 1, &[])], Vec::new()];
    let plan = Plan::new(layout(features), &tensors);
    let cells = |tensor, cells: Vec<Cell>| Part::of_cells(Role::Input, tensor, 1, cells);
    let text = |text: &str| Cell::Text(text.into());
    let rows = values(vec![
        cells(0, vec![text("de"), Cell::Integer(7), text("fr"), Cell::Missing]),
        cells(1, vec![Cell::Boolean(true), Cell::Integer(0), Cell::Integer(5), text("x")]),
        cells(2, vec![Cell::Number(1.5), text("x"), Cell::Number(f64::INFINITY), Cell::Wrong]),
    ]);
    let counts = counted(&plan, &rows, true);
    let slots: Vec<&[u64]> = counts.features().iter().map(|feature| feature.slots()).collect();
    // Bins, then missing, not a number, infinite, wrong.
    assert_eq!(slots[0], [1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(slots[1], [1, 1, 1, 0, 0, 0, 1]);
    assert_eq!(slots[2], [0, 0, 1, 0, 0, 0, 1, 2]);
}

#[test]
fn values_that_the_baseline_does_not_know_are_named() {
    let known = Categories::new(&["de", "7"]).unwrap();
    let country = Feature::new("country", Role::Input, FeatureKind::Categorical(known));
    let layout = layout(vec![country, numeric("age", Role::Input)]);
    let plan = Plan::new(layout, &[vec![about("row", 2, &["country", "age"])], Vec::new()]);
    assert!(plan.has_categories());
    let text = |text: &str| Cell::Text(text.into());
    let rows = [text("de"), text("old"), text("IT"), text("new"), Cell::Integer(7), Cell::Missing];
    let part = Part { role: Role::Input, tensor: 0, width: 2, data: Data::Cells(rows.to_vec()) };
    let mut strangers = Strangers::default();
    plan.name(&values(vec![part]), &mut strangers);
    assert_eq!((strangers.of(0), strangers.of(1)), (vec!["IT"], vec![]));
}

#[test]
fn wide_rows_are_counted_by_norm_projections_and_shape() {
    let tensors = [vec![about("image", 300, &[])], Vec::new()];
    let names = names_of(&tensors[0][0], Role::Input, 300);
    assert_eq!(names.len(), 1 + PROJECTIONS + 1);
    let shapes = FeatureKind::Categorical(Categories::new(&["300"]).unwrap());
    let mut features: Vec<_> =
        names[..=PROJECTIONS].iter().map(|name| numeric(name, Role::Input)).collect();
    features.push(Feature::new(names[PROJECTIONS + 1].as_str(), Role::Input, shapes));
    let plan = Plan::new(layout(features), &tensors);
    assert!(!plan.leaves_out(Role::Input));
    let data = Data::Wide(vec![[1.5; wide::NUMBERS]; 2], "300".to_owned());
    let rows = values(vec![Part { role: Role::Input, tensor: 0, width: 300, data }]);
    let counts = counted(&plan, &rows, false);
    assert!(counts.features().iter().all(|feature| feature.seen() == 2 && feature.valid() == 2));
}

/// What a baseline is learned from is what a plan with these names counts.
#[test]
fn learned_names_are_found_again() {
    let tensors = [
        vec![about("x", 2, &["age"]), about("y", 1, &[])],
        vec![about("p", 3, &[]), about("q", 1, &[])],
    ];
    let rows = values(vec![
        single(Role::Input, 0, 2, &[1.0, 2.0]),
        Part { role: Role::Input, tensor: 1, width: 1, data: Data::Integer(smallvec![3]) },
        single(Role::Output, 0, 3, &[0.1, 0.2, 0.7]),
        single(Role::Output, 1, 1, &[0.5]),
    ]);
    let mut seen = Vec::new();
    each_value(&rows, &tensors, |role, name, _| seen.push(numeric(name, role)));
    assert_eq!(seen.len(), 3 + 5);
    let plan = Plan::new(layout(seen), &tensors);
    assert!(ROLES.iter().all(|role| !plan.leaves_out(*role)));
    let counts = counted(&plan, &rows, true);
    assert!(counts.features().iter().all(|feature| feature.seen() == 1));
}
