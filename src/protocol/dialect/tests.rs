mod parameters;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use prost::Message as _;
use smallvec::SmallVec;

use super::*;
use crate::protocol::infer::{InferRequest, InferResponse, RequestedOutput};
use crate::protocol::open_inference::EncodeError as V2;
use crate::protocol::open_inference::grpc::ServerMetadataResponse;
use crate::protocol::raw::RawError;
use crate::protocol::tensor::{Datatype, Tensor, TensorData, TensorSpec};
use crate::protocol::tensorflow_serving::LabelError;
use crate::protocol::untyped::WriteError;

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

fn headers(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    headers
}

fn body(dialect: Dialect, content_type: &'static str, text: &'static str) -> Body {
    Body::new(dialect, &headers(content_type), [Bytes::from_static(text.as_bytes())]).unwrap()
}

fn call(path: &str) -> Call<'_> {
    parse_path(path).unwrap().unwrap()
}

#[test]
fn paths_belong_to_one_dialect() {
    let cases = [
        ("/v2/health/live", Dialect::OpenInference, Operation::Live, Method::GET),
        ("/v2/models/m/infer", Dialect::OpenInference, Operation::Infer, Method::POST),
        ("/v1/models", Dialect::KserveV1, Operation::ModelList, Method::GET),
        ("/v1/models/m:predict", Dialect::KserveV1, Operation::Infer, Method::POST),
        ("/v1/models/m:explain", Dialect::KserveV1, Operation::Explain, Method::POST),
        (
            "/v1/models/m/labels/x:predict",
            Dialect::TensorflowServing,
            Operation::Infer,
            Method::POST,
        ),
        ("/v1/models/m/metadata", Dialect::TensorflowServing, Operation::Metadata, Method::GET),
        ("/predictions/m", Dialect::Torchserve, Operation::Infer, Method::POST),
        ("/ping", Dialect::Torchserve, Operation::Ready, Method::GET),
        ("/invocations", Dialect::Sagemaker, Operation::Infer, Method::POST),
        ("/health", Dialect::Sagemaker, Operation::Ready, Method::GET),
        ("/version", Dialect::Sagemaker, Operation::ServerMetadata, Method::GET),
    ];
    for (path, dialect, operation, method) in cases {
        let call = call(path);
        assert_eq!(
            (call.dialect, call.operation, call.method()),
            (dialect, operation, method),
            "{path}"
        );
    }
    for path in ["/", "/v1/feedback", "/predict", "/v3/models/m"] {
        assert_eq!(parse_path(path), Ok(None), "{path}");
    }
}

/// The same two rows as each client sends them, where its model takes `x` (FP32, `[-1,2]`).
const CLIENTS: [(&str, &str, &str); 9] = [
    (
        "/v2/models/m/infer",
        "application/json",
        r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,3,4]}]}"#,
    ),
    ("/v1/models/m:predict", "application/json", r#"{"instances":[[1,2.5],[3,4]]}"#),
    ("/v1/models/m:predict", "application/json", r#"{"inputs":[[1,2.5],[3,4]]}"#),
    ("/v1/models/m/versions/1:predict", "", r#"{"inputs":{"x":[[1,2.5],[3,4]]}}"#),
    ("/predictions/m", "application/json", "[[1,2.5],[3,4]]"),
    ("/invocations", "text/csv", "1,2.5\n3,4\n"),
    ("/invocations", "application/jsonlines", "[1,2.5]\n[3,4]\n"),
    (
        "/invocations",
        "application/json",
        r#"{"dataframe_split":{"columns":["a","b"],"data":[[1,2.5],[3,4]]}}"#,
    ),
    (
        "/invocations",
        "application/json",
        r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,3,4]}]}"#,
    ),
];

