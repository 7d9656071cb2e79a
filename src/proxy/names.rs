//! How a request is addressed at a backend that speaks what its client speaks.
//!
//! Owns the one change to such a request: model and version in its path, or in the headers that name them to
//! SageMaker containers, become what the backend understands, or are left out. Never touches a query or a body.

use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::protocol::dialect::{Call, Dialect, EncodeError, Release, name_container};
use crate::protocol::sagemaker::TARGET_VARIANT;
use crate::snapshot::RemoteNames;

/// Everything but unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The target towards a backend: origin form, with the names that it understands. Versions and aliases
/// are this gateway's own words: a backend is told the one that the configuration says, or none.
pub(super) fn backend_target(uri: &Uri, call: Option<&Call<'_>>, names: &RemoteNames) -> Uri {
    let target = match call {
        Some(call) if names.model.is_some() || names.version.is_some() => renamed(uri, call, names),
        Some(call) if call.release != Release::Any => renamed(uri, call, names),
        Some(_) | None => None,
    };
    match target {
        Some(target) => target,
        None if uri.authority().is_some() => origin(uri),
        None => uri.clone(),
    }
}

/// Gives the headers by which a SageMaker container is told model and version the names that it understands.
/// Other dialects name them in the path.
///
/// # Errors
/// When a name cannot stand in a header.
pub(super) fn backend_headers(
    headers: &mut HeaderMap,
    call: Option<&Call<'_>>,
    names: &RemoteNames,
) -> Result<(), EncodeError> {
    let Some(call) = call.filter(|call| call.dialect == Dialect::Sagemaker) else { return Ok(()) };
    if call.release != Release::Any {
        headers.remove(TARGET_VARIANT);
    }
    name_container(headers, names.model.as_deref(), names.version.as_deref())
}

/// The origin form of a target.
pub(super) fn origin(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(|| uri.clone(), Uri::from)
}

/// `None` where the path names no model.
fn renamed(uri: &Uri, call: &Call<'_>, names: &RemoteNames) -> Option<Uri> {
    let own = call.model.as_deref()?;
    let model = utf8_percent_encode(names.model.as_deref().unwrap_or(own), RESERVED);
    let version = names.version.as_deref().map(|name| utf8_percent_encode(name, RESERVED));
    let path_and_query = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let mut target = match call.dialect {
        Dialect::Torchserve => {
            let prefix = path.split('/').nth(1).unwrap_or("predictions");
            match version {
                Some(version) => format!("/{prefix}/{model}/{version}"),
                None => format!("/{prefix}/{model}"),
            }
        }
        Dialect::OpenInference | Dialect::KserveV1 | Dialect::TensorflowServing => {
            let (base, ends): (_, &[char]) = match call.dialect {
                Dialect::OpenInference => ("/v2/models", &['/']),
                _ => ("/v1/models", &['/', ':']),
            };
            let suffix = suffix(path, ends)?;
            match version {
                Some(version) => format!("{base}/{model}/versions/{version}{suffix}"),
                None => format!("{base}/{model}{suffix}"),
            }
        }
        Dialect::Sagemaker if path.starts_with("/models/") => format!("/models/{model}/invoke"),
        Dialect::OpenInferenceGrpc | Dialect::Sagemaker | Dialect::Raw => return None,
    };
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    Uri::try_from(target).ok()
}

/// What stands behind the names in `/vN/models/MODEL[/versions/VERSION|/labels/LABEL]`; a name ends at any
/// of `ends`.
fn suffix<'a>(path: &'a str, ends: &[char]) -> Option<&'a str> {
    let after = |text: &'a str| text.find(ends).map_or("", |end| text.get(end..).unwrap_or(""));
    let names = path.splitn(4, '/').nth(3)?;
    let rest = after(names);
    match rest.strip_prefix("/versions/").or_else(|| rest.strip_prefix("/labels/")) {
        Some(release) => Some(after(release)),
        None => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::dialect::parse_path;
    use crate::protocol::sagemaker::TARGET_MODEL;

    fn target(uri: &str, model: Option<&str>, version: Option<&str>) -> String {
        let uri: Uri = uri.parse().unwrap();
        let path = uri.path().to_owned();
        let call = parse_path(&path).unwrap();
        let text = |name: Option<&str>| name.map(str::to_owned);
        let names = RemoteNames { model: text(model), version: text(version) };
        backend_target(&uri, call.as_ref(), &names).to_string()
    }

    #[test]
    fn backends_see_the_origin_form_without_our_version_names() {
        let target = |uri| target(uri, None, None);
        assert_eq!(target("/v2/models/m/versions/v1/infer?a=1"), "/v2/models/m/infer?a=1");
        assert_eq!(target("/v2/models/m/versions/v1"), "/v2/models/m");
        assert_eq!(target("/v2/models/m/infer"), "/v2/models/m/infer");
        assert_eq!(target("/v1/models/m/labels/prod:predict"), "/v1/models/m:predict");
        assert_eq!(target("/v1/models/m:predict"), "/v1/models/m:predict");
        assert_eq!(target("/predictions/m/v1?x=1"), "/predictions/m?x=1");
        assert_eq!(target("http://h:1/x?y=/../z"), "/x?y=/../z");
    }

    #[test]
    fn containers_are_told_names_in_headers() {
        let told = |uri: &str, model: Option<&str>, version: Option<&str>| {
            let mut call = parse_path(uri).unwrap().unwrap();
            call.release = Release::Version("ours".into());
            let text = |name: Option<&str>| name.map(str::to_owned);
            let names = RemoteNames { model: text(model), version: text(version) };
            let mut headers = HeaderMap::new();
            for name in [TARGET_MODEL, TARGET_VARIANT] {
                headers.insert(name, "ours".parse().unwrap());
            }
            backend_headers(&mut headers, Some(&call), &names).unwrap();
            [TARGET_MODEL, TARGET_VARIANT]
                .map(|name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(told("/invocations", Some("a b"), Some("3")), [some("a b"), some("3")]);
        assert_eq!(told("/invocations", None, None), [some("ours"), None]);
        assert_eq!(told("/v2/models/m/infer", Some("a"), None), [some("ours"), some("ours")]);
        assert_eq!(target("/models/m/invoke?x=1", Some("a b"), None), "/models/a%20b/invoke?x=1");
        assert_eq!(target("/models/m/invoke", None, None), "/models/m/invoke");
    }

    #[test]
    fn names_become_what_the_backend_understands() {
        let target = |uri| target(uri, Some("a b"), Some("3"));
        assert_eq!(target("/v2/models/m/infer"), "/v2/models/a%20b/versions/3/infer");
        assert_eq!(target("/v2/models/m/versions/prod"), "/v2/models/a%20b/versions/3");
        assert_eq!(target("/v1/models/m:predict"), "/v1/models/a%20b/versions/3:predict");
        assert_eq!(target("/v1/models/m/metadata"), "/v1/models/a%20b/versions/3/metadata");
        assert_eq!(target("/predictions/m"), "/predictions/a%20b/3");
        assert_eq!(target("/invocations"), "/invocations");
    }
}
