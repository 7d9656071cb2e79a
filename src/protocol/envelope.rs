//! The JSON envelopes that the dialects without types share.
//!
//! Owns the keys under which such bodies hold their rows or columns, in requests and in answers, and the
//! parameters beside them. Never knows which of the keys a dialect has.

use std::borrow::Cow;

use super::infer::{InferRequest, Parameter, Parameters};
use super::json::{
    DecodeError, DecodeErrorKind, Reader, Token, write_f64, write_integer, write_string,
};
use super::open_inference::{once, read_parameters};
use super::tensor::{Tensor, TensorSpec};
use super::untyped::{COLUMNS_MAX, RowKind, ValueError, Values, bind};

/// What an input is called that neither the client nor the model names.
pub(super) const UNNAMED_INPUT: &str = "input";

/// What an output is called that neither the backend nor the model names.
pub(super) const UNNAMED_OUTPUT: &str = "output";

/// The parameter that holds TensorFlow Serving's `signature_name`.
pub(super) const SIGNATURE_NAME: &str = "signature_name";

/// Where a request has its values.
#[derive(Debug, Clone)]
pub(super) enum Payload<'a> {
    /// Under `instances`: rows.
    Instances(Reader<'a>),
    /// Under `inputs`: columns for TensorFlow Serving and MLflow, rows for KServe.
    Inputs(Reader<'a>),
    /// Under `data`: rows, as many handlers read them.
    Data(Reader<'a>),
    /// Under `examples`: rows of named features.
    Examples(Reader<'a>),
    /// Under `dataframe_records`: rows as objects.
    Records(Reader<'a>),
    /// Under `dataframe_split`: column names and rows as arrays.
    Split(Vec<Cow<'a, str>>, Reader<'a>),
    /// Without a key: the body is an array.
    Plain(Reader<'a>),
}

impl<'a> Payload<'a> {
    const fn key(&self) -> &'static str {
        match self {
            Self::Instances(_) => "instances",
            Self::Inputs(_) => "inputs",
            Self::Data(_) => "data",
            Self::Examples(_) => "examples",
            Self::Records(_) => "dataframe_records",
            Self::Split(..) => "dataframe_split",
            Self::Plain(_) => "",
        }
    }

    /// Turns the values into tensors.
    pub(super) fn bind(self, specs: Option<&[TensorSpec]>) -> Result<Vec<Tensor>, DecodeError> {
        let key = self.key();
        let is_split = matches!(self, Self::Split(..));
        let values = match self {
            Self::Instances(rows) | Self::Examples(rows) => {
                Values::Rows { rows, kind: RowKind::Instances }
            }
            Self::Records(rows) => Values::Rows { rows, kind: RowKind::Records },
            Self::Data(rows) | Self::Plain(rows) => Values::Rows { rows, kind: RowKind::Plain },
            Self::Inputs(columns) => Values::Columns(columns),
            Self::Split(names, rows) => Values::Split { names, rows },
        };
        bind(&values, specs, UNNAMED_INPUT).map_err(|error| match key {
            "" => error,
            _ if is_split => error.in_key("data").in_key(key),
            _ => error.in_key(key),
        })
    }
}

/// A request's body, its values not yet read.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) payload: Payload<'a>,
    pub(super) parameters: Parameters<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads a body that has exactly one of `keys`, or that is an array where `keys` has `""`.
    pub(super) fn read(body: &'a [u8], keys: &'static Keys) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        if reader.peek()? == Token::Array && keys.plain {
            let payload = Payload::Plain(reader.clone());
            reader.skip()?;
            reader.end()?;
            return Ok(Self { payload, parameters: Vec::new() });
        }
        let mut payload: Option<Payload<'a>> = None;
        let (mut parameters, mut signature) = (None, None);
        reader.object(|reader, key| {
            let start = reader.offset();
            if keys.values.contains(&key) {
                if reader.null()? {
                    return Ok(());
                }
                let second = payload.replace(read_payload(reader, key)?).is_some();
                let kind = || DecodeErrorKind::Unsupported(keys.exactly_one);
                return if second { Err(DecodeError::new(start, kind())) } else { Ok(()) };
            }
            match key {
                "parameters" | "params" => {
                    once("parameters", reader, &mut parameters, read_parameters)
                }
                SIGNATURE_NAME => {
                    once(SIGNATURE_NAME, reader, &mut signature, |reader| reader.string())
                }
                "context" if keys.values.contains(&"examples") => {
                    Err(DecodeError::new(start, DecodeErrorKind::Unsupported(CONTEXT)))
                }
                _ => reader.skip(),
            }
        })?;
        reader.end()?;
        let none = || DecodeError::new(body.len(), DecodeErrorKind::Unsupported(keys.exactly_one));
        let mut parameters: Parameters<'a> = parameters.unwrap_or_default();
        if let Some(name) = signature {
            parameters.push((SIGNATURE_NAME.into(), Parameter::String(name)));
        }
        Ok(Self { payload: payload.ok_or_else(none)?, parameters })
    }

    /// The request, its values read.
    pub(super) fn into_request(
        self,
        specs: Option<&[TensorSpec]>,
    ) -> Result<InferRequest<'a>, DecodeError> {
        let inputs = self.payload.bind(specs)?;
        Ok(InferRequest { parameters: self.parameters, inputs, ..InferRequest::default() })
    }
}

const CONTEXT: &str = "\"context\" is not supported; repeat its features in each of the examples";

/// The keys that a dialect's bodies may have their values under.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) values: &'static [&'static str],
    /// Whether a body may also be an array.
    pub(super) plain: bool,
    /// What is wrong with a body that has none or several of them.
    pub(super) exactly_one: &'static str,
}

