use proptest::prelude::*;

use super::*;
use crate::protocol::infer::{InferResponse, Parameter};
use crate::protocol::json::DecodeErrorKind;
use crate::protocol::status::FailureKind;
use crate::protocol::tensor::{Datatype, TENSORS_MAX, Tensor, TensorData, TensorSpec, arbitrary};

/// A request with one input whose members are `input`.
fn request(input: &str) -> String {
    format!("{{\"inputs\":[{{{input}}}]}}")
}

fn decode_data(datatype: Datatype, shape: &str, data: &str) -> Result<TensorData, String> {
    let body =
        request(&format!(r#""name":"x","shape":{shape},"datatype":"{datatype}","data":{data}"#));
    let mut request = decode_infer_request(body.as_bytes()).map_err(|e| e.to_string())?;
    Ok(request.inputs.remove(0).into_data())
}

fn response(outputs: Vec<Tensor>) -> InferResponse<'static> {
    let (model_name, model_version) = ("m".into(), "v".into());
    InferResponse { model_name, model_version, outputs, ..InferResponse::default() }
}

fn encode(response: &InferResponse<'_>) -> String {
    let mut out = Vec::new();
    encode_infer_response(response, &mut out).expect("encodes");
    String::from_utf8(out).expect("UTF-8")
}

fn tensor(name: &str, shape: &[usize], data: TensorData) -> Tensor {
    Tensor::new(name, shape, data).expect("shape and data agree")
}

#[test]
fn a_whole_request_is_decoded() {
    let body = br#"{"id":"42","parameters":{"a":1,"b":"x","c":true,"d":0.5},"unknown":[{}],
        "inputs":[{"name":"X","shape":[1,2],"datatype":"FP32","parameters":{},"data":[1,2.5]},
                  {"name":"S","shape":[1],"datatype":"BYTES","data":["h\u00e9"],"other":null}],
        "outputs":[{"name":"Y","parameters":{"binary_data":false}}]}"#;
    let request = decode_infer_request(body).expect("valid");
    assert_eq!(request.id.as_deref(), Some("42"));
    let parameters = [
        ("a".into(), Parameter::Integer(1)),
        ("b".into(), Parameter::String("x".into())),
        ("c".into(), Parameter::Boolean(true)),
        ("d".into(), Parameter::Number(0.5)),
    ];
    assert_eq!(request.parameters, parameters);
    assert_eq!(
        request.inputs,
        [
            tensor("X", &[1, 2], TensorData::Fp32(vec![1.0, 2.5])),
            tensor("S", &[1], TensorData::Bytes(vec!["hé".as_bytes().to_vec()])),
        ]
    );
    assert_eq!(request.outputs.len(), 1);
    assert_eq!(request.outputs[0].name, "Y");
}

