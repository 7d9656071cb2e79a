//! What a client asks, in whichever dialect, and how its answer is written.
//!
//! Owns reading a body whole and plain for whoever must look inside: a model in this process, or the
//! translation for a backend that speaks something else. Never chooses who answers.

use bytes::Bytes;
use http::header::{ACCEPT, EXPECT};
use http::{HeaderMap, Response};
use hyper::body::Incoming;

use super::body::skip;
use super::coding::{Accepted, Coding, deflate};
use super::exchange::Exchange;
use super::held::{Holding, Room};
use super::offload::inflated;
use super::problem::{Cause, Problem};
use super::remote::read_whole;
use crate::protocol::dialect::{
    self, Body, Call, Dialect, EncodeError, Operation, Pieces, Release, RequestError, Terms,
    decode_request, encode_response, swelling,
};
use crate::protocol::infer::{InferRequest, InferResponse, Parameter};
use crate::protocol::open_inference::OutputForms;
use crate::protocol::shown::shortened;
use crate::protocol::status::FailureKind;
use crate::protocol::untyped::WriteError;

/// TensorFlow Serving's word for the function of a model that is asked for, and what names the only one.
const SIGNATURE_NAME: &str = "signature_name";
const SIGNATURES: [&str; 2] = ["", "serving_default"];
/// The longest body whose tensors are not weighed: however small their elements are, they take no more than
/// what every exchange has for itself.
const SWELLING_BYTES_MIN: usize = 1024;

/// A request for a prediction.
pub(super) struct Asked {
    call: Call<'static>,
    /// What is needed of them beside the body.
    headers: HeaderMap,
    /// How the answer may be coded.
    accepted: Accepted,
    body: Body,
    length: usize,
    /// Where its tensors find room, unless they are too few to be weighed.
    room: Option<Room>,
}

/// How the answer is written.
pub(super) struct Form {
    form: dialect::Form,
    accepted: Accepted,
    /// Which outputs are wanted as classes, where the client speaks gRPC.
    classes: Option<OutputForms>,
    /// What the tensors of the request take.
    _holding: Holding,
}

const fn prediction(dialect: Dialect, operation: Operation) -> Call<'static> {
    Call { dialect, model: None, release: Release::Any, operation }
}

impl Asked {
    /// Reads the body of a request over REST, decoded.
    pub(super) async fn read(
        exchange: &mut Exchange,
        (dialect, operation): (Dialect, Operation),
        headers: &HeaderMap,
        incoming: Incoming,
    ) -> Result<Self, Problem> {
        if let Err(problem) = Coding::of_body(headers) {
            if !headers.contains_key(EXPECT) {
                skip(exchange, incoming).await;
            }
            return Err(problem);
        }
        let pieces = read_whole(exchange, incoming).await?;
        Self::whole(exchange, (dialect, operation), headers, pieces).await
    }

    /// A body over REST that is here, decoded.
    pub(super) async fn whole(
        exchange: &mut Exchange,
        (dialect, operation): (Dialect, Operation),
        headers: &HeaderMap,
        pieces: super::body::Pieces,
    ) -> Result<Self, Problem> {
        let coding = Coding::of_body(headers)?;
        let pieces = match coding {
            Coding::Identity => pieces,
            Coding::Gzip | Coding::Deflate => {
                let plain = inflated(exchange, coding, pieces.concat().into()).await?;
                exchange.hold(plain.len())?;
                std::iter::once(plain).collect()
            }
        };
        let length = pieces.iter().map(Bytes::len).sum();
        let body = Body::new(dialect, headers, pieces)
            .map_err(|error| Problem::new(Cause::BadInput, error.to_string()))?;
        // The Open Inference Protocol says everything with the body.
        let kept = match (dialect, headers.get(ACCEPT)) {
            (Dialect::OpenInference, _) | (_, None) => HeaderMap::new(),
            (_, Some(accept)) => HeaderMap::from_iter([(ACCEPT, accept.clone())]),
        };
        let (call, accepted) = (prediction(dialect, operation), Accepted::of(headers)?);
        let room = room_for(exchange, length);
        Ok(Self { call, headers: kept, accepted, body, length, room })
    }

    /// A message of gRPC.
    pub(super) fn message(exchange: &Exchange, message: Bytes) -> Result<Self, Problem> {
        let length = message.len();
        let headers = HeaderMap::new();
        let body = Body::new(Dialect::OpenInferenceGrpc, &headers, [message])
            .map_err(|error| Problem::new(Cause::BadInput, error.to_string()))?;
        let call = prediction(Dialect::OpenInferenceGrpc, Operation::Infer);
        let (accepted, room) = (Accepted::PLAIN, room_for(exchange, length));
        Ok(Self { call, headers, accepted, body, length, room })
    }

