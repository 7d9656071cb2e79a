//! Which operation a path asks for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

/// What a client calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call<'a> {
    /// `GET /v2/health/live`
    ServerLive,
    /// `GET /v2/health/ready`
    ServerReady,
    /// `GET /v2` or `/v2/`
    ServerMetadata,
    /// `GET /v2/models`, KServe's list of names
    ModelList,
    /// `GET /v2/models/stats`: the statistics of all models, which hides those of a model named `stats`
    Statistics,
    /// `POST /v2/repository[/{repository}]/index`
    RepositoryIndex,
    /// `POST /v2/repository[/{repository}]/models/{model}/load` or `/unload`
    Repository {
        /// The model's name, percent-decoded.
        model: Cow<'a, str>,
        /// What is to be done with it.
        action: RepositoryAction,
    },
    /// Everything below `/v2/models/{model}`.
    Model {
        /// The model's name, percent-decoded.
        model: Cow<'a, str>,
        /// The version's name, percent-decoded; `None` leaves the choice to the gateway.
        version: Option<Cow<'a, str>>,
        /// What is asked of it.
        operation: Operation,
    },
    /// A path of an extension that concerns one process, which this gateway does not offer.
    NotOffered(NotOffered),
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
    /// `GET …/config`
    Config,
    /// `GET …/stats`
    Statistics,
    /// `POST …/generate`
    Generate,
    /// `POST …/generate_stream`
    GenerateStream,
}

/// What is to be done with a model of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryAction {
    /// Load it, or load it again.
    Load,
    /// Stop answering from it.
    Unload,
}

/// Triton's extensions that are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOffered {
    /// `/v2/systemsharedmemory/…`, `/v2/cudasharedmemory/…`
    SharedMemory,
    /// `/v2/trace/setting`, `/v2/models/{model}/trace/setting`
    Trace,
    /// `/v2/logging`
    Logging,
}

impl NotOffered {
    /// What a path of the gRPC service asks for, if it is one of these.
    pub fn of_call(path: &str) -> Option<Self> {
        match path.strip_prefix("/inference.GRPCInferenceService/")? {
            "TraceSetting" => Some(Self::Trace),
            "LogSettings" => Some(Self::Logging),
            call if call.contains("SharedMemory") => Some(Self::SharedMemory),
            _ => None,
        }
    }

    /// Why, and what to do instead.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::SharedMemory => {
                "shared memory does not reach across hosts; send the data in the request, the binary \
                 tensor data extension is offered"
            }
            Self::Trace => {
                "trace settings are not offered over this protocol; the gateway passes traceparent on"
            }
            Self::Logging => {
                "log settings are not offered over this protocol; they stand in the configuration"
            }
        }
    }
}

impl Call<'_> {
    /// The one method that the operation allows (`HEAD` goes where `GET` does). Any method will do for
    /// what is not offered.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Model {
                operation: Operation::Infer | Operation::Generate | Operation::GenerateStream,
                ..
            }
            | Self::Repository { .. }
            | Self::RepositoryIndex => "POST",
            Self::ServerLive
            | Self::ServerReady
            | Self::ServerMetadata
            | Self::ModelList
            | Self::Statistics
            | Self::NotOffered(_)
            | Self::Model {
                operation:
                    Operation::Metadata | Operation::Ready | Operation::Config | Operation::Statistics,
                ..
            } => "GET",
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
    Ok(Some(match rest {
        "" | "/" => Call::ServerMetadata,
        "/health/live" => Call::ServerLive,
        "/health/ready" => Call::ServerReady,
        "/models" => Call::ModelList,
        "/models/stats" => Call::Statistics,
        "/logging" => Call::NotOffered(NotOffered::Logging),
        "/trace/setting" => Call::NotOffered(NotOffered::Trace),
        _ => {
            if let Some(rest) = rest.strip_prefix("/models/") {
                return parse_model(rest);
            }
            if let Some(rest) = rest.strip_prefix("/repository/") {
                return parse_repository(rest);
            }
            let memory = ["/systemsharedmemory/", "/cudasharedmemory/"];
            if !memory.iter().any(|prefix| rest.starts_with(prefix)) {
                return Ok(None);
            }
            Call::NotOffered(NotOffered::SharedMemory)
        }
    }))
}

