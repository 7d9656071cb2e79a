//! What a recorded response predicted, and what recorded feedback says was true.
//!
//! Owns the way from a row of the prediction log to a class, probabilities or a number: through the dialect that the
//! client spoke, or by a JSON pointer. Never guesses: what cannot be read as declared is [`Unscored`], with the
//! reason, and is counted. Numbers are taken in the datatype that the response gives them.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::ledger::Truth;
use crate::domain::record::{Outcome, Payload, PredictionRecord, Protocol, Side};
use crate::domain::spec::{
    FieldSource, JsonPointer, LabelTask, LabelsSpec, OutputRef, SliceSource, Step,
};
use crate::protocol::dialect::{Asked, Body, Dialect, Operation, Release, Target, decode_response};
use crate::protocol::tensor::{Datatype, Tensor, TensorData};

/// How far a probability may lie beyond 0 and 1: the rounding of a sum of single-precision numbers.
const SLACK: f64 = 1e-5;
/// The longest name of a slice.
const SLICE_BYTES_MAX: usize = 64;

/// What was predicted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// A class, and the probability of each.
    Class { class: u16, probabilities: Option<Box<[f64]>> },
    /// A number.
    Value(f64),
    /// Something that a reward is given for.
    Anything,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a prediction cannot be held against its label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Unscored { $($(#[$doc])* $name,)* }

        impl Unscored {
            /// The word in answers.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// The model gave no answer.
    Failed = "failed",
    /// The log does not have the whole body.
    Omitted = "omitted",
    /// It is compressed, or not what the dialect says.
    Unreadable = "unreadable",
    /// The declared output is not there.
    Output = "output",
    /// It answers several rows, and a label is about one.
    Rows = "rows",
    /// It names a class that is not declared.
    Class = "class",
    /// There are no probabilities of the declared classes.
    Probabilities = "probabilities",
    /// It is no finite number.
    Number = "number",
    /// There are more versions than are measured.
    Versions = "versions",
}

/// One value of a response.
#[derive(Debug, Clone, PartialEq)]
enum Scalar {
    Text(String),
    Number(f64),
}

/// Reads what was predicted.
pub(super) fn read(record: &PredictionRecord<'_>, labels: &LabelsSpec) -> Result<Answer, Unscored> {
    let is_success =
        (200..300).contains(&record.status) && record.grpc_status.is_none_or(|s| s == 0);
    if record.outcome != Outcome::Ok || !is_success {
        return Err(Unscored::Failed);
    }
    if labels.task == LabelTask::Reward {
        return Ok(Answer::Anything);
    }
    if record.batch_size.is_some_and(|rows| rows > 1) {
        return Err(Unscored::Rows);
    }
    let response = Response::new(record)?;
    match &labels.task {
        LabelTask::Reward => Ok(Answer::Anything),
        LabelTask::Value { output, .. } => match one(response.values(output)?)? {
            Scalar::Number(number) if number.is_finite() => Ok(Answer::Value(number)),
            Scalar::Number(_) | Scalar::Text(_) => Err(Unscored::Number),
        },
        LabelTask::Classes { names, predicted, probabilities, positive, threshold } => {
            let probabilities = match probabilities {
                Some(output) => Some(shares(response.values(output)?, names.len(), *positive)?),
                None => response
                    .with_values(names.len())
                    .map(|values| shares(values, names.len(), *positive))
                    .transpose()?,
            };
            let named = match predicted {
                Some(output) => Some(one(response.values(output)?)?),
                None => response.with_values(1).map(one).transpose()?,
            };
            let class = match (named, &probabilities) {
                (Some(scalar), _) => class_of(names, &scalar).ok_or(Unscored::Class)?,
                (None, Some(shares)) => most_probable(shares, *positive, *threshold),
                (None, None) => return Err(Unscored::Output),
            };
            Ok(Answer::Class { class, probabilities })
        }
    }
}

/// Reads what is true; `None` for what is none of the classes, or no number.
pub(super) fn truth(value: Option<f64>, label: Option<&str>, labels: &LabelsSpec) -> Option<Truth> {
    let number = || match label? {
        "true" => Some(1.0),
        "false" => Some(0.0),
        text => text.parse().ok(),
    };
    match &labels.task {
        LabelTask::Classes { names, .. } => {
            let label = label.map(|label| Scalar::Text(label.to_owned()));
            let scalar = label.or_else(|| value.map(Scalar::Number))?;
            class_of(names, &scalar).map(Truth::Class)
        }
        LabelTask::Value { .. } | LabelTask::Reward => {
            value.or_else(number).filter(|value| value.is_finite()).map(Truth::Value)
        }
    }
}

/// The slice that a prediction belongs to; `None` where it has none.
pub(super) fn slice(record: &PredictionRecord<'_>, source: &SliceSource) -> Option<String> {
    let at = |side: &Side<'_>, pointer: &JsonPointer| {
        let body: Value = serde_json::from_slice(&whole(side).ok()?).ok()?;
        let mut found = Vec::new();
        collect(&body, pointer.steps(), &mut found);
        found.into_iter().next().map(|scalar| match scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
        })
    };
    let name = match source {
        SliceSource::Session => Some(record.session.to_owned()),
        SliceSource::Field(FieldSource::Header(name)) => {
            let header = record.request.headers.iter().find(|(own, _)| own == name);
            header.map(|(_, value)| (*value).to_owned())
        }
        SliceSource::Field(FieldSource::Request(pointer)) => at(&record.request, pointer),
        SliceSource::Field(FieldSource::Response(pointer)) => at(&record.response, pointer),
    };
    name.filter(|name| !name.is_empty() && name.len() <= SLICE_BYTES_MAX)
}

/// The class that a value names: by its name, or else by its number from 0 on.
fn class_of(names: &[String], scalar: &Scalar) -> Option<u16> {
    let text = match scalar {
        Scalar::Text(text) => Cow::Borrowed(text.as_str()),
        Scalar::Number(number) => Cow::Owned(number.to_string()),
    };
    let by_name = names.iter().position(|name| *name == text);
    let class = by_name.or_else(|| text.parse().ok().filter(|class: &usize| *class < names.len()));
    class.and_then(|class| u16::try_from(class).ok())
}

/// The first of the most probable classes; of two with a positive one, by the threshold.
fn most_probable(shares: &[f64], positive: Option<u16>, threshold: f64) -> u16 {
    if let (Some(positive), [first, second]) = (positive, shares) {
        let share = if positive == 0 { first } else { second };
        return if *share >= threshold { positive } else { 1 - positive.min(1) };
    }
    let best = (0..).zip(shares).fold((0, f64::NEG_INFINITY), |best, (class, share)| {
        if *share > best.1 { (class, *share) } else { best }
    });
    best.0
}

/// The probability of each class.
fn shares(
    values: Vec<Scalar>,
    classes: usize,
    positive: Option<u16>,
) -> Result<Box<[f64]>, Unscored> {
    let share = |scalar: Scalar| match scalar {
        Scalar::Number(p) if (-SLACK..=1.0 + SLACK).contains(&p) => Ok(p.clamp(0.0, 1.0)),
        Scalar::Number(_) | Scalar::Text(_) => Err(Unscored::Probabilities),
    };
    let shares: Vec<f64> = values.into_iter().map(share).collect::<Result<_, _>>()?;
    match (shares.as_slice(), positive) {
        (all, _) if all.len() == classes => Ok(shares.into_boxed_slice()),
        // The probability of the positive class alone.
        ([p], Some(0)) if classes == 2 => Ok(Box::new([*p, 1.0 - p])),
        ([p], Some(_)) if classes == 2 => Ok(Box::new([1.0 - p, *p])),
        (all, _) if all.len() > classes && all.len().is_multiple_of(classes) => Err(Unscored::Rows),
        _ => Err(Unscored::Probabilities),
    }
}

fn one(values: Vec<Scalar>) -> Result<Scalar, Unscored> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Unscored::Rows),
        (None, _) => Err(Unscored::Output),
    }
}

