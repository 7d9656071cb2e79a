//! Models that no plan for any size can be made of.

use std::time::{Duration, Instant};

use prost::Message as _;
use tract_onnx::pb::ModelProto;

use super::bounds::load_within;
use super::onnx::{FLOAT, Graph, INT64, int, pictures};
use super::*;
use crate::inference::{Held, Unplanned};

const MIB: u64 = 1024 * 1024;

/// So many pictures of 2 lines of 3 points, and the same with 4 lines of 6.
fn pair(rows: usize) -> (Tensor, Tensor) {
    let point = |row: usize, y: usize, x: usize| (row * 10 + y * 3 + x) as f32;
    let of = |lines: usize, points: usize| {
        let (up, across) = (lines / 2, points / 3);
        let places = (0..rows * lines * points).map(move |at| {
            point(at / (lines * points), at / points % lines / up, at % points / across)
        });
        places.collect::<Vec<f32>>()
    };
    (fp32("x", &[rows, 1, 2, 3], &of(2, 3)), fp32("y", &[rows, 1, 4, 6], &of(4, 6)))
}

/// The rows of one number each, the largest first: how many places there are in the order is computed.
fn sorted() -> Vec<u8> {
    let mut graph = Graph::default().input("x", FLOAT, &["N", "1"]).ints("zero", &[1], &[0]);
    graph = graph.node("Shape", &["x"], "shape").node("Gather", &["shape", "zero"], "rows");
    let mut top = graph.node_with("TopK", &["x", "rows"], "y", vec![int("axis", 0)]);
    if let Some(node) = top.0.node.last_mut() {
        node.output.push("places".to_owned());
    }
    // What follows from the number of rows in a tensor that is neither.
    top.node("Shape", &["y"], "sizes")
        .output("y", FLOAT, &["N", "1"])
        .output("sizes", INT64, &["2"])
        .encode()
}

fn is_by_size(model: &LocalModel) -> bool {
    matches!(model.bound(), Some(Bound::BySize(_)))
}

#[test]
fn requests_run_in_parts_where_rows_are_independent() {
    let model = load_bytes(&pictures()).expect("loads");
    assert!(is_by_size(&model) && model.runs_in_parts(), "{:?}", model.bound());
    assert_eq!(model.signature().inputs[0].shape.as_slice(), [-1, 1, 2, 3]);
    assert_eq!(model.signature().outputs[0].shape.as_slice(), [-1, 1, 4, 6]);
    assert_eq!((model.plans(), model.plans_made()), (2, 0));
    for rows in [1, 2, 3, 5, 8, 64, 63, 200, 1, 100, 1000] {
        let (x, y) = pair(rows);
        assert_eq!(model.infer(vec![x], &[]).expect("answers"), [y], "{rows} rows");
    }
    // Those of 4, 8, 16, 32 and 64 rows.
    assert_eq!((model.plans(), model.plans_made()), (7, 5));
    assert_eq!(model.plan_waits(), 5);
    let nothing = model.infer(vec![pair(0).0], &[]).map(drop).expect_err("no plan has no rows");
    assert!(matches!(nothing, InferError::Input(InputError::Value { .. })), "{nothing}");
}

#[test]
fn only_requests_that_wait_for_no_plan_may_run_on_a_worker() {
    let model = load_bytes(&pictures()).expect("loads");
    let cost = |rows| model.cost_of(&[pair(rows).0]);
    assert_eq!(cost(1), model.cost());
    assert!(cost(1).is_some() && cost(2).is_some());
    model.infer(vec![pair(4).0], &[]).expect("answers");
    // A plan that was made may have given way to another one until the request runs.
    assert_eq!((cost(3), cost(4), cost(100)), (None, None, None));
    assert_eq!(model.cost_of(&[fp32("other", &[1], &[1.0])]), None);
}

#[test]
fn requests_run_together_on_plans_for_certain_sizes() {
    let model = load_bytes(&pictures()).expect("loads");
    model.check_batching("m.onnx".as_ref()).expect("row by row");
    let group: Vec<_> = [1, 3, 2].into_iter().map(pair).collect();
    let prepared = group.iter().map(|(x, _)| model.prepare(vec![x.clone()], &[]).expect("fits"));
    let answers = model.run_together(&prepared.collect::<Vec<_>>()).expect("answers");
    for (answer, (_, y)) in answers.iter().zip(&group) {
        assert_eq!(answer[0], *y);
    }
}