#[test]
fn every_client_reaches_every_backend_and_is_answered_in_its_own_words() {
    let inputs = [spec("x", Datatype::Fp32, &[-1, 2])];
    let outputs = [spec("y", Datatype::Fp32, &[-1])];
    let terms = Terms {
        signature: Some(Signature { inputs: &inputs, outputs: &outputs }),
        extractors: None,
    };
    let wanted = vec![tensor("x", &[2, 2], TensorData::Fp32(vec![1.0, 2.5, 3.0, 4.0]))];
    let answered = vec![tensor("y", &[2], TensorData::Fp32(vec![0.5, 1.0]))];
    for (path, content_type, text) in CLIENTS {
        let call = call(path);
        let sent = body(call.dialect, content_type, text);
        let headers = headers(content_type);
        let decoded = decode_request(&call, &headers, &sent, &terms).expect(text);
        assert_eq!(decoded.request.inputs, wanted, "{text}");
        for (backend, answer) in BACKENDS {
            let mut target = Target::new(backend, "m", Release::Any);
            target.terms = terms;
            let asked = Asked::of(&decoded.request);
            let request = encode_request(&target, call.operation, decoded.request.clone()).unwrap();
            assert_eq!(request.method(), Method::POST);
            let answer = body(backend, "application/json", answer);
            let response =
                decode_response(&target, call.operation, &asked, StatusCode::OK, &answer);
            let response = response.unwrap_or_else(|error| panic!("{backend} to {path}: {error}"));
            assert_eq!(response.outputs, answered, "{backend} to {path}");
            let written = encode_response(&decoded.form, response, no_labels).unwrap();
            assert_eq!(written.status(), StatusCode::OK);
            assert!(!written.body().is_empty());
        }
    }
}

