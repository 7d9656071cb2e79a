//! Strings with a form of their own: addresses, backends, sticky keys, hosts, paths, headers.
//!
//! Owns how each is written and what to say when it is not. Never looks anything up: no file, no
//! name resolution.

mod alarms;
mod log;
mod releases;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderName, HeaderValue};

use crate::domain::ids::is_valid_name;
use crate::domain::spec::{BackendAddress, IpNet, StickyKey};

use super::diagnostic::{Code, closest};
use super::scalar::Fault;

pub(super) use alarms::{link, mute_hours};
pub(super) use log::{
    bucket, endpoint, field_source, hash_key, output, pointer, region, secret, sink_url,
    slice_source, token,
};
pub(super) use releases::{check, metric, moment, step_share};

/// The words for levels of the gateway's own log, as `tracing` knows them.
pub(super) const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The longest text of a form, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Parses `IP:PORT`.
pub(super) fn address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let fault = Fault::new(format!("must be an address such as 127.0.0.1:8080, not `{text}`"));
        let port = |port: &str| port.parse::<u16>().is_ok();
        match text.rsplit_once(':') {
            Some(("", after)) if port(after) => {
                fault.help(format!("write \"0.0.0.0{text}\" for every interface"))
            }
            Some(("localhost", after)) if port(after) => {
                fault.help(format!("host names are not resolved here: write \"127.0.0.1:{after}\""))
            }
            Some((host, after)) if port(after) && host.parse::<Ipv6Addr>().is_ok() => {
                fault.help(format!("IPv6 addresses need brackets: write \"[{host}]:{after}\""))
            }
            Some((host, after)) if host.parse::<IpAddr>().is_ok() && !port(after) => {
                fault.help("a port is a number from 0 to 65535")
            }
            _ if text.parse::<IpAddr>().is_ok() => fault.help("the port is missing"),
            _ if port(text) => fault.help(format!("write \"127.0.0.1:{text}\"")),
            _ => fault.help("write an IP address and a port"),
        }
    })
}

/// Parses `http://HOST:PORT`.
pub(super) fn backend(text: &str) -> Result<BackendAddress, Fault> {
    let fault = |why: String| Fault::new(why).code(Code::Backend);
    let shape = || fault(format!("must hold addresses such as http://10.0.0.1:8000, not `{text}`"));
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("https://") {
        return Err(fault(format!(
            "names `{text}`, and TLS to backends is not available in this release"
        ))
        .help("use http:// to a TLS-terminating sidecar, or a private network"));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        let help = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                format!("write \"http://{rest}\"")
            }
            Some((scheme, _)) => format!("the scheme `{scheme}` is not known: only http is"),
            None => format!("did you mean \"http://{text}\"?"),
        };
        return Err(shape().help(help));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Err(fault("must not hold user names or passwords".to_owned())
            .help(format!("write \"http://{host}\"; credentials belong into a header")));
    }
    if !tail.is_empty() {
        let what = if tail.starts_with('/') { "a path" } else { "a query or fragment" };
        return Err(fault(format!("must not have {what}: `{text}`"))
            .help(format!("write \"http://{authority}\"; the client's path is passed on")));
    }
    host_and_port(authority).map_err(|help| shape().help(help))
}

/// Parses `HOST:PORT`.
pub(super) fn host_port(text: &str) -> Result<BackendAddress, Fault> {
    let shape = || {
        Fault::new(format!("must be a host name and a port such as `a.internal:80`, not `{text}`"))
    };
    match text.split_once("://") {
        Some((_, rest)) => Err(shape().help(format!("did you mean \"{rest}\"?"))),
        None => host_and_port(text).map_err(|help| shape().help(help.replace("http://", ""))),
    }
}

/// Checks a name of a model, a version or the like.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    if is_valid_name(text) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("cannot be a name: `{}`", text.escape_debug()))
        .help("a name has 1 to 128 letters, digits, `-`, `_` and `.`, and no dot in front"))
}

fn host_and_port(authority: &str) -> Result<BackendAddress, String> {
    let split = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let Some((host, port)) = split else {
        return Err(format!("the port is missing: write \"http://{authority}:80\""));
    };
    let port = match port.parse::<u16>() {
        Ok(number) if number != 0 && !port.starts_with('+') => number,
        _ => return Err("a port is a number from 1 to 65535".to_owned()),
    };
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(BackendAddress { host: ip.to_string(), port }),
            Err(_) => Err("brackets hold an IPv6 address".to_owned()),
        };
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("IPv6 addresses need brackets: write \"http://[{host}]:{port}\""));
    }
    match host_name(host) {
        Ok(host) => Ok(BackendAddress { host, port }),
        Err(help) => Err(help.to_owned()),
    }
}

