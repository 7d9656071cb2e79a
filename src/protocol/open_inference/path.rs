//! Which operation a path asks for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a client calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call<'a> {
    /// `GET /v2/health/live`
    ServerLive,
    /// `GET /v2/health/ready`
    ServerReady,
    /// `GET /v2` or `/v2/`
    ServerMetadata,
    /// Everything below `/v2/models/{model}`.
    Model {
        /// The model's name, percent-decoded.
        model: Cow<'a, str>,
        /// The version's name, percent-decoded; `None` leaves the choice to the gateway.
        version: Option<Cow<'a, str>>,
        /// What is asked of it.
        operation: Operation,
    },
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `POST …/infer`
    Infer,
    /// `GET …`
    Metadata,
    /// `GET …/ready`
    Ready,
}

impl Call<'_> {
    /// The one method that the operation allows (`HEAD` goes where `GET` does).
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Model { operation: Operation::Infer, .. } => "POST",
            Self::ServerLive | Self::ServerReady | Self::ServerMetadata | Self::Model { .. } => {
                "GET"
            }
        }
    }
}

/// A path of this protocol with a name that no model can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A percent sign without two hex digits, or bytes that are not UTF-8.
    #[error("{what} name in the path is not valid percent-encoded UTF-8")]
    Encoding {
        /// `model` or `version`.
        what: &'static str,
    },
    /// A name that could mean another path.
    #[error("{what} name in the path contains a slash, a control character, or is \".\" or \"..\"")]
    Forbidden {
        /// `model` or `version`.
        what: &'static str,
    },
}

/// Reads a path without its query; `Ok(None)` when it is not of this protocol.
///
/// # Errors
/// When it is, and a name in it is refused.
pub fn parse_path(path: &str) -> Result<Option<Call<'_>>, PathError> {
    let Some(rest) = path.strip_prefix("/v2") else { return Ok(None) };
    let call = match rest {
        "" | "/" => Call::ServerMetadata,
        "/health/live" => Call::ServerLive,
        "/health/ready" => Call::ServerReady,
        _ => match rest.strip_prefix("/models/") {
            Some(rest) => return parse_model(rest),
            None => return Ok(None),
        },
    };
    Ok(Some(call))
}

/// `{model}[/versions/{version}][/infer|/ready]`
fn parse_model(rest: &str) -> Result<Option<Call<'_>>, PathError> {
    let mut segments = rest.split('/');
    let model = segments.next().unwrap_or_default();
    let mut operation = segments.next();
    let mut version = None;
    if operation == Some("versions") {
        version = segments.next();
        operation = segments.next();
        if version.is_none_or(str::is_empty) {
            return Ok(None);
        }
    }
    let operation = match operation {
        None => Operation::Metadata,
        Some("infer") => Operation::Infer,
        Some("ready") => Operation::Ready,
        Some(_) => return Ok(None),
    };
    if model.is_empty() || segments.next().is_some() {
        return Ok(None);
    }
    let model = decode_name("model", model)?;
    let version = version.map(|version| decode_name("version", version)).transpose()?;
    Ok(Some(Call::Model { model, version, operation }))
}

/// Decodes a name in a path.
///
/// # Errors
/// When it is not valid percent-encoding, or could mean another path.
pub(in crate::protocol) fn decode_name<'a>(
    what: &'static str,
    name: &'a str,
) -> Result<Cow<'a, str>, PathError> {
    let escapes = name.split('%').skip(1);
    let is_escape =
        |text: &str| text.len() >= 2 && text.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !escapes.into_iter().all(is_escape) {
        return Err(PathError::Encoding { what });
    }
    let decoded =
        percent_decode_str(name).decode_utf8().map_err(|_utf8| PathError::Encoding { what })?;
    let forbidden = decoded.chars().any(|c| c == '/' || c.is_control());
    if forbidden || decoded == "." || decoded == ".." {
        return Err(PathError::Forbidden { what });
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model<'a>(model: &'a str, version: Option<&'a str>, operation: Operation) -> Call<'a> {
        Call::Model { model: model.into(), version: version.map(Into::into), operation }
    }

    #[test]
    fn every_path_of_the_protocol_is_known() {
        let cases = [
            ("/v2", Call::ServerMetadata, "GET"),
            ("/v2/", Call::ServerMetadata, "GET"),
            ("/v2/health/live", Call::ServerLive, "GET"),
            ("/v2/health/ready", Call::ServerReady, "GET"),
            ("/v2/models/m", model("m", None, Operation::Metadata), "GET"),
            ("/v2/models/m/ready", model("m", None, Operation::Ready), "GET"),
            ("/v2/models/m/infer", model("m", None, Operation::Infer), "POST"),
            ("/v2/models/m/versions/1", model("m", Some("1"), Operation::Metadata), "GET"),
            ("/v2/models/m/versions/v1/ready", model("m", Some("v1"), Operation::Ready), "GET"),
            ("/v2/models/m/versions/v1/infer", model("m", Some("v1"), Operation::Infer), "POST"),
            (
                "/v2/models/m%2Ex/versions/v%31",
                model("m.x", Some("v1"), Operation::Metadata),
                "GET",
            ),
            ("/v2/models/%C3%A9", model("é", None, Operation::Metadata), "GET"),
        ];
        for (path, call, method) in cases {
            assert_eq!(call.method(), method, "{path}");
            assert_eq!(parse_path(path), Ok(Some(call)), "{path}");
        }
    }

    #[test]
    fn other_paths_are_left_to_the_routes() {
        let paths = [
            "",
            "/",
            "/v1/models/m",
            "/v2x",
            "/v2/models",
            "/v2/models/",
            "/v2/nothere",
            "/v2/health",
            "/v2/models/m/",
            "/v2/models/m/infer/",
            "/v2/models/m/versions",
            "/v2/models/m/versions/",
            "/v2/models/m/versions//infer",
            "/v2/models//infer",
            "/v2/models/m/infer/x",
            "/v2/models/m/versions/1/versions/2",
            "//v2",
            "/V2/health/live",
        ];
        for path in paths {
            assert_eq!(parse_path(path), Ok(None), "{path}");
        }
    }

    #[test]
    fn names_that_could_mean_another_path_are_refused() {
        for name in ["a%2Fb", "%2e%2e", "%2E", "..", "a%00", "a%0d%0a", "%7f"] {
            let path = format!("/v2/models/{name}/infer");
            assert_eq!(parse_path(&path), Err(PathError::Forbidden { what: "model" }), "{path}");
        }
        for name in ["%", "%2", "%zz", "%ff", "a%+1"] {
            let path = format!("/v2/models/m/versions/{name}/infer");
            assert_eq!(parse_path(&path), Err(PathError::Encoding { what: "version" }), "{path}");
        }
    }
}