#[test]
fn each_number_of_rows_gets_a_plan_where_rows_are_mixed() {
    let model = load_bytes(&sorted()).expect("loads");
    assert!(is_by_size(&model) && !model.runs_in_parts(), "{:?}", model.bound());
    let sort = |rows: usize| {
        let numbers: Vec<f32> = (0..rows).map(|at| ((at * 7) % rows) as f32).collect();
        let sizes = TensorData::Int64(vec![rows as i64, 1]);
        let mut expected = numbers.clone();
        expected.sort_by(|a, b| b.total_cmp(a));
        let found = model.infer(vec![fp32("x", &[rows, 1], &numbers)], &[]).expect("answers");
        assert_eq!(found[0], fp32("y", &[rows, 1], &expected), "{rows}");
        assert_eq!(*found[1].data(), sizes, "{rows}");
    };
    [1, 2, 3, 3, 3, 50].into_iter().for_each(sort);
    assert_eq!((model.plans(), model.plans_made()), (4, 2));
    (1..40).for_each(sort);
    assert_eq!(model.plans(), 8, "bounded");
    let refusal = model.check_batching("m.onnx".as_ref()).expect_err("mixed").to_string();
    assert!(refusal.contains("output 1 does not have one row for each prediction"), "{refusal}");
}

#[test]
fn a_number_of_rows_that_is_a_value_is_that_of_the_request() {
    let mut graph =
        Graph(ModelProto::decode(&*pictures()).expect("a model").graph.expect("a graph"));
    graph.0.output.clear();
    // As many rows as a trial has leave the factor as it is, as many as a part has do not.
    let graph = graph.ints("first", &[], &[0]).floats("least", &[], &[40.0]);
    let graph = graph.node("Gather", &["shape", "first"], "rows");
    let graph = graph.node_with("Cast", &["rows"], "count", vec![int("to", FLOAT.into())]);
    let graph = graph.node("Max", &["count", "least"], "factor");
    let graph = graph.node("Mul", &["y", "factor"], "z").output("z", FLOAT, &["N", "1", "4", "6"]);
    let model = load_bytes(&graph.encode()).expect("loads");
    assert!(is_by_size(&model) && !model.runs_in_parts(), "{:?}", model.bound());
    for rows in [1, 3, 65, 130] {
        let (x, y) = pair(rows);
        let TensorData::Fp32(values) = y.data() else { panic!("{y:?}") };
        let values: Vec<f32> = values.iter().map(|y| y * rows.max(40) as f32).collect();
        let found = model.infer(vec![x], &[]).expect("answers");
        assert_eq!(found[0], fp32("z", &[rows, 1, 4, 6], &values), "{rows} rows");
    }
}

#[test]
fn what_is_worked_out_while_a_plan_is_made_counts() {
    // A cube of ones of which nothing but the sum is left.
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]).floats("unit", &[1, 1, 1], &[1.0]);
    let graph =
        graph.ints("from", &[1], &[1]).ints("to", &[1], &[2]).node("Shape", &["x"], "shape");
    let graph = graph.node("Slice", &["shape", "from", "to"], "length");
    let graph = graph.node_with("TopK", &["x", "length"], "sorted", vec![int("axis", 1)]);
    let graph = graph.second_output("places");
    let graph = graph.node_with("Concat", &["length"; 3], "sides", vec![int("axis", 0)]);
    let graph = graph.node("Expand", &["unit", "sides"], "cube");
    let graph = graph.node_with("ReduceSum", &["cube"], "sum", vec![int("keepdims", 0)]);
    let graph = graph.node("Add", &["sorted", "sum"], "y").output("y", FLOAT, &["N", "T"]);
    let model = load_within(&graph.encode(), MIB);
    assert!(is_by_size(&model), "{:?}", model.bound());
    let infer = |side: usize| model.infer(vec![fp32("x", &[1, side], &vec![0.5; side])], &[]);
    let found = infer(20).expect("answers");
    assert_eq!(found[0], fp32("y", &[1, 20], &[8000.5; 20]));
    let error = infer(100).map(drop).expect_err("four megabytes");
    assert!(matches!(error, InferError::Input(InputError::Value { .. })), "{error}");
}

