//! The entry points of the fuzz targets: everything that a client or a backend can send in any dialect.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    Asked, Body, Call, Dialect, Extractors, Operation, Release, Signature, Target, Terms,
    decode_failure, decode_request, decode_response, encode_request, encode_response, no_labels,
    parse_path, probe, swelling,
};
use crate::domain::spec::JsonPointer;
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::tensor::{Datatype, Tensor, TensorSpec};

/// Paths and content types by the first byte of the input.
const CALLS: [(&str, &str); 14] = [
    ("/v1/models/m:predict", "application/json"),
    ("/v1/models/m/versions/1:predict", "application/json"),
    ("/v1/models/m:classify", "application/json"),
    ("/v1/models/m:regress", "application/json"),
    ("/predictions/m", "application/json"),
    ("/predictions/m", "multipart/form-data; boundary=X"),
    ("/predictions/m", ""),
    ("/invocations", "application/json"),
    ("/invocations", "text/csv"),
    ("/invocations", "application/jsonlines"),
    ("/invocations", ""),
    ("", "application/json"),
    ("/invocations", "application/vnd.sagemaker-triton.binary+json;json-header-size=64"),
    ("/invocations", "application/x-npy"),
];

/// Pointers to whole lists of predictions, or to one in each element.
static EXTRACTORS: LazyLock<[Extractors; 2]> = LazyLock::new(|| {
    [["/a/prediction", "/a/label"], ["/a/*/prediction", "/a/*/label"]].map(|[prediction, label]| {
        Extractors {
            rows: JsonPointer::parse("/items/*/features").ok(),
            prediction: JsonPointer::parse(prediction).ok(),
            label: JsonPointer::parse(label).ok(),
        }
    })
});

/// By the highest bit of the second byte.
fn extractors(choice: u8) -> Option<&'static Extractors> {
    EXTRACTORS.get(usize::from(choice >> 7))
}

/// No signature, one input, or several, by the second byte.
fn specs(choice: u8) -> Option<Vec<TensorSpec>> {
    let spec = |name: &str, datatype, shape: &[i64]| TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.into(),
        places: Vec::new(),
        ordered: true,
    };
    match choice % 4 {
        0 => None,
        1 => {
            let places = vec!["a".to_owned(), "b".to_owned()];
            Some(vec![TensorSpec { places, ..spec("x", Datatype::Fp32, &[-1, 2]) }])
        }
        2 => Some(vec![spec("x", Datatype::Bytes, &[-1])]),
        _ => Some(vec![
            spec("a", Datatype::Int64, &[-1, 1]),
            spec("b", Datatype::Bytes, &[-1]),
            spec("c", Datatype::Bool, &[-1]),
            spec("d", Datatype::Fp16, &[-1, -1]),
        ]),
    }
}

/// The tensors as a model would declare them that takes just these.
fn exactly(tensors: &[Tensor]) -> Vec<TensorSpec> {
    let dim = |&dim: &usize| i64::try_from(dim).unwrap_or(i64::MAX);
    let spec = |tensor: &Tensor| TensorSpec {
        name: tensor.name().to_owned(),
        datatype: tensor.datatype(),
        shape: tensor.shape().iter().map(dim).collect(),
        places: Vec::new(),
        ordered: true,
    };
    tensors.iter().map(spec).collect()
}

