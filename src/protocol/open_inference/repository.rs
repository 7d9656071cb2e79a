//! The model repository extension: what there is, and the bodies that load and unload.
//!
//! Owns the index and the parameters of loading. Never loads anything, and takes no files: a model that
//! comes within a request would be code from whoever may send one.

use super::encode::separated;
use crate::protocol::json::{DecodeError, DecodeErrorKind, Reader, Token, write_string};
use crate::protocol::open_inference::grpc::ModelIndex;

/// What `POST …/index` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexRequest {
    /// Only what is ready.
    pub ready: bool,
}

/// What `POST …/load` and `POST …/unload` ask for besides the model's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// A configuration in JSON that replaces the model's own.
    pub config: Option<String>,
    /// Whether what depends on the model is unloaded too.
    pub unload_dependents: bool,
}

/// The states of a version in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are Triton's")]
pub enum IndexState {
    Unknown,
    Ready,
    Unavailable,
    Loading,
    Unloading,
}

impl IndexState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Ready => "READY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Loading => "LOADING",
            Self::Unloading => "UNLOADING",
        }
    }
}

/// Decodes the body of `POST …/index`; an empty one asks for everything.
///
/// # Errors
/// When it is neither empty nor a request of this protocol.
pub fn decode_index_request(body: &[u8]) -> Result<IndexRequest, DecodeError> {
    let mut request = IndexRequest::default();
    object(body, |reader, key| match key {
        "ready" => {
            request.ready = reader.boolean()?;
            Ok(())
        }
        _ => reader.skip(),
    })?;
    Ok(request)
}

/// Decodes the body of `POST …/load` or `POST …/unload`; an empty one asks for nothing special.
///
/// # Errors
/// When it is neither empty nor a request of this protocol, or brings files.
pub fn decode_load_request(body: &[u8]) -> Result<LoadRequest, DecodeError> {
    let mut request = LoadRequest::default();
    object(body, |reader, key| {
        if key != "parameters" {
            return reader.skip();
        }
        reader.object(|reader, key| {
            let start = reader.offset();
            match (key, reader.peek()?) {
                ("config", Token::String) => request.config = Some(reader.string()?.into_owned()),
                ("config", _) => return Err(wrong(start, "config", "a string of JSON")),
                ("unload_dependents", Token::Boolean) => {
                    request.unload_dependents = reader.boolean()?;
                }
                ("unload_dependents", _) => {
                    return Err(wrong(start, "unload_dependents", "true or false"));
                }
                _ if key.starts_with("file:") => {
                    let files = "models are not taken from requests; put the file into the models' directory";
                    return Err(DecodeError::new(start, DecodeErrorKind::Unsupported(files)));
                }
                _ => reader.skip()?,
            }
            Ok(())
        })
    })?;
    Ok(request)
}

fn wrong(start: usize, name: &'static str, expected: &'static str) -> DecodeError {
    DecodeError::new(start, DecodeErrorKind::WrongParameter(name, expected))
}

/// Reads a body that may be empty.
fn object(
    body: &[u8],
    member: impl FnMut(&mut Reader<'_>, &str) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(body);
    reader.object(member)?;
    reader.end()
}

/// Encodes the answer to `POST …/index`: one entry a version, in their order.
pub fn encode_index(models: &[ModelIndex]) -> Vec<u8> {
    let mut out = b"[".to_vec();
    separated(&mut out, models.iter(), |out, model| {
        out.extend_from_slice(b"{\"name\":");
        write_string(out, &model.name);
        for (key, value) in
            [("version", &model.version), ("state", &model.state), ("reason", &model.reason)]
        {
            if !value.is_empty() {
                out.push(b',');
                write_string(out, key);
                out.push(b':');
                write_string(out, value);
            }
        }
        out.push(b'}');
    });
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_byte_for_byte_that_of_triton() {
        let version = |version: &str, reason: &str| ModelIndex {
            name: "ident".into(),
            version: version.into(),
            state: IndexState::Ready.as_str().into(),
            reason: reason.into(),
        };
        assert_eq!(
            encode_index(&[version("1", ""), version("3", "")]),
            br#"[{"name":"ident","version":"1","state":"READY"},{"name":"ident","version":"3","state":"READY"}]"#
        );
        assert_eq!(
            encode_index(&[version("1", "why")]),
            br#"[{"name":"ident","version":"1","state":"READY","reason":"why"}]"#
        );
        assert_eq!(encode_index(&[]), b"[]");
    }

    #[test]
    fn bodies_may_be_empty() {
        assert_eq!(decode_index_request(b""), Ok(IndexRequest { ready: false }));
        assert_eq!(decode_index_request(b"{}"), Ok(IndexRequest { ready: false }));
        assert_eq!(
            decode_index_request(br#"{"ready":true,"x":[]}"#),
            Ok(IndexRequest { ready: true })
        );
        assert_eq!(decode_load_request(b" \n"), Ok(LoadRequest::default()));
        let body = br#"{"parameters":{"config":"{}","unload_dependents":true,"other":1}}"#;
        let request = LoadRequest { config: Some("{}".into()), unload_dependents: true };
        assert_eq!(decode_load_request(body), Ok(request));
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_its_place() {
        let message =
            |body: &str| decode_load_request(body.as_bytes()).expect_err(body).to_string();
        assert!(
            message(r#"{"parameters":{"config":{}}}"#).contains("/parameters/config: parameter")
        );
        assert!(
            message(r#"{"parameters":{"file:1/model.onnx":"eA=="}}"#).contains("not taken from")
        );
        assert!(message("{} x").contains("after the end"));
        assert!(message("[]").contains("an array where an object"));
        let error = decode_index_request(br#"{"ready":1}"#).expect_err("a number");
        assert_eq!(error.pointer(), "/ready");
    }
}