#[test]
fn a_request_has_so_many_tensors_and_no_more() {
    let tensor = r#"{"name":"x","shape":[0],"datatype":"FP32","data":[]}"#;
    let body = |count: usize| format!("{{\"inputs\":[{}]}}", vec![tensor; count].join(","));
    let fits = body(TENSORS_MAX);
    assert_eq!(decode_infer_request(fits.as_bytes()).expect("fits").inputs.len(), TENSORS_MAX);
    let refused = body(TENSORS_MAX + 1);
    let error = decode_infer_request(refused.as_bytes()).expect_err("one too many");
    assert_eq!(error.kind(), &DecodeErrorKind::TooManyTensors);
    let outputs = vec![r#"{"name":"y"}"#; TENSORS_MAX + 1].join(",");
    let refused = format!("{{\"inputs\":[],\"outputs\":[{outputs}]}}");
    let error = decode_infer_request(refused.as_bytes()).expect_err("one too many");
    assert_eq!(error.kind(), &DecodeErrorKind::TooManyTensors);
}

/// Bodies as Triton 2.51.0 sent them.
#[test]
fn responses_are_byte_for_byte_those_of_triton() {
    let y = tensor("Y", &[1, 2], TensorData::Fp32(vec![1.0, 2.5]));
    let t = tensor("T", &[1, 1], TensorData::Bytes(vec!["hé".as_bytes().to_vec()]));
    let response = InferResponse {
        id: Some("42".into()),
        model_name: "ident".into(),
        model_version: "3".into(),
        outputs: vec![y, t],
        ..InferResponse::default()
    };
    assert_eq!(
        encode(&response),
        r#"{"id":"42","model_name":"ident","model_version":"3","outputs":[{"name":"Y","datatype":"FP32","shape":[1,2],"data":[1.0,2.5]},{"name":"T","datatype":"BYTES","shape":[1,1],"data":["hé"]}]}"#
    );

    let spec = |name: &str, datatype, shape: [i64; 2]| TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.into_iter().collect(),
        places: Vec::new(),
        ordered: true,
    };
    let metadata = ModelMetadata {
        name: "ident",
        versions: &["1", "3"],
        platform: "python",
        inputs: &[spec("X", Datatype::Fp32, [-1, -1]), spec("S", Datatype::Bytes, [-1, 1])],
        outputs: &[spec("Y", Datatype::Fp32, [-1, -1]), spec("T", Datatype::Bytes, [-1, 1])],
    };
    assert_eq!(encode_model_metadata(&metadata), br#"{"name":"ident","versions":["1","3"],"platform":"python","inputs":[{"name":"X","datatype":"FP32","shape":[-1,-1]},{"name":"S","datatype":"BYTES","shape":[-1,1]}],"outputs":[{"name":"Y","datatype":"FP32","shape":[-1,-1]},{"name":"T","datatype":"BYTES","shape":[-1,1]}]}"#);
    let server = encode_server_metadata("triton", "2.51.0", &["classification", "logging"]);
    assert_eq!(
        server,
        br#"{"name":"triton","version":"2.51.0","extensions":["classification","logging"]}"#
    );
    assert_eq!(encode_error("Not \"Found\""), br#"{"error":"Not \"Found\""}"#);
    assert_eq!(encode_model_ready("m", true), br#"{"name":"m","ready":true}"#);
}

#[test]
fn integers_beyond_2_to_the_53_are_exact() {
    let data = decode_data(
        Datatype::Int64,
        "[3]",
        "[9007199254740993,-9223372036854775808,9223372036854775807]",
    );
    assert_eq!(data, Ok(TensorData::Int64(vec![9_007_199_254_740_993, i64::MIN, i64::MAX])));
    let data = decode_data(Datatype::Uint64, "[2]", "[18446744073709551615,-0]");
    assert_eq!(data, Ok(TensorData::Uint64(vec![u64::MAX, 0])));
}

#[test]
fn the_tokens_for_nan_and_the_infinities_are_read_and_written() {
    let data = decode_data(Datatype::Fp32, "[4]", "[NaN,Infinity,-Infinity,1e39]").expect("valid");
    let TensorData::Fp32(values) = &data else { panic!("{data:?}") };
    assert!(values[0].is_nan());
    assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]);
    let response = response(vec![tensor("y", &[4], data)]);
    assert!(encode(&response).contains("[NaN,Infinity,-Infinity,Infinity]"));
}

#[test]
fn data_may_come_before_shape_and_datatype() {
    for order in [
        r#""data":[[1,2],[3,4]],"name":"x","shape":[2,2],"datatype":"FP32""#,
        r#""shape":[2,2],"data":[1,2,3,4],"datatype":"FP32","name":"x""#,
    ] {
        let body = request(order);
        let request = decode_infer_request(body.as_bytes()).expect(order);
        assert_eq!(request.inputs[0].data(), &TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0]));
    }
    let error = decode_infer_request(
        request(r#""data":[1,"a"],"name":"x","shape":[2],"datatype":"FP32""#).as_bytes(),
    )
    .expect_err("a string in FP32");
    assert_eq!(error.pointer(), "/inputs/0/data/1");
}

#[test]
fn optional_members_may_be_null() {
    let body = br#"{"id":null,"parameters":null,"outputs":null,"inputs":[]}"#;
    let request = decode_infer_request(body).expect("valid");
    assert_eq!((request.id, request.parameters.len(), request.outputs.len()), (None, 0, 0));
}

#[track_caller]
fn assert_refused(body: &str, message: &str) {
    let error = decode_infer_request(body.as_bytes()).expect_err(body);
    assert!(error.offset() <= body.len(), "{body}");
    let text = error.to_string();
    let (text, _offset) = text.rsplit_once(" (byte ").expect("an offset");
    let (_prefix, text) = text.split_once("invalid request").expect("what it is about");
    assert_eq!(text, message, "{body}");
}

