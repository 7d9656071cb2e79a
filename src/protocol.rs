//! Codecs between wire bytes and tensors.
//!
//! Owns the one form of tensors, requests and responses that all dialects share ([`tensor`], [`infer`]), the reader and writer of JSON that
//! are made for numbers ([`json`]), and the dialects ([`open_inference`]). Pure: never does I/O,
//! reads a clock or knows which models exist; what a model accepts is checked by `inference`.

mod describe;
pub mod dialect;
mod envelope;
pub mod infer;
pub mod json;
pub mod kserve_v1;
pub mod open_inference;
pub mod raw;
pub mod sagemaker;
pub mod tensor;
pub mod tensorflow_serving;
pub mod torchserve;
pub mod untyped;

/// Decodes `bytes` as an Open Inference request and, when that works, encodes its tensors as a
/// response and reads them back: the fuzz target for everything that a client can send as JSON.
#[doc(hidden)]
pub fn fuzz_infer_request(bytes: &[u8]) {
    let Ok(request) = open_inference::decode_infer_request(bytes) else { return };
    let response = infer::InferResponse {
        id: request.id,
        model_name: "m".into(),
        model_version: "v".into(),
        outputs: request.inputs,
        ..infer::InferResponse::default()
    };
    let mut body = Vec::new();
    let written = open_inference::encode_infer_response(&response, &mut body);
    assert!(written.is_ok(), "what came in as JSON can leave as JSON: {written:?}");
    let inputs = String::from_utf8_lossy(&body).replacen("\"outputs\":", "\"inputs\":", 1);
    let again = open_inference::decode_infer_request(inputs.as_bytes());
    assert!(again.is_ok(), "our own output can be read: {again:?}");
}
