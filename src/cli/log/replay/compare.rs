//! Whether two answers to the same request say the same.
//!
//! Owns the comparison, from the status down to single numbers. Pure: never sends, reads or prints
//! anything.

mod json;

use std::collections::BTreeSet;

use twox_hash::XxHash3_128;

pub(super) use self::json::Deviation;
use crate::domain::spec::JsonPointer;

/// The most places of one answer that are told apart.
pub(super) const PLACES_MAX: usize = 16;

/// What counts as the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    /// Values of JSON answers that are not compared.
    pub(super) ignore: Vec<JsonPointer>,
    /// The largest deviation of two numbers that are still close: see [`Rules::deviation`].
    pub(super) tolerance: f64,
    /// Numbers nearer to zero than this are measured against it instead of their own size.
    pub(super) floor: f64,
}

impl Rules {
    /// How far two numbers are apart: their distance, divided by the larger of their sizes and of
    /// `floor`. Symmetric; 0 for equal numbers.
    pub(super) fn deviation(&self, a: f64, b: f64) -> f64 {
        if a == b {
            return 0.0;
        }
        (a - b).abs() / a.abs().max(b.abs()).max(self.floor)
    }
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    /// The status.
    pub(super) status: u16,
    /// `content-encoding`, empty for none.
    pub(super) encoding: &'a str,
    /// What is known of the body.
    pub(super) body: Body<'a>,
}

/// What is known of the body of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Its length, and its XXH3-128 (big-endian) if that was recorded.
    Digest {
        /// Bytes.
        bytes: u64,
        /// The hash.
        hash: Option<[u8; 16]>,
    },
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The same.
    Equal(Sameness),
    /// JSON whose numbers are apart by no more than the tolerance; the largest deviation.
    Close(Deviation),
    /// Not the same.
    Differing(Difference),
    /// One is a success and the other is not, or they fail for the fault of another side.
    StatusClass,
    /// The recorded body is not known in full, and what is known does not settle it.
    Unknown,
}

/// In which sense two answers are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sameness {
    /// Byte for byte, by comparing or by the hash.
    Bytes,
    /// As JSON: other than order of members, white space, the form of numbers and what is ignored.
    Json,
}

/// The first difference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    /// Where, as a JSON Pointer (RFC 6901) into the recorded answer; empty for the whole body.
    pub(super) pointer: String,
    /// What was recorded there, shortened.
    pub(super) recorded: String,
    /// What the new answer has there, shortened.
    pub(super) replayed: String,
    /// All places that differ, in words that many answers share: outputs by name and `*` for every
    /// other index. At most [`PLACES_MAX`].
    pub(super) places: BTreeSet<String>,
    /// The largest deviation of two numbers in the answer, where numbers were compared.
    pub(super) worst: Option<Deviation>,
}

/// Compares a recorded answer with a new one.
pub(super) fn compare(recorded: Answer<'_>, replayed: Answer<'_>, rules: &Rules) -> Verdict {
    if recorded.status / 100 != replayed.status / 100 {
        return Verdict::StatusClass;
    }
    if recorded.status != replayed.status {
        let status = |answer: Answer<'_>| format!("status {}", answer.status);
        return differing("status", status(recorded), status(replayed));
    }
    let (old, new) = match (recorded.body, replayed.body) {
        (Body::Whole(old), Body::Whole(new)) => (old, new),
        (Body::Digest { bytes, hash: Some(hash) }, Body::Whole(new))
            if bytes == new.len() as u64 && hash == xxh3(new) =>
        {
            return Verdict::Equal(Sameness::Bytes);
        }
        _ => return Verdict::Unknown,
    };
    if old == new && recorded.encoding == replayed.encoding {
        return Verdict::Equal(Sameness::Bytes);
    }
    let encoded = !recorded.encoding.is_empty() || !replayed.encoding.is_empty();
    match (encoded, json::parse(old), json::parse(new)) {
        (false, Some(old), Some(new)) => json::compare(&old, &new, rules),
        _ => differing("body", summary(old), summary(new)),
    }
}

fn differing(place: &str, recorded: String, replayed: String) -> Verdict {
    let (pointer, places) = (String::new(), BTreeSet::from([place.to_owned()]));
    Verdict::Differing(Difference { pointer, recorded, replayed, places, worst: None })
}

fn summary(body: &[u8]) -> String {
    format!("{} bytes", body.len())
}

fn xxh3(bytes: &[u8]) -> [u8; 16] {
    XxHash3_128::oneshot(bytes).to_be_bytes()
}

#[cfg(test)]
mod tests;