/// `{model}[/versions/{version}][/infer|/ready|…]`
fn parse_model(rest: &str) -> Result<Option<Call<'_>>, PathError> {
    let (model, rest) = split(rest);
    let (version, operation) = match rest.and_then(|rest| rest.strip_prefix("versions/")) {
        Some(rest) => {
            let (version, operation) = split(rest);
            (Some(version), operation)
        }
        None => (None, rest),
    };
    let operation = match operation {
        None => Operation::Metadata,
        Some("infer") => Operation::Infer,
        Some("ready") => Operation::Ready,
        Some("config") => Operation::Config,
        Some("stats") => Operation::Statistics,
        Some("generate") => Operation::Generate,
        Some("generate_stream") => Operation::GenerateStream,
        Some("trace/setting") => return Ok(Some(Call::NotOffered(NotOffered::Trace))),
        Some(_) => return Ok(None),
    };
    if model.is_empty() || version.is_some_and(str::is_empty) {
        return Ok(None);
    }
    let model = decode_name("model", model)?;
    let version = version.map(|version| decode_name("version", version)).transpose()?;
    Ok(Some(Call::Model { model, version, operation }))
}

/// The text up to the first slash, and what is behind it if there is one.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(front, back)| (front, Some(back)))
}

/// `[{repository}/]index`, `[{repository}/]models/{model}/load|unload`. There is one repository here,
/// whatever it is called.
fn parse_repository(rest: &str) -> Result<Option<Call<'_>>, PathError> {
    let segments: SmallVec<[&str; 5]> = rest.split('/').collect();
    let (model, action) = match *segments {
        ["index"] | [_, "index"] => return Ok(Some(Call::RepositoryIndex)),
        ["models", model, action] | [_, "models", model, action] => (model, action),
        _ => return Ok(None),
    };
    let action = match action {
        "load" => RepositoryAction::Load,
        "unload" => RepositoryAction::Unload,
        _ => return Ok(None),
    };
    if model.is_empty() {
        return Ok(None);
    }
    Ok(Some(Call::Repository { model: decode_name("model", model)?, action }))
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

    fn repository(model: &str, action: RepositoryAction) -> Call<'_> {
        Call::Repository { model: model.into(), action }
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
            ("/v2/models/m/config", model("m", None, Operation::Config), "GET"),
            ("/v2/models/m/stats", model("m", None, Operation::Statistics), "GET"),
            ("/v2/models/m/versions/1/config", model("m", Some("1"), Operation::Config), "GET"),
            ("/v2/models/m/versions/1/stats", model("m", Some("1"), Operation::Statistics), "GET"),
            ("/v2/models/m/generate", model("m", None, Operation::Generate), "POST"),
            (
                "/v2/models/m/versions/1/generate_stream",
                model("m", Some("1"), Operation::GenerateStream),
                "POST",
            ),
            ("/v2/models", Call::ModelList, "GET"),
            ("/v2/models/stats", Call::Statistics, "GET"),
            ("/v2/models/stats/infer", model("stats", None, Operation::Infer), "POST"),
            ("/v2/repository/index", Call::RepositoryIndex, "POST"),
            ("/v2/repository/store/index", Call::RepositoryIndex, "POST"),
            ("/v2/repository/models/m/load", repository("m", RepositoryAction::Load), "POST"),
            (
                "/v2/repository/s/models/%6d/unload",
                repository("m", RepositoryAction::Unload),
                "POST",
            ),
            ("/v2/logging", Call::NotOffered(NotOffered::Logging), "GET"),
            ("/v2/trace/setting", Call::NotOffered(NotOffered::Trace), "GET"),
            ("/v2/models/m/trace/setting", Call::NotOffered(NotOffered::Trace), "GET"),
            (
                "/v2/systemsharedmemory/region/r/register",
                Call::NotOffered(NotOffered::SharedMemory),
                "GET",
            ),
            ("/v2/cudasharedmemory/status", Call::NotOffered(NotOffered::SharedMemory), "GET"),
            ("/v2/models/%C3%A9", model("é", None, Operation::Metadata), "GET"),
        ];
        for (path, call, method) in cases {
            assert_eq!(call.method(), method, "{path}");
            assert_eq!(parse_path(path), Ok(Some(call)), "{path}");
        }
    }

    #[test]
    fn the_openapi_document_has_these_paths_and_methods() {
        let document = serde_json::from_str(crate::protocol::open_inference::OPENAPI);
        let document: serde_json::Value = document.expect("valid JSON");
        let paths = document["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), 18);
        for (path, operations) in paths {
            let call = path.replace("{model}", "m").replace("{version}", "v");
            let call = parse_path(&call).expect(path).expect(path);
            let method = call.method().to_lowercase();
            let methods =
                operations.as_object().expect(path).keys().filter(|key| *key != "parameters");
            assert_eq!(methods.collect::<Vec<_>>(), [&method], "{path}");
        }
    }

    #[test]
    fn other_paths_are_left_to_the_routes() {
        let paths = [
            "",
            "/",
            "/v1/models/m",
            "/v2x",
            "/v2/models/",
            "/v2/repository",
            "/v2/repository/",
            "/v2/repository/models/m",
            "/v2/repository/models//load",
            "/v2/repository/models/m/reload",
            "/v2/repository/a/b/models/m/load",
            "/v2/models/m/config/x",
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
