//! The forms of the prediction log: JSON pointers, sources of fields, URLs of sinks, secrets.
//!
//! Owns how each is written and what to say when it is not. Never looks anything up.

use http::Uri;

use crate::domain::spec::{BackendAddress, FieldSource, JsonPointer, OutputRef, SliceSource, Step};

use super::{closest, header_name, header_value, host_and_port};
use crate::config::scalar::Fault;

/// The shortest key of a keyed hash, in bytes: below it, the hashes of short values can be guessed.
const HASH_KEY_BYTES_MIN: usize = 16;
/// The shortest token that is not soon guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The longest URL of a sink, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Parses a JSON pointer.
pub(in crate::config) fn pointer(text: &str) -> Result<JsonPointer, Fault> {
    JsonPointer::parse(text).map_err(|error| {
        let fault =
            Fault::new(format!("must be a JSON pointer such as /inputs/*/data, not `{text}`"));
        let path = text.strip_prefix("$.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
        match error {
            _ if text.is_empty() => {
                fault.help("the whole body is left out with body = \"hash\" or \"none\"")
            }
            _ if !text.starts_with('/') && !path.contains('/') => {
                fault.help(format!("did you mean \"/{}\"?", path.replace('.', "/")))
            }
            error => fault.help(error.to_string()),
        }
    })
}

/// Parses `header:NAME`, `request:/POINTER` or `response:/POINTER`.
pub(in crate::config) fn field_source(text: &str) -> Result<FieldSource, Fault> {
    let shape = || {
        Fault::new(format!(
            "must be `header:NAME`, `request:/POINTER` or `response:/POINTER`, not `{text}`"
        ))
    };
    let Some((kind, rest)) = text.split_once(':') else {
        return Err(match text.strip_prefix('/') {
            Some(_) => shape().help(format!("did you mean \"request:{text}\"?")),
            None => shape().help(format!("did you mean \"header:{text}\"?")),
        });
    };
    let one = |pointer: JsonPointer| match pointer.steps().contains(&Step::Any) {
        true => Err(Fault::new(format!("must name one value, and `*` names several: `{text}`"))
            .help("write the number of an element, such as 0")),
        false => Ok(pointer),
    };
    match kind {
        "header" => header_name(rest).map(FieldSource::Header),
        "request" => pointer(rest).and_then(one).map(FieldSource::Request),
        "response" => pointer(rest).and_then(one).map(FieldSource::Response),
        other => Err(match closest(other, ["header", "request", "response"]) {
            Some(kind) => shape().help(format!("did you mean \"{kind}:{rest}\"?")),
            None => shape().help("cookies and queries cannot be recorded as a key"),
        }),
    }
}

/// Parses `session` or what [`field_source`] takes.
pub(in crate::config) fn slice_source(text: &str) -> Result<SliceSource, Fault> {
    match text {
        "session" => Ok(SliceSource::Session),
        text => field_source(text).map(SliceSource::Field),
    }
}

/// Parses the name of an output or a JSON pointer.
pub(in crate::config) fn output(text: &str) -> Result<OutputRef, Fault> {
    if text.starts_with('/') {
        return pointer(text).map(OutputRef::Pointer);
    }
    if text.is_empty() {
        return Err(Fault::new("must not be empty"));
    }
    Ok(OutputRef::Name(text.to_owned()))
}

/// Parses `http://HOST[:PORT][/PATH][?QUERY]`; returns it with the address that it leads to.
pub(in crate::config) fn sink_url(text: &str) -> Result<(String, BackendAddress), Fault> {
    let shape =
        || Fault::new(format!("must be a URL such as http://10.0.0.9:8080/events, not `{text}`"));
    plain_http(text)?;
    let uri: Uri = text.parse().map_err(|_| shape().help("write http://HOST:PORT/PATH"))?;
    let authority = uri.authority().ok_or_else(|| shape().help("the host is missing"))?;
    if text.contains('#') || text.len() > URL_BYTES_MAX {
        return Err(shape().help("leave out what follows `#`; 2048 bytes at most"));
    }
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(80);
    if authority.as_str().contains('@') {
        return Err(Fault::new("must not hold user names or passwords")
            .help("credentials belong into `authorization`"));
    }
    let address = host_and_port(&format!("{host}:{port}")).map_err(|help| shape().help(help))?;
    Ok((text.to_owned(), address))
}

/// Refuses every scheme but `http`.
fn plain_http(text: &str) -> Result<(), Fault> {
    if text.to_ascii_lowercase().starts_with("https://") {
        return Err(Fault::new(format!("names `{text}`, and TLS to sinks is not supported yet"))
            .help("use http:// to a local forwarder that speaks TLS, or a private network"));
    }
    if text.starts_with("http://") {
        return Ok(());
    }
    let fault = Fault::new(format!("must start with http://, not `{text}`"));
    Err(match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            fault.help(format!("write \"http://{rest}\""))
        }
        Some((scheme, _)) => {
            fault.help(format!("the scheme `{scheme}` is not known: only http is"))
        }
        None => fault.help(format!("did you mean \"http://{text}\"?")),
    })
}

