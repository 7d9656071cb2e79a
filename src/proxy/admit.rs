//! Whether a request that parses is sound: the strict part of HTTP that the parser leaves open.
//!
//! Owns framing, target and `Host` checks, and the trust rule for the client's address. A request
//! that is admitted means the same to every server behind us; a doubtful one is refused and its
//! connection closed, so that no two servers can disagree about where it ends.

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::problem::{Cause, Problem};
use crate::domain::spec::{Forwarding, Limits};
use crate::protocol::open_inference::HEAD_LENGTH_HEADER;

/// What is known of a sound request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The authority that the client asked for, as it wrote it.
    pub(super) authority: Option<HeaderValue>,
    /// The length of the body.
    pub(super) body: BodyLength,
}

/// How a request body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// `Content-Length`, or no body at all.
    Known(u64),
    /// Chunked, or HTTP/2 without a `Content-Length`.
    Unknown,
}

/// Checks a request (RFC 9112 sections 3.2 and 6, RFC 9113 section 8, RFC 9110 section 7.2). `ended`
/// says that its body, if it has one, is known to be over.
pub(super) fn admit(parts: &Parts, limits: &Limits, ended: bool) -> Result<Admitted, Problem> {
    let authority = authority(parts)?;
    check_target(parts)?;
    check_head_length(&parts.headers)?;
    let body = match body_length(parts)? {
        None if parts.version == Version::HTTP_2 && !ended => BodyLength::Unknown,
        None => BodyLength::Known(0),
        Some(length) => length,
    };
    // HTTP/1.1 counts while it parses.
    if parts.version == Version::HTTP_2 && parts.headers.len() > limits.header_count {
        return Err(Problem::new(Cause::HeadTooLarge, "the head has too many headers"));
    }
    if parts.headers.get(EXPECT).is_some_and(|expect| !is_continue(expect)) {
        return Err(Problem::new(Cause::Expectation, "only 100-continue can be expected"));
    }
    if let BodyLength::Known(length) = body
        && length > limits.body
    {
        return Err(too_large(limits.body, BODY_KEY));
    }
    Ok(Admitted { authority, body })
}

/// The setting that bounds every body.
pub(super) const BODY_KEY: &str = "limits.body";

/// The answer to a body over the limit that the setting `key` says.
pub(super) fn too_large(limit: u64, key: &str) -> Problem {
    let detail = format!("the body is longer than {limit} bytes, which `{key}` allows");
    Problem::new(Cause::BodyTooLarge, detail)
}

fn is_continue(expect: &HeaderValue) -> bool {
    expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Cause::Malformed, detail)
}

/// One `Host`, well-formed; an absolute target wins over it and must not contradict it.
fn authority(parts: &Parts) -> Result<Option<HeaderValue>, Problem> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("there is more than one Host header"));
    }
    if let Some(host) = host
        && !is_authority(host.as_bytes())
    {
        return Err(malformed("the Host header is not a host"));
    }
    match (parts.uri.authority(), host) {
        (Some(target), Some(host)) => {
            if !target.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) {
                return Err(malformed("the Host header contradicts the request target"));
            }
            Ok(Some(host.clone()))
        }
        (Some(target), None) if parts.version == Version::HTTP_2 => {
            let value = HeaderValue::from_str(target.as_str()).ok();
            let value = value.filter(|value| is_authority(value.as_bytes()));
            value.map(Some).ok_or_else(|| malformed("the authority is not a host"))
        }
        (Some(_), None) | (None, None) if parts.version >= Version::HTTP_11 => {
            Err(malformed("there is no Host header"))
        }
        (_, host) => Ok(host.cloned()),
    }
}

/// Where the JSON of a body ends may be told once only: of two places a backend may take another than the gateway.
fn check_head_length(headers: &HeaderMap) -> Result<(), Problem> {
    let mut told = headers.get_all(HEAD_LENGTH_HEADER).iter();
    let first = told.next();
    if told.any(|other| Some(other) != first) {
        return Err(malformed("Inference-Header-Content-Length is given twice, and not the same"));
    }
    Ok(())
}