/// The whole body.
fn whole<'a>(side: &Side<'a>) -> Result<Cow<'a, [u8]>, Unscored> {
    if side.omission.is_some() {
        return Err(Unscored::Omitted);
    }
    if !matches!(side.content_encoding, "" | "identity") {
        return Err(Unscored::Unreadable);
    }
    Ok(match side.body {
        Payload::Slice(bytes) => Cow::Borrowed(bytes),
        Payload::Chunks(chunks) => Cow::Owned(chunks.concat()),
    })
}

/// A response, read as far as it is asked.
struct Response<'r, 'a> {
    record: &'r PredictionRecord<'a>,
    body: Cow<'a, [u8]>,
    outputs: std::cell::OnceCell<Result<Vec<Tensor>, Unscored>>,
}

impl<'r, 'a> Response<'r, 'a> {
    fn new(record: &'r PredictionRecord<'a>) -> Result<Self, Unscored> {
        let body = whole(&record.response)?;
        Ok(Self { record, body, outputs: std::cell::OnceCell::new() })
    }

    /// The values of an output, or at a place of the body.
    fn values(&self, output: &OutputRef) -> Result<Vec<Scalar>, Unscored> {
        match output {
            OutputRef::Name(name) => {
                let output = self.outputs()?.iter().find(|output| output.name() == name);
                output.map(scalars).ok_or(Unscored::Output)
            }
            OutputRef::Pointer(pointer) => {
                let body: Value =
                    serde_json::from_slice(&self.body).map_err(|_| Unscored::Unreadable)?;
                let mut found = Vec::new();
                collect(&body, pointer.steps(), &mut found);
                if found.is_empty() { Err(Unscored::Output) } else { Ok(found) }
            }
        }
    }