#[test]
fn a_plan_that_would_take_too_much_is_not_made() {
    let model = load_within(&sorted(), MIB);
    let rows = |rows: usize| model.infer(vec![fp32("x", &[rows, 1], &vec![1.0; rows])], &[]);
    assert_eq!(rows(1000).expect("small")[0].shape(), [1000, 1]);
    let started = Instant::now();
    for many in [10_000_000, 10_000_000, 20_000_000] {
        let error = rows(many).expect_err("too many");
        assert!(matches!(error, InferError::Input(InputError::Value { .. })), "{error}");
        assert!(error.to_string().contains("`inference.run_memory` allows 1 MiB"), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "nothing of that size was made");
    assert_eq!(rows(3).expect("goes on")[0].shape(), [3, 1]);
}

#[test]
fn a_plan_is_made_once_however_many_wait_for_it() {
    let model = load_bytes(&sorted()).expect("loads");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                model.infer(vec![fp32("x", &[30, 1], &[2.0; 30])], &[]).expect("answers")
            });
        }
    });
    assert_eq!(model.plans_made(), 1);
    assert!((1..=8).contains(&model.plan_waits()));
}

/// What comes of a request that never waits while it runs.
fn secured(model: &LocalModel, x: Tensor, until: Duration) -> Result<Vec<Tensor>, Unplanned> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut prepared = model.prepare(vec![x], &[]).expect("fits");
    if let Some(wait) = model.secure(&mut prepared, Instant::now() + until)? {
        prepared = prepared.holding(runtime.block_on(wait)?);
    }
    Ok(model.run(&prepared).expect("answers"))
}

#[test]
fn a_request_has_its_plan_made_elsewhere_and_holds_it() {
    let model = load_bytes(&sorted()).expect("loads");
    let long = Duration::from_secs(60);
    let rows = |rows: usize| fp32("x", &[rows, 1], &vec![2.0; rows]);
    assert_eq!(secured(&model, rows(2), long).expect("is there")[0].shape(), [2, 1]);
    assert_eq!((model.plans_made(), model.plan_waits()), (0, 0));
    assert_eq!(secured(&model, rows(30), long).expect("is made")[0].shape(), [30, 1]);
    assert_eq!(secured(&model, rows(30), long).expect("was made")[0].shape(), [30, 1]);
    assert_eq!((model.plans_made(), model.plan_waits()), (1, 1));
    let late = secured(&model, rows(40), Duration::ZERO).map(drop);
    assert_eq!(late, Err(Unplanned::Gone));
    assert_eq!(model.plans_made(), 1, "it came too late");
    // A plan that gave way to others before the request runs.
    let mut held = model.prepare(vec![rows(30)], &[]).expect("fits");
    assert!(model.secure(&mut held, Instant::now()).expect("was made").is_none());
    (31..39).for_each(|size| drop(secured(&model, rows(size), long).expect("is made")));
    let made = model.plans_made();
    assert_eq!(model.run(&held).expect("answers")[0].shape(), [30, 1]);
    assert_eq!(model.plans_made(), made);
    // One that holds another is told so, and has none made.
    let mut other = model.prepare(vec![rows(50)], &[]).expect("fits");
    let wait = model.secure(&mut other, Instant::now()).expect("may be").expect("waits");
    drop(wait);
    let none = model.run(&other.holding(Held::default())).map(drop).expect_err("has no plan");
    assert!(matches!(none, InferError::Model { .. }), "{none}");
}

#[test]
fn too_many_sizes_at_once_are_turned_away() {
    let model = load_bytes(&sorted()).expect("loads");
    let until = Instant::now() + Duration::from_secs(60);
    let mut waits = Vec::new();
    let mut crowded = 0;
    for rows in 100..400 {
        let x = fp32("x", &[rows, 1], &vec![2.0; rows]);
        let mut prepared = model.prepare(vec![x], &[]).expect("fits");
        match model.secure(&mut prepared, until) {
            Ok(wait) => waits.extend(wait),
            Err(error) => {
                assert_eq!(error, Unplanned::Crowded);
                crowded += 1;
            }
        }
    }
    assert!(crowded > 0);
    assert_eq!(model.plan_refusals(), crowded);
    drop(waits);
    let x = fp32("x", &[90, 1], &[2.0; 90]);
    let answer = secured(&model, x, Duration::from_secs(60)).expect("there is room");
    assert_eq!(answer[0].shape(), [90, 1]);
}

