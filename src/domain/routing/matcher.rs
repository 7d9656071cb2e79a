//! Whether one route takes one request, and which of two routes is more specific.

use std::fmt;

use super::view::{HeaderSource, RequestView};
use crate::domain::spec::{PathMatch, RouteMatch};

/// The first condition of a route that a request does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal<'a> {
    Host,
    Path,
    Method,
    Header(&'a str),
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("other host"),
            Self::Path => f.write_str("other path"),
            Self::Method => f.write_str("other method"),
            Self::Header(name) => write!(f, "header `{name}` is absent or different"),
        }
    }
}

/// Checks the conditions of a route, cheapest first.
pub(super) fn matches<'r, H: HeaderSource>(
    route: &'r RouteMatch,
    view: &RequestView<'_, H>,
) -> Result<(), Refusal<'r>> {
    if route.method.as_deref().is_some_and(|method| method != view.method) {
        return Err(Refusal::Method);
    }
    if route.path.as_ref().is_some_and(|path| !path_matches(path, view.path)) {
        return Err(Refusal::Path);
    }
    let same_host = |host: &str| view.host.is_some_and(|given| given.eq_ignore_ascii_case(host));
    if route.host.as_deref().is_some_and(|host| !same_host(host)) {
        return Err(Refusal::Host);
    }
    for (name, value) in &route.headers {
        if view.headers.value(name) != Some(value.as_str()) {
            return Err(Refusal::Header(name));
        }
    }
    Ok(())
}

fn path_matches(condition: &PathMatch, path: &str) -> bool {
    match condition {
        PathMatch::Exact(exact) => path == exact,
        PathMatch::Prefix(prefix) => path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')),
    }
}

/// How specific a route is; the greatest wins, the first by name among equals.
///
/// An exact path beats a prefix, a longer prefix a shorter one; then a named host, more headers, a
/// named method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    exact_path: bool,
    path_len: usize,
    host: bool,
    headers: usize,
    method: bool,
}

impl Specificity {
    pub(super) fn of(route: &RouteMatch) -> Self {
        let (exact_path, path_len) = match &route.path {
            Some(PathMatch::Exact(path)) => (true, path.len()),
            Some(PathMatch::Prefix(prefix)) => (false, prefix.len()),
            None => (false, 0),
        };
        Self {
            exact_path,
            path_len,
            host: route.host.is_some(),
            headers: route.headers.len(),
            method: route.method.is_some(),
        }
    }
}
