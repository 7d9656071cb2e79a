//! The entry points of the fuzz targets, which the replay of their corpora uses too.
//!
//! Each decodes anything, and checks that what it could decode survives being encoded and decoded again.
//! Encoded forms are compared instead of tensors, because a NaN does not equal itself.

use bytes::Bytes;
use http::StatusCode;
use prost::Message as _;
use smallvec::SmallVec;

use super::dialect::probe;
use super::grpc::reflection::{Reflection, ServerReflectionRequest};
use super::grpc::{FrameReader, decode_message, encode_message, parse_timeout};
use super::infer::{InferRequest, InferResponse};
use super::open_inference::{
    self, Body, OutputForms, decode_index_request, decode_infer_request, decode_load_request,
    decode_model_metadata, encode_infer_response, encode_infer_response_as, parse_path,
};
use super::sagemaker::Media;
use super::tensor::{Datatype, TensorSpec};

/// Decodes `bytes` as an Open Inference request and, when that works, encodes its tensors as a
/// response and reads them back: everything that a client can send as JSON.
pub fn fuzz_infer_request(bytes: &[u8]) {
    let Ok(request) = decode_infer_request(bytes) else { return };
    let response = InferResponse {
        id: request.id,
        model_name: "m".into(),
        model_version: "v".into(),
        outputs: request.inputs,
        ..InferResponse::default()
    };
    let mut body = Vec::new();
    let written = encode_infer_response(&response, &mut body);
    assert!(written.is_ok(), "what came in as JSON can leave as JSON: {written:?}");
    let inputs = String::from_utf8_lossy(&body).replacen("\"outputs\":", "\"inputs\":", 1);
    let again = decode_infer_request(inputs.as_bytes());
    assert!(again.is_ok(), "our own output can be read: {again:?}");
}

/// Takes all but the first byte as a body that is nothing but the bytes of a tensor, whose declaration the
/// first one chooses.
pub fn fuzz_raw_request(bytes: &[u8]) {
    const SHAPES: [&[i64]; 6] = [&[-1], &[-1, 2], &[2, 2], &[-1, -1], &[], &[-1, i64::MAX]];
    let Some((choice, whole)) = bytes.split_first() else { return };
    let datatype = Datatype::ALL.get(usize::from(choice >> 3) % Datatype::ALL.len());
    let shape = SHAPES.get(usize::from(choice & 7) % SHAPES.len());
    let (Some(&datatype), Some(shape)) = (datatype, shape) else { return };
    let input = TensorSpec {
        name: "x".to_owned(),
        datatype,
        shape: SmallVec::from_slice(shape),
        places: Vec::new(),
        ordered: true,
    };
    let whole = Bytes::copy_from_slice(whole);
    let pieces = [whole.slice(..whole.len() / 2), whole.slice(whole.len() / 2..)];
    let Ok(body) = Body::new(pieces, Some(b"0")) else { return };
    assert!(body.is_raw(), "a head of no bytes");
    let Ok(request) = body.decode_raw_request(&input) else { return };
    let encoded = binary(request);
    assert!(read(&encoded).decode_request().is_ok(), "our own request can be read");
}

/// Takes the first two bytes as the length of the JSON and decodes the others as a body with binary
/// tensors; answers with its inputs in every form.
pub fn fuzz_binary_request(bytes: &[u8]) {
    let Some((length, whole)) = bytes.split_first_chunk::<2>() else { return };
    let length = u16::from_le_bytes(*length).to_string();
    // In pieces of different sizes, as off a socket.
    let whole = Bytes::copy_from_slice(whole);
    let pieces = [whole.slice(..whole.len() / 3), whole.slice(whole.len() / 3..)];
    let Ok(body) = Body::new(pieces, Some(length.as_bytes())) else { return };
    let Ok(request) = body.decode_request() else { return };
    let forms = OutputForms::of(&request);
    let encoded = binary(request.clone());
    assert_eq!(binary(read(&encoded).decode_request().unwrap_or_default()), encoded);
    let mut response = InferResponse { outputs: request.inputs, ..InferResponse::default() };
    let binary = encode_infer_response_as(response.clone(), &OutputForms::binary());
    let binary = binary.unwrap_or_default();
    let again = read(&binary)
        .decode_response()
        .map(|again| encode_infer_response_as(again, &OutputForms::binary()).unwrap_or_default());
    assert_eq!(again.as_ref(), Ok(&binary));
    if let Ok(forms) = forms
        && forms.classify(&mut response, |_| &[]).is_ok()
        && let Ok(encoded) = encode_infer_response_as(response, &forms)
    {
        assert!(read(&encoded).decode_response().is_ok(), "our own output can be read");
    }
}

fn binary(request: InferRequest<'_>) -> open_inference::Encoded {
    let encoded = open_inference::encode_infer_request(request, true);
    assert!(encoded.is_ok(), "everything has a binary form: {encoded:?}");
    encoded.unwrap_or_default()
}