#[test]
fn requests_in_parts_wait_for_no_plan() {
    let model = load_bytes(&pictures()).expect("loads");
    let long = Duration::from_secs(60);
    for rows in [1, 2, 3, 64, 100] {
        let (x, y) = pair(rows);
        assert_eq!(secured(&model, x, Duration::ZERO).expect("runs"), [y], "{rows} rows");
    }
    assert_eq!(model.plan_waits(), 0);
    let began = Instant::now();
    while model.plans_made() == 0 && began.elapsed() < long {
        std::thread::yield_now();
    }
    assert!(model.plans_made() > 0, "later requests have larger parts");
}

#[test]
fn what_is_refused_does_not_depend_on_what_was_asked_before() {
    let sort = |model: &LocalModel, rows: usize| {
        model.infer(vec![fp32("x", &[rows, 1], &vec![1.0; rows])], &[]).map(drop)
    };
    let fresh = load_within(&sorted(), MIB);
    // The first size that is refused, from below.
    let (mut fits, mut fails) = (2, 10_000_000);
    while fails - fits > fits / 50 + 1 {
        let middle = usize::midpoint(fits, fails);
        let model = load_within(&sorted(), MIB);
        match sort(&model, middle) {
            Ok(()) => fits = middle,
            Err(_too_much) => fails = middle,
        }
    }
    assert!(sort(&fresh, 2 * fits).is_err());
    for step in 1..9 {
        sort(&fresh, fits * step / 10).expect("smaller");
    }
    sort(&fresh, fits).expect("as it did without the others");
    sort(&fresh, 2 * fits).expect_err("as it was");
}

#[test]
fn all_dimensions_get_sizes_where_no_other_plan_can_be_made() {
    // Twice as large, whatever the size is.
    let graph = Graph::default().input("x", FLOAT, &["N", "1", "H", "W"]);
    let graph = graph.ints("zero", &[1], &[0]).ints("two", &[1], &[2]).ints("four", &[1], &[4]);
    let graph = graph
        .node("Shape", &["x"], "shape")
        .node("Slice", &["shape", "zero", "two", "zero"], "front")
        .node("Slice", &["shape", "two", "four", "zero"], "back")
        .node("Mul", &["back", "two"], "twice")
        .node_with("Concat", &["front", "twice"], "sizes", vec![int("axis", 0)])
        .node("Resize", &["x", "", "", "sizes"], "y");
    let model = load_bytes(&graph.output("y", FLOAT, &["N", "1", "A", "B"]).encode());
    let model = model.expect("loads");
    assert!(is_by_size(&model), "{:?}", model.bound());
    assert_eq!(model.signature().outputs[0].shape.as_slice(), [-1, 1, -1, -1]);
    for (rows, lines, points) in [(1, 2, 3), (2, 2, 3), (3, 5, 1), (1, 40, 50), (7, 2, 3)] {
        let x = fp32("x", &[rows, 1, lines, points], &vec![1.0; rows * lines * points]);
        let y = model.infer(vec![x], &[]).expect("answers");
        assert_eq!(y[0].shape(), [rows, 1, 2 * lines, 2 * points]);
    }
    assert!(model.plans() <= 8);
}

/// Rows of 2 numbers and rows of 3, side by side, whose numbers of rows have different names.
fn side_by_side() -> Vec<u8> {
    let graph =
        Graph::default().input("a", FLOAT, &["unk__1", "2"]).input("b", FLOAT, &["unk__2", "3"]);
    let graph = graph.node_with("Concat", &["a", "b"], "y", vec![int("axis", 1)]);
    graph.output("y", FLOAT, &["unk__3", "5"]).encode()
}

