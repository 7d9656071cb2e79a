//! Lengths that only a request tells, or its values: of slices, of products, of sums.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

use super::bounds::graph;
use super::onnx::{FLOAT, Graph, INT64, int, ints};
use super::*;

fn int64(name: &str, values: &[i64]) -> Tensor {
    Tensor::new(name, [values.len()].as_slice(), TensorData::Int64(values.to_vec())).expect("fits")
}

/// Rows of 1, 2, 3 and so on.
fn numbered(rows: usize, length: usize) -> Tensor {
    let values: Vec<f32> = (1_u8..).take(rows * length).map(f32::from).collect();
    fp32("x", &[rows, length], &values)
}

/// The places from `start` to before `n`, which comes with a request, of rows of open length.
fn up_to(start: i64) -> Graph {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]).input("n", INT64, &["1"]);
    let graph = graph.ints("start", &[1], &[start]).ints("axis", &[1], &[1]);
    graph.node("Slice", &["x", "start", "n", "axis"], "part")
}

#[test]
fn a_bound_that_comes_with_a_request_holds_for_rows_of_any_number_and_length() {
    let graph = up_to(1).node("Shape", &["part"], "sizes");
    let graph = graph.node_with("Cast", &["sizes"], "shape", vec![int("to", FLOAT.into())]);
    let graph = graph.node_with("Concat", &["part", "x"], "both", vec![int("axis", 1)]);
    let graph = graph.output("both", FLOAT, &["N", "B"]).output("shape", FLOAT, &["2"]);
    let model = load_bytes(&graph.encode()).expect("it loads");
    assert_eq!(model.bound(), None);
    // Often enough that plans are made for the sizes, and then some.
    for round in 0..60 {
        for (rows, length) in [(1_usize, 1_usize), (1, 6), (3, 6), (2, 3)] {
            for n in [0_i64, 2, 3, 9, -1, i64::MIN] {
                let x = numbered(rows, length);
                let end = if n < 0 { n.saturating_add(length as i64) } else { n };
                let end = usize::try_from(end).unwrap_or(0).min(length);
                let kept = end.saturating_sub(1);
                let TensorData::Fp32(values) = x.data() else { panic!("floats") };
                let both = values.chunks(length).flat_map(|row| {
                    row.iter().skip(1).take(kept).chain(row).copied().collect::<Vec<f32>>()
                });
                let both = fp32("both", &[rows, kept + length], &both.collect::<Vec<_>>());
                let found = model.infer(vec![x, int64("n", &[n])], &[]).expect("answers");
                let what = format!("{rows} rows of {length} up to {n}, round {round}");
                assert_eq!(found[0], both, "{what}");
                assert_eq!(found[1], fp32("shape", &[2], &[rows as f32, kept as f32]), "{what}");
            }
        }
    }
    assert_eq!(model.panics(), 0);
}

#[test]
fn a_bound_may_follow_from_what_comes_with_a_request() {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]).input("n", INT64, &["1"]);
    let graph = graph.ints("zero", &[1], &[0]).ints("axis", &[1], &[1]).ints("two", &[1], &[2]);
    let graph = graph.node("Mul", &["n", "two"], "end");
    let graph = graph.node("Slice", &["x", "zero", "end", "axis"], "part");
    let sum = vec![int("keepdims", 0)];
    let graph = graph.node_with("ReduceSum", &["part", "axis"], "y", sum);
    let model = load_bytes(&graph.output("y", FLOAT, &["N"]).encode()).expect("it loads");
    for (n, expected) in [(0, [0.0, 0.0]), (1, [3.0, 9.0]), (9, [6.0, 15.0])] {
        let found = model.infer(vec![numbered(2, 3), int64("n", &[n])], &[]).expect("answers");
        assert_eq!(found[0], fp32("y", &[2], &expected), "{n}");
    }
}

#[test]
fn rows_of_other_lengths_than_the_weights_are_the_callers_mistake() {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]);
    let graph = graph.floats("weights", &[3, 1], &[1.0, 10.0, 100.0]);
    let graph = graph.node("MatMul", &["x", "weights"], "y").output("y", FLOAT, &["N", "1"]);
    let model = load_bytes(&graph.encode()).expect("it loads");
    // Often enough that plans are made for the sizes.
    for _ in 0..40 {
        let found = model.infer(vec![numbered(2, 3)], &[]).expect("fits");
        assert_eq!(found[0], fp32("y", &[2, 1], &[321.0, 654.0]));
        for length in [1, 2, 4, 5] {
            let error = model.infer(vec![numbered(2, length)], &[]).expect_err("does not fit");
            assert!(matches!(error, InferError::Input(_)), "{error}");
            let words = format!("multiplies {length} columns by 3 rows");
            assert!(error.to_string().contains(&words), "{error}");
        }
    }
}

