//! Between the messages of `inference.GRPCInferenceService` and the form that all dialects share.
//!
//! Owns how a message's tensors stand in lists by type or in binary form, never both in one message, and
//! what is refused about them. Never reads frames.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::contents::{self, ContentsError};
use super::messages::{
    InferParameter, InferRequestedOutput, InferTensor, ModelInferRequest, ModelInferResponse,
    ParameterChoice,
};
use crate::protocol::infer::{InferRequest, InferResponse, Parameter, Parameters, RequestedOutput};
use crate::protocol::open_inference::{RESERVED_PREFIX, SHARED_MEMORY_PREFIX, kept};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{
    BinaryError, Datatype, ElementTooLong, Shape, ShapeMismatch, Span, Tensor, TensorData,
    element_count,
};

/// A request for a model's prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct InferCall {
    /// The model.
    pub model: String,
    /// The version; `None` leaves the choice to the gateway.
    pub version: Option<String>,
    /// What is asked.
    pub request: InferRequest<'static>,
    /// The form of the inputs, which the client expects of the outputs too.
    pub form: ContentsForm,
}

/// Where the data of a message's tensors stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContentsForm {
    /// In binary form, as Triton always answers.
    #[default]
    Raw,
    /// In lists by type, as KServe answers unless the client used the other form.
    Typed,
}

/// A message whose tensors make no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A datatype that the protocol does not have.
    #[error("tensor '{tensor}' has the unknown datatype '{datatype}'")]
    Datatype {
        /// The tensor.
        tensor: String,
        /// What it says, shortened.
        datatype: String,
    },
    /// A dimension below 0.
    #[error(
        "tensor '{tensor}' has dimension {dimension}; a dimension must be an integer from 0 on"
    )]
    Dimension {
        /// The tensor.
        tensor: String,
        /// The dimension.
        dimension: i64,
    },
    /// Shape and data disagree.
    #[error("tensor '{tensor}': {error}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// How.
        error: ShapeMismatch,
    },
    /// Data in both forms.
    #[error(
        "contents of tensor '{tensor}' are set beside raw contents; a message has one or the other"
    )]
    Mixed {
        /// The first tensor with contents.
        tensor: String,
    },
    /// Raw contents that do not pair with tensors.
    #[error("there are {raw} raw contents for {tensors} tensors")]
    RawCount {
        /// The number of raw contents.
        raw: usize,
        /// The number of tensors.
        tensors: usize,
    },
    /// Bytes that do not fit the shape and datatype of their tensor.
    #[error("byte size mismatch for '{tensor}': {error}")]
    Binary {
        /// The tensor.
        tensor: String,
        /// How they do not fit.
        error: BinaryError,
    },
    /// Lists that do not fit the datatype of their tensor.
    #[error("contents of tensor '{tensor}': {error}")]
    Contents {
        /// The tensor.
        tensor: String,
        /// How they do not fit.
        error: ContentsError,
    },
    /// A tensor that lies in memory which client and server share.
    #[error(
        "tensor '{tensor}' is in shared memory, which does not reach across hosts; send the data in the \
         request"
    )]
    SharedMemory {
        /// The tensor.
        tensor: String,
    },
    /// A parameter that only the server sets.
    #[error(
        "parameter '{0}': keys starting with 'triton_' are reserved and should not be specified"
    )]
    ReservedParameter(String),
    /// A parameter without a value.
    #[error("parameter '{0}' has no value")]
    EmptyParameter(String),
}

/// The one reserved parameter that Triton's clients send.
const EMPTY_FINAL_RESPONSE: &str = "triton_enable_empty_final_response";

impl TryFrom<ModelInferRequest> for InferCall {
    type Error = MessageError;

    fn try_from(mut message: ModelInferRequest) -> Result<Self, MessageError> {
        // There is one response to a request here, which is the final one and never empty.
        message.parameters.remove(EMPTY_FINAL_RESPONSE);
        let reserved = message.parameters.keys().find(|key| key.starts_with(RESERVED_PREFIX));
        if let Some(key) = reserved {
            return Err(MessageError::ReservedParameter(shortened(key)));
        }
        let form = form_of(&message.inputs, &message.raw_input_contents);
        let inputs = tensors(message.inputs, &message.raw_input_contents)?;
        let outputs = message.outputs.into_iter().map(|output| {
            Ok(RequestedOutput {
                name: output.name.into(),
                parameters: read_parameters(output.parameters)?,
            })
        });
        let request = InferRequest {
            id: Some(message.id).filter(|id| !id.is_empty()).map(Cow::Owned),
            parameters: read_parameters(message.parameters)?,
            inputs,
            outputs: outputs.collect::<Result<_, _>>()?,
        };
        let version = Some(message.model_version).filter(|version| !version.is_empty());
        Ok(Self { model: message.model_name, version, request, form })
    }
}

