//! Compressed bodies: which codings are known, and both directions of them.
//!
//! Owns the bound on what a compressed body may become: it is held while it grows, so that a small body
//! cannot fill the memory. `deflate` is the zlib form (RFC 9110 section 8.4.1.2). Never knows what a
//! body means.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue};

use super::admit::{BODY_KEY, too_large};
use super::problem::{Cause, Problem};

/// What is accepted, for the answer to something else.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, deflate");

/// Answers below this length are not compressed: it would not make them shorter.
const ANSWER_BYTES_MIN: usize = 1024;

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl Coding {
    /// The coding of this name.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        [("identity", Self::Identity), ("gzip", Self::Gzip), ("x-gzip", Self::Gzip)]
            .into_iter()
            .chain([("deflate", Self::Deflate)])
            .find(|(known, _)| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
            .map(|(_, coding)| coding)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// How the body of a message is coded.
    ///
    /// # Errors
    /// When it is coded in a way that is not known, or more than once.
    pub(super) fn of_body(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        match (codings.next(), codings.next()) {
            (None, _) => Some(Self::Identity),
            (Some(coding), None) => Self::parse(coding.as_bytes()),
            (Some(_), Some(_)) => None,
        }
        .ok_or_else(|| {
            Problem::new(Cause::Encoding, "`content-encoding` is not identity, gzip or deflate")
        })
    }

    /// What an answer may be coded with: the client's first choice among what is known, by weight
    /// (RFC 9110 section 12.5.3).
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let mut best = (Self::Identity, 0.0f32);
        for value in headers.get_all(ACCEPT_ENCODING) {
            for choice in value.to_str().unwrap_or_default().split(',') {
                let (name, parameters) = choice.split_once(';').unwrap_or((choice, ""));
                let weight = match parameters.trim().strip_prefix("q=") {
                    Some(weight) => weight.trim().parse().unwrap_or(0.0),
                    None => 1.0,
                };
                if let Some(coding) = Self::parse(name.as_bytes())
                    && weight > best.1
                {
                    best = (coding, weight);
                }
            }
        }
        best.0
    }
}

/// Decodes a body into at most `limit` bytes.
///
/// # Errors
/// `body_too_large` where it would become more, `bad_input` where it is not sound.
pub(super) fn inflate(coding: Coding, body: &[u8], limit: u64) -> Result<Bytes, Problem> {
    let mut plain = Vec::new();
    let most = limit.saturating_add(1);
    let read = match coding {
        Coding::Identity => return Ok(Bytes::copy_from_slice(body)),
        Coding::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(&mut plain),
        Coding::Deflate => {
            let mut decoder = ZlibDecoder::new(body);
            let read = decoder.by_ref().take(most).read_to_end(&mut plain);
            let behind = body.len() as u64 - decoder.total_in().min(body.len() as u64);
            if read.is_ok() && plain.len() as u64 <= limit && behind > 0 {
                let detail = format!("the body has {behind} bytes behind its deflate stream");
                return Err(Problem::new(Cause::BadInput, detail));
            }
            read
        }
    };
    match read {
        Ok(_) if plain.len() as u64 > limit => Err(too_large(limit, BODY_KEY)),
        Ok(_) => Ok(plain.into()),
        Err(error) => {
            let detail = format!("the body is not sound {}: {error}", coding.as_str());
            Err(Problem::new(Cause::BadInput, detail))
        }
    }
}

/// Codes an answer and says so in its head, unless it is too short to gain from it.
pub(super) fn deflate(coding: Coding, body: Bytes, headers: &mut HeaderMap) -> Bytes {
    if body.len() < ANSWER_BYTES_MIN {
        return body;
    }
    let coded = match coding {
        Coding::Identity => return body,
        Coding::Gzip => {
            let mut coder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
            coder.write_all(&body).and_then(|()| coder.finish())
        }
        Coding::Deflate => {
            let mut coder =
                ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
            coder.write_all(&body).and_then(|()| coder.finish())
        }
    };
    match coded {
        Ok(coded) => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
            coded.into()
        }
        // Writing into memory does not fail.
        Err(_never) => body,
    }
}

/// Inflates arbitrary bytes, and reads them as headers.
pub(super) fn fuzz(bytes: &[u8]) {
    const LIMIT: u64 = 1 << 16;
    for coding in [Coding::Identity, Coding::Gzip, Coding::Deflate] {
        let Ok(plain) = inflate(coding, bytes, LIMIT) else { continue };
        assert!(coding == Coding::Identity || plain.len() as u64 <= LIMIT, "within the bound");
        let mut headers = HeaderMap::new();
        let coded = deflate(coding, plain.clone(), &mut headers);
        let said = Coding::of_body(&headers).and_then(|coding| inflate(coding, &coded, u64::MAX));
        assert_eq!(said.as_ref(), Ok(&plain), "what is coded here can be read here");
    }
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let headers = [ACCEPT_ENCODING, CONTENT_ENCODING].map(|name| (name, value.clone()));
        let headers = HeaderMap::from_iter(headers);
        let _body = Coding::of_body(&headers);
        let _answer = Coding::accepted(&headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))])
    }

    #[test]
    fn bodies_survive_both_codings() {
        let body = Bytes::from("0.25,".repeat(1000));
        for coding in [Coding::Identity, Coding::Gzip, Coding::Deflate] {
            let mut headers = HeaderMap::new();
            let coded = deflate(coding, body.clone(), &mut headers);
            assert_eq!(headers.contains_key(CONTENT_ENCODING), coding != Coding::Identity);
            assert_eq!(Coding::of_body(&headers).unwrap(), coding);
            assert_eq!(inflate(coding, &coded, 5000).unwrap(), body);
            if coding != Coding::Identity {
                assert_eq!(inflate(coding, &coded, 4999).unwrap_err().cause, Cause::BodyTooLarge);
                assert_eq!(inflate(coding, &body, 5000).unwrap_err().cause, Cause::BadInput);
                let more = [&coded[..], b"more"].concat();
                assert_eq!(inflate(coding, &more, 5000).unwrap_err().cause, Cause::BadInput);
                let cut = inflate(coding, &coded[..coded.len() / 2], 5000);
                assert_eq!(cut.unwrap_err().cause, Cause::BadInput);
            }
        }
    }

    #[test]
    fn the_client_chooses_the_coding_of_a_long_answer() {
        for (text, expected) in [
            ("gzip, deflate", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br;q=1.0, gzip;q=0.2, deflate;q=0.3", Coding::Deflate),
            ("gzip;q=0", Coding::Identity),
            ("br", Coding::Identity),
        ] {
            assert_eq!(Coding::accepted(&accepts(text)), expected, "{text}");
        }
        let mut headers = HeaderMap::new();
        let short = deflate(Coding::Gzip, Bytes::from_static(b"short"), &mut headers);
        assert_eq!((&short[..], headers.len()), (&b"short"[..], 0));
        let twice =
            [CONTENT_ENCODING, CONTENT_ENCODING].map(|n| (n, HeaderValue::from_static("gzip")));
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, value);
        }
        assert_eq!(Coding::of_body(&headers).unwrap_err().cause, Cause::Encoding);
    }
}