/// Parts of 2 and 3 places of rows of this length.
fn split(length: &str) -> Vec<u8> {
    let mut graph = Graph::default().input("x", FLOAT, &["N", length]).ints("sizes", &[2], &[2, 3]);
    graph.0.node.push(NodeProto {
        input: ["x", "sizes"].map(str::to_owned).to_vec(),
        output: ["front", "back"].map(str::to_owned).to_vec(),
        op_type: "Split".to_owned(),
        attribute: vec![int("axis", 1)],
        ..NodeProto::default()
    });
    graph.output("front", FLOAT, &["N", "2"]).output("back", FLOAT, &["N", "3"]).encode()
}

#[test]
fn rows_that_are_longer_or_shorter_than_their_parts_are_the_callers_mistake() {
    let model = load_bytes(&split("T")).expect("it loads");
    // Often enough that plans are made for the sizes.
    for _ in 0..40 {
        let found = model.infer(vec![numbered(2, 5)], &[]).expect("fits");
        assert_eq!(found[0], fp32("front", &[2, 2], &[1.0, 2.0, 6.0, 7.0]));
        assert_eq!(found[1], fp32("back", &[2, 3], &[3.0, 4.0, 5.0, 8.0, 9.0, 10.0]));
        for length in [1, 4, 6, 7] {
            let error = model.infer(vec![numbered(2, length)], &[]).expect_err("does not fit");
            assert!(matches!(error, InferError::Input(_)), "{error}");
            let words = format!("splits 5 places into parts, and there are {length}");
            assert!(error.to_string().contains(&words), "{error}");
        }
    }
    assert!(load_bytes(&split("5")).is_ok());
    let error = load_bytes(&split("6")).map(|_| ()).expect_err("6 is not 5").to_string();
    assert!(error.contains("splits 5 places into parts, and there are 6"), "{error}");
}

#[test]
fn indices_that_there_is_no_room_for_are_the_callers_mistake() {
    let at = |shape: &[usize]| {
        let zeros = TensorData::Int64(vec![0; shape.iter().product()]);
        Tensor::new("at", shape, zeros).expect("agrees")
    };
    let zeros = |name: &str, shape: &[usize]| fp32(name, shape, &vec![0.0; shape.iter().product()]);
    let along = || vec![int("axis", 1)];
    let rows = || Graph::default().input("x", FLOAT, &["N", "T"]);
    let gather = rows().input("at", INT64, &["M", "K"]);
    let gather = gather.node_with("GatherElements", &["x", "at"], "y", along());
    let gather = load_bytes(&gather.output("y", FLOAT, &["M", "K"]).encode()).expect("it loads");
    let scatter = rows().input("at", INT64, &["M", "K"]).input("u", FLOAT, &["M", "K"]);
    let scatter = scatter.node_with("ScatterElements", &["x", "at", "u"], "y", along());
    let scatter = load_bytes(&scatter.output("y", FLOAT, &["N", "T"]).encode()).expect("it loads");
    let nd = rows().input("at", INT64, &["M", "1"]).input("u", FLOAT, &["L", "T"]);
    let nd = nd.node("ScatterND", &["x", "at", "u"], "y");
    let nd = load_bytes(&nd.output("y", FLOAT, &["N", "T"]).encode()).expect("it loads");
    for _ in 0..40 {
        gather.infer(vec![numbered(2, 5), at(&[1, 7])], &[]).expect("there is room");
        nd.infer(vec![numbered(4, 5), at(&[2, 1]), zeros("u", &[2, 5])], &[]).expect("as many");
        for (model, inputs) in [
            (&gather, vec![numbered(2, 5), at(&[3, 2])]),
            (&scatter, vec![numbered(2, 5), at(&[3, 2]), zeros("u", &[3, 2])]),
            (&nd, vec![numbered(4, 5), at(&[2, 1]), zeros("u", &[1, 5])]),
            (&nd, vec![numbered(4, 5), at(&[2, 1]), zeros("u", &[3, 5])]),
        ] {
            let error = model.infer(inputs, &[]).expect_err("no room");
            assert!(matches!(error, InferError::Input(_)), "{error}");
            assert!(
                error.to_string().contains("for indices of the shape [2, 1]")
                    || error.to_string().contains("indices of the shape [3, 2]"),
                "{error}"
            );
        }
        assert_eq!(gather.panics() + scatter.panics() + nd.panics(), 0);
    }
}