/// Whether `host` is a host name, IPv4 address or bracketed IPv6 address with an optional port.
fn is_authority(host: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(b);
    let (name, port) = if host.first() == Some(&b'[') {
        let Some(end) = host.iter().position(|b| *b == b']') else { return false };
        let inside = std::str::from_utf8(&host[1..end]).unwrap_or_default();
        if inside.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        (&host[..0], &host[end + 1..])
    } else {
        let end = host.iter().position(|b| *b == b':').unwrap_or(host.len());
        if end == 0 {
            return false;
        }
        (&host[..end], &host[end..])
    };
    name.iter().all(plain)
        && match port {
            [] => true,
            [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

/// A target in origin form, or absolute `http` form; no dot segments, which servers resolve
/// differently.
fn check_target(parts: &Parts) -> Result<(), Problem> {
    if parts.method == Method::CONNECT {
        return Err(Problem::method("CONNECT is not served here", ""));
    }
    let uri: &Uri = &parts.uri;
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(malformed("the request target has a scheme other than http"));
    }
    let path = uri.path();
    let is_asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.starts_with('/') && !is_asterisk {
        return Err(malformed("the request target is not a path"));
    }
    if segments(path).any(is_dot_segment) {
        return Err(malformed("the path has a `.` or `..` segment"));
    }
    Ok(())
}

/// The segments of a path, also between the separators that only some servers take for one: `\\` and
/// the encoded `/` and `\\`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let text = rest?;
        let bytes = text.as_bytes();
        let end = (0..bytes.len()).find_map(|at| match &bytes[at..] {
            [b'/' | b'\\', ..] => Some((at, 1)),
            [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => Some((at, 3)),
            _ => None,
        });
        // Both cuts are beside ASCII bytes, so that they lie between characters.
        let (segment, after) = match end {
            Some((at, len)) => (text.get(..at), text.get(at + len..)),
            None => (Some(text), None),
        };
        rest = after;
        segment
    })
}

/// Whether a segment is `.` or `..`, plain or percent-encoded.
fn is_dot_segment(segment: &str) -> bool {
    let mut dots = 0;
    let mut rest = segment.as_bytes();
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        dots += 1;
    }
    dots == 1 || dots == 2
}

/// One framing: `Content-Length` or `chunked`, each at most once and neither with the other.
/// `None` where there is neither.
fn body_length(parts: &Parts) -> Result<Option<BodyLength>, Problem> {
    let headers: &HeaderMap = &parts.headers;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (coding, length) = (codings.next(), lengths.next());
    if codings.next().is_some() || lengths.next().is_some() {
        return Err(malformed("the length of the body is given more than once"));
    }
    match (coding, length) {
        (Some(_), Some(_)) => {
            Err(malformed("both Content-Length and Transfer-Encoding are present"))
        }
        (Some(_), None) if parts.version < Version::HTTP_11 => {
            Err(malformed("Transfer-Encoding is not part of HTTP/1.0"))
        }
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(BodyLength::Unknown))
        }
        (Some(_), None) => Err(malformed("the transfer coding is not chunked")),
        (None, Some(length)) => std::str::from_utf8(length.as_bytes())
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(|length| Some(BodyLength::Known(length)))
            .ok_or_else(|| malformed("Content-Length is not a number")),
        (None, None) => Ok(None),
    }
}