fn read(encoded: &open_inference::Encoded) -> Body {
    let length = encoded.head_length().map(|length| length.to_string());
    let body = Body::new(encoded.clone().into_pieces(), length.as_deref().map(str::as_bytes));
    assert!(body.is_ok(), "our own head length fits: {body:?}");
    body.unwrap_or_default()
}

/// Decodes `bytes` as the body of a gRPC call, its messages as those of an inference in both directions.
pub fn fuzz_grpc_body(bytes: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let mut reader = FrameReader::new(LIMIT);
    for piece in bytes.chunks(7) {
        reader.push(Bytes::copy_from_slice(piece));
        while let Ok(Some(frame)) = reader.next_frame() {
            fuzz_grpc_message(frame.payload);
        }
        assert!(reader.waiting() <= LIMIT + 12 || reader.next_frame().is_err());
    }
    let _whole = reader.finish();
    let _timeout = parse_timeout(bytes);
    let text = decode_message(bytes);
    assert_eq!(decode_message(encode_message(&text).as_bytes()), text);
}

fn fuzz_grpc_message(message: Bytes) {
    use open_inference::grpc::{
        ContentsForm, decode_infer_call, decode_infer_response, encode_infer_request,
        encode_infer_response, swelling, wants_classes,
    };
    let (weighed, asks_for_classes) = (swelling(&message), wants_classes(&message));
    if let Ok(response) = decode_infer_response(message.clone()) {
        let encode = |response| encode_infer_response(response, ContentsForm::Raw);
        let encoded = encode(response).unwrap_or_default().concat();
        let again = decode_infer_response(payload(&encoded)).map(encode);
        assert_eq!(again.ok().and_then(Result::ok).unwrap_or_default().concat(), encoded);
    }
    if let Ok(call) = decode_infer_call(message) {
        assert!(weighed.is_ok(), "what can be read was weighed: {weighed:?}");
        let forms = OutputForms::of(&call.request);
        let wants = forms.is_ok_and(|forms| forms.wants_classes());
        assert!(asks_for_classes || !wants, "what it asks for is seen");
        let encode = |request| encode_infer_request("m", None, request, call.form);
        let encoded = encode(call.request).unwrap_or_default().concat();
        let again = decode_infer_call(payload(&encoded)).map(|again| encode(again.request));
        assert_eq!(again.ok().and_then(Result::ok).unwrap_or_default().concat(), encoded);
    }
}

/// Decodes all but the first byte as one of the messages that are no prediction, which the first one
/// chooses; what can be read is written and read again.
pub fn fuzz_grpc_messages(bytes: &[u8]) {
    use super::grpc::health::{HealthCheckRequest, HealthCheckResponse};
    use super::open_inference::grpc as messages;
    const TRIALS: [fn(&[u8]); 12] = [
        survives::<messages::Empty>,
        survives::<messages::ModelRequest>,
        survives::<messages::ReadyResponse>,
        survives::<messages::ServerMetadataResponse>,
        survives::<messages::ModelMetadataResponse>,
        survives::<messages::RepositoryIndexRequest>,
        survives::<messages::RepositoryIndexResponse>,
        survives::<messages::RepositoryModelRequest>,
        survives::<messages::RepositoryModelResponse>,
        survives::<messages::ModelStreamInferResponse>,
        survives::<HealthCheckRequest>,
        survives::<HealthCheckResponse>,
    ];
    let Some((choice, message)) = bytes.split_first() else { return };
    if let Some(trial) = TRIALS.get(usize::from(*choice) % TRIALS.len()) {
        trial(message);
    }
}

fn survives<M: prost::Message + Default>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let written = message.encode_to_vec();
    let again = M::decode(&*written).map(|again| again.encode_to_vec());
    assert_eq!(again.as_ref(), Ok(&written), "what is written can be read");
}

/// The only message of a frame of ours.
fn payload(frame: &[u8]) -> Bytes {
    let mut reader = FrameReader::new(usize::MAX);
    reader.push(Bytes::copy_from_slice(frame));
    let frame = reader.next_frame();
    assert!(matches!(frame, Ok(Some(_))), "our own frame is whole");
    frame.ok().flatten().map(|frame| frame.payload).unwrap_or_default()
}

/// Decodes `bytes` as each of the small bodies and as a path.
pub fn fuzz_small_bodies(bytes: &[u8]) {
    let _index = decode_index_request(bytes);
    let _load = decode_load_request(bytes);
    let _metadata = decode_model_metadata(bytes);
    let _response = Body::json(Bytes::copy_from_slice(bytes)).decode_response();
    let _extensions = probe::decode_extensions(StatusCode::OK, bytes);
    let _metadata = probe::decode_metadata_answer(Bytes::copy_from_slice(bytes));
    let _extensions = probe::decode_extensions_answer(Bytes::copy_from_slice(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _call = parse_path(text);
        let _media = Media::parse(text);
    }
}

/// Decodes `bytes` as a question to the reflection service and answers it.
pub fn fuzz_reflection(bytes: &[u8]) {
    let Ok(reflection) = Reflection::new() else { return };
    let Ok(request) = ServerReflectionRequest::decode(bytes) else { return };
    let answer = reflection.answer(request.clone());
    assert_eq!(answer.original_request, Some(request));
}