#[test]
fn a_place_of_the_file_that_a_row_does_not_have_is_the_callers_mistake() {
    for shape in [&[][..], &[1], &[2]] {
        let places = vec![3; shape.iter().product::<i64>() as usize];
        let graph = Graph::default().input("x", FLOAT, &["N", "T"]).ints("at", shape, &places);
        let graph = graph.node_with("Gather", &["x", "at"], "found", vec![int("axis", 1)]);
        let graph = graph.ints("view", &[2], &[-1, shape.iter().product()]);
        let graph = graph.node("Reshape", &["found", "view"], "y");
        let model = load_bytes(&graph.output("y", FLOAT, &["N", "K"]).encode()).expect("it loads");
        for _ in 0..40 {
            let found = model.infer(vec![numbered(1, 5)], &[]).expect("there");
            assert_eq!(found[0], fp32("y", &[1, places.len()], &vec![4.0; places.len()]));
            for length in [1, 3] {
                let error = model.infer(vec![numbered(1, length)], &[]).expect_err("not there");
                assert!(matches!(error, InferError::Input(_)), "{shape:?}: {error}");
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_each_other_are_not_said_to_take_memory() {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]).floats("w", &[3], &[1.0; 3]);
    let graph = graph.node("Add", &["x", "w"], "y").output("y", FLOAT, &["N", "U"]);
    let model = load_bytes(&graph.encode()).expect("it loads");
    let error = model.infer(vec![numbered(2, 2)], &[]).expect_err("2 is not 3").to_string();
    assert!(error.contains("the sizes of the inputs do not fit each other"), "{error}");
}

/// What a reduction makes of one long row.
fn reduced(operator: &str, row: &[f32]) -> f32 {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]);
    let graph = if operator == "ReduceSum" {
        graph.ints("axes", &[1], &[1]).node(operator, &["x", "axes"], "y")
    } else {
        graph.node_with(operator, &["x"], "y", vec![ints("axes", &[1])])
    };
    let model = load_bytes(&graph.output("y", FLOAT, &["N", "1"]).encode()).expect("it loads");
    let found = model.infer(vec![fp32("x", &[1, row.len()], row)], &[]).expect("answers");
    let TensorData::Fp32(found) = found[0].data() else { panic!("{found:?}") };
    found[0]
}

