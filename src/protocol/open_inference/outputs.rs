//! In which form a client wants each output.
//!
//! Owns the parameters of requests and requested outputs that say so: `binary_data_output`,
//! `binary_data` and `classification`, and taking them out of a request whose answer is given its form
//! here. Never encodes anything.

use std::num::NonZeroU32;

use smallvec::SmallVec;

use super::classification::{ClassifyError, classify};
use super::parameters::SHARED_MEMORY_PREFIX;
use crate::protocol::infer::{InferRequest, InferResponse, Parameter, RequestedOutput, parameter};
use crate::protocol::shown::shortened;

/// Whether outputs of a request without a form of their own are binary.
pub(super) const BINARY_OUTPUTS: &str = "binary_data_output";
/// Whether one output is binary.
pub(super) const BINARY: &str = "binary_data";
/// How many classes are wanted of one output.
pub(super) const CLASSES: &str = "classification";

/// The forms of all outputs of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputForms {
    /// Where the client names outputs, their forms.
    named: SmallVec<[(String, OutputForm); 2]>,
    /// Whether outputs without a form of their own are binary.
    binary: bool,
}

/// The form of one output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputForm {
    /// Behind the JSON instead of inside of it.
    pub binary: bool,
    /// Not the values, but as many of the largest as this, with their places and labels.
    pub classes: Option<NonZeroU32>,
}

/// A parameter that makes no sense; the client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A value of the wrong type.
    #[error("parameter '{name}' must be {expected}")]
    WrongType {
        /// The parameter.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// An output that is to be written to memory that the client shares with the server.
    #[error(
        "output '{output}' asks for shared memory, which does not reach across hosts; leave it out to \
         get the data in the response"
    )]
    SharedMemory {
        /// The output.
        output: String,
    },
}

impl OutputForms {
    /// The forms that `request` asks for.
    ///
    /// # Errors
    /// When one of the parameters that say so makes no sense.
    pub fn of(request: &InferRequest<'_>) -> Result<Self, FormError> {
        let binary = boolean(parameter(&request.parameters, BINARY_OUTPUTS), BINARY_OUTPUTS)?
            .unwrap_or(false);
        let named = request.outputs.iter().map(|output| {
            form_of(output, binary).map(|form| (output.name.clone().into_owned(), form))
        });
        Ok(Self { named: named.collect::<Result<_, _>>()?, binary })
    }

    /// All outputs in binary form, as the answer to a raw binary request has them.
    pub fn binary() -> Self {
        Self { named: SmallVec::new(), binary: true }
    }

    /// Takes the parameters that say so out of `request`, so that whoever is asked next gives values,
    /// and forms are applied once. Whoever [makes classes](Self::leave_classes) itself is told which.
    pub fn take_from(request: &mut InferRequest<'_>, makes_classes: bool) {
        request.parameters.retain(|(key, _)| key != BINARY_OUTPUTS);
        for output in &mut request.outputs {
            output.parameters.retain(|(key, _)| key != BINARY && (makes_classes || key != CLASSES));
        }
    }

    /// Leaves the outputs as they come where they are wanted as classes: whoever answers makes these, as it knows
    /// their names.
    pub fn leave_classes(&mut self) {
        self.named.iter_mut().for_each(|(_, form)| form.classes = None);
    }

    /// Whether any output is wanted in binary form.
    pub fn wants_binary(&self) -> bool {
        match self.named.as_slice() {
            [] => self.binary,
            named => named.iter().any(|(_, form)| form.binary),
        }
    }

    /// Whether any output is wanted as classes.
    pub fn wants_classes(&self) -> bool {
        self.named.iter().any(|(_, form)| form.classes.is_some())
    }

    /// The form of the output `name`.
    pub fn of_output(&self, name: &str) -> OutputForm {
        let named = self.named.iter().find(|(output, _)| output == name);
        named.map_or(OutputForm { binary: self.binary, classes: None }, |&(_, form)| form)
    }

    /// Replaces the outputs that are wanted as classes; `labels` knows those of an output.
    ///
    /// # Errors
    /// When such an output is not made of numbers.
    pub fn classify<'l>(
        &self,
        response: &mut InferResponse<'_>,
        labels: impl Fn(&str) -> &'l [String],
    ) -> Result<(), ClassifyError> {
        if self.named.iter().all(|(_, form)| form.classes.is_none()) {
            return Ok(());
        }
        for output in &mut response.outputs {
            if let Some(classes) = self.of_output(output.name()).classes {
                *output = classify(output, classes, labels(output.name()))?;
            }
        }
        Ok(())
    }
}