/// The client's address: the peer, or, where the peer is trusted, the last address in
/// `X-Forwarded-For` that is not itself trusted.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, rule: &Forwarding) -> IpAddr {
    if rule.trust.is_empty() || !rule.trusts(peer) {
        return peer;
    }
    let mut client = peer;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for hop in value.to_str().unwrap_or_default().rsplit(',') {
            let Ok(address) = hop.trim().parse() else { return client };
            client = address;
            if !rule.trusts(address) {
                return client;
            }
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::IpNet;
    use http::Request;

    fn admit_request(
        build: impl Fn(http::request::Builder) -> http::request::Builder,
    ) -> Result<Admitted, Problem> {
        let request = build(Request::builder().uri("/")).body(()).unwrap();
        admit(&request.into_parts().0, &Limits::default(), true)
    }

    #[test]
    fn http2_names_its_host_in_the_target_and_its_body_by_not_ending() {
        let admit = |uri: &str, ended| {
            let request = Request::builder().version(Version::HTTP_2).uri(uri).body(()).unwrap();
            admit(&request.into_parts().0, &Limits::default(), ended)
        };
        let open = admit("http://a:1/x", false).unwrap();
        assert_eq!(open.authority, Some(HeaderValue::from_static("a:1")));
        assert_eq!(open.body, BodyLength::Unknown);
        assert_eq!(admit("http://a:1/x", true).unwrap().body, BodyLength::Known(0));
        assert_eq!(admit("http://me@a:1/x", true).unwrap_err().cause, Cause::Malformed);
        assert_eq!(admit("/x", true).unwrap_err().cause, Cause::Malformed, "no host at all");
    }

    #[test]
    fn the_end_of_the_json_is_told_once() {
        let with = |lengths: [&str; 2]| {
            admit_request(|request| {
                let request = request.header("host", "a");
                lengths.iter().fold(request, |request, length| {
                    request.header("inference-header-content-length", *length)
                })
            })
        };
        assert!(with(["86", "86"]).is_ok());
        assert_eq!(with(["86", "85"]).unwrap_err().cause, Cause::Malformed);
    }

    #[test]
    fn doubtful_framing_is_refused() {
        let cases: [&[(&str, &str)]; 9] = [
            &[("host", "a"), ("content-length", "3"), ("transfer-encoding", "chunked")],
            &[("host", "a"), ("content-length", "3"), ("content-length", "3")],
            &[("host", "a"), ("content-length", "+3")],
            &[("host", "a"), ("content-length", "3, 3")],
            &[("host", "a"), ("content-length", "")],
            &[("host", "a"), ("transfer-encoding", "gzip, chunked")],
            &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("host", "a"), ("host", "a")],
            &[],
        ];
        for headers in cases {
            let result = admit_request(|mut b| {
                for (name, value) in headers {
                    b = b.header(*name, *value);
                }
                b
            });
            let problem = result.expect_err(&format!("{headers:?}"));
            assert_eq!(problem.cause, Cause::Malformed, "{headers:?}");
        }
        let old =
            admit_request(|b| b.version(Version::HTTP_10).header("transfer-encoding", "chunked"));
        assert_eq!(old.unwrap_err().cause, Cause::Malformed);
    }

    #[test]
    fn sound_requests_pass_and_long_bodies_do_not() {
        let sound = admit_request(|b| b.header("host", "[::1]:80").header("content-length", "5"));
        assert_eq!(sound.unwrap().body, BodyLength::Known(5));
        let old = admit_request(|b| b.version(Version::HTTP_10));
        assert_eq!(old.unwrap().authority, None, "HTTP/1.0 needs no Host");
        let long = admit_request(|b| b.header("host", "a").header("content-length", "99999999999"));
        assert_eq!(long.unwrap_err().cause, Cause::BodyTooLarge);
        let absolute = admit_request(|b| b.uri("http://a:1/x").header("host", "A:1"));
        assert!(absolute.is_ok());
        let contradiction = admit_request(|b| b.uri("http://a/x").header("host", "b"));
        assert_eq!(contradiction.unwrap_err().cause, Cause::Malformed);
    }

    #[test]
    fn hosts_and_paths_that_servers_read_differently_are_refused() {
        for host in ["", "a b", "a/b", "a@b", "[::1", "[zz]", "a:b", "a:123456", ":80"] {
            assert!(!is_authority(host.as_bytes()), "{host:?}");
        }
        for host in ["a", "a.b:80", "127.0.0.1:1", "[::1]", "[::1]:443"] {
            assert!(is_authority(host.as_bytes()), "{host:?}");
        }
        for path in
            ["/a/../b", "/..", "/a/./b", "/%2e%2E/x", "/.%2e", "/a%2f..%2Fb", "/a\\..", "/%5c.%5Cb"]
        {
            let result = admit_request(|b| b.uri(path).header("host", "a"));
            assert_eq!(result.unwrap_err().cause, Cause::Malformed, "{path}");
        }
        assert!(admit_request(|b| b.uri("/a..b/.c").header("host", "a")).is_ok());
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_peers_and_from_the_right() {
        let trust = ["10.0.0.0/8"].iter().filter_map(|net| IpNet::parse(net)).collect();
        let rule = Forwarding { trust, via: false };
        let address = |peer: &str, forwarded: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            client_address(peer.parse().unwrap(), &headers, &rule).to_string()
        };
        assert_eq!(
            address("192.0.2.9", &["1.2.3.4"]),
            "192.0.2.9",
            "untrusted peers are the client"
        );
        assert_eq!(
            address("10.0.0.1", &["6.6.6.6, 1.2.3.4"]),
            "1.2.3.4",
            "the left part is hearsay"
        );
        assert_eq!(address("10.0.0.1", &["1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(address("10.0.0.1", &["5.5.5.5", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("10.0.0.1", &["junk"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1", &[]), "10.0.0.1");
    }
}