    /// The first output with so many values.
    fn with_values(&self, count: usize) -> Option<Vec<Scalar>> {
        let outputs = self.outputs().ok()?;
        outputs.iter().find(|output| output.data().len() == count).map(scalars)
    }

    fn outputs(&self) -> Result<&[Tensor], Unscored> {
        let outputs = self.outputs.get_or_init(|| decode(self.record, &self.body));
        outputs.as_deref().map_err(|why| *why)
    }
}

fn decode(record: &PredictionRecord<'_>, body: &[u8]) -> Result<Vec<Tensor>, Unscored> {
    let dialect = match record.decision.protocol {
        Protocol::OpenInferenceRest => Dialect::OpenInference,
        Protocol::OpenInferenceGrpc => Dialect::OpenInferenceGrpc,
        Protocol::KserveV1 => Dialect::KserveV1,
        Protocol::TensorflowServing => Dialect::TensorflowServing,
        Protocol::Torchserve => Dialect::Torchserve,
        Protocol::Sagemaker => Dialect::Sagemaker,
        Protocol::Raw => return Err(Unscored::Unreadable),
    };
    let message = match (dialect, body) {
        // The frame of a message: not compressed, and a length of four bytes.
        (Dialect::OpenInferenceGrpc, [0, _, _, _, _, message @ ..]) => message,
        (_, body) => body,
    };
    let mut headers = HeaderMap::new();
    if let Ok(content_type) = HeaderValue::from_str(record.response.content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    let body = Body::new(dialect, &headers, [Bytes::copy_from_slice(message)]);
    let body = body.map_err(|_| Unscored::Unreadable)?;
    let target = Target::new(dialect, record.decision.model, Release::Any);
    let asked = Asked::default();
    let response = decode_response(&target, Operation::Infer, &asked, StatusCode::OK, &body);
    response.map(|response| response.outputs).map_err(|_| Unscored::Unreadable)
}

fn scalars(tensor: &Tensor) -> Vec<Scalar> {
    let text = |bytes: &Vec<u8>| Scalar::Text(String::from_utf8_lossy(bytes).into_owned());
    match tensor.data() {
        TensorData::Bytes(texts) => texts.iter().map(text).collect(),
        TensorData::Bool(flags) => {
            flags.iter().map(|flag| Scalar::Text(flag.to_string())).collect()
        }
        numbers => match numbers.clone().convert(Datatype::Fp64) {
            Ok(TensorData::Fp64(numbers)) => numbers.into_iter().map(Scalar::Number).collect(),
            Ok(_) | Err(_) => Vec::new(),
        },
    }
}

/// The values at a place, and in what is there, in order.
fn collect(value: &Value, steps: &[Step], found: &mut Vec<Scalar>) {
    match (steps.split_first(), value) {
        (Some((step, rest)), Value::Array(items)) => {
            for (_, item) in items.iter().enumerate().filter(|(at, _)| step.takes_index(*at)) {
                collect(item, rest, found);
            }
        }
        (Some((step, rest)), Value::Object(members)) => {
            for (_, member) in members.iter().filter(|(name, _)| step.takes_name(name)) {
                collect(member, rest, found);
            }
        }
        (None, Value::Array(items)) => items.iter().for_each(|item| collect(item, &[], found)),
        (None, Value::String(text)) => found.push(Scalar::Text(text.clone())),
        (None, Value::Number(number)) => found.extend(number.as_f64().map(Scalar::Number)),
        (None, Value::Bool(flag)) => found.push(Scalar::Text(flag.to_string())),
        _ => {}
    }
}
