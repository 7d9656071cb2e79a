//! The parameters of requests, inputs and outputs in JSON.
//!
//! Owns how many there may be, which names only a server sets, and which ones say how a tensor comes over one hop:
//! those stay with the hop, and all others stay with the tensor.

use std::borrow::Cow;

use super::outputs::{BINARY, BINARY_OUTPUTS, CLASSES};
use crate::protocol::infer::{Parameter, Parameters};
use crate::protocol::json::{DecodeError, DecodeErrorKind, Number, Reader, Token};
use crate::protocol::shown::shortened;

/// How many bytes behind the JSON are the tensor's data.
pub(super) const BINARY_SIZE: &str = "binary_data_size";
/// The start of the names of parameters that lead to memory which client and server share.
pub(super) const SHARED_MEMORY_PREFIX: &str = "shared_memory_";

/// What stays with a tensor of its parameters, whatever form it is sent in next.
pub(super) fn kept(parameters: Parameters<'_>) -> Parameters<'static> {
    let is_of_hop = |name: &str| {
        [BINARY_SIZE, BINARY, CLASSES].contains(&name) || name.starts_with(SHARED_MEMORY_PREFIX)
    };
    let of_tensor = parameters.into_iter().filter(|(name, _)| !is_of_hop(name));
    of_tensor.map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned())).collect()
}

/// Reads the parameters of a whole request, where the server's own names are refused as Triton does.
pub(super) fn request_parameters<'a>(
    reader: &mut Reader<'a>,
) -> Result<Parameters<'a>, DecodeError> {
    let start = reader.offset();
    let parameters = read_parameters(reader)?;
    match parameters.iter().find(|(key, _)| key.starts_with(RESERVED_PREFIX)) {
        None => Ok(parameters),
        Some((key, _)) => {
            Err(DecodeError::new(start, DecodeErrorKind::ReservedParameter(shortened(key))))
        }
    }
}

/// The start of the names of parameters that are the server's own.
pub(super) const RESERVED_PREFIX: &str = "triton_";

/// The most parameters of a request, an input or an output.
const PARAMETERS_MAX: usize = 64;

/// Reads the parameters of a request, an input or an output.
pub(in crate::protocol) fn read_parameters<'a>(
    reader: &mut Reader<'a>,
) -> Result<Parameters<'a>, DecodeError> {
    let (mut parameters, mut counted) = (Parameters::new(), 0);
    reader.object(|reader, key| {
        let start = reader.offset();
        // Bounded, so that looking for a name that stands twice stays cheap. What is added for one hop is beside it.
        let is_counted = key != BINARY_SIZE && key != BINARY_OUTPUTS;
        if is_counted && counted == PARAMETERS_MAX {
            return Err(DecodeError::new(start, DecodeErrorKind::TooManyParameters));
        }
        if parameters.iter().any(|(name, _)| name == key) {
            return Err(DecodeError::new(start, DecodeErrorKind::DuplicateParameter));
        }
        let value = match reader.peek()? {
            Token::String => Parameter::String(reader.string()?),
            Token::Boolean => Parameter::Boolean(reader.boolean()?),
            Token::Number => number_parameter(reader.number()?),
            Token::Null | Token::Array | Token::Object if reader.is_lenient() => {
                return reader.skip();
            }
            token @ (Token::Null | Token::Array | Token::Object) => {
                return Err(DecodeError::new(
                    start,
                    DecodeErrorKind::InvalidParameter(token.name()),
                ));
            }
        };
        counted += usize::from(is_counted);
        parameters.push((Cow::Owned(key.to_owned()), value));
        Ok(())
    })?;
    Ok(parameters)
}

fn number_parameter(number: Number<'_>) -> Parameter<'static> {
    match number {
        Number::Integer(text) => match (text.parse(), text.parse()) {
            (Ok(integer), _) => Parameter::Integer(integer),
            (Err(_beyond), Ok(integer)) => Parameter::Unsigned(integer),
            (Err(_), Err(_)) => Parameter::Number(text.parse().unwrap_or(f64::NAN)),
        },
        Number::Fraction(text) => Parameter::Number(text.parse().unwrap_or(f64::NAN)),
        Number::Nan => Parameter::Number(f64::NAN),
        Number::Infinity => Parameter::Number(f64::INFINITY),
        Number::NegativeInfinity => Parameter::Number(f64::NEG_INFINITY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::infer::InferRequest;
    use crate::protocol::open_inference::{decode_infer_request, encode_infer_request};
    use crate::protocol::tensor::Tensor;

    fn read(parameters: &str) -> Result<InferRequest<'static>, DecodeError> {
        let body = format!(
            r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":[1],"parameters":{{{parameters}}}}}]}}"#
        );
        let tensors = decode_infer_request(body.as_bytes())?.inputs;
        Ok(InferRequest { inputs: tensors, ..InferRequest::default() })
    }

    /// What a backend would be sent.
    fn sent(request: InferRequest<'_>, binary: bool) -> String {
        let encoded = encode_infer_request(request, binary).expect("has a form");
        String::from_utf8(encoded.head.to_vec()).expect("JSON")
    }

    #[test]
    fn a_tensor_keeps_its_parameters_but_for_those_of_the_hop_that_it_came_by() {
        let own =
            r#""content_type":"np","scale":0.5,"axis":-1,"big":18446744073709551615,"last":true"#;
        let of_hop = r#""binary_data":true,"classification":3"#;
        let request = read(&format!("{of_hop},{own}")).expect("valid");
        let json = sent(request.clone(), false);
        assert!(
            json.contains(&format!(r#""shape":[1],"parameters":{{{own}}},"data":[1.0]"#)),
            "{json}"
        );
        let binary = sent(request.clone(), true);
        assert!(
            binary.contains(&format!(r#""parameters":{{"binary_data_size":4,{own}}}"#)),
            "{binary}"
        );
        assert_eq!(request.inputs.iter().map(|input| input.parameters().len()).sum::<usize>(), 5);
    }

    #[test]
    fn a_tensor_without_parameters_has_no_place_for_them() {
        let request = read("").expect("valid");
        assert_eq!(request.inputs[0].parameters().capacity(), 0);
        let none = Tensor::parameters(&request.inputs[0]).is_empty();
        assert!(none && !sent(request, false).contains("parameters"));
    }

    #[test]
    fn as_many_parameters_as_there_may_be_can_be_sent_on_with_what_the_hop_needs() {
        let many = |count: usize| {
            let all = (0..count).map(|at| format!(r#""p{at}":{at}"#));
            all.collect::<Vec<_>>().join(",")
        };
        let refused = read(&many(PARAMETERS_MAX + 1)).expect_err("one too many");
        assert_eq!(refused.kind(), &DecodeErrorKind::TooManyParameters);
        let request = read(&many(PARAMETERS_MAX)).expect("as many as there may be");
        let sent = sent(request, true).replace(r#""binary_data_size":4,"#, "");
        let size = format!(r#"{{"binary_data_size":4,{}}}"#, many(PARAMETERS_MAX));
        let mut reader = Reader::new(size.as_bytes());
        assert!(sent.contains(&many(PARAMETERS_MAX)) && read_parameters(&mut reader).is_ok());
    }
}