    /// What the client speaks.
    pub(super) fn dialect(&self) -> Dialect {
        self.call.dialect
    }

    /// The JSON of the body, or its message.
    pub(super) fn head(&self) -> &[u8] {
        self.body.bytes()
    }

    /// The length of the body.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Refuses a signature of TensorFlow Serving other than the only one that a model has here.
    pub(super) fn check_signature(&self, request: &InferRequest<'_>) -> Result<(), Problem> {
        if !matches!(self.call.dialect, Dialect::TensorflowServing | Dialect::KserveV1) {
            return Ok(());
        }
        let named = request.parameters.iter().find(|(name, _)| name == SIGNATURE_NAME);
        match named {
            Some((_, Parameter::String(name))) if !SIGNATURES.contains(&name.as_ref()) => {
                let shown = shortened(name);
                let detail = format!("there is no signature {shown:?}, only \"serving_default\"");
                Err(Problem::new(Cause::BadInput, detail))
            }
            _ => Ok(()),
        }
    }

    /// Reads what is asked.
    pub(super) fn decode(&self, terms: &Terms<'_>) -> Result<(InferRequest<'_>, Form), Problem> {
        let held = match &self.room {
            Some(room) => {
                let weighed = swelling(self.call.dialect, &self.body, terms);
                room.take(weighed.map_err(|error| unreadable(error.into()))?)?
            }
            None => Holding::default(),
        };
        let decoded =
            decode_request(&self.call, &self.headers, &self.body, terms).map_err(unreadable)?;
        let classes = match self.call.dialect {
            Dialect::OpenInferenceGrpc => {
                let forms = OutputForms::of(&decoded.request);
                Some(forms.map_err(|error| Problem::new(Cause::BadInput, error.to_string()))?)
            }
            _ => None,
        };
        let form = Form { form: decoded.form, accepted: self.accepted, classes, _holding: held };
        Ok((decoded.request, form))
    }
}

impl Form {
    /// Leaves the making of classes to whoever answers, as it knows their names.
    pub(super) fn leave_classes(&mut self) {
        self.form.leave_classes();
        self.classes = None;
    }

    /// What the answer is read by.
    pub(super) fn wanted(&self, request: &InferRequest<'_>) -> dialect::Asked {
        dialect::Asked::in_form(request, &self.form)
    }

    /// Writes an answer. `labels` are the names of the classes of an output, where they are known.
    pub(super) fn encode<'l>(
        &self,
        mut response: InferResponse<'_>,
        labels: impl Fn(&str) -> &'l [String],
    ) -> Result<Response<Bytes>, Problem> {
        if let Some(classes) = &self.classes {
            let classified = classes.classify(&mut response, &labels);
            classified.map_err(|error| unwritten(error.into()))?;
        }
        let response = encode_response(&self.form, response, labels).map_err(unwritten)?;
        let (mut head, body) = joined(response).into_parts();
        let body = deflate(self.accepted, body, &mut head.headers);
        Ok(Response::from_parts(head, body))
    }
}

/// Where the tensors of a body find room; short bodies do not ask for any.
fn room_for(exchange: &Exchange, length: usize) -> Option<Room> {
    (length > SWELLING_BYTES_MIN).then(|| exchange.room())
}

/// A response in one piece; most have one.
pub(super) fn joined(response: Response<Pieces>) -> Response<Bytes> {
    response.map(|mut pieces| match pieces.len() {
        1 => pieces.remove(0),
        _ => pieces.concat().into(),
    })
}

/// Why an answer has no form: the client asks for one that the answer cannot have, or it is the model's doing.
fn unwritten(error: EncodeError) -> Problem {
    let cause = if error.is_wish() { Cause::BadInput } else { Cause::NoForm };
    let hint = match &error {
        EncodeError::Values(WriteError::Scalar { .. } | WriteError::Rows { .. }) => {
            "; ask with \"inputs\" instead of rows where the dialect has it, or with the Open Inference Protocol"
        }
        _ => "",
    };
    Problem::new(cause, format!("{error}{hint}"))
}

/// What is wrong with a body that cannot be read.
fn unreadable(error: RequestError) -> Problem {
    let detail = error.to_string();
    match (&error, error.failure_kind()) {
        (RequestError::Media(_), _) => Problem::new(Cause::Media, detail),
        (RequestError::NotAcceptable, _) => Problem::new(Cause::NotAcceptable, detail),
        (_, FailureKind::Unimplemented) => Problem::new(Cause::Unsupported, detail),
        (_, FailureKind::Malformed) => Problem::unreadable(detail),
        _ => Problem::new(Cause::BadInput, detail),
    }
}
