use smallvec::SmallVec;

use super::*;
use crate::protocol::infer::Parameter;
use crate::protocol::tensor::{Datatype, TensorData};

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        datatype,
        shape: SmallVec::from_slice(shape),
        places: Vec::new(),
        ordered: true,
    }
}

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(name, shape, TensorData::Fp32(values.to_vec())).unwrap()
}

#[test]
fn paths_name_a_model_or_leave_it_to_the_header() {
    let call = parse_path("/invocations").unwrap().unwrap();
    assert_eq!((call.model, call.operation), (None, Operation::Infer));
    let call = parse_path("/models/a%2Eb/invoke").unwrap().unwrap();
    assert_eq!(call.model.as_deref(), Some("a.b"));
    for path in ["/invocations/", "/models", "/models/m", "/models//invoke", "/models/a/b/invoke"] {
        assert_eq!(parse_path(path), Ok(None), "{path}");
    }
    assert!(parse_path("/models/%2e%2e/invoke").is_err());
}

#[test]
fn every_form_of_an_invocation_becomes_the_same_tensor() {
    let x = [spec("x", Datatype::Fp32, &[-1, 2])];
    let json = [
        r#"{"instances":[[1,2.5],[3,4]]}"#,
        r#"{"inputs":[[1,2.5],[3,4]]}"#,
        r#"{"inputs":{"x":[[1,2.5],[3,4]]}}"#,
        r#"{"dataframe_split":{"columns":["a","b"],"index":[0,1],"data":[[1,2.5],[3,4]]}}"#,
        r#"{"dataframe_records":[{"a":1,"b":2.5},{"b":4,"a":3}]}"#,
        "[[1,2.5],[3,4]]",
    ];
    let csv = ["1,2.5\n3,4\n", "a,b\n1,2.5\n3,4\n"];
    let lines = ["[1,2.5]\n[3,4]\n", "{\"x\":[1,2.5]}\n{\"x\":[3,4]}"];
    let cases = (json.iter().map(|body| (body, Media::Json, Form::Json)))
        .chain(json.iter().map(|body| (body, Media::Unnamed, Form::Json)))
        .chain(csv.iter().map(|body| (body, Media::Csv { header: None }, Form::Json)))
        .chain(csv.iter().map(|body| (body, Media::Unnamed, Form::Json)))
        .chain(lines.iter().map(|body| (body, Media::Lines, Form::Lines)));
    for (body, media, form) in cases {
        let (request, read) = decode_invocation(body.as_bytes(), media, Some(&x)).expect(body);
        assert_eq!(request.inputs, [floats("x", &[2, 2], &[1.0, 2.5, 3.0, 4.0])], "{body}");
        assert_eq!(read, form, "{body}");
    }
}

