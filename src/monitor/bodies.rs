//! Values from the bodies of an exchange, by the dialect that its client speaks.
//!
//! Owns the way from bytes to values where no tensor was at hand: for proxied versions, and for both kinds
//! when the prediction log is counted again. Bodies of versions in this process are read by the codecs
//! and the model's signature, as they were when they were served, so that the same values come out. Bodies
//! of proxied versions in JSON are read leniently, so that what is missing or of the wrong type is counted
//! and not refused. Never keeps a body.

mod answers;
mod json;

use std::io::Read;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value as Json;

pub(super) use self::answers::{Answered, json_of};
pub(super) use self::json::cell;
use super::about::About;
use super::plan::{TensorAbout, Tensors, place};
use super::values::{Cell, Part, Values};
use super::waiting::{Content, Waiting};
use crate::domain::dialect::Dialect;
use crate::domain::record::Protocol;
use crate::domain::stats::layout::Role;
use crate::domain::stats::window::Unseen;
use crate::protocol::dialect::{
    Asked, Body, Call, Operation, Release, Signature, Target, Terms, decode_request,
    decode_response, parse_path,
};
use crate::protocol::grpc::FrameReader;
use crate::protocol::open_inference::HEAD_LENGTH_HEADER;
use crate::protocol::tensor::Tensor;

/// The longest body that is looked into.
const BODY_BYTES_MAX: usize = 32 << 20;
/// The most bytes that a compressed body may become: JSON of numbers takes many times as much once it is read.
const UNPACKED_BYTES_MAX: usize = 4 << 20;
/// The most tensors of one role that are told apart.
const TENSORS_MAX: usize = 1024;
/// The most of them that no baseline has.
const UNWANTED_MAX: usize = 512;
/// The longest name of a tensor; features are named after it, and a bit longer.
const TENSOR_NAME_BYTES_MAX: usize = 224;

/// What was found under one name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) width: usize,
    /// Row by row.
    pub(super) cells: Vec<Cell>,
}

/// Takes the values out of the bodies of an exchange with a version in this process.
///
/// # Errors
///
/// When they cannot be read.
pub(super) fn of_tensors(waiting: &Waiting, about: &About) -> Result<Values, Unseen> {
    let (inputs, outputs) = tensors(waiting, about)?;
    let mut values = Values::default();
    let position = |specs: &[crate::protocol::tensor::TensorSpec], name: &str| {
        specs.iter().position(|spec| spec.name == name)
    };
    values.read(Role::Input, &inputs, |name| position(&about.inputs, name));
    // Dialects that do not name outputs have one.
    let only = (about.outputs.len() == 1).then_some(0);
    values.read(Role::Output, &outputs, |name| position(&about.outputs, name).or(only));
    if values.is_empty() { Err(Unseen::Unreadable) } else { Ok(values) }
}