#[test]
fn long_sums_lose_nothing() {
    let mut random = fastrand::Rng::with_seed(7);
    for length in [1_000, 10_000, 1_000_000] {
        let equal = vec![0.1_f32; length];
        let drawn: Vec<f32> = (0..length).map(|_| random.f32()).collect();
        for row in [equal, drawn] {
            let wide = || row.iter().map(|x| f64::from(*x));
            let (sum, squares) = (wide().sum::<f64>(), wide().map(|x| x * x).sum::<f64>());
            let exponentials = wide().map(f64::exp).sum::<f64>();
            for (operator, expected) in [
                ("ReduceSum", sum),
                ("ReduceMean", sum / row.len() as f64),
                ("ReduceL1", sum),
                ("ReduceSumSquare", squares),
                ("ReduceL2", squares.sqrt()),
                ("ReduceLogSum", sum.ln()),
                ("ReduceLogSumExp", exponentials.ln()),
            ] {
                let found = f64::from(reduced(operator, &row));
                let off = (found - expected).abs() / expected.abs();
                assert!(off < 1e-6, "{operator} of {length}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn a_long_row_of_equal_numbers_has_no_variance() {
    for length in [1_000, 10_000, 100_000] {
        let graph = Graph::default().input("x", FLOAT, &["N", &length.to_string()]);
        let graph = graph.floats("scale", &[length as i64], &vec![1.0; length]);
        let graph = graph.node("LayerNormalization", &["x", "scale"], "y");
        let graph = graph.output("y", FLOAT, &["N", &length.to_string()]);
        let model = load_bytes(&graph.encode()).expect("it loads");
        let row = vec![0.1; length];
        let found = model.infer(vec![fp32("x", &[1, length], &row)], &[]).expect("answers");
        let TensorData::Fp32(found) = found[0].data() else { panic!("floats") };
        assert!(found.iter().all(|x| x.abs() < 1e-5), "{length}: {}", found[0]);
    }
}

#[test]
fn the_logarithms_of_a_long_softmax_add_up_to_one() {
    let row = vec![0.0_f32; 1_000_000];
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]);
    let graph = graph.node_with("LogSoftmax", &["x"], "y", vec![int("axis", 1)]);
    let model = load_bytes(&graph.output("y", FLOAT, &["N", "T"]).encode()).expect("it loads");
    let found = model.infer(vec![fp32("x", &[1, row.len()], &row)], &[]).expect("answers");
    let TensorData::Fp32(found) = found[0].data() else { panic!("floats") };
    let expected = -(1e6_f64.ln());
    assert!(found.iter().all(|x| (f64::from(*x) - expected).abs() < 1e-5), "{}", found[0]);
}

#[test]
fn whether_a_size_is_the_same_as_another_is_decided_by_the_request() {
    const BOOL: i32 = 9;
    let negated = Graph::default().node("Neg", &["x"], "less").output("less", FLOAT, &["N", "T"]);
    let same = Graph::default().node("Identity", &["x"], "same").output("same", FLOAT, &["N", "T"]);
    let branches = vec![graph("then_branch", negated), graph("else_branch", same)];
    for (what, size) in [("one", 1), ("three", 3)] {
        let sized = || {
            let graph = Graph::default().input("x", FLOAT, &["N", "T"]).ints("at", &[], &[1]);
            let graph = graph.node("Shape", &["x"], "shape");
            let graph = graph.node("Gather", &["shape", "at"], "length");
            graph.ints("size", &[], &[size]).node("Equal", &["length", "size"], "is")
        };
        let where_ = sized().node("Neg", &["x"], "less");
        let where_ = where_.node("Where", &["is", "less", "x"], "y");
        let if_ = sized().node_with("If", &["is"], "y", branches.clone());
        for (how, asks) in [("Where", where_), ("If", if_)] {
            let asks = asks.output("y", FLOAT, &["N", "T"]).output("is", BOOL, &[]);
            let model = load_bytes(&asks.encode()).expect("it loads");
            for length in 1..5 {
                let x = numbered(2, length);
                let is = i64::try_from(length) == Ok(size);
                let TensorData::Fp32(values) = x.data() else { panic!("floats") };
                let values: Vec<f32> = values.iter().map(|x| if is { -x } else { *x }).collect();
                let expected = fp32("y", &[2, length], &values);
                let found = model.infer(vec![x], &[]).expect("answers");
                assert_eq!(found[0], expected, "{how}, {what}, {length}");
                assert_eq!(*found[1].data(), TensorData::Bool(vec![is]), "{how}, {what}, {length}");
            }
        }
    }
}

/// Rows of T times F places, of which the sums over the middle axis are copied T times: `e`.
fn copied() -> Graph {
    let graph = Graph::default().input("x", FLOAT, &["N", "T", "2"]).ints("middle", &[1], &[1]);
    let graph = graph.node("ReduceSum", &["x", "middle"], "s").node("Shape", &["x"], "shape");
    graph.node("Expand", &["s", "shape"], "e").floats("weights", &[2, 1], &[1.0, 10.0])
}

#[test]
fn copies_are_kept_in_front_of_a_product() {
    // Two rows of three places: their sums are 9 and 12, 27 and 30.
    let x = || {
        let values: Vec<f32> = (1_u8..=12).map(f32::from).collect();
        fp32("x", &[2, 3, 2], &values)
    };
    let expect = |graph: Graph, dims: &[&str], shape: &[usize], values: &[f32]| {
        let model = load_bytes(&graph.output("y", FLOAT, dims).encode()).expect("it loads");
        assert_eq!(model.bound(), None);
        // Often enough that plans are made for the sizes.
        for _ in 0..40 {
            let found = model.infer(vec![x()], &[]).expect("answers");
            assert_eq!(found[0], fp32("y", shape, values));
        }
    };
    let three = |first: f32, second: f32| [[first; 3], [second; 3]].concat();
    let product = || copied().node("MatMul", &["e", "weights"], "m");
    let all = three(129.0, 327.0);
    expect(product().node("Identity", &["m"], "y"), &["N", "T", "1"], &[2, 3, 1], &all);
    let sum = product().node("ReduceSum", &["m", "middle"], "y");
    expect(sum, &["N", "1", "1"], &[2, 1, 1], &[387.0, 981.0]);
    let equation = AttributeProto {
        name: "equation".to_owned(),
        r#type: AttributeType::String.into(),
        s: b"btf,bsf->bs".to_vec(),
        ..AttributeProto::default()
    };
    let einsum = copied().node_with("Einsum", &["e", "x"], "y", vec![equation]);
    let values = [33.0, 75.0, 117.0, 429.0, 543.0, 657.0].map(|sum: f32| sum * 3.0);
    expect(einsum, &["N", "T"], &[2, 3], &values);
    // Three times as many along an axis of one place.
    let tile = copied().ints("one", &[1], &[1]).node("Gather", &["shape", "middle"], "t");
    let tile = tile.node_with("Concat", &["one", "t", "one"], "times", vec![int("axis", 0)]);
    let tile = tile.node("Tile", &["s", "times"], "r").node("MatMul", &["r", "weights"], "y");
    expect(tile, &["N", "T", "1"], &[2, 3, 1], &all);
    // Ones made for a shape.
    let ones = copied().node("ConstantOfShape", &["shape"], "o").floats("one", &[], &[1.0]);
    let ones = ones.node("Add", &["o", "one"], "a").node("MatMul", &["a", "weights"], "y");
    expect(ones, &["N", "T", "1"], &[2, 3, 1], &three(11.0, 11.0));
    // An operation place by place repeats them itself.
    let added = copied().node("Add", &["e", "x"], "a").node("MatMul", &["a", "weights"], "y");
    let values = [150.0, 172.0, 194.0, 414.0, 436.0, 458.0];
    expect(added, &["N", "T", "1"], &[2, 3, 1], &values);
}

/// Windows of 3 by 3 places over images of open height and width, two after another.
fn windows(operator: &str) -> Vec<u8> {
    let weights = || Graph::default().floats("w", &[1, 1, 3, 3], &[1.0; 9]);
    let size = || vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
    let graph = weights().input("x", FLOAT, &["N", "1", "H", "W"]);
    let inputs: &[&str] = if operator == "Conv" { &["x", "w"] } else { &["x"] };
    let graph = graph.node_with(operator, inputs, "a", size());
    graph
        .node_with("MaxPool", &["a"], "y", size())
        .output("y", FLOAT, &["N", "1", "h", "v"])
        .encode()
}

#[test]
fn an_image_that_is_smaller_than_a_window_is_the_callers_mistake() {
    for operator in ["Conv", "MaxPool", "AveragePool"] {
        let model = load_bytes(&windows(operator)).expect("it loads");
        let image = |height: usize, width: usize| {
            fp32("x", &[1, 1, height, width], &vec![1.0; height * width])
        };
        // Often enough that plans are made for the sizes.
        for _ in 0..20 {
            let found = model.infer(vec![image(7, 9)], &[]).expect("answers");
            assert_eq!(found[0].shape(), [1, 1, 1, 1], "{operator}");
            for (height, width) in [(0, 0), (1, 1), (2, 9), (6, 9), (9, 2), (9, 0), (3, 3), (1, 9)]
            {
                let error = model.infer(vec![image(height, width)], &[]).expect_err("too small");
                assert!(matches!(error, InferError::Input(_)), "{operator}, {height}: {error}");
            }
        }
        assert_eq!(model.panics(), 0);
    }
}

#[test]
fn plans_for_images_without_room_are_never_made() {
    let graph = Graph::default().input("x", FLOAT, &["N", "2", "H", "W"]);
    let graph = graph.floats("w", &[2, 1, 3, 3], &[1.0; 18]);
    let attributes = vec![int("group", 2), ints("pads", &[1, 1, 1, 1])];
    let graph = graph.node_with("Conv", &["x", "w"], "a", attributes);
    let pooled = graph.node("GlobalAveragePool", &["a"], "y");
    let model = load_bytes(&pooled.output("y", FLOAT, &["N", "2", "1", "1"]).encode());
    let model = model.expect("it loads");
    for (height, width) in [(0, 2), (2, 0), (0, 0)] {
        for _ in 0..40 {
            let image = fp32("x", &[1, 2, height, width], &[]);
            let error = model.infer(vec![image], &[]).expect_err("no image");
            assert!(matches!(error, InferError::Input(_)), "{height} x {width}: {error}");
        }
    }
    // The threads that make plans are through by then.
    let image = || fp32("x", &[1, 2, 1, 1], &[3.0, 4.0]);
    let found = (0..40).map(|_| model.infer(vec![image()], &[]).expect("answers").remove(0)).last();
    assert_eq!(found, Some(fp32("y", &[1, 2, 1, 1], &[3.0, 4.0])));
}

#[test]
fn what_a_convolution_is_subtracted_from_or_divides_stays_where_it_is() {
    // The sums of two neighbours: 3 and 5; one more of them is 4 and 6.
    let graph = || {
        let graph = Graph::default().input("x", FLOAT, &["N", "1", "T"]);
        let graph = graph.floats("w", &[1, 1, 2], &[1.0, 1.0]).floats("c", &[1, 1], &[60.0]);
        let graph = graph.floats("one", &[1], &[1.0]).node("Conv", &["x", "w"], "v");
        graph.node("Add", &["v", "one"], "more")
    };
    for (operator, operands, expected) in [
        ("Sub", ["c", "v"], [57.0, 55.0]),
        ("Sub", ["v", "c"], [-57.0, -55.0]),
        ("Div", ["c", "v"], [20.0, 12.0]),
        ("Div", ["v", "one"], [3.0, 5.0]),
        ("Sub", ["c", "more"], [56.0, 54.0]),
        ("Div", ["c", "more"], [15.0, 10.0]),
    ] {
        let graph = graph().node(operator, &operands, "y").output("y", FLOAT, &["N", "1", "U"]);
        let model = load_bytes(&graph.encode()).expect("it loads");
        for rows in 1..3 {
            let series = fp32("x", &[rows, 1, 3], &[1.0, 2.0, 3.0].repeat(rows));
            let found = model.infer(vec![series], &[]).expect("answers");
            let expected = fp32("y", &[rows, 1, 2], &expected.repeat(rows));
            assert_eq!(found[0], expected, "{operator} of {operands:?}");
        }
    }
}

#[test]
fn of_a_convolution_with_a_border_that_follows_the_size_some_places_are_used() {
    // Two neighbours of 6 places are added up, the last one with a border, and then every other one is used.
    let text = AttributeProto {
        name: "auto_pad".to_owned(),
        r#type: AttributeType::String.into(),
        s: b"SAME_UPPER".to_vec(),
        ..AttributeProto::default()
    };
    for dims in [["N", "1", "6"], ["2", "1", "6"], ["N", "1", "T"]] {
        let graph = Graph::default().input("x", FLOAT, &dims);
        let graph = graph.floats("w", &[1, 1, 3], &[1.0, 10.0, 100.0]);
        let graph = graph.floats("i", &[1, 1, 1], &[1.0]);
        let graph = graph.node_with("Conv", &["x", "w"], "v", vec![text.clone()]);
        let graph = graph.node("Relu", &["v"], "r");
        let graph = graph.node_with("Conv", &["r", "i"], "y", vec![ints("strides", &[2])]);
        let model = load_bytes(&graph.output("y", FLOAT, &["N", "1", "U"]).encode());
        let model = model.expect("it loads");
        // Often enough that there is a plan for the sizes.
        for _ in 0..40 {
            let series = fp32("x", &[2, 1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0].repeat(2));
            let found = model.infer(vec![series], &[]).expect("answers");
            let expected = [210.0, 432.0, 654.0].repeat(2);
            assert_eq!(found[0], fp32("y", &[2, 1, 3], &expected), "{dims:?}");
        }
    }
}

#[test]
fn dots_of_an_equation_stand_for_any_number_of_axes() {
    let equation = |equation: &str| AttributeProto {
        name: "equation".to_owned(),
        r#type: AttributeType::String.into(),
        s: equation.as_bytes().to_vec(),
        ..AttributeProto::default()
    };
    for dims in [["N", "2", "2"], ["N", "T", "2"], ["2", "2", "2"]] {
        let graph = Graph::default().input("x", FLOAT, &dims).floats("w", &[2, 1], &[1.0, 10.0]);
        let graph = graph.node_with("Einsum", &["x", "w"], "y", vec![equation("...f, fk -> ...k")]);
        let graph = graph.output("y", FLOAT, &[dims[0], dims[1], "1"]);
        let model = load_bytes(&graph.encode()).expect("it loads");
        let values: Vec<f32> = (1_u8..=8).map(f32::from).collect();
        let found = model.infer(vec![fp32("x", &[2, 2, 2], &values)], &[]).expect("answers");
        assert_eq!(found[0], fp32("y", &[2, 2, 1], &[21.0, 43.0, 65.0, 87.0]), "{dims:?}");
    }
}
