//! How many tokens a language model used, as its response says.
//!
//! Owns the two spellings of `usage`: OpenAI's `prompt_tokens` and `completion_tokens`, and
//! `input_tokens` and `output_tokens`. Never guesses: a body that is cut, or not JSON, says nothing.

use serde::Deserialize;

use crate::domain::record::{Payload, Side};

/// What has to be in a body for it to be worth parsing.
const NEEDLE: &[u8] = b"\"usage\"";

/// Tokens in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    pub(super) input_tokens: Option<u32>,
    pub(super) output_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct Body {
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u32>,
    input_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    output_tokens: Option<u32>,
}

/// The usage in the response `side`, if it was captured in full.
pub(super) fn usage(side: &Side<'_>) -> Usage {
    let Payload::Slice(body) = side.body else { return Usage::default() };
    let whole = side.omission.is_none() && side.bytes == body.len() as u64;
    if !whole || !has_needle(body) {
        return Usage::default();
    }
    let counts = serde_json::from_slice::<Body>(body).ok().and_then(|body| body.usage);
    counts.map_or_else(Usage::default, |counts| Usage {
        input_tokens: counts.prompt_tokens.or(counts.input_tokens),
        output_tokens: counts.completion_tokens.or(counts.output_tokens),
    })
}

/// How far the search may move on when the last byte of its window is this one (Horspool 1980): most
/// bytes of a body are never looked at.
const SKIPS: [u8; 256] = {
    let mut skips = [NEEDLE.len() as u8; 256];
    let mut at = 0;
    while at + 1 < NEEDLE.len() {
        skips[NEEDLE[at] as usize] = (NEEDLE.len() - 1 - at) as u8;
        at += 1;
    }
    skips
};

fn has_needle(body: &[u8]) -> bool {
    let mut end = NEEDLE.len();
    while let Some(window) = body.get(end.saturating_sub(NEEDLE.len())..end) {
        if window == NEEDLE {
            return true;
        }
        end += usize::from(SKIPS[usize::from(body[end - 1])]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> (Option<u32>, Option<u32>) {
        let bytes = body.len() as u64;
        let side = Side { body: Payload::Slice(body.as_bytes()), bytes, ..Side::EMPTY };
        let Usage { input_tokens, output_tokens } = usage(&side);
        (input_tokens, output_tokens)
    }

    #[test]
    fn both_spellings_count_and_anything_else_says_nothing() {
        assert_eq!(
            of(r#"{"x":1,"usage":{"prompt_tokens":3,"completion_tokens":4}}"#),
            (Some(3), Some(4))
        );
        assert_eq!(of(r#"{"usage":{"input_tokens":5,"output_tokens":6}}"#), (Some(5), Some(6)));
        assert_eq!(of(r#"{"usage":{"input_tokens":5}}"#), (Some(5), None));
        for nothing in [
            "",
            "{}",
            r#"{"usage":null}"#,
            r#"{"usage":{"input_tokens":-1}}"#,
            r#"{"usage":"much"}"#,
            r#"["usage"]"#,
            r#"{"usage":{"input_tokens":5}"#,
            r#"{"deep":{"usage":{"input_tokens":5}}}"#,
        ] {
            assert_eq!(of(nothing), (None, None), "{nothing}");
        }
        let cut = Side {
            body: Payload::Slice(br#"{"usage":{"input_tokens":5}}"#),
            bytes: 1000,
            ..Side::EMPTY
        };
        assert_eq!(usage(&cut), Usage::default());
    }
}
