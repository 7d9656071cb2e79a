//! What changes in a message that passes through.
//!
//! Owns the hop-by-hop headers (RFC 9110 section 7.6.1), `X-Forwarded-*` under the one trust rule,
//! `Via`, and the trace context. Never touches a body.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue};

use super::exchange::Peer;
use crate::domain::spec::Forwarding;
use crate::protocol::open_inference::HEAD_LENGTH_HEADER;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// The W3C trace context header.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header that names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what concerns one connection only, and what `Connection` names.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut options = headers.get_all(CONNECTION).iter();
    let names_others = match (options.next(), options.next()) {
        (None, _) => false,
        (Some(only), None) => {
            !only.as_bytes().eq_ignore_ascii_case(b"keep-alive")
                && !only.as_bytes().eq_ignore_ascii_case(b"close")
        }
        (Some(_), Some(_)) => true,
    };
    if names_others {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // A client must not be able to have our own or the framing headers removed.
            .filter(|name: &HeaderName| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // Most messages have none: one look at each name is cheaper than a search for each.
    if headers.keys().any(is_hop_by_hop) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Makes a client's headers the backend's.
pub(super) fn to_backend(
    headers: &mut HeaderMap,
    rule: &Forwarding,
    peer: &Peer,
    authority: Option<&HeaderValue>,
) {
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    let trusted = rule.trusts(peer.ip);
    if !trusted {
        remove_claims(headers);
    }
    let hops = match headers.get(&FORWARDED_FOR) {
        Some(_) if trusted => {
            let mut hops = String::new();
            for value in headers.get_all(&FORWARDED_FOR) {
                hops.push_str(&String::from_utf8_lossy(value.as_bytes()));
                hops.push_str(", ");
            }
            hops.push_str(&peer.ip.to_string());
            HeaderValue::try_from(hops).ok()
        }
        _ => peer.header.clone(),
    };
    if let Some(hops) = hops {
        headers.insert(FORWARDED_FOR, hops);
    }
    if !trusted || !headers.contains_key(&FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !trusted || !headers.contains_key(&FORWARDED_HOST) {
        match authority {
            Some(host) => drop(headers.insert(FORWARDED_HOST, host.clone())),
            None => drop(headers.remove(FORWARDED_HOST)),
        }
    }
    if rule.via {
        headers.append(VIA, HeaderValue::from_static("1.1 pointsman"));
    }
}

/// Removes what a peer that is not trusted says about where the request came from, also where an
/// underscore stands for a hyphen, which some servers take for the same.
fn remove_claims(headers: &mut HeaderMap) {
    let is_claim = |name: &HeaderName| {
        let name = name.as_str();
        matches!(name.as_bytes().first(), Some(b'x' | b'f')) && {
            let name = name.replace('_', "-");
            name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"
        }
    };
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Says of an Open Inference body that it is JSON, where its client says nothing or names a form: `tritonclient` leaves
/// that out of requests without binary tensors, `curl -d` and urllib call all that they post a form, and other servers
/// than Triton take neither for JSON.
pub(super) fn say_json(headers: &mut HeaderMap) {
    let says_nothing = headers.get(CONTENT_TYPE).is_none_or(is_form);
    if says_nothing && !headers.contains_key(HEAD_LENGTH_HEADER) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// Whether a `Content-Type` is that of a form, which no prediction is.
fn is_form(value: &HeaderValue) -> bool {
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Makes a backend's headers the client's.
pub(super) fn to_client(headers: &mut HeaderMap, rule: &Forwarding) {
    strip_hop_by_hop(headers);
    if rule.via {
        headers.append(VIA, HeaderValue::from_static("1.1 pointsman"));
    }
}

/// A W3C trace context (version 00), as far as records and backends need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceContext {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
}

impl TraceContext {
    /// Reads a `traceparent`; `None` when it is not valid, which means that a new trace begins.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex_len = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let sound = hex_len(version, 2)
            && version != "ff"
            && hex_len(flags, 2)
            && (version != "00" || parts.next().is_none());
        if !sound {
            return None;
        }
        let context = Self { trace_id: hex(trace)?, span_id: hex(span)? };
        (context.trace_id != [0; 16] && context.span_id != [0; 8]).then_some(context)
    }

    /// The header of a context that was begun here and is not sampled.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id, &mut text[3..35]);
        write_hex(&self.span_id, &mut text[36..52]);
        HeaderValue::from_bytes(&text).ok()
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::IpNet;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_two_lists_of_hop_by_hop_headers_agree() {
        assert!(HOP_BY_HOP.iter().all(is_hop_by_hop));
    }

    #[test]
    fn hop_by_hop_headers_and_what_connection_names_are_removed() {
        let mut headers = map(&[
            ("connection", "close"),
            ("connection", "X-Secret, host"),
            ("x-secret", "1"),
            ("host", "a"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-kept"]);
    }

    fn peer(ip: &str) -> Peer {
        Peer::new(std::net::SocketAddr::new(ip.parse().unwrap(), 1))
    }

    #[test]
    fn a_body_that_nobody_names_is_json() {
        let said = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("7"));
            say_json(&mut headers);
            headers.remove(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("").to_owned())
        };
        assert_eq!(said("content-encoding").as_deref(), Some("application/json"));
        assert_eq!(said("content-type").as_deref(), Some("7"));
        assert_eq!(said(HEAD_LENGTH_HEADER), None);
        let named = |value: &'static str, binary: bool| {
            let mut headers = map(&[("content-type", value)]);
            if binary {
                headers.insert(HEAD_LENGTH_HEADER, HeaderValue::from_static("7"));
            }
            say_json(&mut headers);
            let all: Vec<_> = headers.get_all(CONTENT_TYPE).iter().cloned().collect();
            assert_eq!(all.len(), 1);
            all[0].to_str().unwrap().to_owned()
        };
        for form in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-Urlencoded ; charset=utf-8",
        ] {
            assert_eq!(named(form, false), "application/json");
            assert_eq!(named(form, true), form, "what the client says of binary tensors stays");
        }
        for other in
            ["application/octet-stream", "application/x-www-form-urlencoded2", "text/plain"]
        {
            assert_eq!(named(other, false), other);
        }
    }

    #[test]
    fn one_trust_rule_decides_over_all_forwarded_headers() {
        let host = HeaderValue::from_static("front.example");
        let given = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=1.2.3.4"),
            ("x_forwarded_port", "1"),
            ("x-real-ip", "1.2.3.4"),
        ];
        let rule = Forwarding { trust: vec![IpNet::parse("10.0.0.0/8").unwrap()], via: true };
        let value = |headers: &HeaderMap, name: &str| {
            headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
        };

        let mut headers = map(&given);
        to_backend(&mut headers, &rule, &peer("192.0.2.1"), Some(&host));
        assert_eq!(value(&headers, "x-forwarded-for"), "192.0.2.1");
        assert_eq!(value(&headers, "x-forwarded-proto"), "http");
        assert_eq!(value(&headers, "x-forwarded-host"), "front.example");
        assert_eq!(value(&headers, "forwarded"), "");
        assert_eq!(value(&headers, "via"), "1.1 pointsman");
        assert_eq!(value(&headers, "x_forwarded_port"), "");
        assert_eq!(value(&headers, "x-real-ip"), "");

        let mut headers = map(&given);
        to_backend(&mut headers, &rule, &peer("10.0.0.9"), Some(&host));
        assert_eq!(value(&headers, "x-forwarded-for"), "1.2.3.4, 10.0.0.9");
        assert_eq!(value(&headers, "x-forwarded-proto"), "https");
        assert_eq!(value(&headers, "x-forwarded-host"), "evil.example");
        assert_eq!(value(&headers, "forwarded"), "for=1.2.3.4");
    }

    #[test]
    fn trace_contexts_are_read_strictly_and_written_back() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text.as_bytes()).unwrap();
        assert_eq!(
            context.header().unwrap(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        );
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