/// The same answer as each backend gives it.
const BACKENDS: [(Dialect, &str); 5] = [
    (
        Dialect::OpenInference,
        r#"{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[0.5,1.0]}]}"#,
    ),
    (Dialect::KserveV1, r#"{"predictions":[0.5,1.0]}"#),
    (Dialect::TensorflowServing, r#"{"outputs":[0.5,1.0]}"#),
    (Dialect::Torchserve, "[0.5,1.0]"),
    (Dialect::Sagemaker, r#"{"predictions":[0.5,1]}"#),
];

#[test]
fn requests_to_backends_have_their_path_and_body() {
    let request = InferRequest {
        inputs: vec![tensor("x", &[1, 2], TensorData::Int64(vec![1, 9_007_199_254_740_993]))],
        ..InferRequest::default()
    };
    let version = Release::Version("7 β".into());
    let cases = [
        (Dialect::KserveV1, "/v1/models/a%2Fb:predict", r#"{"instances":[[1,9007199254740993]]}"#),
        (
            Dialect::TensorflowServing,
            "/v1/models/a%2Fb/versions/7%20%CE%B2:predict",
            r#"{"inputs":{"x":[[1,9007199254740993]]}}"#,
        ),
        (
            Dialect::Torchserve,
            "/predictions/a%2Fb/7%20%CE%B2",
            r#"{"instances":[[1,9007199254740993]]}"#,
        ),
        (Dialect::Sagemaker, "/invocations", r#"{"instances":[[1,9007199254740993]]}"#),
    ];
    for (dialect, path, body) in cases {
        let target = Target::new(dialect, "a/b", version.clone());
        let made = encode_request(&target, Operation::Infer, request.clone()).unwrap();
        assert_eq!(made.uri().path(), path, "{dialect}");
        assert_eq!(made.body().concat(), body.as_bytes(), "{dialect}");
        assert_eq!(made.headers()["content-type"], "application/json");
    }
    let mut named = Target::new(Dialect::Sagemaker, "a/b", version);
    let header = |target: &Target<'_>, name| {
        let made = encode_request(target, Operation::Infer, request.clone()).unwrap();
        made.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_owned())
    };
    assert_eq!(header(&named, "x-amzn-sagemaker-target-model"), None);
    named.named = true;
    named.release = Release::Version("7".into());
    assert_eq!(header(&named, "x-amzn-sagemaker-target-model").as_deref(), Some("a/b"));
    assert_eq!(header(&named, "x-amzn-sagemaker-target-variant").as_deref(), Some("7"));
    let mut csv = Target::new(Dialect::Sagemaker, "m", Release::Any);
    csv.container = ContainerForm::Csv;
    let made = encode_request(&csv, Operation::Infer, request.clone()).unwrap();
    assert_eq!(
        (made.body().concat().as_slice(), &made.headers()["content-type"]),
        (b"1,9007199254740993\n".as_slice(), &HeaderValue::from_static("text/csv"))
    );
    let extractors = Extractors {
        rows: crate::domain::spec::JsonPointer::parse("/data").ok(),
        ..Extractors::default()
    };
    let mut raw = Target::new(Dialect::Raw, "m", Release::Any);
    raw.terms.extractors = Some(&extractors);
    raw.path = Some("/predict?id=7");
    let made = encode_request(&raw, Operation::Infer, request.clone()).unwrap();
    assert_eq!(
        (made.uri().to_string().as_str(), made.body().concat().as_slice()),
        ("/predict?id=7", br#"{"data":[[1,9007199254740993]]}"#.as_slice())
    );
    let error = encode_request(&raw, Operation::Explain, request).unwrap_err().to_string();
    assert_eq!(error, "raw backends have no explanation");
}

#[test]
fn what_is_asked_on_the_shared_path_is_in_the_words_of_whichever_of_the_two_answers() {
    use Dialect::{KserveV1, OpenInference, TensorflowServing};
    for (path, passes) in [
        ("/v1/models/m:predict", &[KserveV1, TensorflowServing][..]),
        ("/v1/models/m:explain", &[KserveV1]),
        ("/v1/models/m", &[KserveV1]),
        ("/v1/models/m:classify", &[TensorflowServing]),
        ("/v1/models/m/versions/1:predict", &[TensorflowServing]),
        ("/v1/models/m/labels/x:predict", &[TensorflowServing]),
        ("/v2/models/m/infer", &[OpenInference]),
    ] {
        for dialect in Dialect::ALL {
            assert_eq!(
                same_wire(&call(path), dialect),
                passes.contains(&dialect),
                "{path} {dialect}"
            );
        }
    }
}

#[test]
fn a_form_that_the_client_could_have_left_is_its_wish() {
    let tensor = || "y".to_owned();
    let scalar = || WriteError::Scalar { tensor: tensor() };
    for wish in [
        EncodeError::OpenInference(V2::NoJsonForm { tensor: tensor(), datatype: Datatype::Fp16 }),
        EncodeError::OpenInference(V2::NotUtf8 { tensor: tensor(), element: 1 }),
        EncodeError::Values(scalar()),
        EncodeError::Raw(RawError::Write(scalar())),
        EncodeError::Labels(LabelError::NoScores),
    ] {
        assert!(wish.is_wish(), "{wish}");
    }
    for doing in [EncodeError::Raw(RawError::NoPointer("rows")), EncodeError::Head(tensor())] {
        assert!(!doing.is_wish(), "{doing}");
    }
}

#[test]
fn failures_and_outputs_that_are_missing_are_told_apart() {
    let target = Target::new(Dialect::KserveV1, "m", Release::Any);
    let request = InferRequest::default();
    let answer = |status, text, request: &InferRequest<'static>| {
        let body = body(Dialect::KserveV1, "application/json", text);
        decode_response(&target, Operation::Infer, &Asked::of(request), status, &body)
            .map(|response| response.outputs)
    };
    let failed = answer(StatusCode::NOT_FOUND, r#"{"error":"no m"}"#, &request);
    let failure = BackendFailure { status: StatusCode::NOT_FOUND, message: "no m".into() };
    assert_eq!(failed, Err(AnswerError::Failed(failure)));
    assert!(matches!(answer(StatusCode::OK, "<html>", &request), Err(AnswerError::Body(_))));
    let wanted = |names: &[&'static str]| InferRequest {
        outputs: names
            .iter()
            .map(|&name| RequestedOutput { name: name.into(), ..RequestedOutput::default() })
            .collect(),
        ..InferRequest::default()
    };
    let rows = r#"{"predictions":[{"a":1,"b":2}]}"#;
    let names = |outputs: Vec<Tensor>| {
        outputs.iter().map(|output| output.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(answer(StatusCode::OK, rows, &wanted(&["b"])).map(names), Ok(vec!["b".to_owned()]));
    assert_eq!(
        answer(StatusCode::OK, rows, &wanted(&["c"])),
        Err(AnswerError::MissingOutput("c".into()))
    );
    let unnamed = r#"{"predictions":[1]}"#;
    assert_eq!(
        answer(StatusCode::OK, unnamed, &wanted(&["y"])).map(names),
        Ok(vec!["y".to_owned()])
    );
}

#[test]
fn an_answer_with_two_outputs_of_one_name_is_the_backends_mistake() {
    let target = Target::new(Dialect::OpenInference, "m", Release::Any);
    let text = r#"{"model_name":"m","outputs":[{"name":"y","datatype":"INT64","shape":[1],"data":[1]},
        {"name":"y","datatype":"INT64","shape":[1],"data":[2]}]}"#;
    let body = body(Dialect::OpenInference, "application/json", text);
    let asked = Asked::default();
    let read = decode_response(&target, Operation::Infer, &asked, StatusCode::OK, &body);
    assert_eq!(read.err(), Some(AnswerError::TwoOutputs("y".into())));
}

#[test]
fn a_backend_of_grpc_tells_its_extensions() {
    let (path, _) = probe::extensions_call().expect("short");
    assert_eq!(path, "/inference.GRPCInferenceService/ServerMetadata");
    let told = |listed: &[&str]| {
        let extensions = listed.iter().map(|name| (*name).to_owned()).collect();
        let message = ServerMetadataResponse { extensions, ..Default::default() };
        probe::decode_extensions_answer(message.encode_to_vec().into())
    };
    let known =
        |binary_tensors, classification| Some(Extensions { binary_tensors, classification });
    assert_eq!(told(&[]), known(false, false));
    assert_eq!(told(&["statistics", "classification"]), known(false, true));
    assert_eq!(told(&["binary_tensor_data"]), known(true, false));
    assert_eq!(probe::decode_extensions_answer(Bytes::from_static(b"\xff")), None);
}

#[test]
fn ids_and_names_stay_with_the_exchange() {
    let request = InferRequest { id: Some("7".into()), ..InferRequest::default() };
    let target = Target::new(Dialect::TensorflowServing, "m", Release::Version("3".into()));
    let body = body(Dialect::TensorflowServing, "", r#"{"predictions":[1]}"#);
    let response =
        decode_response(&target, Operation::Infer, &Asked::of(&request), StatusCode::OK, &body)
            .unwrap();
    assert_eq!(response.id.as_deref(), Some("7"));
    assert_eq!((&*response.model_name, &*response.model_version), ("m", "3"));
}

#[test]
fn backends_are_recognised_by_what_they_say() {
    let answers = [
        (
            Dialect::OpenInference,
            r#"{"name":"m","versions":["1"],"platform":"onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,2]}],"outputs":[]}"#,
        ),
        (
            Dialect::TensorflowServing,
            r#"{"model_spec":{"name":"m","signature_name":"","version":"1"},"metadata":{"signature_def":{"signature_def":{"serving_default":{"inputs":{},"outputs":{}}}}}}"#,
        ),
        (Dialect::KserveV1, r#"{"name":"m","ready":true}"#),
        (Dialect::Torchserve, r#"{"status":"Healthy"}"#),
        (Dialect::Sagemaker, ""),
    ];
    for (dialect, answer) in answers {
        let first = probe::ASKED.into_iter().find(|&asked| {
            let target = Target::new(asked, "m", Release::Any);
            probe::recognition_path(&target).is_some()
                && probe::recognises(&target, StatusCode::OK, answer.as_bytes())
        });
        assert_eq!(first, Some(dialect));
    }
    let target = |dialect| Target::new(dialect, "m", Release::Version("2".into()));
    assert_eq!(
        probe::ready_path(&target(Dialect::OpenInference)).as_deref(),
        Some("/v2/models/m/versions/2/ready")
    );
    assert_eq!(probe::ready_path(&target(Dialect::KserveV1)).as_deref(), Some("/v1/models/m"));
    assert_eq!(
        probe::metadata_path(&target(Dialect::TensorflowServing)).as_deref(),
        Some("/v1/models/m/versions/2/metadata")
    );
    let description = probe::decode_metadata(
        &target(Dialect::OpenInference),
        StatusCode::OK,
        answers[0].1.as_bytes(),
    );
    assert_eq!(description.unwrap().inputs, [spec("x", Datatype::Fp32, &[-1, 2])]);
    assert!(!probe::decode_ready(
        &target(Dialect::KserveV1),
        StatusCode::OK,
        br#"{"ready":false}"#
    ));
    let loading = br#"{"model_version_status":[{"version":"1","state":"LOADING","status":{}}]}"#;
    assert!(!probe::decode_ready(&target(Dialect::TensorflowServing), StatusCode::OK, loading));
    assert!(!probe::decode_ready(&target(Dialect::Sagemaker), StatusCode::BAD_GATEWAY, b""));
}

#[test]
fn extensions_are_known_only_where_they_are_listed() {
    assert_eq!(probe::extensions_path(Dialect::OpenInference), Some("/v2"));
    assert_eq!(probe::extensions_path(Dialect::KserveV1), None);
    let told = |status, body: &str| probe::decode_extensions(status, body.as_bytes());
    let ok = StatusCode::OK;
    let known =
        |binary_tensors, classification| Some(Extensions { binary_tensors, classification });
    let listed = r#"{"extensions":["classification","binary_tensor_data"]}"#;
    assert_eq!(told(ok, listed), known(true, true));
    assert_eq!(
        told(ok, r#"{"name":"s","extensions":["binary_tensor_data",1]}"#),
        known(true, false)
    );
    assert_eq!(told(ok, r#"{"extensions":[]}"#), known(false, false));
    assert_eq!(told(StatusCode::NOT_FOUND, listed), None);
    for silent in ["", "{}", "[]", r#"{"extensions":null}"#] {
        assert_eq!(told(ok, silent), None, "{silent}");
    }
}

#[test]
fn health_is_answered_in_each_dialect() {
    let cases = [
        ("/v2/health/live", true, 200, r#"{"live":true}"#),
        ("/v2/health/ready", false, 503, r#"{"ready":false}"#),
        ("/v2/models/m/ready", true, 200, r#"{"name":"m","ready":true}"#),
        ("/ping", true, 200, r#"{"status":"Healthy"}"#),
        ("/ping", false, 500, r#"{"status":"Unhealthy"}"#),
        ("/health", true, 200, r#"{"status":"Healthy"}"#),
        ("/health", false, 503, r#"{"status":"Unhealthy"}"#),
    ];
    for (path, ready, status, body) in cases {
        let response = about::encode_readiness(&call(path), ready);
        assert_eq!(
            (response.status().as_u16(), response.body().concat().as_slice()),
            (status, body.as_bytes()),
            "{path}"
        );
    }
    let loading = [VersionStatus {
        version: "1".into(),
        state: VersionState::Loading,
        message: String::new(),
    }];
    assert_eq!(about::encode_status(&call("/v1/models/m"), "m", &loading).status(), 503);
    let versioned = about::encode_status(&call("/v1/models/m/versions/1"), "m", &loading);
    assert_eq!(versioned.status(), 200);
    assert!(!versioned.body().concat().starts_with(b"{\"name\""));
}

#[test]
fn what_is_no_prediction_is_not_read_as_one() {
    let terms = Terms::default();
    for path in ["/v1/models/m:explain", "/v2/models/m", "/ping"] {
        let call = call(path);
        let body = body(call.dialect, "", "{}");
        let read = decode_request(&call, &HeaderMap::new(), &body, &terms);
        assert!(matches!(read, Err(RequestError::NoPrediction { .. })), "{path}");
    }
    let call = call("/invocations");
    let image = body(call.dialect, "image/png", "x");
    let read = decode_request(&call, &HeaderMap::new(), &image, &terms);
    assert!(matches!(read, Err(RequestError::Media(_))));
}

/// What speaks to itself in the test below: dialect, form of a container, binary tensors.
const ECHOES: [(Dialect, ContainerForm, bool); 8] = [
    (Dialect::TensorflowServing, ContainerForm::Json, false),
    (Dialect::KserveV1, ContainerForm::Json, false),
    (Dialect::Torchserve, ContainerForm::Json, false),
    (Dialect::Sagemaker, ContainerForm::Json, false),
    (Dialect::Sagemaker, ContainerForm::OpenInference, false),
    (Dialect::OpenInference, ContainerForm::Json, false),
    (Dialect::OpenInference, ContainerForm::Json, true),
    (Dialect::OpenInferenceGrpc, ContainerForm::Json, true),
];

/// The body as it is read: a gRPC message without the five bytes of its frame.
fn received(dialect: Dialect, headers: &HeaderMap, pieces: &Pieces) -> Body {
    let mut whole = Bytes::from(pieces.concat());
    if dialect == Dialect::OpenInferenceGrpc {
        whole = whole.split_off(5);
    }
    Body::new(dialect, headers, [whole]).unwrap()
}

/// The outputs of a backend that reads a request as a server of its dialect and answers its inputs.
fn echoed(target: &Target<'_>, request: &InferRequest<'static>) -> Vec<Tensor> {
    let asked = Asked::of(request);
    let made = encode_request(target, Operation::Infer, request.clone()).unwrap();
    let path = made.uri().path().to_owned();
    let call = match target.dialect {
        dialect @ Dialect::OpenInferenceGrpc => {
            Call { dialect, model: None, release: Release::Any, operation: Operation::Infer }
        }
        _ => call(&path),
    };
    let body = received(target.dialect, made.headers(), made.body());
    let seen = decode_request(&call, made.headers(), &body, &target.terms).unwrap();
    let echo = InferResponse { outputs: seen.request.inputs, ..InferResponse::default() };
    let answer = encode_response(&seen.form, echo, no_labels).unwrap();
    let body = received(target.dialect, answer.headers(), answer.body());
    decode_response(target, Operation::Infer, &asked, StatusCode::OK, &body).unwrap().outputs
}

proptest! {
    /// A client of one dialect, a backend of another, and the answer back: values are those that went in.
    #[test]
    fn values_survive_a_backend_that_echoes_them(
        ints in proptest::collection::vec(any::<i64>(), 1..8),
        floats in proptest::collection::vec(proptest::num::f32::NORMAL | proptest::num::f32::ZERO, 1..8),
    ) {
        let rows = ints.len().min(floats.len());
        let sent = vec![
            tensor("i", &[rows], TensorData::Int64(ints[..rows].to_vec())),
            tensor("f", &[rows, 1], TensorData::Fp32(floats[..rows].to_vec())),
        ];
        let specs = [spec("i", Datatype::Int64, &[-1]), spec("f", Datatype::Fp32, &[-1, 1])];
        let terms = Terms {
            signature: Some(Signature { inputs: &specs, outputs: &specs }),
            extractors: None,
        };
        let request = InferRequest { inputs: sent.clone(), ..InferRequest::default() };
        for (dialect, container, binary) in ECHOES {
            let mut target = Target::new(dialect, "m", Release::Any);
            (target.terms, target.container, target.binary) = (terms, container, binary);
            prop_assert_eq!(&echoed(&target, &request), &sent, "{} {:?} {}", dialect, container, binary);
        }
    }
}