/// Checks the name of a model or version at a backend: it becomes a segment of a path, encoded.
pub(super) fn remote_name(text: &str) -> Result<String, Fault> {
    const BYTES_MAX: usize = 256;
    let plain = |c: char| !c.is_control() && c != '/' && c != '\\';
    if (1..=BYTES_MAX).contains(&text.len())
        && text.chars().all(plain)
        && !matches!(text, "." | "..")
    {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("cannot name anything at a backend: `{}`", text.escape_debug()))
        .help(format!("a name has 1 to {BYTES_MAX} bytes, and no slash or control character")))
}

/// Checks a host name or IPv4 address (RFC 1123 section 2.1, with `_` as found in service names).
fn host_name(host: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.len() > 253 || !host.bytes().all(allowed) {
        return Err("a host name has letters, digits, `-`, `_` and `.`, 253 at most");
    }
    if host.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err("each part of a host name has 1 to 63 characters");
    }
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric && host.parse::<IpAddr>().is_err() {
        return Err("an IPv4 address has four numbers from 0 to 255");
    }
    Ok(host.to_ascii_lowercase())
}

/// Parses `header:NAME`, `cookie:NAME`, `query:NAME` or `client`.
pub(super) fn sticky(text: &str) -> Result<StickyKey, Fault> {
    let shape = || {
        Fault::new(format!(
            "must be `header:NAME`, `cookie:NAME`, `query:NAME` or `client`, not `{text}`"
        ))
    };
    if text == "client" {
        return Ok(StickyKey::ClientAddress);
    }
    let Some((kind, name)) = text.split_once(':') else {
        return Err(match closest(text, ["header", "cookie", "query", "client"]) {
            Some("client") => shape().help("did you mean \"client\"?"),
            Some(kind) => shape().help(format!("did you mean \"{kind}:NAME\"?")),
            None => shape().help(format!("did you mean \"header:{text}\"?")),
        });
    };
    let token = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    let bad_name = |what: &str| Fault::new(format!("names {what} that cannot exist: `{name}`"));
    match kind {
        "header" => match token(name) {
            Some(name) => Ok(StickyKey::Header(name.as_str().to_owned())),
            None => Err(bad_name("a header")),
        },
        "cookie" => match token(name) {
            Some(_) => Ok(StickyKey::Cookie(name.to_owned())),
            None => Err(bad_name("a cookie")),
        },
        "query" => {
            let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'&' | b'=' | b'#' | b'?');
            let good = !name.is_empty() && name.len() <= 256 && name.bytes().all(allowed);
            if good { Ok(StickyKey::Query(name.to_owned())) } else { Err(bad_name("a parameter")) }
        }
        other => Err(match closest(other, ["header", "cookie", "query"]) {
            Some(kind) => shape().help(format!("did you mean \"{kind}:{name}\"?")),
            None => shape(),
        }),
    }
}

/// Parses an address range.
pub(super) fn cidr(text: &str) -> Result<IpNet, Fault> {
    IpNet::parse(text).ok_or_else(|| {
        let fault = Fault::new(format!("must hold ranges such as 10.0.0.0/8, not `{text}`"));
        match text.split_once('/').map(|(ip, prefix)| (ip.parse::<IpAddr>(), prefix)) {
            Some((Ok(IpAddr::V4(_)), _)) => fault.help("the prefix of an IPv4 range is 0 to 32"),
            Some((Ok(IpAddr::V6(_)), _)) => fault.help("the prefix of an IPv6 range is 0 to 128"),
            _ => fault.help("host names are not resolved here; write IP addresses"),
        }
    })
}

/// Parses a header name into lower case.
pub(super) fn header_name(text: &str) -> Result<String, Fault> {
    HeaderName::from_bytes(text.as_bytes()).map(|name| name.as_str().to_owned()).map_err(|_| {
        Fault::new(format!("names a header that cannot exist: `{text}`"))
            .help("a header name has letters, digits and `-` (RFC 9110 section 5.6.2)")
    })
}

/// Checks a header value: visible ASCII and inner spaces.
pub(super) fn header_value(text: &str) -> Result<String, Fault> {
    let trimmed = text.trim_matches([' ', '\t']).len() == text.len();
    let good = trimmed && HeaderValue::from_str(text).is_ok() && text.is_ascii();
    if good {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(format!("must be a header value, not `{text}`"))
            .help("a header value is ASCII text without spaces around it (RFC 9110 section 5.5)"))
    }
}

/// Parses the host name of a route: no port, no wildcard; lower case.
pub(super) fn host(text: &str) -> Result<String, Fault> {
    let fault = Fault::new(format!("must be a host name, not `{text}`"));
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if bracketed.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()) {
        return Ok(text.to_ascii_lowercase());
    }
    match text.rsplit_once(':') {
        Some((scheme, _)) if text.contains("://") => {
            Err(fault.help(format!("leave out `{scheme}:` and whatever follows the name")))
        }
        Some((name, _)) => Err(fault.help(format!("ports do not count: write \"{name}\""))),
        None if text.contains('*') => Err(fault.help("wildcards are not known here")),
        None => host_name(text).map_err(|help| fault.help(help)),
    }
}