impl TryFrom<ModelInferResponse> for InferResponse<'static> {
    type Error = MessageError;

    /// As from JSON, parameters without a value are passed over.
    fn try_from(mut message: ModelInferResponse) -> Result<Self, MessageError> {
        drop_empty(&mut message.parameters);
        message.outputs.iter_mut().for_each(|output| drop_empty(&mut output.parameters));
        Ok(Self {
            id: Some(message.id).filter(|id| !id.is_empty()).map(Cow::Owned),
            model_name: message.model_name.into(),
            model_version: message.model_version.into(),
            parameters: read_parameters(message.parameters)?,
            outputs: tensors(message.outputs, &message.raw_output_contents)?,
        })
    }
}

/// Makes a response's message, and apart from it the raw contents if `form` or a datatype asks for them:
/// FP16 and BF16 have no lists, and one message has one form.
///
/// # Errors
/// When an element of BYTES is longer than 4 GiB.
pub fn response_message(
    response: InferResponse<'_>,
    form: ContentsForm,
) -> Result<(ModelInferResponse, Vec<Bytes>), ElementTooLong> {
    let (outputs, raw) = write_tensors(response.outputs, form)?;
    let message = ModelInferResponse {
        model_name: response.model_name.into_owned(),
        model_version: response.model_version.into_owned(),
        id: response.id.map(Cow::into_owned).unwrap_or_default(),
        parameters: write_parameters(response.parameters),
        outputs,
        raw_output_contents: Vec::new(),
    };
    Ok((message, raw))
}

/// Makes a request's message for a backend, see [`response_message`].
///
/// # Errors
/// When an element of BYTES is longer than 4 GiB.
pub fn request_message(
    model: &str,
    version: Option<&str>,
    request: InferRequest<'_>,
    form: ContentsForm,
) -> Result<(ModelInferRequest, Vec<Bytes>), ElementTooLong> {
    let (inputs, raw) = write_tensors(request.inputs, form)?;
    let outputs = request.outputs.into_iter().map(|output| InferRequestedOutput {
        name: output.name.into_owned(),
        parameters: write_parameters(output.parameters),
    });
    let message = ModelInferRequest {
        model_name: model.to_owned(),
        model_version: version.unwrap_or_default().to_owned(),
        id: request.id.map(Cow::into_owned).unwrap_or_default(),
        parameters: write_parameters(request.parameters),
        inputs,
        outputs: outputs.collect(),
        raw_input_contents: Vec::new(),
    };
    Ok((message, raw))
}

/// The form that the client used; raw when there is no data to tell.
fn form_of(inputs: &[InferTensor], raw: &[Bytes]) -> ContentsForm {
    let typed = raw.is_empty() && inputs.iter().any(|input| input.contents.is_some());
    if typed { ContentsForm::Typed } else { ContentsForm::Raw }
}

fn tensors(messages: Vec<InferTensor>, raw: &[Bytes]) -> Result<Vec<Tensor>, MessageError> {
    if !raw.is_empty() {
        let filled = |tensor: &&InferTensor| tensor.contents.as_ref().is_some_and(contents::is_set);
        if let Some(tensor) = messages.iter().find(filled) {
            return Err(MessageError::Mixed { tensor: shortened(&tensor.name) });
        }
        if raw.len() != messages.len() {
            return Err(MessageError::RawCount { raw: raw.len(), tensors: messages.len() });
        }
    }
    let mut raw = raw.iter();
    messages.into_iter().map(|message| tensor(message, raw.next())).collect()
}

