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
use smallvec::SmallVec;

use super::admit::{BODY_KEY, too_large};
use super::problem::{Cause, Problem};
use crate::protocol::weight;

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
}

/// How a client takes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    coding: Coding,
    /// Whether it takes one that is not coded, too.
    plain: bool,
}

impl Accepted {
    /// Not coded.
    pub(super) const PLAIN: Self = Self { coding: Coding::Identity, plain: true };

    /// What `accept-encoding` asks for: the coding of the greatest weight among those that are known and listed, the
    /// first of several; without one, no coding (RFC 9110 section 12.5.3). A weight that is none counts as zero.
    ///
    /// # Errors
    /// When it excludes everything that is known.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        let listed = values.filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
        let (mut best, mut any) = ((None, 0.0), None);
        let mut named = SmallVec::<[(Coding, f32); 4]>::new();
        for choice in listed {
            let (name, parameters) = choice.split_once(';').unwrap_or((choice, ""));
            let weight = weight(parameters).unwrap_or(0.0);
            if name.trim() == "*" {
                any = Some(weight);
            } else if let Some(coding) = Coding::parse(name.as_bytes()) {
                named.push((coding, weight));
                if weight > best.1 {
                    best = (Some(coding), weight);
                }
            }
        }
        let of_name =
            |coding| named.iter().find(|(known, _)| *known == coding).map(|(_, weight)| *weight);
        let plain = of_name(Coding::Identity).or(any).is_none_or(|weight| weight > 0.0);
        let unnamed = || {
            let is_unnamed = |coding: &Coding| of_name(*coding).is_none();
            any.filter(|weight| *weight > 0.0)
                .and_then(|_| [Coding::Gzip, Coding::Deflate].into_iter().find(is_unnamed))
        };
        let coding = best.0.or_else(|| plain.then_some(Coding::Identity)).or_else(unnamed);
        coding.map(|coding| Self { coding, plain }).ok_or_else(|| {
            let detail =
                "`accept-encoding` takes neither gzip nor deflate nor an answer without a coding";
            Problem::new(Cause::NotAcceptable, detail)
        })
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

/// Codes an answer and says so in its head, unless it is too short to gain from it and may be plain.
pub(super) fn deflate(accepted: Accepted, body: Bytes, headers: &mut HeaderMap) -> Bytes {
    let Accepted { coding, plain } = accepted;
    if body.len() < ANSWER_BYTES_MIN && plain {
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
        let accepted = Accepted { coding, plain: bytes.first().is_none_or(|byte| byte & 1 == 0) };
        let coded = deflate(accepted, plain.clone(), &mut headers);
        let said = Coding::of_body(&headers).and_then(|coding| inflate(coding, &coded, u64::MAX));
        assert_eq!(said.as_ref(), Ok(&plain), "what is coded here can be read here");
    }
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let headers = [ACCEPT_ENCODING, CONTENT_ENCODING].map(|name| (name, value.clone()));
        let headers = HeaderMap::from_iter(headers);
        let _body = Coding::of_body(&headers);
        let _answer = Accepted::of(&headers);
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
            let coded = deflate(Accepted { coding, plain: true }, body.clone(), &mut headers);
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
        let plain = |coding| Ok(Accepted { coding, plain: true });
        let coded = |coding| Ok(Accepted { coding, plain: false });
        for (text, expected) in [
            ("gzip, deflate", plain(Coding::Gzip)),
            ("deflate", plain(Coding::Deflate)),
            ("br;q=1.0, gzip;q=0.2, deflate;q=0.3", plain(Coding::Deflate)),
            ("gzip;q=0", plain(Coding::Identity)),
            ("br", plain(Coding::Identity)),
            ("", plain(Coding::Identity)),
            ("*", plain(Coding::Identity)),
            ("gzip;q=0.4, identity;q=0.5", plain(Coding::Identity)),
            ("GZIP ; Q=0.4", plain(Coding::Gzip)),
            ("gzip;q=loud", plain(Coding::Identity)),
            ("gzip, identity;q=0", coded(Coding::Gzip)),
            ("deflate;q=0.1, *;q=0", coded(Coding::Deflate)),
            ("identity;q=0, *", coded(Coding::Gzip)),
            ("identity;q=0, gzip;q=0, *;q=0.5", coded(Coding::Deflate)),
            ("identity, *;q=0", plain(Coding::Identity)),
        ] {
            assert_eq!(Accepted::of(&accepts(text)), expected, "{text}");
        }
        for text in
            ["identity;q=0", "*;q=0", "br, identity;q=0", "gzip;q=0, deflate;q=0, identity;q=0, *"]
        {
            let refused = Accepted::of(&accepts(text)).map_err(|problem| problem.cause);
            assert_eq!(refused, Err(Cause::NotAcceptable), "{text}");
        }
        let mut headers = HeaderMap::new();
        let gzip = Accepted { coding: Coding::Gzip, plain: true };
        let short = deflate(gzip, Bytes::from_static(b"short"), &mut headers);
        assert_eq!((&short[..], headers.len()), (&b"short"[..], 0));
        let short = deflate(Accepted { plain: false, ..gzip }, short, &mut headers);
        assert_eq!(headers.get(CONTENT_ENCODING), Some(&HeaderValue::from_static("gzip")));
        assert_eq!(inflate(Coding::Gzip, &short, 5), Ok(Bytes::from_static(b"short")));
        let twice =
            [CONTENT_ENCODING, CONTENT_ENCODING].map(|n| (n, HeaderValue::from_static("gzip")));
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, value);
        }
        assert_eq!(Coding::of_body(&headers).unwrap_err().cause, Cause::Encoding);
    }
}