#[test]
fn a_mistake_in_the_envelope_names_its_place() {
    let cases = [
        ("", ": the JSON ends where a value is expected"),
        ("{bad", ": 'b' where a key is expected"),
        ("[]", ": an array where an object is expected"),
        ("{}", ": missing key \"inputs\""),
        (r#"{"inputs":[]} x"#, ": 'x' after the end of the JSON"),
        (r#"{"inputs":[],"inputs":[]}"#, " at /inputs: key \"inputs\" occurs twice"),
        (r#"{"id":1,"inputs":[]}"#, " at /id: a number where a string is expected"),
        (
            r#"{"parameters":{"a":[]},"inputs":[]}"#,
            " at /parameters/a: a parameter must be a string, a number or a boolean, not an array",
        ),
        (
            r#"{"parameters":{"triton_x":1},"inputs":[]}"#,
            " at /parameters: parameter 'triton_x': keys starting with 'triton_' are reserved and should \
             not be specified",
        ),
    ];
    for (body, message) in cases {
        assert_refused(body, message);
    }
}

#[test]
fn a_mistake_in_an_input_names_its_place_and_what_to_do() {
    let cases = [
        (r#""datatype":"FP32","data":[1]"#, ": missing key \"shape\""),
        (r#""shape":[1],"data":[1]"#, ": missing key \"datatype\""),
        (r#""shape":[1],"datatype":"FP32""#, ": missing key \"data\""),
        (
            r#""shape":[-1],"datatype":"FP32","data":[]"#,
            "/shape/0: a dimension must be an integer from 0 on",
        ),
        (
            r#""shape":[1.5],"datatype":"FP32","data":[]"#,
            "/shape/0: a dimension must be an integer from 0 on",
        ),
        (
            r#""shape":[1],"datatype":"fp32","data":[1]"#,
            "/datatype: unknown datatype \"fp32\", expected one of BOOL, UINT8 to UINT64, INT8 to INT64, \
             FP16, BF16, FP32, FP64, BYTES",
        ),
        (
            r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":"4"}"#,
            "/parameters: parameter 'binary_data_size' must be a number of bytes",
        ),
        (
            r#""shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}"#,
            "/parameters: shared memory does not reach across hosts; send the data in the request",
        ),
        (
            r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4},"data":[1]"#,
            ": there is \"data\" as well as the parameter 'binary_data_size'; send one of them",
        ),
        (r#""shape":[1],"datatype":"FP16","data":[1]"#, "/data: FP16 has no JSON form; send FP32"),
        (
            r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#,
            ": unexpected size for 'x': binary_data_size is 4, but 0 bytes are left behind the JSON (is the \
             header Inference-Header-Content-Length right?)",
        ),
    ];
    for (rest, message) in cases {
        let body = request(&format!(r#""name":"x",{rest}"#));
        assert_refused(&body, &format!(" at /inputs/0{message}"));
    }
}

#[test]
fn a_mistake_in_the_data_names_the_element() {
    let cases = [
        ("FP32", "[1,2]", "[1]", ": shape [1, 2] has 2 elements but the data has 1"),
        ("FP32", "[1]", "[true]", "/0: a boolean where FP32 is expected"),
        ("INT64", "[1]", "[null]", "/0: null where INT64 is expected"),
        ("BOOL", "[1]", "[null]", "/0: null where BOOL is expected"),
        ("BYTES", "[1]", "[null]", "/0: null where BYTES is expected"),
        ("FP32", "[2]", "[1,\"a\"]", "/1: a string where FP32 is expected"),
        ("FP32", "[2,2]", "[[1,2],[3,{}]]", "/1/1: an object where FP32 is expected"),
        ("FP32", "[1]", "5", ": a number where an array is expected"),
        ("FP32", "[1]", "[1e999]", "/0: 1e999 is out of range for FP32"),
        ("INT8", "[1]", "[128]", "/0: 128 is out of range for INT8"),
        ("UINT64", "[1]", "[-1]", "/0: -1 is out of range for UINT64"),
        ("INT64", "[1]", "[NaN]", "/0: NaN or an infinity where INT64 is expected"),
        (
            "INT8",
            "[1]",
            "[1.0]",
            "/0: a fraction where INT8 is expected; integers are written without a fraction or an \
             exponent",
        ),
        ("BOOL", "[1]", "[1]", "/0: a number where BOOL is expected"),
        ("BYTES", "[1]", "[1]", "/0: a number where BYTES is expected"),
    ];
    for (datatype, shape, data, message) in cases {
        let body = request(&format!(
            r#""name":"x","shape":{shape},"datatype":"{datatype}","data":{data}"#
        ));
        assert_refused(&body, &format!(" at /inputs/0/data{message}"));
    }
}

#[test]
fn a_declared_shape_allocates_nothing() {
    let shape = "[4611686018427387904,4611686018427387904]";
    let error = decode_data(Datatype::Fp64, shape, "[1]").expect_err("too many");
    assert!(error.contains("has too many elements but the data has 1"), "{error}");
    let error = decode_data(Datatype::Fp64, "[1000000000000]", "[1]").expect_err("too many");
    assert!(error.contains("has 1000000000000 elements"), "{error}");
    assert!(decode_data(Datatype::Fp64, "[99999999999999999999999]", "[1]").is_err());
    assert_eq!(decode_data(Datatype::Fp32, "[1,0]", "[]"), Ok(TensorData::Fp32(vec![])));
    assert_eq!(decode_data(Datatype::Fp32, "[]", "[5]"), Ok(TensorData::Fp32(vec![5.0])));
}

#[test]
fn bytes_that_are_not_text_are_refused_in_a_response() {
    let bytes = TensorData::Bytes(vec![b"ok".to_vec(), vec![0xff]]);
    let response = response(vec![tensor("T", &[2], bytes)]);
    let error = encode_infer_response(&response, &mut Vec::new()).expect_err("not UTF-8");
    assert_eq!(error, EncodeError::NotUtf8 { tensor: "T".into(), element: 1 });
    let error = decode_infer_request(b"{\"inputs\":[{\"name\":\"\xff\"").expect_err("not UTF-8");
    assert_eq!(error.kind(), &DecodeErrorKind::InvalidString("not UTF-8"));
}

/// The same data as nested arrays.
fn nested(shape: &[usize], flat: &[serde_json::Value]) -> serde_json::Value {
    match shape {
        [] => flat[0].clone(),
        [_] => flat.into(),
        [_, inner @ ..] if flat.is_empty() => nested(inner, flat)
            .as_array()
            .map_or(serde_json::json!([]), |_| serde_json::json!([[]])),
        [dim, inner @ ..] => {
            flat.chunks(flat.len() / dim).map(|rows| nested(inner, rows)).collect()
        }
    }
}

proptest! {
    #[test]
    fn encoded_tensors_decode_to_themselves(tensors in prop::collection::vec(arbitrary::json_tensor(), 0..4), id: String) {
        let response = InferResponse { id: Some(id.as_str().into()), model_name: id.as_str().into(), outputs: tensors, ..response(vec![]) };
        let body = encode(&response).replacen("\"outputs\":[", "\"inputs\":[", 1);
        prop_assume!(!id.contains("outputs"));
        let request = decode_infer_request(body.as_bytes()).expect("our own output");
        prop_assert_eq!(request.id.as_deref(), Some(id.as_str()));
        prop_assert_eq!(request.inputs, response.outputs);
    }

    #[test]
    fn nested_and_flattened_data_are_equal(shape in prop::collection::vec(0usize..4, 1..4), values: [i16; 27]) {
        let n = shape.iter().product::<usize>();
        let flat: Vec<serde_json::Value> = values[..n].iter().map(|&v| v.into()).collect();
        let shape_text = format!("{shape:?}");
        let nested = nested(&shape, &flat).to_string();
        let flat = serde_json::Value::from(flat).to_string();
        let expected = Ok(TensorData::Int16(values[..n].to_vec()));
        prop_assert_eq!(&decode_data(Datatype::Int16, &shape_text, &flat), &expected);
        prop_assert_eq!(&decode_data(Datatype::Int16, &shape_text, &nested), &expected);
    }

    #[test]
    fn changed_requests_never_panic(at in 0usize..200, byte: u8, cut in 0usize..200) {
        let mut body = br#"{"id":"1","inputs":[{"name":"x","shape":[2,2],"datatype":"INT64","data":[[1,-2],[3,4]]},{"name":"y","data":[1e3,NaN],"shape":[2],"datatype":"FP64"}],"outputs":[{"name":"z"}]}"#.to_vec();
        let len = body.len();
        body[at % len] = byte;
        crate::protocol::fuzz_infer_request(&body);
        crate::protocol::fuzz_infer_request(&body[..cut % len]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), path: String) {
        crate::protocol::fuzz_infer_request(&bytes);
        let _call = parse_path(&path);
        let below = format!("/v2/models/{path}");
        if let Ok(Some(Call::Model { model, .. })) = parse_path(&below) {
            prop_assert!(!model.contains('/') && model != "..");
        }
    }
}

/// By what Triton 2.51.0 answered: 500 for what it could not read, 400 for what made no sense to it.
#[test]
fn what_cannot_be_read_is_told_from_what_makes_no_sense() {
    let kind = |body: &str| decode_infer_request(body.as_bytes()).expect_err(body).failure_kind();
    let input = |members: &str| format!("{{\"inputs\":[{{\"name\":\"X\",{members}}}]}}");
    for unreadable in [
        "{bad".to_owned(),
        input(r#""shape":[1,2],"datatype":"FP32","data":[1]"#),
        input(r#""shape":[1,2],"datatype":"FP32","data":[1,"a"]"#),
        input(r#""shape":[-1],"datatype":"FP32","data":[1]"#),
        r#"{"id":1,"inputs":[]}"#.to_owned(),
        "{}".to_owned(),
    ] {
        assert_eq!(kind(&unreadable), FailureKind::Malformed, "{unreadable}");
    }
    for senseless in [
        input(r#""shape":[1],"datatype":"X","data":[1]"#),
        r#"{"parameters":{"a":[]},"inputs":[]}"#.to_owned(),
        r#"{"parameters":{"triton_a":1},"inputs":[]}"#.to_owned(),
        r#"{"parameters":{"a":1,"a":2},"inputs":[]}"#.to_owned(),
    ] {
        assert_eq!(kind(&senseless), FailureKind::InvalidArgument, "{senseless}");
    }
}

#[test]
fn answers_are_read_more_liberally_than_requests() {
    let body = |text: &'static str| Body::json(text.into());
    let whole = body(
        r#"{"model_name":"m","model_version":1,"id":7,"parameters":{"a":null,"b":{"c":[1]},"d":2},
           "outputs":[{"name":"y","datatype":"FP32","shape":[3],"data":[1.5,null,NaN],
                       "parameters":{"headers":{},"list":[],"content_type":"np","binary_data":false}},
                      {"name":"z","datatype":"INT64","shape":[2],"data":[1.0,2e3]}]}"#,
    );
    let read = whole.decode_response().expect("what it means is clear");
    assert_eq!((read.model_version.as_ref(), read.id.as_deref()), ("1", Some("7")));
    assert_eq!(read.parameters.len(), 1);
    let kept = [("content_type".into(), Parameter::String("np".into()))];
    assert_eq!(read.outputs[0].parameters(), &kept);
    let TensorData::Fp32(values) = read.outputs[0].data() else { panic!("FP32") };
    assert!(values[0] == 1.5 && values[1].is_nan() && values[2].is_nan());
    assert_eq!(read.outputs[1].data(), &TensorData::Int64(vec![1, 2000]));
    for wrong in [
        r#"{"outputs":[{"name":"z","datatype":"INT64","shape":[1],"data":[1.5]}]}"#,
        r#"{"outputs":[{"name":"z","datatype":"INT64","shape":[1],"data":[null]}]}"#,
        r#"{"outputs":[{"name":7,"datatype":"FP32","shape":[1],"data":[1]}]}"#,
    ] {
        let error = body(wrong).decode_response().expect_err("it is not clear");
        assert!(!error.in_answer().to_string().contains("request"), "{}", error.in_answer());
    }
    let request = r#"{"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[1.0]}]}"#;
    assert!(decode_infer_request(request.as_bytes()).is_err());
}

#[test]
fn null_is_a_float_that_is_missing() {
    for (datatype, nested) in [("FP32", "[[null,1],[2.5,null]]"), ("FP64", "[null,1,2.5,null]")] {
        let request = format!(
            r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[2,2],"data":{nested}}}]}}"#
        );
        let request = decode_infer_request(request.as_bytes()).unwrap();
        let values: Vec<f64> = match request.inputs[0].data() {
            TensorData::Fp32(values) => values.iter().map(|&value| value.into()).collect(),
            TensorData::Fp64(values) => values.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((values.len(), values[1], values[2]), (4, 1.0, 2.5));
        assert!(values[0].is_nan() && values[3].is_nan());
    }
}