fn form_of(output: &RequestedOutput<'_>, default: bool) -> Result<OutputForm, FormError> {
    if output.parameters.iter().any(|(key, _)| key.starts_with(SHARED_MEMORY_PREFIX)) {
        return Err(FormError::SharedMemory { output: shortened(&output.name) });
    }
    let binary = boolean(parameter(&output.parameters, BINARY), BINARY)?;
    let (name, expected) = (CLASSES, "a number of classes from 1 on");
    let wrong = || FormError::WrongType { name, expected };
    let classes = match parameter(&output.parameters, name) {
        None => None,
        // What tritonclient means by not asking for classes.
        Some(Parameter::Integer(0)) => None,
        Some(Parameter::Integer(count)) => {
            Some(u32::try_from(*count).ok().and_then(NonZeroU32::new).ok_or_else(wrong)?)
        }
        Some(_) => return Err(wrong()),
    };
    Ok(OutputForm { binary: binary.unwrap_or(default), classes })
}

fn boolean(value: Option<&Parameter<'_>>, name: &'static str) -> Result<Option<bool>, FormError> {
    match value {
        None => Ok(None),
        Some(Parameter::Boolean(value)) => Ok(Some(*value)),
        Some(_) => Err(FormError::WrongType { name, expected: "true or false" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::open_inference::decode_infer_request;

    fn forms(rest: &str) -> Result<OutputForms, FormError> {
        let body = format!("{{\"inputs\":[]{rest}}}");
        OutputForms::of(&decode_infer_request(body.as_bytes()).expect("valid"))
    }

    #[test]
    fn an_output_has_its_own_form_or_that_of_the_request() {
        let json = OutputForm::default();
        let binary = OutputForm { binary: true, classes: None };
        assert_eq!(forms("").expect("valid").of_output("y"), json);
        let forms = forms(
            r#","parameters":{"binary_data_output":true},"outputs":[{"name":"a"},
            {"name":"b","parameters":{"binary_data":false}},
            {"name":"c","parameters":{"classification":3,"binary_data":true}},
            {"name":"d","parameters":{"classification":0}}]"#,
        )
        .expect("valid");
        assert_eq!(forms.of_output("a"), binary);
        assert_eq!(forms.of_output("b"), json);
        let classes = NonZeroU32::new(3);
        assert_eq!(forms.of_output("c"), OutputForm { binary: true, classes });
        assert_eq!(forms.of_output("d"), binary);
        assert_eq!(OutputForms::binary().of_output("any"), binary);
    }

    #[test]
    fn a_request_without_its_forms_wants_values_and_keeps_the_rest() {
        let body = br#"{"parameters":{"binary_data_output":true,"seed":1},"inputs":[],"outputs":[
            {"name":"a","parameters":{"classification":3,"binary_data":true,"scale":2}}]}"#;
        let mut request = decode_infer_request(body).expect("valid");
        let forms = OutputForms::of(&request).expect("valid");
        assert!(forms.wants_binary() && forms.wants_classes());
        let mut left = OutputForms::of(&request).expect("valid");
        left.leave_classes();
        assert!(left.wants_binary() && !left.wants_classes());
        let mut asked = request.clone();
        OutputForms::take_from(&mut asked, true);
        let asked = OutputForms::of(&asked).expect("valid");
        assert!(!asked.wants_binary() && asked.wants_classes(), "its classes are asked for");
        OutputForms::take_from(&mut request, false);
        let forms = OutputForms::of(&request).expect("valid");
        assert!(!forms.wants_binary() && !forms.wants_classes());
        assert_eq!(request.parameters, [("seed".into(), Parameter::Integer(1))]);
        assert_eq!(request.outputs[0].parameters, [("scale".into(), Parameter::Integer(2))]);
    }

    #[test]
    fn what_is_said_of_every_output_itself_counts_alone() {
        let of_all = r#","parameters":{"binary_data_output":true}"#;
        assert!(forms(of_all).expect("valid").wants_binary());
        let own = r#","outputs":[{"name":"a","parameters":{"binary_data":false}}]"#;
        assert!(!forms(&format!("{of_all}{own}")).expect("valid").wants_binary());
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let message = |rest: &str| forms(rest).expect_err(rest).to_string();
        assert_eq!(
            message(r#","parameters":{"binary_data_output":1}"#),
            "parameter 'binary_data_output' must be true or false"
        );
        for value in ["-1", "\"2\"", "1.5", "true", "99999999999"] {
            let outputs =
                format!(r#","outputs":[{{"name":"y","parameters":{{"classification":{value}}}}}]"#);
            assert_eq!(
                message(&outputs),
                "parameter 'classification' must be a number of classes from 1 on"
            );
        }
        let shared = r#","outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]"#;
        assert!(message(shared).contains("shared memory"));
    }
}