/// Checks an exact path of a route.
pub(super) fn path(text: &str) -> Result<String, Fault> {
    let fault = Fault::new(format!("must be a path that starts with `/`, not `{text}`"));
    if !text.starts_with('/') {
        return Err(fault.help(format!("did you mean \"/{text}\"?")));
    }
    if text.contains(['?', '#']) {
        return Err(fault.help("the query is no part of the path"));
    }
    if text.contains('*') {
        return Err(fault.help("wildcards are not known here; `path_prefix` takes whole segments"));
    }
    if text.len() > TEXT_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(fault.help("paths are matched as sent: write other characters as %XX"));
    }
    Ok(text.to_owned())
}

/// Checks a path prefix of a route: whole segments, so no slash at the end.
pub(super) fn path_prefix(text: &str) -> Result<String, Fault> {
    let text = path(text)?;
    match text.trim_end_matches('/') {
        "" if text == "/" => Ok(text),
        "" => Err(Fault::new(format!("must not be empty segments: `{text}`")).help("write \"/\"")),
        short if short.len() < text.len() => Err(Fault::new(format!(
            "must not end with a slash: `{text}`"
        ))
        .help(format!("write \"{short}\": it takes `{short}` and everything below `{short}/`"))),
        _ => Ok(text),
    }
}

/// Checks a name of this gateway.
pub(super) fn node(text: &str) -> Result<String, Fault> {
    let good = !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_graphic());
    if good {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(format!("must be 1 to 253 visible ASCII characters, not `{text}`")))
    }
}

/// Checks a filter of the gateway's own log: `LEVEL` and `TARGET=LEVEL`, separated by commas.
pub(super) fn level(text: &str) -> Result<String, Fault> {
    let fault = |part: &str| Fault::new(format!("must be a level such as `info`, not `{part}`"));
    for part in text.split(',') {
        let (target, word) = part.split_once('=').unwrap_or(("pointsman", part));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-');
        if target.is_empty() || target.len() > 256 || !target.bytes().all(allowed) {
            return Err(fault(part).help("write targets as in `info,pointsman::proxy=debug`"));
        }
        if !LEVELS.contains(&word) {
            let list = || format!("the levels are {}", LEVELS.join(", "));
            let meant = closest(word, LEVELS).map(|meant| format!("did you mean `{meant}`?"));
            return Err(fault(part).help(meant.unwrap_or_else(list)));
        }
    }
    Ok(text.to_owned())
}

/// Takes any text that can be a path of the file system.
pub(super) fn file_path(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new("must not be empty"));
    }
    if text.contains('\0') || text.len() > TEXT_BYTES_MAX {
        return Err(Fault::new("cannot be a path"));
    }
    if text.starts_with("~/") {
        return Err(Fault::new(format!("is not expanded: `{text}`"))
            .help("write an absolute path, one relative to this file, or use ${env:HOME}"));
    }
    Ok(text.to_owned())
}

/// Parses `sha256:` and 64 hexadecimal digits.
pub(super) fn digest(text: &str) -> Result<[u8; 32], Fault> {
    let fault = || Fault::new(format!("must be `sha256:` and 64 hexadecimal digits, not `{text}`"));
    let Some(digits) = text.strip_prefix("sha256:") else {
        return Err(fault().help("the output of `sha256sum`, with `sha256:` in front"));
    };
    let mut digest = [0; 32];
    let mut pairs = digits.as_bytes().chunks_exact(2);
    let nibble =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for byte in &mut digest {
        let pair = match pairs.next() {
            Some([high, low]) => nibble(*high).zip(nibble(*low)),
            Some(_) | None => None,
        };
        let (high, low) = pair.ok_or_else(fault)?;
        *byte = high << 4 | low;
    }
    if digits.len() == 64 { Ok(digest) } else { Err(fault()) }
}

/// Parses `ed25519:` and a public key of 32 bytes in base64.
pub(super) fn public_key(text: &str) -> Result<[u8; 32], Fault> {
    let fault = |help: &str| {
        Fault::new(format!("must be `ed25519:` and 32 bytes in base64, not `{text}`")).help(help)
    };
    let Some(encoded) = text.strip_prefix("ed25519:") else {
        return Err(fault("no other kind of key is known"));
    };
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let bytes =
        base64::Engine::decode(&engine, encoded).map_err(|_bad| fault("this is no base64"))?;
    // What `openssl pkey -pubout -outform DER` writes: a header of 12 bytes, and the key.
    let key =
        if bytes.len() == 44 { bytes.get(12..).unwrap_or_default() } else { bytes.as_slice() };
    key.try_into().map_err(|_length| fault("an ed25519 public key has 32 bytes"))
}

/// Takes any text that is not empty.
pub(super) fn some_text(text: &str) -> Result<String, Fault> {
    if text.is_empty() { Err(Fault::new("must not be empty")) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests;