fn read_payload<'a>(reader: &mut Reader<'a>, key: &str) -> Result<Payload<'a>, DecodeError> {
    if key == "dataframe_split" {
        return read_split(reader);
    }
    let here = deferred(reader)?;
    Ok(match key {
        "inputs" => Payload::Inputs(here),
        "data" => Payload::Data(here),
        "examples" => Payload::Examples(here),
        "dataframe_records" => Payload::Records(here),
        _ => Payload::Instances(here),
    })
}

/// `{"columns":[…],"index"?:…,"data":[[…],…]}`, as pandas writes a data frame with `orient="split"`.
fn read_split<'a>(reader: &mut Reader<'a>) -> Result<Payload<'a>, DecodeError> {
    let start = reader.offset();
    let (mut names, mut data) = (None, None);
    reader.object(|reader, key| match key {
        "columns" => once("columns", reader, &mut names, |reader| {
            let mut names = Vec::new();
            reader.array(|reader| {
                if names.len() == COLUMNS_MAX {
                    let error = ValueError::TooManyColumns { limit: COLUMNS_MAX };
                    return Err(DecodeError::new(reader.offset(), error));
                }
                names.push(reader.string()?);
                Ok(())
            })?;
            Ok(names)
        }),
        "data" => once("data", reader, &mut data, deferred),
        _ => reader.skip(),
    })?;
    let missing = |key| move || DecodeError::new(start, DecodeErrorKind::MissingKey(key));
    Ok(Payload::Split(names.ok_or_else(missing("columns"))?, data.ok_or_else(missing("data"))?))
}

/// Reads an answer: rows under `predictions`, columns under `outputs`, or a body that is an array or
/// a single value. `specs` are the outputs that the model declares.
pub(super) fn decode_predictions(
    body: &[u8],
    specs: Option<&[TensorSpec]>,
) -> Result<Vec<Tensor>, DecodeError> {
    let mut reader = Reader::new(body);
    if reader.peek()? != Token::Object {
        return bind_answer(&mut reader, None, specs);
    }
    let (mut predictions, mut outputs) = (None, None);
    reader.object(|reader, key| match key {
        "predictions" => once("predictions", reader, &mut predictions, deferred),
        "outputs" => once("outputs", reader, &mut outputs, deferred),
        _ => reader.skip(),
    })?;
    reader.end()?;
    match (predictions, outputs) {
        (Some(mut rows), _) => bind_answer(&mut rows, Some("predictions"), specs),
        (None, Some(columns)) => bind(&Values::Columns(columns), specs, UNNAMED_OUTPUT)
            .map_err(|error| error.in_key("outputs")),
        (None, None) => Err(DecodeError::new(0, DecodeErrorKind::MissingKey("predictions"))),
    }
}

/// Whether an answer that [`decode_predictions`] reads has rows, and not whole tensors: an array that is the body or
/// stands under `predictions`.
pub(super) fn answers_rows(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    if reader.peek().is_ok_and(|token| token == Token::Array) {
        return true;
    }
    let mut found = false;
    let read = reader.object(|reader, key| {
        found |= key == "predictions" && reader.peek()? == Token::Array;
        reader.skip()
    });
    found && read.is_ok()
}

/// Steps over the value that comes next and remembers where it is.
pub(super) fn deferred<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, DecodeError> {
    reader.peek()?;
    let here = reader.clone();
    reader.skip().map(|()| here)
}

fn bind_answer(
    reader: &mut Reader<'_>,
    key: Option<&str>,
    specs: Option<&[TensorSpec]>,
) -> Result<Vec<Tensor>, DecodeError> {
    let token = reader.peek()?;
    let values = match token {
        Token::Array => Values::Rows { rows: reader.clone(), kind: RowKind::Plain },
        Token::Null | Token::Boolean | Token::Number | Token::String | Token::Object => {
            Values::Columns(reader.clone())
        }
    };
    if key.is_none() {
        reader.skip()?;
        reader.end()?;
    }
    let tensors = bind(&values, specs, UNNAMED_OUTPUT);
    tensors.map_err(|error| match key {
        Some(key) => error.in_key(key),
        None => error,
    })
}

/// Appends the parameters that are not TensorFlow Serving's own as an object under `key`.
pub(super) fn write_parameters(out: &mut Vec<u8>, key: &str, parameters: &Parameters<'_>) {
    let mut first = true;
    for (name, value) in parameters.iter().filter(|(name, _)| name != SIGNATURE_NAME) {
        if first {
            out.push(b',');
            write_string(out, key);
            out.extend_from_slice(b":{");
        } else {
            out.push(b',');
        }
        first = false;
        write_string(out, name);
        out.push(b':');
        match value {
            Parameter::String(text) => write_string(out, text),
            Parameter::Integer(value) => write_integer(out, *value),
            Parameter::Unsigned(value) => write_integer(out, *value),
            Parameter::Number(value) => write_f64(out, *value),
            Parameter::Boolean(value) => {
                out.extend_from_slice(if *value { b"true" } else { b"false" });
            }
        }
    }
    if !first {
        out.push(b'}');
    }
}

/// Whether tensors are written without names: there is one, and its name was made up here, or would
/// make an object of it that means bytes.
pub(super) fn is_unnamed(tensors: &[Tensor]) -> bool {
    matches!(tensors, [tensor] if matches!(tensor.name(), UNNAMED_INPUT | UNNAMED_OUTPUT | "b64"))
}