/// Takes the values out of the bodies of an exchange with a proxied version. What it finds that was not
/// known is added to `known`, as far as it `is_wanted` or there is room; tells whether anything was.
///
/// # Errors
///
/// When they cannot be read.
pub(super) fn of_bodies(
    waiting: &Waiting,
    about: &About,
    known: &mut Tensors,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Result<(Values, bool), Unseen> {
    let found = found(waiting, about)?;
    let mut values = Values::default();
    let mut grown = false;
    for (role, found) in [Role::Input, Role::Output].into_iter().zip(found) {
        for one in found {
            let Some((number, new)) = note(&mut known[place(role)], &one, is_wanted) else {
                continue;
            };
            grown |= new;
            values.parts.push(Part::of_cells(role, number, one.width, one.cells));
        }
    }
    if values.is_empty() { Err(Unseen::Unreadable) } else { Ok((values, grown)) }
}

/// The outputs of an exchange, whoever answered it.
///
/// # Errors
///
/// When they cannot be read.
pub(super) fn outputs(waiting: &Waiting, about: &About) -> Result<Vec<Found>, Unseen> {
    found(waiting, about).map(|[_, outputs]| outputs)
}

/// Inputs and outputs, where they are declared to be or where the dialect has them.
fn found(waiting: &Waiting, about: &About) -> Result<[Vec<Found>; 2], Unseen> {
    if about.features.is_empty() && about.predictions.is_empty() {
        by_dialect(waiting, about)
    } else {
        by_pointers(waiting, about)
    }
}

/// The number of a tensor, and whether anything about it is new. `None` where there are too many.
fn note(
    known: &mut Vec<TensorAbout>,
    found: &Found,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Option<(u16, bool)> {
    let has_room = |known: &[TensorAbout]| {
        let len = known.len();
        let is_name = (1..=TENSOR_NAME_BYTES_MAX).contains(&found.name.len());
        let fits = is_name && len < TENSORS_MAX;
        // Whoever sends what nobody wants must not take the places of what a baseline has.
        fits && (len < UNWANTED_MAX || is_wanted(&found.name))
    };
    let at = known.iter().position(|about| about.name == found.name);
    let at = match at {
        Some(at) => at,
        None if has_room(known) => {
            known.push(TensorAbout { name: found.name.clone(), ..TensorAbout::default() });
            known.len() - 1
        }
        None => return None,
    };
    let about = known.get_mut(at)?;
    let mut new = false;
    if about.width.is_none() {
        (about.width, new) = (Some(found.width), true);
    }
    if about.columns.is_empty() && !found.columns.is_empty() {
        about.columns.clone_from(&found.columns);
        new = true;
    }
    Some((u16::try_from(at).ok()?, new))
}

/// By JSON pointers that are declared. A side without any is read by the dialect.
fn by_pointers(waiting: &Waiting, about: &About) -> Result<[Vec<Found>; 2], Unseen> {
    let mut found = match (about.features.is_empty(), about.predictions.is_empty()) {
        (false, false) => Default::default(),
        _ => by_dialect(waiting, about)?,
    };
    let sides = [(&about.features, &waiting.request), (&about.predictions, &waiting.response)];
    for (found, (pointers, content)) in found.iter_mut().zip(sides) {
        if !pointers.is_empty() {
            let (body, _) = split(&plain(content)?).ok_or(Unseen::Unreadable)?;
            *found = pointers.iter().map(|(name, at)| json::at(&body, name, at)).collect();
        }
    }
    Ok(found)
}

/// What the client's dialect says.
fn by_dialect(waiting: &Waiting, about: &About) -> Result<[Vec<Found>; 2], Unseen> {
    let dialect = dialect_of(waiting.protocol, about);
    if dialect != Dialect::OpenInferenceGrpc {
        let (request, response) = (plain(&waiting.request)?, plain(&waiting.response)?);
        if let (Some((request, 0)), Some((response, 0))) = (split(&request), split(&response)) {
            let raw = about.extractors.as_ref().filter(|_| dialect == Dialect::Raw);
            return Ok([json::inputs(&request, raw), json::outputs(&response, raw)]);
        }
    }
    let (inputs, outputs) = tensors(waiting, about)?;
    let found = |tensors: Vec<Tensor>| tensors.iter().map(json::of_tensor).collect();
    Ok([found(inputs), found(outputs)])
}

/// The JSON at the beginning of a body, and how many bytes come after it.
fn split(body: &[u8]) -> Option<(Json, usize)> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Json>();
    let json = values.next()?.ok()?;
    let rest = body.get(values.byte_offset()..).unwrap_or_default();
    Some((json, rest.trim_ascii_start().len()))
}

fn dialect_of(protocol: Protocol, about: &About) -> Dialect {
    match protocol {
        Protocol::OpenInferenceRest => Dialect::OpenInference,
        Protocol::OpenInferenceGrpc => Dialect::OpenInferenceGrpc,
        Protocol::KserveV1 => Dialect::KserveV1,
        Protocol::TensorflowServing => Dialect::TensorflowServing,
        Protocol::Torchserve => Dialect::Torchserve,
        Protocol::Sagemaker => Dialect::Sagemaker,
        Protocol::Raw if about.is_local => Dialect::OpenInference,
        Protocol::Raw => about.dialect.unwrap_or(Dialect::Raw),
    }
}

/// Reads both bodies by the codecs.
fn tensors(waiting: &Waiting, about: &About) -> Result<(Vec<Tensor>, Vec<Tensor>), Unseen> {
    let dialect = dialect_of(waiting.protocol, about);
    let operation = match parse_path(&waiting.path) {
        Ok(Some(call)) if call.operation.is_inference() => call.operation,
        Ok(_) | Err(_) => Operation::Infer,
    };
    let call = Call { dialect, model: None, release: Release::Any, operation };
    let declared = !about.inputs.is_empty();
    let signature =
        declared.then_some(Signature { inputs: &about.inputs, outputs: &about.outputs });
    let terms = Terms { signature, extractors: about.extractors.as_ref() };
    let (body, headers) = body_of(dialect, &waiting.request)?;
    let decoded =
        decode_request(&call, &headers, &body, &terms).map_err(|_bad| Unseen::Unreadable)?;
    let target = Target { terms, ..Target::new(dialect, "", Release::Any) };
    let asked = Asked::of(&decoded.request);
    let (body, _) = body_of(dialect, &waiting.response)?;
    let answer = decode_response(&target, operation, &asked, StatusCode::OK, &body);
    let answer = answer.map_err(|_bad| Unseen::Unreadable)?;
    Ok((decoded.request.inputs, answer.outputs))
}

/// A body as the codecs take it, with what its headers say.
fn body_of(dialect: Dialect, content: &Content) -> Result<(Body, HeaderMap), Unseen> {
    let mut bytes = plain(content)?;
    let mut headers = HeaderMap::new();
    if let Some(content_type) = &content.content_type {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    if dialect == Dialect::OpenInferenceGrpc {
        bytes = message(bytes).ok_or(Unseen::Unreadable)?;
    } else if dialect == Dialect::OpenInference
        && let Some((_, rest @ 1..)) = split(&bytes)
    {
        // Records do not have the header that says where the JSON ends.
        let head = bytes.len() - rest;
        headers.insert(HEAD_LENGTH_HEADER, HeaderValue::from(head));
    }
    let body = Body::new(dialect, &headers, [bytes]).map_err(|_bad| Unseen::Unreadable)?;
    Ok((body, headers))
}

/// The only message of a body of gRPC.
fn message(body: Bytes) -> Option<Bytes> {
    let mut reader = FrameReader::new(BODY_BYTES_MAX);
    reader.push(body);
    let frame = reader.next_frame().ok()??;
    if reader.next_frame().ok()?.is_some() {
        return None;
    }
    if frame.compressed { inflated(&frame.payload) } else { Some(frame.payload) }
}

/// A compressed message. Records do not have the header that names its coding, but gzip and zlib name themselves.
fn inflated(payload: &[u8]) -> Option<Bytes> {
    match payload {
        [0x1f, 0x8b, ..] => unpack(MultiGzDecoder::new(payload)),
        _ => unpack(ZlibDecoder::new(payload)),
    }
}

/// What a decoder gives, unless that is too much.
fn unpack(decoder: impl Read) -> Option<Bytes> {
    let mut out = Vec::new();
    decoder.take(UNPACKED_BYTES_MAX as u64 + 1).read_to_end(&mut out).ok()?;
    (out.len() <= UNPACKED_BYTES_MAX).then(|| out.into())
}

/// A body without its coding.
fn plain(content: &Content) -> Result<Bytes, Unseen> {
    let whole = match content.body.as_slice() {
        [] => Bytes::new(),
        [one] => one.clone(),
        several => several.concat().into(),
    };
    let coding = content.content_encoding.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
    let read = match coding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Some(whole),
        b"gzip" | b"x-gzip" => unpack(MultiGzDecoder::new(&*whole)),
        b"deflate" => unpack(ZlibDecoder::new(&*whole)),
        _ => None,
    };
    read.ok_or(Unseen::Unreadable)
}

#[cfg(test)]
mod tests;
