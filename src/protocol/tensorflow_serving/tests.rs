use smallvec::SmallVec;

use super::*;
use crate::protocol::describe::{DeclaredModel, VersionState, VersionStatus};
use crate::protocol::dialect::no_labels;
use crate::protocol::tensor::{Datatype, Shape, TensorData};

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        datatype,
        shape: SmallVec::from_slice(shape),
        places: Vec::new(),
        ordered: true,
    }
}

fn tensor(name: &str, shape: &[usize], data: TensorData) -> Tensor {
    Tensor::new(name, shape, data).unwrap()
}

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    tensor(name, shape, TensorData::Fp32(values.to_vec()))
}

/// What is read where the model takes `specs`.
fn read(body: &str, specs: &[TensorSpec]) -> Result<(Vec<Tensor>, Form), DecodeError> {
    decode_predict(body.as_bytes(), Some(specs), false)
        .map(|(request, form)| (request.inputs, form))
}

#[test]
fn rows_and_columns_in_every_form_that_the_documentation_has() {
    let x = [spec("x", Datatype::Fp32, &[-1, 2])];
    let scalar = [spec("x", Datatype::Fp32, &[-1])];
    let tag = [
        spec("tag", Datatype::Bytes, &[-1]),
        spec("signal", Datatype::Int32, &[-1, 3]),
        spec("sensor", Datatype::Fp32, &[-1, 2, 2]),
    ];
    let tags = || {
        vec![
            tensor("tag", &[2], TensorData::Bytes(vec![b"foo".to_vec(), b"bar".to_vec()])),
            tensor("signal", &[2, 3], TensorData::Int32(vec![1, 2, 3, 3, 4, 1])),
            floats("sensor", &[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0, 8.0]),
        ]
    };
    let two = || vec![floats("x", &[2, 2], &[1.0, 2.5, 3.0, -4.0])];
    let cases = [
        // Row form, one input, with and without its name.
        (r#"{"instances":[[1,2.5],[3,-4e0]]}"#, &x[..], two(), Form::Rows),
        (r#"{"instances":[{"x":[1,2.5]},{"x":[3,-4]}]}"#, &x, two(), Form::Rows),
        (
            r#"{"instances":[1.0,2.0,5]}"#,
            &scalar,
            vec![floats("x", &[3], &[1.0, 2.0, 5.0])],
            Form::Rows,
        ),
        (r#"{"signature_name":"s","instances":[[1,2.5],[3,-4]]}"#, &x, two(), Form::Rows),
        (r#"{"instances":[[1,2.5],[3,-4]],"unknown":{"a":[1]}}"#, &x, two(), Form::Rows),
        // Row form, several inputs, in any order of the names.
        (
            r#"{"instances":[
                {"tag":"foo","signal":[1,2,3],"sensor":[[1,2],[3,4]]},
                {"sensor":[[4,5],[6,8]],"tag":"bar","signal":[3,4,1]}]}"#,
            &tag,
            tags(),
            Form::Rows,
        ),
        // Column form, with and without names.
        (
            r#"{"inputs":{"tag":["foo","bar"],"signal":[[1,2,3],[3,4,1]],
                "sensor":[[[1,2],[3,4]],[[4,5],[6,8]]]}}"#,
            &tag,
            tags(),
            Form::Columns,
        ),
        (r#"{"inputs":[[1,2.5],[3,-4]]}"#, &x, two(), Form::Columns),
        (r#"{"inputs":{"x":[[1,2.5],[3,-4]]}}"#, &x, two(), Form::Columns),
    ];
    for (body, specs, inputs, form) in cases {
        assert_eq!(read(body, specs), Ok((inputs, form)), "{body}");
    }
}

#[test]
fn bytes_special_numbers_and_large_integers_arrive_whole() {
    let x = [spec("x", Datatype::Fp32, &[-1, 2])];
    let two = || vec![floats("x", &[2, 2], &[1.0, 2.5, 3.0, -4.0])];
    let cases = [
        // Bytes, and what JSON has no word for.
        (
            r#"{"instances":[{"b64":"aGVsbG8="},{"b64":"d29ybGQ"},"text"]}"#,
            &[spec("image", Datatype::Bytes, &[-1])][..],
            vec![tensor(
                "image",
                &[3],
                TensorData::Bytes(vec![b"hello".to_vec(), b"world".to_vec(), b"text".to_vec()]),
            )],
            Form::Rows,
        ),
        (
            r#"{"instances":[[Infinity,-Infinity]]}"#,
            &x,
            vec![floats("x", &[1, 2], &[f32::INFINITY, f32::NEG_INFINITY])],
            Form::Rows,
        ),
        (
            r#"{"inputs":[9007199254740993,-9223372036854775808]}"#,
            &[spec("id", Datatype::Int64, &[-1])],
            vec![tensor("id", &[2], TensorData::Int64(vec![9_007_199_254_740_993, i64::MIN]))],
            Form::Columns,
        ),
        // An input without a batch dimension can be written in column form only.
        (
            r#"{"inputs":{"x":[[1,2.5],[3,-4]],"k":3}}"#,
            &[x[0].clone(), spec("k", Datatype::Int32, &[])][..],
            vec![
                two().remove(0),
                Tensor::new("k", Shape::new(), TensorData::Int32(vec![3])).unwrap(),
            ],
            Form::Columns,
        ),
    ];
    for (body, specs, inputs, form) in cases {
        assert_eq!(read(body, specs), Ok((inputs, form)), "{body}");
    }
    let (nan, _) = read(r#"{"instances":[[NaN,null]]}"#, &x).unwrap();
    let TensorData::Fp32(values) = nan[0].data() else { panic!("FP32") };
    assert!(values.iter().all(|value| value.is_nan()));
}

#[test]
fn what_is_wrong_with_a_request_is_said_where_it_is() {
    let x = [spec("x", Datatype::Fp32, &[-1, 2])];
    let cases = [
        ("{}", "", "exactly one of \"instances\" (rows) and \"inputs\" (columns) is expected"),
        (r#"{"instances":[[1,2]],"inputs":[[1,2]]}"#, "/inputs", "exactly one of"),
        (r#"{"instances":[[1,2]],"instances":[[1,2]]}"#, "/instances", "exactly one of"),
        (r#"{"instances":{"x":[1,2]}}"#, "/instances", "an object where an array is expected"),
        (r#"{"instances":[]}"#, "/instances", "there are no rows"),
        (
            r#"{"instances":[[1,2],[3]]}"#,
            "/instances/1",
            "an array of 1 where the arrays before it have 2",
        ),
        (r#"{"instances":[[1,2],["a",1]]}"#, "/instances/1/0", "a string where FP32 is expected"),
        (
            r#"{"instances":[[1,2,3]]}"#,
            "/instances",
            "'x' has shape [1, 3], but [-1, 2] is declared",
        ),
        (r#"{"instances":[{"y":[1,2]}]}"#, "/instances/0/y", "unexpected column 'y'; there is 'x'"),
        (r#"{"inputs":{"y":[[1,2]]}}"#, "/inputs/y", "unexpected column 'y'; there is 'x'"),
        (r#"{"inputs":{}}"#, "/inputs", "column 'x' is missing"),
        (r#"{"instances":[[1,2]}"#, "/instances", "'}' where ',' or ']' is expected"),
        ("[[1,2]]", "", "an array where an object is expected"),
        ("", "", "the JSON ends where a value is expected"),
        (r#"{"instances":[[1,2]]} {}"#, "", "after the end of the JSON"),
        (
            r#"{"instances":[[1,2]],"signature_name":7}"#,
            "/signature_name",
            "a number where a string",
        ),
    ];
    for (body, pointer, message) in cases {
        let error = read(body, &x).expect_err(body);
        assert_eq!(error.pointer(), pointer, "{body}: {error}");
        assert!(error.to_string().contains(message), "{body}: {error}");
    }
}

#[test]
fn an_array_of_inputs_on_the_shared_path_is_answered_in_both_words() {
    let x = [spec("x", Datatype::Fp32, &[-1, 2])];
    let form = |body: &str, shared| {
        decode_predict(body.as_bytes(), Some(&x), shared).map(|(_, form)| form)
    };
    let rows = r#"{"inputs":[[1,2]]}"#;
    assert_eq!(form(rows, true), Ok(Form::Both));
    assert_eq!(form(rows, false), Ok(Form::Columns));
    assert_eq!(form(r#"{"inputs":{"x":[[1,2]]}}"#, true), Ok(Form::Columns));
    assert_eq!(form(r#"{"inputs":[[1,2]],"signature_name":"s"}"#, true), Ok(Form::Columns));
    assert_eq!(form(r#"{"instances":[[1,2]]}"#, true), Ok(Form::Rows));
}

fn written(form: Form, outputs: &[Tensor]) -> Result<String, WriteError> {
    let mut out = Vec::new();
    encode_predictions(form, outputs, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn answers_have_the_form_of_their_request() {
    let one = [floats("y", &[2], &[0.1, f32::NAN])];
    let two = [
        tensor("label", &[2], TensorData::Bytes(vec![b"a".to_vec(), vec![0xff]])),
        tensor("image_bytes", &[2, 1], TensorData::Bytes(vec![b"b".to_vec(), b"c".to_vec()])),
    ];
    let cases = [
        (Form::Rows, &one[..], r#"{"predictions":[0.1,NaN]}"#),
        (Form::Columns, &one, r#"{"outputs":[0.1,NaN]}"#),
        (Form::Both, &one, r#"{"outputs":[0.1,NaN],"predictions":[0.1,NaN]}"#),
        (
            Form::Rows,
            &two,
            r#"{"predictions":[{"label":"a","image_bytes":[{"b64":"Yg=="}]},{"label":{"b64":"/w=="},"image_bytes":[{"b64":"Yw=="}]}]}"#,
        ),
        (
            Form::Columns,
            &two,
            r#"{"outputs":{"label":["a",{"b64":"/w=="}],"image_bytes":[[{"b64":"Yg=="}],[{"b64":"Yw=="}]]}}"#,
        ),
    ];
    for (form, outputs, body) in cases {
        assert_eq!(written(form, outputs).as_deref(), Ok(body));
    }
    let uneven = [one[0].clone(), floats("z", &[3], &[1.0, 2.0, 3.0])];
    assert!(matches!(written(Form::Rows, &uneven), Err(WriteError::Rows { .. })));
    assert!(written(Form::Columns, &uneven).is_ok());
    assert!(!written(Form::Both, &uneven).unwrap().contains("predictions"));
}

#[test]
fn answers_of_a_server_are_read_in_either_form() {
    let outputs = [spec("y", Datatype::Fp32, &[-1, 2]), spec("label", Datatype::Bytes, &[-1])];
    let expected = vec![
        floats("y", &[2, 2], &[0.5, 0.5, 1.0, 0.0]),
        tensor("label", &[2], TensorData::Bytes(vec![b"a".to_vec(), b"b".to_vec()])),
    ];
    for body in [
        r#"{"predictions":[{"y":[0.5,0.5],"label":"a"},{"y":[1,0],"label":"b"}]}"#,
        r#"{"outputs":{"y":[[0.5,0.5],[1,0]],"label":["a","b"]}}"#,
        r#"{"message":"","batchId":"1","predictions":[{"y":[0.5,0.5],"label":"a"},{"y":[1,0],"label":"b"}]}"#,
        r#"{"predictions":{"y":[[0.5,0.5],[1,0]],"label":["a","b"]}}"#,
    ] {
        assert_eq!(
            decode_predictions(body.as_bytes(), Some(&outputs)),
            Ok(expected.clone()),
            "{body}"
        );
    }
    let bare = decode_predictions(br#"{"outputs":[[0.5],[1.0]]}"#, None).unwrap();
    assert_eq!(bare, [tensor("output", &[2, 1], TensorData::Fp64(vec![0.5, 1.0]))]);
    let error = decode_predictions(br#"{"result":[]}"#, None).unwrap_err();
    assert!(error.to_string().contains("missing key \"predictions\""));
}

#[test]
fn classifications_and_regressions_go_both_ways() {
    let scores = || floats("scores", &[2, 2], &[0.9, 0.1, 0.25, 0.75]);
    let labels = TensorData::Bytes([b"a", b"b", b"a", b"b"].map(|label| label.to_vec()).to_vec());
    let classes = tensor("classes", &[2, 2], labels);
    let mut out = Vec::new();
    encode_classes(&[classes.clone(), scores()], no_labels, &mut out).unwrap();
    let body = r#"{"result":[[["a",0.9],["b",0.1]],[["a",0.25],["b",0.75]]]}"#;
    assert_eq!(String::from_utf8(out.clone()).unwrap(), body);
    assert_eq!(decode_result(&out), Ok(vec![classes, scores()]));
    let mut out = Vec::new();
    let label = tensor("label", &[2], TensorData::Int64(vec![0, 1]));
    encode_classes(&[label.clone(), scores()], no_labels, &mut out).unwrap();
    let body = r#"{"result":[[["0",0.9],["1",0.1]],[["0",0.25],["1",0.75]]]}"#;
    assert_eq!(String::from_utf8(out).unwrap(), body);
    assert_eq!(
        encode_classes(std::slice::from_ref(&label), no_labels, &mut vec![]),
        Err(LabelError::NoScores)
    );

    let names = ["cat".to_owned()];
    let mut out = Vec::new();
    encode_classes(&[scores()], |_output| names.as_slice(), &mut out).unwrap();
    assert!(out.starts_with(br#"{"result":[[["cat",0.9],["1",0.1]]"#));

    let mut out = Vec::new();
    encode_values(&[floats("y", &[2, 1], &[1.5, -2.0])], &mut out).unwrap();
    assert_eq!(out, br#"{"result":[1.5,-2.0]}"#);
    assert_eq!(decode_result(&out), Ok(vec![floats("outputs", &[2], &[1.5, -2.0])]));
    assert_eq!(encode_values(&[scores()], &mut vec![]), Err(LabelError::NoValues));
    for body in [
        r#"{"result":[[["a",0.9]],[["a",0.1],["b",0.9]]]}"#,
        r#"{"result":[[["a"]]]}"#,
        r#"{"result":[[[1,0.5]]]}"#,
        r#"{"result":[1,[["a",0.5]]]}"#,
        r#"{"results":[]}"#,
    ] {
        assert!(decode_result(body.as_bytes()).is_err(), "{body}");
    }
    let request = decode_examples(br#"{"examples":[{"x":1.5},{"x":2}]}"#, None).unwrap();
    assert_eq!(request.inputs, [tensor("x", &[2], TensorData::Fp64(vec![1.5, 2.0]))]);
    let mut out = Vec::new();
    encode_examples(&request, &mut out).unwrap();
    assert_eq!(out, br#"{"examples":[{"x":1.5},{"x":2.0}]}"#);
    let context =
        decode_examples(br#"{"context":{"a":1},"examples":[{"x":1}]}"#, None).unwrap_err();
    assert!(context.to_string().contains("repeat its features in each of the examples"));
}

#[test]
fn requests_to_a_server_name_their_inputs_and_the_signature() {
    let body = r#"{"signature_name":"s","inputs":{"x":[[1,2.5]]}}"#;
    let (request, _) = decode_predict(body.as_bytes(), None, false).unwrap();
    let mut out = Vec::new();
    encode_predict(&request, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"signature_name":"s","inputs":{"x":[[1.0,2.5]]}}"#
    );
    // A name that was made up here is not told.
    let (request, _) = decode_predict(br#"{"instances":[[1]]}"#, None, false).unwrap();
    let mut out = Vec::new();
    encode_predict(&request, &mut out).unwrap();
    assert_eq!(out, br#"{"inputs":[[1]]}"#);
}

#[test]
fn metadata_reads_back() {
    let inputs = vec![spec("x", Datatype::Fp32, &[-1, 4]), spec("text", Datatype::Bytes, &[-1])];
    let outputs = vec![spec("y", Datatype::Int64, &[])];
    let mut out = Vec::new();
    encode_metadata("m", "3", &inputs, &outputs, &mut out);
    // Read back by name, as a map has no order.
    let told = |mut specs: Vec<TensorSpec>| {
        specs.sort_by(|one, other| one.name.cmp(&other.name));
        specs.iter_mut().for_each(|spec| spec.ordered = false);
        specs
    };
    let description = DeclaredModel {
        name: "m".into(),
        versions: vec!["3".into()],
        platform: "tensorflow_savedmodel".into(),
        inputs: told(inputs),
        outputs: told(outputs),
    };
    assert_eq!(decode_metadata(&out, None), Some(description));
    assert_eq!(decode_metadata(&out, Some("other")), None);
    // A signature without inputs comes first in many exported models.
    let exported = br#"{"model_spec":{"name":"half","signature_name":"","version":"1"},"metadata":
        {"signature_def":{"signature_def":{"__saved_model_init_op":{"inputs":{},"outputs":{"i":
        {"dtype":"DT_INVALID","tensor_shape":{"dim":[],"unknown_rank":true},"name":"NoOp"}}},
        "predict":{"inputs":{"x":{"dtype":"DT_FLOAT","tensor_shape":{"dim":[{"size":"-1","name":""}],
        "unknown_rank":false},"name":"x:0"}},"outputs":{"y":{"dtype":"DT_HALF","tensor_shape":
        {"dim":[],"unknown_rank":false},"name":"y:0"}},"method_name":"p"}}}}}"#;
    let description = decode_metadata(exported, None).unwrap();
    assert_eq!(description.inputs, told(vec![spec("x", Datatype::Fp32, &[-1])]));
    assert_eq!(description.outputs, told(vec![spec("y", Datatype::Fp16, &[])]));
    assert_eq!(decode_metadata(b"{}", None), None);
}

#[test]
fn states_read_back_and_the_shared_path_has_the_keys_of_both() {
    let status = |version: &str, state, message: &str| VersionStatus {
        version: version.into(),
        state,
        message: message.into(),
    };
    let versions = vec![
        status("1", VersionState::Available, ""),
        status("2", VersionState::End, "no \"file\""),
    ];
    let mut out = Vec::new();
    encode_status(None, &versions, &mut out);
    assert_eq!(decode_status(&out), Some(versions.clone()));
    let mut out = Vec::new();
    encode_status(Some(("m", true)), &versions[..1], &mut out);
    assert_eq!(
        String::from_utf8(out.clone()).unwrap(),
        r#"{"name":"m","ready":true,"model_version_status":[{"version":"1","state":"AVAILABLE","status":{"error_code":"OK","error_message":""}}]}"#
    );
    assert_eq!(decode_status(&out).map(|all| all.len()), Some(1));
    assert_eq!(crate::protocol::kserve_v1::decode_ready(&out), Some(true));
    assert_eq!(decode_status(br#"{"name":"m","ready":true}"#), None);
}
