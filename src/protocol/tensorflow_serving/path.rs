//! Which operation a path asks for.
//!
//! `/v1/models/{model}[/versions/{version}|/labels/{label}]` with `/metadata` or one of `:predict`,
//! `:classify`, `:regress` after it, and KServe's `:explain`. A path with a version, a label,
//! `/metadata`, `:classify` or `:regress` is TensorFlow Serving's; the others count as KServe's.

use std::borrow::Cow;

use crate::protocol::dialect::{Call, Dialect, Operation, Release};
use crate::protocol::open_inference::{PathError, decode_name};

/// Reads a path without its query; `Ok(None)` when it is not of this protocol.
///
/// # Errors
/// When it is, and a name in it is refused.
pub fn parse_path(path: &str) -> Result<Option<Call<'_>>, PathError> {
    let Some(rest) = path.strip_prefix("/v1/models/") else { return Ok(None) };
    let (names, verb) = match rest.rsplit_once(':') {
        Some((names, verb)) if !verb.contains('/') => (names, Some(verb)),
        _ => (rest, None),
    };
    let mut segments = names.split('/');
    let model = segments.next().unwrap_or_default();
    let mut next = segments.next();
    let mut release = Release::Any;
    if let Some(kind @ ("versions" | "labels")) = next {
        let Some(name) = segments.next().filter(|name| !name.is_empty()) else { return Ok(None) };
        release = if kind == "versions" {
            Release::Version(decode_name("version", name)?)
        } else {
            Release::Label(decode_name("label", name)?)
        };
        next = segments.next();
    }
    let operation = match (next, verb) {
        (None, None) => Operation::ModelStatus,
        (Some("metadata"), None) => Operation::Metadata,
        (None, Some("predict")) => Operation::Infer,
        (None, Some("classify")) => Operation::Classify,
        (None, Some("regress")) => Operation::Regress,
        (None, Some("explain")) => Operation::Explain,
        _ => return Ok(None),
    };
    if model.is_empty() || model.contains(':') || segments.next().is_some() {
        return Ok(None);
    }
    let is_shared = release == Release::Any
        && matches!(operation, Operation::ModelStatus | Operation::Infer | Operation::Explain);
    let dialect = if is_shared { Dialect::KserveV1 } else { Dialect::TensorflowServing };
    if operation == Operation::Explain && !is_shared {
        return Ok(None);
    }
    Ok(Some(Call::model(dialect, decode_name("model", model)?, release, operation)))
}

/// The path of an operation on a backend; the names are percent-encoded.
pub(in crate::protocol) fn path_of(model: &str, release: &Release<'_>, suffix: &str) -> String {
    let model = encode_name(model);
    match release {
        Release::Any => format!("/v1/models/{model}{suffix}"),
        Release::Version(version) => {
            format!("/v1/models/{model}/versions/{}{suffix}", encode_name(version))
        }
        Release::Label(label) => {
            format!("/v1/models/{model}/labels/{}{suffix}", encode_name(label))
        }
    }
}

/// A name as a segment of a path.
pub(in crate::protocol) fn encode_name(name: &str) -> Cow<'_, str> {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const SEGMENT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(name, SEGMENT).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_protocol_is_known() {
        use Dialect::{KserveV1, TensorflowServing};
        let version = |name: &'static str| Release::Version(name.into());
        let label = |name: &'static str| Release::Label(name.into());
        let cases = [
            ("/v1/models/m", KserveV1, Release::Any, Operation::ModelStatus),
            ("/v1/models/m:predict", KserveV1, Release::Any, Operation::Infer),
            ("/v1/models/m:explain", KserveV1, Release::Any, Operation::Explain),
            ("/v1/models/m:classify", TensorflowServing, Release::Any, Operation::Classify),
            ("/v1/models/m:regress", TensorflowServing, Release::Any, Operation::Regress),
            ("/v1/models/m/metadata", TensorflowServing, Release::Any, Operation::Metadata),
            ("/v1/models/m/versions/3", TensorflowServing, version("3"), Operation::ModelStatus),
            ("/v1/models/m/versions/3:predict", TensorflowServing, version("3"), Operation::Infer),
            (
                "/v1/models/m/versions/v%31/metadata",
                TensorflowServing,
                version("v1"),
                Operation::Metadata,
            ),
            (
                "/v1/models/m/labels/stable",
                TensorflowServing,
                label("stable"),
                Operation::ModelStatus,
            ),
            (
                "/v1/models/m/labels/canary:predict",
                TensorflowServing,
                label("canary"),
                Operation::Infer,
            ),
        ];
        for (path, dialect, release, operation) in cases {
            let call = Call::model(dialect, "m".into(), release, operation);
            assert_eq!(parse_path(path), Ok(Some(call)), "{path}");
        }
    }

    #[test]
    fn other_paths_are_left_to_the_routes() {
        let paths = [
            "/v1/models",
            "/v1/models/",
            "/v1/models/:predict",
            "/v1/models/m/",
            "/v1/models/m:",
            "/v1/models/m:delete",
            "/v1/models/m/:predict",
            "/v1/models/m:predict/x",
            "/v1/models/m:x:predict",
            "/v1/models/m/versions",
            "/v1/models/m/versions/:predict",
            "/v1/models/m/versions/1/labels/x:predict",
            "/v1/models/m/versions/1:explain",
            "/v1/models/m/metadata:predict",
            "/v1/feedback",
            "/v2/models/m",
        ];
        for path in paths {
            assert_eq!(parse_path(path), Ok(None), "{path}");
        }
    }

    #[test]
    fn names_that_could_mean_another_path_are_refused() {
        let refused = parse_path("/v1/models/a%2Fb:predict");
        assert_eq!(refused, Err(PathError::Forbidden { what: "model" }));
        let refused = parse_path("/v1/models/m/labels/%zz:predict");
        assert_eq!(refused, Err(PathError::Encoding { what: "label" }));
    }

    #[test]
    fn paths_read_back() {
        for release in
            [Release::Any, Release::Version("1.0 β".into()), Release::Label("a:b".into())]
        {
            let path = path_of("m/n", &release, ":classify");
            assert!(!path.contains("m/n"), "{path}");
            let path = path_of("m:n", &release, ":classify");
            let call = parse_path(&path).unwrap().unwrap();
            assert_eq!((call.model.as_deref(), call.release), (Some("m:n"), release), "{path}");
        }
    }
}
