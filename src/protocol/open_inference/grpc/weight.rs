//! What a message would take in memory, before anything is allocated for it.
//!
//! Owns the bounds on the number of a message's parts, and how much longer its tensors become than they are on
//! the wire: an empty text takes two bytes there and a place of its own in memory, a small integer one byte and
//! eight. Reads lengths only, never a value.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use smallvec::SmallVec;

use super::CallError;
use crate::protocol::tensor::{SHAPE_RANK_MAX, Span, TENSORS_MAX};

/// The most parameters of a message, of a tensor or of a requested output, as in JSON.
pub const PARAMETERS_MAX: usize = 64;

/// What an element of BYTES takes beside its bytes: its place, twice as lists double when they grow, and what
/// the smallest allocation takes.
const TEXT_ROOM: usize = 2 * size_of::<Vec<u8>>() + 16;
/// The datatype whose elements have lengths of their own.
const BYTES: &[u8] = b"BYTES";

/// The numbers of the fields of a message that hold what takes memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    parameters: u32,
    tensors: u32,
    requested: Option<u32>,
    raw: u32,
}

impl Fields {
    /// Whether the field of this number is a requested output.
    pub(super) fn is_requested(self, number: u32) -> bool {
        self.requested == Some(number)
    }
}

/// Those of `ModelInferRequest`.
pub(super) const REQUEST: Fields = Fields { parameters: 4, tensors: 5, requested: Some(6), raw: 7 };
/// Those of `ModelInferResponse`.
pub(super) const RESPONSE: Fields = Fields { parameters: 4, tensors: 5, requested: None, raw: 6 };

const TENSOR_DATATYPE: u32 = 2;
const TENSOR_SHAPE: u32 = 3;
const TENSOR_PARAMETERS: u32 = 4;
const TENSOR_CONTENTS: u32 = 5;
const REQUESTED_PARAMETERS: u32 = 2;
const INT_CONTENTS: u32 = 2;
const INT64_CONTENTS: u32 = 3;
const UINT_CONTENTS: u32 = 4;
const UINT64_CONTENTS: u32 = 5;
const BYTES_CONTENTS: u32 = 8;

/// What an integer of 32 bits takes while it becomes one of 16.
const NARROWED_BYTES: usize = 6;

/// How much longer the tensors of a `ModelInferRequest` are in memory than in their message, at most.
///
/// # Errors
/// When it is no such message, or has more parts than it may.
pub fn swelling(message: &[u8]) -> Result<usize, CallError> {
    weigh(message, REQUEST)
}

/// Counts the parts of a message, and how much longer its tensors become.
pub(super) fn weigh(mut message: &[u8], fields: Fields) -> Result<usize, CallError> {
    let (mut parts, mut parameters, mut swelling) = (0, 0, 0usize);
    let (mut texts, mut raw) = (SmallVec::<[bool; 8]>::new(), 0);
    while let Some(Field { number, wire_type, value }) = next_field(&mut message)? {
        if wire_type != WireType::LengthDelimited {
            continue;
        }
        let is_part =
            [Some(fields.tensors), fields.requested, Some(fields.raw)].contains(&Some(number));
        parts += usize::from(is_part);
        if parts > TENSORS_MAX {
            return Err(CallError::TooMany);
        }
        if number == fields.parameters {
            count_parameter(&mut parameters)?;
        } else if number == fields.tensors {
            let (is_text, longer) = tensor(value)?;
            texts.push(is_text);
            swelling = swelling.saturating_add(longer);
        } else if fields.is_requested(number) {
            requested(value)?;
        } else if number == fields.raw {
            // Raw contents stand behind all tensors: fields are written in the order of their numbers. Where a
            // client writes them otherwise, any of them may be texts.
            let may_be_text = texts.get(raw).copied().unwrap_or(true);
            raw += 1;
            if may_be_text {
                swelling = swelling.saturating_add(raw_texts(value));
            }
        }
    }
    Ok(swelling)
}