/// Parses `BUCKET` or `BUCKET/PREFIX`.
pub(in crate::config) fn bucket(text: &str) -> Result<(String, String), Fault> {
    let shape = || {
        Fault::new(format!(
            "must be a bucket and a prefix such as predictions/edge-1, not `{text}`"
        ))
    };
    if let Some((_, rest)) = text.split_once("://") {
        return Err(shape().help(format!("write \"{rest}\"")));
    }
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|b| letter(b) || matches!(b, b'-' | b'.'))
        && bucket.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !good {
        return Err(shape().help("a bucket has 3 to 63 lower-case letters, digits, `-` and `.`"));
    }
    let part = |part: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=');
        !matches!(part, "" | "." | "..") && part.bytes().all(good)
    };
    if prefix.len() > 512 || !(prefix.is_empty() || prefix.split('/').all(part)) {
        return Err(
            shape().help("the parts of a prefix have letters, digits, `-`, `_`, `.` and `=`")
        );
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

/// Parses `http://HOST:PORT` of a server that speaks the S3 protocol.
pub(in crate::config) fn endpoint(text: &str) -> Result<String, Fault> {
    plain_http(text)?;
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let shape =
        || Fault::new(format!("must be a server such as http://10.0.0.9:8333, not `{text}`"));
    if let Some(at) = rest.find(['/', '?', '#', '@']) {
        let host = rest.get(..at).unwrap_or_default();
        return Err(shape().help(format!("write \"http://{host}\" and nothing behind it")));
    }
    let address = host_and_port(rest).map_err(|help| shape().help(help))?;
    Ok(format!("http://{}", address.authority()))
}

/// Checks the name of a region.
pub(in crate::config) fn region(text: &str) -> Result<String, Fault> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("must be a region such as eu-central-1, not `{text}`")))
}

/// Checks a secret that is sent in a header.
pub(in crate::config) fn secret(text: &str) -> Result<String, Fault> {
    if text.is_empty() { Err(Fault::new("must not be empty")) } else { header_value(text) }
}

/// Checks a token that clients bring.
pub(in crate::config) fn token(text: &str) -> Result<String, Fault> {
    if text.len() < TOKEN_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("must have at least {TOKEN_BYTES_MIN} visible characters of ASCII");
        return Err(Fault::new(message).help("`openssl rand -hex 32` makes one"));
    }
    Ok(text.to_owned())
}

/// Checks the key of a keyed hash.
pub(in crate::config) fn hash_key(text: &str) -> Result<String, Fault> {
    if text.len() < HASH_KEY_BYTES_MIN {
        return Err(Fault::new(format!("must have at least {HASH_KEY_BYTES_MIN} bytes")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
        result.expect_err("a fault").help.unwrap_or_default()
    }

    #[test]
    fn fields_are_found_in_headers_and_bodies() {
        let at = |text| JsonPointer::parse(text).expect("a pointer");
        assert_eq!(field_source("header:X-Order"), Ok(FieldSource::Header("x-order".to_owned())));
        assert_eq!(field_source("request:/a/0"), Ok(FieldSource::Request(at("/a/0"))));
        assert_eq!(field_source("response:/a"), Ok(FieldSource::Response(at("/a"))));
        assert_eq!(help(field_source("x-order")), "did you mean \"header:x-order\"?");
        assert_eq!(help(field_source("/a")), "did you mean \"request:/a\"?");
        assert_eq!(help(field_source("requst:/a")), "did you mean \"request:/a\"?");
        for bad in
            ["", "header:", "header:a b", "request:", "request:a", "request:/a/*/b", "cookie:x"]
        {
            assert!(field_source(bad).is_err(), "{bad}");
        }
        assert_eq!(help(pointer("inputs.data")), "did you mean \"/inputs/data\"?");
        assert_eq!(help(pointer("$.card")), "did you mean \"/card\"?");
    }

    #[test]
    fn sinks_have_plain_addresses() {
        let (url, address) = sink_url("http://hub/events?x=1").expect("a URL");
        assert_eq!(
            (url.as_str(), address.authority().as_str()),
            ("http://hub/events?x=1", "hub:80")
        );
        assert_eq!(sink_url("http://[::1]:8080/").expect("a URL").1.authority(), "[::1]:8080");
        assert!(help(sink_url("https://hub/events")).contains("local forwarder"));
        assert!(help(sink_url("http://u:p@hub/")).contains("authorization"));
        assert_eq!(help(sink_url("hub/events")), "did you mean \"http://hub/events\"?");
        for bad in
            ["", "http://", "http:///x", "http://a b/", "ftp://a", "http://a/#x", "http://a:0"]
        {
            assert!(sink_url(bad).is_err(), "{bad}");
        }
        assert_eq!(bucket("logs"), Ok(("logs".to_owned(), String::new())));
        assert_eq!(bucket("logs/a/b=1/"), Ok(("logs".to_owned(), "a/b=1".to_owned())));
        assert_eq!(help(bucket("s3://logs/a")), "write \"logs/a\"");
        for bad in ["", "a", "Logs", "logs//a", "logs/../a", "logs/a b", "-ab"] {
            assert!(bucket(bad).is_err(), "{bad}");
        }
        assert_eq!(endpoint("http://S3.local:9000"), Ok("http://s3.local:9000".to_owned()));
        for bad in ["http://a", "http://a:1/", "https://a:1", "a:1", "http://u@a:1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