/// Decodes a client's request, makes it a request for every other backend, and reads that as the
/// backend would: names, types and shapes stay what they were.
pub fn fuzz_request(bytes: &[u8]) {
    let [path, choice, body @ ..] = bytes else { return };
    let Some((path, content_type)) = CALLS.get(usize::from(*path) % CALLS.len()) else { return };
    let call = match parse_path(path) {
        Ok(Some(call)) => call,
        _ => Call {
            dialect: Dialect::Raw,
            model: None,
            release: Release::Any,
            operation: Operation::Infer,
        },
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let Ok(body) = Body::new(call.dialect, &headers, [Bytes::copy_from_slice(body)]) else {
        return;
    };
    let specs = specs(*choice);
    let signature = specs.as_ref().map(|specs| Signature { inputs: specs, outputs: specs });
    let terms = Terms { signature, extractors: extractors(*choice) };
    assert!(swelling(call.dialect, &body, &terms).is_ok(), "any body over REST can be weighed");
    let decoded = match decode_request(&call, &headers, &body, &terms) {
        Ok(decoded) => decoded,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error says what is wrong");
            return;
        }
    };
    let declared = exactly(&decoded.request.inputs);
    for dialect in [Dialect::KserveV1, Dialect::TensorflowServing, Dialect::Sagemaker] {
        echo(dialect, &decoded.request, &declared);
    }
    let response = InferResponse { outputs: decoded.request.inputs, ..InferResponse::default() };
    let _written = encode_response(&decoded.form, response, no_labels);
}

/// Sends a request to a backend that answers with its inputs.
fn echo(dialect: Dialect, request: &InferRequest<'_>, declared: &[TensorSpec]) {
    let mut target = Target::new(dialect, "m", Release::Any);
    let signature = Signature { inputs: declared, outputs: declared };
    target.terms = Terms { signature: Some(signature), extractors: None };
    let asked = Asked::of(request);
    let Ok(made) = encode_request(&target, Operation::Infer, request.clone()) else { return };
    let (parts, content) = made.into_parts();
    let Ok(received) = Body::new(dialect, &parts.headers, content) else { return };
    let Ok(Some(call)) = parse_path(parts.uri.path()) else { return };
    // One thing cannot be said in rows: that there are none, or nothing in them.
    let no_rows = request.inputs.iter().any(|input| input.data().is_empty());
    let empty = no_rows || request.inputs.is_empty();
    let seen = decode_request(&call, &parts.headers, &received, &target.terms);
    assert!(empty || seen.is_ok(), "{dialect}: our own request can be read: {seen:?}");
    let Ok(seen) = seen else { return };
    assert_eq!(exactly(&seen.request.inputs), declared, "{dialect}: and says the same");
    let response = InferResponse { outputs: seen.request.inputs, ..InferResponse::default() };
    let Ok(answer) = encode_response(&seen.form, response, no_labels) else { return };
    let Ok(body) = Body::new(dialect, answer.headers(), answer.body().clone()) else { return };
    let read = decode_response(&target, Operation::Infer, &asked, StatusCode::OK, &body);
    assert!(empty || read.is_ok(), "{dialect}: so can our answer: {read:?}");
}

/// Decodes what a backend answers: predictions, errors, states and metadata.
pub fn fuzz_answer(bytes: &[u8]) {
    let [dialect, choice, body @ ..] = bytes else { return };
    let Some(&dialect) = Dialect::ALL.get(usize::from(*dialect) % Dialect::ALL.len()) else {
        return;
    };
    let specs = specs(*choice);
    let mut target = Target::new(dialect, "m", Release::Any);
    let signature = specs.as_ref().map(|specs| Signature { inputs: specs, outputs: specs });
    target.terms = Terms { signature, extractors: extractors(*choice) };
    let content_types =
        ["application/json", "text/csv", "application/jsonlines", "", "application/x-npy"];
    let content_type =
        content_types.get(usize::from((*choice & 0x7f) >> 2) % 5).copied().unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let failure = decode_failure(StatusCode::BAD_REQUEST, body);
    assert!(!failure.message.is_empty(), "a failure has words");
    let _metadata = probe::decode_metadata(&target, StatusCode::OK, body);
    let _ready = probe::decode_ready(&target, StatusCode::OK, body);
    let _recognised = probe::recognises(&target, StatusCode::OK, body);
    let Ok(body) = Body::new(dialect, &headers, [Bytes::copy_from_slice(body)]) else { return };
    let asked = Asked::default();
    for operation in [Operation::Infer, Operation::Classify] {
        let read = decode_response(&target, operation, &asked, StatusCode::OK, &body);
        assert!(
            !read.is_err_and(|error| error.to_string().is_empty()),
            "an error says what is wrong"
        );
    }
}
