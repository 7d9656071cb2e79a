//! The messages of the answer to `ModelStreamInfer`.
//!
//! Owns how the answer to one request stands in them: as it is, without reading it again, and marked as
//! the last one to its request, which clients of decoupled models wait for. Never knows what the answer is.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::messages::{
    InferParameter, ModelInferResponse, ModelStreamInferResponse, ParameterChoice,
};
use crate::protocol::grpc::{MessageTooLong, PREFIX_BYTES, encode_frame, prefix};

/// The parameter of an answer after which none follows to its request.
const FINAL_RESPONSE: &str = "triton_final_response";
/// The field of [`ModelStreamInferResponse`] that has the answer.
const INFER_RESPONSE: u32 = 2;

/// The frame that tells a stream's client `answer`, which is the frame of a [`ModelInferResponse`].
///
/// # Errors
/// When it becomes longer than gRPC allows.
pub fn encode_stream_response(answer: &Bytes) -> Result<Bytes, MessageTooLong> {
    let answer = answer.get(PREFIX_BYTES..).unwrap_or_default();
    // A message that follows another is merged into it, and entries of a map are added
    // (<https://protobuf.dev/programming-guides/encoding/#last-one-wins>).
    let mark = final_response(String::new()).encode_to_vec();
    let inner = answer.len() + mark.len();
    let length = key_len(INFER_RESPONSE) + encoded_len_varint(inner as u64) + inner;
    let prefix = prefix(false, length)?;
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_slice(&prefix);
    encode_key(INFER_RESPONSE, WireType::LengthDelimited, &mut frame);
    encode_varint(inner as u64, &mut frame);
    frame.put_slice(answer);
    frame.put_slice(&mark);
    Ok(frame.freeze())
}

/// The frame that tells a stream's client why there is no answer to the request with this id.
///
/// # Errors
/// When it becomes longer than gRPC allows.
pub fn encode_stream_failure(error_message: String, id: String) -> Result<Bytes, MessageTooLong> {
    let infer_response = Some(final_response(id));
    encode_frame(&ModelStreamInferResponse { error_message, infer_response })
}

/// An answer with nothing but the mark that it is the last one.
fn final_response(id: String) -> ModelInferResponse {
    let yes = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    let parameters = [(FINAL_RESPONSE.to_owned(), yes)].into();
    ModelInferResponse { id, parameters, ..ModelInferResponse::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_final(answer: &ModelInferResponse) -> bool {
        let mark = answer.parameters.get(FINAL_RESPONSE);
        mark.and_then(|mark| mark.parameter_choice.clone())
            == Some(ParameterChoice::BoolParam(true))
    }

    #[test]
    fn a_failure_names_its_request_and_is_final() {
        let frame = encode_stream_failure("no".into(), "7".into()).expect("short");
        let message = ModelStreamInferResponse::decode(&frame[PREFIX_BYTES..]).expect("valid");
        let answer = message.infer_response.expect("an answer");
        assert_eq!((message.error_message.as_str(), answer.id.as_str()), ("no", "7"));
        assert!(is_final(&answer) && answer.outputs.is_empty());
    }

    proptest! {
        #[test]
        fn an_answer_stands_in_its_stream_as_it_is(id: String, key in "[a-z]{1,5}", sizes in prop::collection::vec(0usize..9000, 0..3)) {
            let parameter = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(7)) };
            let answer = ModelInferResponse {
                id,
                parameters: [(key, parameter)].into(),
                raw_output_contents: sizes.into_iter().map(|size| vec![7; size].into()).collect(),
                ..ModelInferResponse::default()
            };
            let frame = encode_stream_response(&encode_frame(&answer).expect("short")).expect("short");
            prop_assert_eq!(&frame[..PREFIX_BYTES], &prefix(false, frame.len() - PREFIX_BYTES).expect("short")[..]);
            let message = ModelStreamInferResponse::decode(&frame[PREFIX_BYTES..]).expect("valid");
            let mut read = message.infer_response.expect("an answer");
            prop_assert!(is_final(&read) && message.error_message.is_empty());
            read.parameters.remove(FINAL_RESPONSE);
            prop_assert_eq!(read, answer);
        }
    }
}