#[test]
fn first_dimensions_of_different_names_are_one_batch_where_they_must_be() {
    let model = load_bytes(&side_by_side()).expect("loads");
    assert!(matches!(model.bound(), Some(Bound::Joined(_))), "{:?}", model.bound());
    let rows = |a: usize, b: usize| {
        let a = fp32("a", &[a, 2], &vec![1.0; a * 2]);
        model.infer(vec![a, fp32("b", &[b, 3], &vec![2.0; b * 3])], &[])
    };
    assert_eq!(rows(4, 4).expect("answers")[0].shape(), [4, 5]);
    let error = rows(4, 2).expect_err("4 is not 2");
    assert!(matches!(error, InferError::Input(InputError::Disagreement { .. })), "{error}");
    assert!(error.to_string().contains("'a'") && error.to_string().contains("'b'"), "{error}");
    model.check_batching("m.onnx".as_ref()).expect("row by row");
    // Where they may differ, they do.
    let graph = Graph::default().input("a", FLOAT, &["A", "2"]).input("b", FLOAT, &["B", "2"]);
    let graph = graph.node_with("Concat", &["a", "b"], "y", vec![int("axis", 0)]);
    let model = load_bytes(&graph.output("y", FLOAT, &["C", "2"]).encode()).expect("loads");
    assert_eq!(model.bound(), None);
    let a = fp32("a", &[3, 2], &[1.0; 6]);
    let y = model.infer(vec![a, fp32("b", &[1, 2], &[2.0; 2])], &[]).expect("answers");
    assert_eq!(y[0].shape(), [4, 2]);
}

#[test]
fn products_of_two_inputs_with_open_numbers_of_matrices_are_answered() {
    let graph =
        Graph::default().input("a", FLOAT, &["N", "1", "2"]).input("b", FLOAT, &["M", "2", "1"]);
    let graph = graph.node("MatMul", &["a", "b"], "y").output("y", FLOAT, &["K", "1", "1"]);
    let model = load_bytes(&graph.encode()).expect("loads");
    for rows in [1, 2, 3, 5, 8] {
        let numbers: Vec<f32> = (0..rows * 2).map(|at| at as f32).collect();
        let (a, b) = (fp32("a", &[rows, 1, 2], &numbers), fp32("b", &[rows, 2, 1], &numbers));
        let expected: Vec<f32> =
            numbers.chunks(2).map(|row| row.iter().map(|number| number * number).sum()).collect();
        let y = model.infer(vec![a, b], &[]).unwrap_or_else(|error| panic!("{rows}: {error}"));
        assert_eq!(y[0], fp32("y", &[rows, 1, 1], &expected));
    }
}

#[test]
fn sizes_that_are_computed_in_32_bits_stay_sizes() {
    const INT32: i64 = 6;
    // As tf2onnx writes them: a reshape, and as many rows of zeros, at least one.
    let graph = Graph::default().input("x", FLOAT, &["N", "2", "3"]);
    let graph = graph.ints("zero", &[1], &[0]).ints("one", &[1], &[1]).ints("six", &[1], &[6]);
    let graph = graph
        .node("Shape", &["x"], "shape")
        .node_with("Cast", &["shape"], "narrow", vec![int("to", INT32)])
        .node("Slice", &["narrow", "zero", "one", "zero"], "few")
        .node_with("Cast", &["few"], "rows", vec![int("to", INT64.into())])
        .node_with("Concat", &["rows", "six"], "view", vec![int("axis", 0)])
        .node("Reshape", &["x", "view"], "y")
        .node("Max", &["rows", "one"], "some")
        .node_with("Concat", &["some", "six"], "sizes", vec![int("axis", 0)])
        .node("ConstantOfShape", &["sizes"], "zeros");
    let graph = graph.output("y", FLOAT, &["N", "6"]).output("zeros", FLOAT, &["M", "6"]);
    let model = load_bytes(&graph.encode()).expect("loads");
    assert_eq!(model.bound(), None);
    for rows in [1, 2, 5] {
        let x = fp32("x", &[rows, 2, 3], &vec![1.0; rows * 6]);
        let found = model.infer(vec![x], &[]).expect("answers");
        assert_eq!((found[0].shape(), found[1].shape()), (&[rows, 6][..], &[rows, 6][..]));
    }
}
