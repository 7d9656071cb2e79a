//! What routing may see of a request.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::domain::spec::StickyKey;

/// The header that pins a version.
pub const VERSION_HEADER: &str = "x-pointsman-version";

/// Access to the headers of a request by lower-case name.
pub trait HeaderSource {
    /// The first value of the header, if it is visible ASCII or UTF-8 text.
    fn value(&self, name: &str) -> Option<&str>;
}

/// The parts of a request that routing depends on, borrowed.
#[derive(Debug, Clone)]
pub struct RequestView<'a, H> {
    /// The method, upper case.
    pub method: &'a str,
    /// The host without port, if the request names one.
    pub host: Option<&'a str>,
    /// The path, as received.
    pub path: &'a str,
    /// The query, as received.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a H,
    /// The client's address, after the trust rule.
    pub client: IpAddr,
    /// What a built-in model path names.
    pub call: Option<ModelCall<'a>>,
}

/// A model, and perhaps a version, named by a built-in path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall<'a> {
    /// The model's name, decoded.
    pub model: Cow<'a, str>,
    /// The version's name, decoded.
    pub version: Option<Cow<'a, str>>,
}

impl<H: HeaderSource> RequestView<'_, H> {
    /// The version that the path or the message asks for.
    pub(super) fn call_version(&self) -> Option<&str> {
        self.call.as_ref()?.version.as_deref()
    }

    /// The version that the header asks for.
    pub(super) fn version_pin(&self) -> Option<&str> {
        // An empty header names nothing.
        self.headers.value(VERSION_HEADER).filter(|version| !version.is_empty())
    }

    /// What identifies the caller under `sticky`; `None` when the request does not carry it.
    pub(super) fn sticky_value(&self, sticky: &StickyKey) -> Option<Cow<'_, str>> {
        match sticky {
            StickyKey::Header(name) => self.headers.value(name).map(Cow::Borrowed),
            StickyKey::Cookie(name) => self.cookie(name).map(Cow::Borrowed),
            StickyKey::Query(name) => self.query_parameter(name).map(Cow::Borrowed),
            StickyKey::ClientAddress => Some(Cow::Owned(self.client.to_canonical().to_string())),
        }
        .filter(|value| !value.is_empty())
    }

    /// The value of a cookie (RFC 6265 section 4.2.1), quotes kept.
    fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .value("cookie")?
            .split(';')
            .filter_map(|pair| pair.trim_start().split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The first value of a query parameter, as received (not percent-decoded).
    fn query_parameter(&self, name: &str) -> Option<&str> {
        self.query?
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}
