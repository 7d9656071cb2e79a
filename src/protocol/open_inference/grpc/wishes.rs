//! What a message asks for that not every backend has.
//!
//! Owns the look at one thing in a message that is not decoded otherwise. Never complains: what cannot be read is
//! for whoever answers to refuse.

use prost::Message as _;

use super::messages::{InferRequestedOutput, ParameterChoice};
use super::weight::{Field, REQUEST, next_field, swelling};
use crate::protocol::open_inference::CLASSES;

/// Whether a `ModelInferRequest` asks for the classes of an output instead of its values, as far as it can be read.
pub fn wants_classes(mut message: &[u8]) -> bool {
    // An output is decoded only where its parts are counted.
    if swelling(message).is_err() {
        return false;
    }
    while let Ok(Some(Field { number, value, .. })) = next_field(&mut message) {
        if REQUEST.is_requested(number)
            && let Ok(output) = InferRequestedOutput::decode(value)
            && let Some(classes) = output.parameters.get(CLASSES)
            // What Triton's clients mean by not asking for them.
            && classes.parameter_choice != Some(ParameterChoice::Int64Param(0))
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::{InferParameter, ModelInferRequest};
    use super::*;

    fn asked(classes: Option<ParameterChoice>) -> bool {
        let output = |name: &str, classes: Option<ParameterChoice>| InferRequestedOutput {
            name: name.to_owned(),
            parameters: classes
                .map(|choice| {
                    (CLASSES.to_owned(), InferParameter { parameter_choice: Some(choice) })
                })
                .into_iter()
                .collect(),
        };
        let request = ModelInferRequest {
            model_name: CLASSES.to_owned(),
            outputs: vec![output(CLASSES, None), output("p", classes)],
            raw_input_contents: vec![CLASSES.as_bytes().into()],
            ..ModelInferRequest::default()
        };
        wants_classes(&request.encode_to_vec())
    }

    #[test]
    fn classes_are_asked_for_by_a_parameter_of_an_output_and_nothing_else() {
        assert!(asked(Some(ParameterChoice::Int64Param(2))));
        assert!(asked(Some(ParameterChoice::StringParam("2".to_owned()))), "to be refused");
        assert!(!asked(Some(ParameterChoice::Int64Param(0))));
        assert!(!asked(None));
        assert!(!wants_classes(b"\xff"));
        assert!(!wants_classes(&[]));
    }
}