/// A field of a message.
pub(super) struct Field<'m> {
    pub(super) number: u32,
    wire_type: WireType,
    /// Its bytes, without their length.
    pub(super) value: &'m [u8],
}

/// Takes the next field off a message; `None` at its end.
pub(super) fn next_field<'m>(message: &mut &'m [u8]) -> Result<Option<Field<'m>>, DecodeError> {
    if message.is_empty() {
        return Ok(None);
    }
    let (number, wire_type) = decode_key(message)?;
    let mut value = *message;
    skip_field(wire_type, number, message, DecodeContext::default())?;
    if wire_type == WireType::LengthDelimited {
        decode_varint(&mut value)?;
    }
    let length = value.len().saturating_sub(message.len());
    let value = value.get(..length).unwrap_or_default();
    Ok(Some(Field { number, wire_type, value }))
}

fn count_parameter(parameters: &mut usize) -> Result<(), CallError> {
    *parameters += 1;
    if *parameters > PARAMETERS_MAX { Err(CallError::TooManyParameters) } else { Ok(()) }
}

fn requested(mut output: &[u8]) -> Result<(), CallError> {
    let mut parameters = 0;
    while let Some(Field { number, .. }) = next_field(&mut output)? {
        if number == REQUESTED_PARAMETERS {
            count_parameter(&mut parameters)?;
        }
    }
    Ok(())
}

/// Whether a tensor is one of BYTES, and how much longer it becomes.
fn tensor(mut tensor: &[u8]) -> Result<(bool, usize), CallError> {
    let (mut is_text, mut parameters, mut swelling) = (false, 0, 0usize);
    let mut dimensions = 0usize;
    while let Some(Field { number, wire_type, value }) = next_field(&mut tensor)? {
        match number {
            TENSOR_DATATYPE => is_text = value == BYTES,
            TENSOR_SHAPE => {
                dimensions = dimensions.saturating_add(count(wire_type, value));
                if dimensions > SHAPE_RANK_MAX {
                    return Err(CallError::TooManyDimensions);
                }
            }
            TENSOR_PARAMETERS => count_parameter(&mut parameters)?,
            TENSOR_CONTENTS => swelling = swelling.saturating_add(contents(value)?),
            _ => {}
        }
    }
    Ok((is_text, swelling))
}

fn contents(mut contents: &[u8]) -> Result<usize, CallError> {
    let mut swelling = 0usize;
    while let Some(Field { number, wire_type, value }) = next_field(&mut contents)? {
        let longer = match number {
            BYTES_CONTENTS => TEXT_ROOM,
            INT_CONTENTS | UINT_CONTENTS => numbers(wire_type, value, NARROWED_BYTES),
            INT64_CONTENTS | UINT64_CONTENTS => numbers(wire_type, value, size_of::<i64>()),
            // All others are as long on the wire.
            _ => 0,
        };
        swelling = swelling.saturating_add(longer);
    }
    Ok(swelling)
}

/// How much longer numbers become.
fn numbers(wire_type: WireType, value: &[u8], size: usize) -> usize {
    count(wire_type, value).saturating_mul(size).saturating_sub(value.len())
}

/// How many integers there are: several in a row, or one by itself.
fn count(wire_type: WireType, value: &[u8]) -> usize {
    match wire_type {
        // The last byte of each has no flag that more follow.
        WireType::LengthDelimited => value.iter().filter(|byte| **byte < 0x80).count(),
        _ => 1,
    }
}