#[test]
fn parameters_go_along() {
    let body = br#"{"instances":[[1]],"params":{"k":3,"mode":"fast"}}"#;
    let (request, _) = decode_invocation(body, Media::Json, None).unwrap();
    assert_eq!(request.parameters[0], ("k".into(), Parameter::Integer(3)));
    let mut out = Vec::new();
    encode_invocation(Form::Json, &request, &mut out).unwrap();
    assert_eq!(out, br#"{"instances":[[1]],"params":{"k":3,"mode":"fast"}}"#);
}

#[test]
fn what_is_wrong_with_an_invocation_is_said_where_it_is() {
    let named = [spec("a", Datatype::Fp32, &[-1]), spec("b", Datatype::Int64, &[-1])];
    let cases = [
        (r#"{"instances":[[1,2]],"inputs":[[1,2]]}"#, "/inputs", "exactly one of"),
        (r#"{"rows":[]}"#, "", "exactly one of"),
        (
            r#"{"dataframe_split":{"columns":["a","b"],"data":[[1,2],[1,2.5]]}}"#,
            "/dataframe_split/data/1/1",
            "has a fraction, and INT64 has none",
        ),
        (
            r#"{"dataframe_split":{"columns":["a","c"],"data":[[1,2]]}}"#,
            "/dataframe_split/data",
            "'c'",
        ),
        (r#"{"dataframe_split":{"data":[[1,2]]}}"#, "/dataframe_split", "missing key \"columns\""),
        (
            r#"{"dataframe_records":[{"a":1,"b":2},{"a":1}]}"#,
            "/dataframe_records/1",
            "column 'b' is missing",
        ),
    ];
    for (body, pointer, message) in cases {
        let error = decode_invocation(body.as_bytes(), Media::Json, Some(&named)).expect_err(body);
        assert_eq!(error.pointer(), pointer, "{body}: {error}");
        assert!(error.to_string().contains(message), "{body}: {error}");
    }
}

#[test]
fn answers_have_the_form_that_is_asked_for() {
    let outputs = [
        floats("p", &[2, 2], &[0.5, 0.25, 1.0, 0.0]),
        Tensor::new("l", [2].as_slice(), TensorData::Bytes(vec![b"a".to_vec(), b"b,\"c".to_vec()]))
            .unwrap(),
    ];
    let written = |form| {
        let mut out = Vec::new();
        encode_predictions(form, &outputs, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written(Form::Json),
        r#"{"predictions":[{"p":[0.5,0.25],"l":"a"},{"p":[1.0,0.0],"l":"b,\"c"}]}"#
    );
    assert_eq!(written(Form::Csv), "0.5,0.25,a\n1.0,0.0,\"b,\"\"c\"\n");
    assert_eq!(
        written(Form::Lines),
        "{\"p\":[0.5,0.25],\"l\":\"a\"}\n{\"p\":[1.0,0.0],\"l\":\"b,\\\"c\"}\n"
    );
    for (own, accept, expected) in [
        (Form::Json, "text/csv", Some(Form::Csv)),
        (Form::Lines, "image/png, application/json;q=0.5", Some(Form::Json)),
        (Form::Lines, "*/*", Some(Form::Lines)),
        (Form::Json, "", Some(Form::Json)),
        (Form::Json, "image/png", Some(Form::Json)),
        (Form::Json, "application/json;q=0.5, text/csv", Some(Form::Csv)),
        (Form::Lines, "text/csv, application/json", Some(Form::Csv)),
        (Form::Csv, "application/*", Some(Form::Json)),
        (Form::Lines, "application/*", Some(Form::Lines)),
        (Form::Json, "text/*;q=0.1", Some(Form::Csv)),
        (Form::Json, "application/json;q=0, */*", Some(Form::Csv)),
        (Form::Json, "application/json;q=0", None),
        (Form::Csv, "*/*;q=0", None),
        (Form::Csv, "application/json;q=0", Some(Form::Csv)),
        (Form::Json, "application/json;q=much", None),
    ] {
        assert_eq!(own.accepted(accept), expected, "{accept}");
    }
}

#[test]
fn a_data_frame_has_only_so_many_columns() {
    let x = [spec("x", Datatype::Fp32, &[-1, -1])];
    let frame = |count: usize| {
        let (names, cells) = (vec!["\"\""; count].join(","), vec!["1"; count].join(","));
        let body = format!(r#"{{"dataframe_split":{{"columns":[{names}],"data":[[{cells}]]}}}}"#);
        let read = decode_invocation(body.as_bytes(), Media::Json, Some(&x));
        read.map(|(request, _)| request.inputs.len()).map_err(|error| error.to_string())
    };
    assert_eq!(frame(65_536), Ok(1));
    assert!(frame(65_537).unwrap_err().contains("there are more than 65536 columns"));
}

#[test]
fn answers_of_a_container_are_read_in_every_form() {
    let y = [spec("y", Datatype::Fp32, &[-1, 2])];
    let expected = vec![floats("y", &[2, 2], &[1.0, 2.5, 3.0, 4.0])];
    for (body, media) in [
        (r#"{"predictions":[[1,2.5],[3,4]]}"#, Media::Json),
        ("[[1,2.5],[3,4]]", Media::Json),
        ("1,2.5\n3,4\n", Media::Csv { header: None }),
        ("[1,2.5]\n[3,4]\n", Media::Lines),
    ] {
        assert_eq!(decode_answer(body.as_bytes(), media, Some(&y)), Ok(expected.clone()), "{body}");
    }
}

#[test]
fn an_open_inference_body_is_told_by_its_datatype() {
    let body = br#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    assert!(is_open_inference(body, "inputs"));
    assert!(!is_open_inference(body, "outputs"));
    for other in [
        r#"{"inputs":[[1,2]]}"#,
        r#"{"inputs":{"datatype":[1]}}"#,
        r#"{"inputs":[{"x":1}]}"#,
        r#"{"inputs":[]}"#,
        "[1]",
        "{",
    ] {
        assert!(!is_open_inference(other.as_bytes(), "inputs"), "{other}");
    }
}
