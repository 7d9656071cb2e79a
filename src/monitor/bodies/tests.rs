use std::collections::BTreeMap;
use std::io::Write as _;

use smallvec::smallvec;

use super::*;
use crate::domain::spec::{Extractors, JsonPointer};
use crate::domain::stats::layout::Value;
use crate::domain::stats::window::Minute;
use crate::protocol::tensor::{Datatype, TensorSpec};

fn content(body: &str) -> Content {
    Content { body: smallvec![Bytes::copy_from_slice(body.as_bytes())], ..Content::default() }
}

fn waiting(protocol: Protocol, path: &str, request: &str, response: &str) -> Waiting {
    Waiting {
        minute: Minute(7),
        protocol,
        path: path.into(),
        request: content(request),
        response: content(response),
    }
}

/// What is found, as `name: row | row`.
fn found(waiting: &Waiting, about: &About) -> Result<Vec<String>, Unseen> {
    let mut known = Tensors::default();
    let (values, _) = of_bodies(waiting, about, &mut known, &|_| false)?;
    Ok(values
        .parts
        .iter()
        .map(|part| {
            let about = &known[place(part.role)][usize::from(part.tensor)];
            let row = |row| {
                let cells = (0..part.width).map(|column| match part.value(row, column) {
                    Value::Number(number) => format!("{number}"),
                    Value::Integer(integer) => format!("{integer}"),
                    Value::Boolean(truth) => format!("{truth}"),
                    Value::Text(text) => format!("{text:?}"),
                    Value::Missing => "-".to_owned(),
                    Value::Wrong => "!".to_owned(),
                });
                cells.collect::<Vec<_>>().join(" ")
            };
            let rows: Vec<_> = (0..part.rows()).map(row).collect();
            format!("{}: {}", about.name, rows.join(" | "))
        })
        .collect())
}

#[test]
fn every_dialect_in_json_gives_its_rows() {
    use Protocol::{KserveV1, OpenInferenceRest, Raw, Sagemaker, TensorflowServing, Torchserve};
    let cases: &[(Protocol, &str, &str, &[&str])] = &[
        (
            OpenInferenceRest,
            r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,null,4]},
                {"name":"c","shape":[2],"datatype":"BYTES","data":["de","fr"]}]}"#,
            r#"{"outputs":[{"name":"p","shape":[2,2],"datatype":"FP32","data":[[0.1,0.9],[1,0]]}]}"#,
            &["x: 1 2.5 | - 4", "c: \"de\" | \"fr\"", "p: 0.1 0.9 | 1 0"],
        ),
        (
            KserveV1,
            r#"{"instances":[{"age":3,"country":"de"},{"age":null,"vip":true}]}"#,
            r#"{"predictions":[0.5,1]}"#,
            &["age: 3 | -", "country: \"de\" | -", "vip: - | true", "output: 0.5 | 1"],
        ),
        (
            TensorflowServing,
            r#"{"inputs":{"age":[1,2],"x":[[1,2],[3,4]]}}"#,
            r#"{"outputs":[[0.1,0.9],[0.8,0.2]]}"#,
            &["age: 1 | 2", "x: 1 2 | 3 4", "output: 0.1 0.9 | 0.8 0.2"],
        ),
        (
            Sagemaker,
            r#"{"dataframe_split":{"columns":["a","b"],"data":[[1,"NaN"],[3,"x"]]}}"#,
            "[1, 2]",
            &["input: 1 NaN | 3 \"x\"", "output: 1 | 2"],
        ),
        (Torchserve, r#"{"data":[[1,2]]}"#, "0.25", &["input: 1 2", "output: 0.25"]),
        (
            Raw,
            r#"{"age":3,"deep":{"x":1}}"#,
            r#"{"score":0.5}"#,
            &["age: 3", "deep: !", "score: 0.5"],
        ),
    ];
    for (protocol, request, response, expected) in cases {
        let found = found(&waiting(*protocol, "/", request, response), &About::default());
        assert_eq!(found.as_deref(), Ok(expected.map(String::from).as_slice()), "{request}");
    }
}