fn tensor(message: InferTensor, raw: Option<&Bytes>) -> Result<Tensor, MessageError> {
    let name = shortened(&message.name);
    if message.parameters.keys().any(|key| key.starts_with(SHARED_MEMORY_PREFIX)) {
        return Err(MessageError::SharedMemory { tensor: name });
    }
    let Some(datatype) = Datatype::parse(&message.datatype) else {
        return Err(MessageError::Datatype {
            tensor: name,
            datatype: shortened(&message.datatype),
        });
    };
    let dimension = |&dimension: &i64| usize::try_from(dimension).map_err(|_negative| dimension);
    let shape = message.shape.iter().map(dimension).collect::<Result<Shape, i64>>();
    let shape = match shape {
        Ok(shape) => shape,
        Err(dimension) => return Err(MessageError::Dimension { tensor: name, dimension }),
    };
    let data = match raw {
        Some(raw) => {
            let count = element_count(&shape).unwrap_or(usize::MAX);
            TensorData::from_binary(datatype, count, &Span::from(&**raw))
                .map_err(|error| MessageError::Binary { tensor: name.clone(), error })?
        }
        None => {
            let contents = message.contents.unwrap_or_default();
            contents::read(datatype, contents)
                .map_err(|error| MessageError::Contents { tensor: name.clone(), error })?
        }
    };
    let parameters = kept(read_parameters(message.parameters)?);
    let tensor = Tensor::new(message.name, shape, data);
    let tensor = tensor.map_err(|error| MessageError::Shape { tensor: name, error })?;
    Ok(tensor.with_parameters(parameters))
}

fn write_tensors(
    tensors: Vec<Tensor>,
    form: ContentsForm,
) -> Result<(Vec<InferTensor>, Vec<Bytes>), ElementTooLong> {
    let half = |tensor: &Tensor| matches!(tensor.datatype(), Datatype::Fp16 | Datatype::Bf16);
    let typed = form == ContentsForm::Typed && !tensors.iter().any(half);
    let (mut messages, mut raw) = (Vec::with_capacity(tensors.len()), Vec::new());
    for mut tensor in tensors {
        let mut message = InferTensor {
            name: tensor.name().to_owned(),
            datatype: tensor.datatype().as_str().to_owned(),
            shape: tensor
                .shape()
                .iter()
                .map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX))
                .collect(),
            parameters: write_parameters(tensor.take_parameters()),
            contents: None,
        };
        let data = tensor.into_data();
        if typed {
            message.contents = Some(contents::write(data));
        } else {
            raw.push(data.into_binary()?);
        }
        messages.push(message);
    }
    Ok((messages, raw))
}

/// Takes out what has no value.
fn drop_empty(parameters: &mut BTreeMap<String, InferParameter>) {
    parameters.retain(|_, value| value.parameter_choice.is_some());
}

fn read_parameters(
    parameters: BTreeMap<String, InferParameter>,
) -> Result<Parameters<'static>, MessageError> {
    let read = |(key, value): (String, InferParameter)| {
        let value = match value.parameter_choice {
            Some(ParameterChoice::BoolParam(value)) => Parameter::Boolean(value),
            Some(ParameterChoice::Int64Param(value)) => Parameter::Integer(value),
            Some(ParameterChoice::StringParam(value)) => Parameter::String(value.into()),
            Some(ParameterChoice::DoubleParam(value)) => Parameter::Number(value),
            Some(ParameterChoice::Uint64Param(value)) => {
                i64::try_from(value).map_or(Parameter::Unsigned(value), Parameter::Integer)
            }
            None => return Err(MessageError::EmptyParameter(shortened(&key))),
        };
        Ok((Cow::Owned(key), value))
    };
    parameters.into_iter().map(read).collect()
}

fn write_parameters(parameters: Parameters<'_>) -> BTreeMap<String, InferParameter> {
    let write = |(key, value): (Cow<'_, str>, Parameter<'_>)| {
        let choice = match value {
            Parameter::Boolean(value) => ParameterChoice::BoolParam(value),
            Parameter::Integer(value) => ParameterChoice::Int64Param(value),
            Parameter::Unsigned(value) => ParameterChoice::Uint64Param(value),
            Parameter::String(value) => ParameterChoice::StringParam(value.into_owned()),
            Parameter::Number(value) => ParameterChoice::DoubleParam(value),
        };
        (key.into_owned(), InferParameter { parameter_choice: Some(choice) })
    };
    parameters.into_iter().map(write).collect()
}