/// How much longer raw contents become, if they are texts.
fn raw_texts(raw: &[u8]) -> usize {
    Span::from(raw).texts().saturating_mul(TEXT_ROOM)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;

    use super::super::{
        InferParameter, InferRequestedOutput, InferTensor, InferTensorContents, ModelInferRequest,
    };
    use super::*;

    fn request(datatype: &str, contents: InferTensorContents) -> ModelInferRequest {
        let contents = Some(contents);
        let datatype = datatype.to_owned();
        let input = InferTensor { datatype, contents, ..InferTensor::default() };
        ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() }
    }

    fn swells(request: &ModelInferRequest) -> usize {
        swelling(&request.encode_to_vec()).expect("sound")
    }

    #[test]
    fn many_empty_texts_are_weighed_by_their_number() {
        let typed = |count| InferTensorContents {
            bytes_contents: vec![Vec::new(); count],
            ..Default::default()
        };
        assert_eq!(swells(&request("BYTES", typed(0))), 0);
        assert_eq!(swells(&request("BYTES", typed(1_000_000))), 1_000_000 * TEXT_ROOM);
        let raw = |datatype: &str, bytes: Vec<u8>| ModelInferRequest {
            raw_input_contents: vec![bytes.into()],
            ..request(datatype, InferTensorContents::default())
        };
        assert_eq!(swells(&raw("BYTES", vec![0; 4000])), 1000 * TEXT_ROOM);
        assert_eq!(swells(&raw("FP32", vec![0; 4000])), 0, "numbers are as long in memory");
        let long = [&3000u32.to_le_bytes()[..], &[7; 3000]].concat();
        assert_eq!(swells(&raw("BYTES", long)), TEXT_ROOM, "one text");
        assert_eq!(swells(&raw("BYTES", vec![0xff; 9])), TEXT_ROOM, "one that is cut off");
    }

    #[test]
    fn small_numbers_are_weighed_by_what_they_become() {
        let small = InferTensorContents { int64_contents: vec![1; 1000], ..Default::default() };
        assert_eq!(swells(&request("INT64", small)), 7000);
        let large = InferTensorContents { int64_contents: vec![-1; 1000], ..Default::default() };
        assert_eq!(swells(&request("INT64", large)), 0, "ten bytes each on the wire");
    }

    #[test]
    fn parameters_are_counted_wherever_they_stand() {
        let parameters = |count: usize| -> BTreeMap<String, InferParameter> {
            (0..count).map(|at| (at.to_string(), InferParameter::default())).collect()
        };
        let of = |count| {
            let parameters = || parameters(count);
            let mut tensor = request("FP32", InferTensorContents::default());
            tensor.inputs[0].parameters = parameters();
            let output = InferRequestedOutput { parameters: parameters(), ..Default::default() };
            [
                ModelInferRequest { parameters: parameters(), ..Default::default() },
                tensor,
                ModelInferRequest { outputs: vec![output], ..Default::default() },
            ]
        };
        for request in of(PARAMETERS_MAX) {
            assert_eq!(swelling(&request.encode_to_vec()), Ok(0));
        }
        for request in of(PARAMETERS_MAX + 1) {
            let found = swelling(&request.encode_to_vec());
            assert_eq!(found, Err(CallError::TooManyParameters));
        }
    }

    #[test]
    fn dimensions_are_counted_however_they_are_written() {
        let of = |count: usize| {
            let mut request = request("FP32", InferTensorContents::default());
            request.inputs[0].shape = vec![300; count];
            request.encode_to_vec()
        };
        assert_eq!(swelling(&of(SHAPE_RANK_MAX)), Ok(0));
        assert_eq!(swelling(&of(SHAPE_RANK_MAX + 1)), Err(CallError::TooManyDimensions));
        // One by one, each with a key of its own, as old writers do.
        let apart = |count: usize| {
            let shape = [0x18, 1].repeat(count);
            let length = u8::try_from(shape.len()).unwrap_or_default();
            let inputs = [&[0x2a, 0x80 | (length & 0x7f), length >> 7][..], &shape].concat();
            swelling(&inputs)
        };
        assert_eq!(apart(SHAPE_RANK_MAX), Ok(0));
        assert_eq!(apart(SHAPE_RANK_MAX + 1), Err(CallError::TooManyDimensions));
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        let contents =
            InferTensorContents { bytes_contents: vec![vec![7; 9]], ..Default::default() };
        let whole = request("BYTES", contents).encode_to_vec();
        for cut in 1..whole.len() {
            assert!(matches!(swelling(&whole[..cut]), Err(CallError::Decode(_))), "{cut}");
        }
    }
}