/// Slices of texts as owned ones.
trait Owned {
    fn map(&self, of: fn(&'static str) -> String) -> Vec<String>;
}

impl Owned for &[&'static str] {
    fn map(&self, of: fn(&'static str) -> String) -> Vec<String> {
        self.iter().copied().map(of).collect()
    }
}

#[test]
fn declared_pointers_find_features_in_any_body() {
    let pointers = |pairs: &[(&str, &str)]| {
        let parse = |(name, at): &(&str, &str)| {
            ((*name).to_owned(), JsonPointer::parse(at).expect("a sound pointer"))
        };
        pairs.iter().map(parse).collect::<BTreeMap<_, _>>()
    };
    let about = About {
        features: pointers(&[("age", "/rows/*/age"), ("vip", "/flags/vip")]),
        predictions: pointers(&[("score", "/scores/*")]),
        ..About::default()
    };
    let request = r#"{"rows":[{"age":3},{"age":4}],"flags":{}}"#;
    let exchange = waiting(Protocol::Raw, "/", request, r#"{"scores":[0.5,0.25]}"#);
    let found = found(&exchange, &about).expect("readable");
    assert_eq!(found, ["age: 3 | 4", "vip: -", "score: 0.5 | 0.25"]);
}

#[test]
fn a_place_without_a_value_is_missing_and_those_after_it_stay_theirs() {
    let at = |text| Some(JsonPointer::parse(text).expect("a sound pointer"));
    let extractors = Extractors {
        rows: at("/items/*/x"),
        prediction: at("/items/*/score"),
        label: at("/items/*/label"),
    };
    let about = About { extractors: Some(extractors), ..About::default() };
    let request = r#"{"items":[{"x":[1,2]},{"y":0},{"x":[3,4]}]}"#;
    let response = r#"{"items":[{"score":1,"label":"a"},{"label":"b"},{"score":3}]}"#;
    let exchange = waiting(Protocol::Raw, "/", request, response);
    assert_eq!(
        found(&exchange, &about).expect("readable"),
        ["input: 1 2 | - - | 3 4", "prediction: 1 | - | 3", "label: \"a\" | \"b\" | -"]
    );
    let features = [("x".to_owned(), JsonPointer::parse("/items/*/y").expect("a sound pointer"))];
    let about = About { features: features.into(), ..about };
    assert_eq!(found(&exchange, &about).expect("readable").first().unwrap(), "x: - | 0 | -");
}

#[test]
fn what_cannot_be_read_is_told() {
    let about = About::default();
    let broken = waiting(Protocol::KserveV1, "/", "{\"instances\":", "{}");
    assert_eq!(found(&broken, &about), Err(Unseen::Unreadable));
    let mut coded = waiting(Protocol::KserveV1, "/", "x", "{}");
    coded.request.content_encoding = Some(HeaderValue::from_static("br"));
    assert_eq!(found(&coded, &about), Err(Unseen::Unreadable));
}

#[test]
fn compressed_bodies_are_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(br#"{"instances":[[1,2]]}"#).expect("to memory");
    let mut exchange = waiting(Protocol::KserveV1, "/", "", r#"{"predictions":[3]}"#);
    exchange.request.body = smallvec![Bytes::from(gzip.finish().expect("to memory"))];
    exchange.request.content_encoding = Some(HeaderValue::from_static("gzip"));
    assert_eq!(
        found(&exchange, &About::default()),
        Ok(vec!["input: 1 2".to_owned(), "output: 3".to_owned()])
    );
}

/// Binary tensors behind JSON are found although records lack the header that says where it ends.
#[test]
fn binary_tensors_are_read_by_the_codec() {
    let spec = |name: &str, width: i64| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: smallvec![-1, width],
        places: Vec::new(),
        ordered: true,
    };
    let about = About {
        inputs: vec![spec("x", 2)],
        outputs: vec![spec("y", 1)],
        is_local: true,
        ..About::default()
    };
    let head = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let mut request = head.as_bytes().to_vec();
    request.extend([1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()));
    let response =
        r#"{"model_name":"m","outputs":[{"name":"y","shape":[1,1],"datatype":"FP32","data":[3]}]}"#;
    let mut exchange = waiting(Protocol::OpenInferenceRest, "/v2/models/m/infer", "", response);
    exchange.request.body = smallvec![Bytes::from(request)];
    let values = of_tensors(&exchange, &about).expect("readable");
    assert_eq!(values.parts.len(), 2);
    assert_eq!(values.parts[0].numbers(0).as_slice(), [1.5, -2.0]);
    assert_eq!(values.parts[1].numbers(0).as_slice(), [3.0]);
    assert_eq!(found(&exchange, &about), Ok(vec!["x: 1.5 -2".to_owned(), "y: 3".to_owned()]));
}

/// What a client can make of one small body: names without end, many members in many rows, and what unpacks to too much.
#[test]
fn names_members_and_unpacked_bytes_are_bounded() {
    let about = About::default();
    let mut known = Tensors::default();
    let mut look = |request: &str, is_wanted: &dyn Fn(&str) -> bool| {
        let exchange = waiting(Protocol::KserveV1, "/", request, r#"{"predictions":[1]}"#);
        of_bodies(&exchange, &about, &mut known, is_wanted).map(|(values, _)| {
            let of = |role| known[place(role)].iter().map(|about| about.name.len()).max();
            (values.parts.len(), known[place(Role::Input)].len(), of(Role::Input))
        })
    };
    let long = format!(r#"{{"instances":[{{"{}":1,"age":1}}]}}"#, "x".repeat(100_000));
    assert_eq!(look(&long, &|_| false), Ok((2, 1, Some(3))), "age and the output");
    let members: Vec<String> = (0..50_000).map(|n| format!("\"k{n}\":1")).collect();
    let many = format!(r#"{{"instances":[{{{}}}]}}"#, members.join(","));
    let began = std::time::Instant::now();
    let (_, tensors, _) = look(&many, &|_| false).expect("readable");
    assert_eq!(tensors, UNWANTED_MAX);
    let rows = "{},".repeat(200_000);
    let both = format!(r#"{{"instances":[{rows}{{{}}}]}}"#, members[..4000].join(","));
    assert!(look(&both, &|_| false).is_ok());
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    // What the baseline has is still told apart.
    let honest = r#"{"instances":[{"income":1}]}"#;
    assert_eq!(look(honest, &|name| name == "income").expect("readable").0, 2);
    assert_eq!(look(r#"{"instances":[{"other":1}]}"#, &|_| false).expect("readable").0, 1);

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&vec![b' '; UNPACKED_BYTES_MAX + 1]).expect("to memory");
    let mut bomb = waiting(Protocol::KserveV1, "/", "", r#"{"predictions":[1]}"#);
    bomb.request.body = smallvec![Bytes::from(gzip.finish().expect("to memory"))];
    bomb.request.content_encoding = Some(HeaderValue::from_static("gzip"));
    assert_eq!(found(&bomb, &about), Err(Unseen::Unreadable));
}

#[test]
fn a_member_without_a_name_is_no_feature() {
    let waiting = waiting(
        Protocol::KserveV1,
        "/v1/models/m:predict",
        r#"{"instances": [{"": 1, "a": 2}]}"#,
        r#"{"predictions": {"": [1], "p": [0.5]}}"#,
    );
    let found = found(&waiting, &About::default()).expect("values");
    assert_eq!(found, ["a: 2", "p: 0.5"]);
}
