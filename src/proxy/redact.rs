//! What is taken out of JSON bodies before anything touches the disk.
//!
//! Owns the walk over a body along the rules of a [`Redaction`], and the splicing: whatever no rule
//! names stays byte for byte as it came, numbers, spacing and order included. Pure, and fails closed:
//! a body that cannot be read to its end is not returned at all. Never decides which rules apply.
//!
//! The reader is the one that also decodes requests ([`crate::protocol::json`]): nesting is bounded,
//! names are compared as they are decoded, and every occurrence of a name that stands twice counts.

mod field;
mod format;
#[cfg(test)]
mod tests;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use smallvec::SmallVec;

pub(super) use self::field::find;
pub(super) use self::format::Format;
use crate::domain::spec::{Redaction, RedactionKind};
use crate::protocol::json::{DecodeError, Reader, Token};

/// What stands for a masked value.
const MASK: &[u8] = b"\"***\"";

/// A body that cannot be read as its format to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unredactable;

/// A body after its redaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redacted {
    /// The new text; `None` where no rule matched and the body may stay as it is.
    pub(super) body: Option<Vec<u8>>,
    /// Values that were taken out or made unreadable.
    pub(super) values: u16,
}

/// Takes out of `body` what the rules name.
///
/// # Errors
/// [`Unredactable`] when the body is not whole JSON in this format, or nested too deep.
pub(super) fn redact(
    redaction: &Redaction,
    format: Format,
    body: &[u8],
) -> Result<Redacted, Unredactable> {
    let mut splice = Splice { redaction, source: body, out: Vec::new(), copied: 0, values: 0 };
    format.documents(body, |document| splice.document(document))?;
    Ok(splice.finish())
}

/// The rules that may still match below a value: each has matched one step for every level.
type Active = SmallVec<[u32; 8]>;

/// What a rule says about one value.
enum Verdict {
    /// Nothing, here or below.
    Keep,
    /// Nothing here; these may match below.
    Descend(Active),
    Redact(RedactionKind),
}

/// Copies a body while values in it are replaced.
struct Splice<'a> {
    redaction: &'a Redaction,
    source: &'a [u8],
    out: Vec<u8>,
    /// The source before this is in `out`, or was replaced.
    copied: usize,
    values: u16,
}

impl Splice<'_> {
    /// Redacts the JSON document in `range` of the source.
    fn document(&mut self, range: std::ops::Range<usize>) -> Result<(), Unredactable> {
        let rules = u32::try_from(self.redaction.rules.len()).unwrap_or(u32::MAX);
        let text = self.source.get(..range.end).unwrap_or_default();
        let base = range.start;
        let mut reader = Reader::new(text.get(base..).unwrap_or_default());
        let active: Active = (0..rules).collect();
        self.value(&mut reader, base, &active, 0)
            .and_then(|()| reader.end())
            .map_err(|_malformed| Unredactable)
    }

    /// Walks over one value at `depth`; `active` rules have matched the way to it.
    fn value(
        &mut self,
        reader: &mut Reader<'_>,
        base: usize,
        active: &Active,
        depth: usize,
    ) -> Result<(), DecodeError> {
        match reader.peek()? {
            Token::Object => self.object(reader, base, active, depth),
            Token::Array => {
                let mut index = 0;
                reader.array(|reader| {
                    let verdict = self.verdict(active, depth, |step| step.takes_index(index));
                    index += 1;
                    match verdict {
                        Verdict::Keep => reader.skip(),
                        Verdict::Descend(active) => self.value(reader, base, &active, depth + 1),
                        Verdict::Redact(kind) => self.replace(reader, base, kind),
                    }
                })
            }
            Token::Null | Token::Boolean | Token::Number | Token::String => reader.skip(),
        }
    }

    fn object(
        &mut self,
        reader: &mut Reader<'_>,
        base: usize,
        active: &Active,
        depth: usize,
    ) -> Result<(), DecodeError> {
        // The reader stands on the brace, as `value` has peeked.
        let mut last_end = base + reader.offset() + 1;
        // Whether a member that stays came before; whether one that goes did.
        let (mut any_kept, mut any_gone) = (false, false);
        reader.object(|reader, name| {
            let verdict = self.verdict(active, depth, |step| step.takes_name(name));
            if let Verdict::Redact(RedactionKind::Drop) = verdict {
                reader.skip()?;
                let end = base + reader.offset();
                // From the end of what came before: the comma goes with its member.
                self.splice(last_end..end, b"");
                self.count();
                any_gone = true;
                last_end = end;
                return Ok(());
            }
            if any_gone && !any_kept {
                // The first that stays has the comma of one that is gone.
                let comma = self.comma_after(last_end);
                self.splice(last_end..comma, b"");
            }
            any_kept = true;
            match verdict {
                Verdict::Keep => reader.skip()?,
                Verdict::Descend(active) => self.value(reader, base, &active, depth + 1)?,
                Verdict::Redact(kind) => self.replace(reader, base, kind)?,
            }
            last_end = base + reader.offset();
            Ok(())
        })
    }

    /// What the active rules say about a child, whose name or index `takes` compares with a step.
    fn verdict(
        &self,
        active: &Active,
        depth: usize,
        takes: impl Fn(&crate::domain::spec::Step) -> bool,
    ) -> Verdict {
        let mut below = Active::new();
        for &index in active {
            let Some(rule) = self.redaction.rules.get(index as usize) else { continue };
            let steps = rule.pointer.steps();
            match steps.get(depth) {
                Some(step) if takes(step) && steps.len() == depth + 1 => {
                    return Verdict::Redact(rule.kind);
                }
                Some(step) if takes(step) => below.push(index),
                _ => {}
            }
        }
        if below.is_empty() { Verdict::Keep } else { Verdict::Descend(below) }
    }

    /// Puts something else in the place of the next value.
    fn replace(
        &mut self,
        reader: &mut Reader<'_>,
        base: usize,
        kind: RedactionKind,
    ) -> Result<(), DecodeError> {
        let token = reader.peek()?;
        let start = reader.offset();
        let decoded = match token {
            Token::String => Some(reader.string()?),
            _ => reader.skip().map(|()| None)?,
        };
        let range = base + start..base + reader.offset();
        match (kind, &self.redaction.key) {
            (RedactionKind::Drop, _) => self.splice(range, b"null"),
            (RedactionKind::Hash, Some(key)) => {
                let content = match &decoded {
                    Some(text) => text.as_bytes(),
                    None => reader.read_since(start),
                };
                let replacement = hashed(key.expose().as_bytes(), content);
                self.splice(range, replacement.as_bytes());
            }
            // Without a key there is nothing that could not be guessed.
            (RedactionKind::Mask | RedactionKind::Hash, _) => self.splice(range, MASK),
        }
        self.count();
        Ok(())
    }

    /// The position after the comma that follows `from` and white space.
    fn comma_after(&self, from: usize) -> usize {
        let rest = self.source.get(from..).unwrap_or_default();
        let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        from + space + usize::from(rest.get(space) == Some(&b','))
    }

    /// Puts `replacement` in the place of `range`, which begins after every earlier one.
    fn splice(&mut self, range: std::ops::Range<usize>, replacement: &[u8]) {
        self.out.extend_from_slice(self.source.get(self.copied..range.start).unwrap_or_default());
        self.out.extend_from_slice(replacement);
        self.copied = range.end;
    }

    fn count(&mut self) {
        self.values = self.values.saturating_add(1);
    }

    fn finish(mut self) -> Redacted {
        if self.values == 0 {
            return Redacted { body: None, values: 0 };
        }
        self.out.extend_from_slice(self.source.get(self.copied..).unwrap_or_default());
        Redacted { body: Some(self.out), values: self.values }
    }
}

/// `"hmac:HEX"`, HMAC-SHA-256 (RFC 2104, FIPS 180-4) of a text's characters, or of any other value as
/// it was written.
fn hashed(key: &[u8], content: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // Not reached: HMAC takes keys of every length.
        return String::from_utf8_lossy(MASK).into_owned();
    };
    mac.update(content);
    let mut text = String::with_capacity(5 + 64 + 2);
    text.push_str("\"hmac:");
    for byte in mac.finalize().into_bytes() {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    text.push('"');
    text
}

/// Redacts arbitrary bytes, for fuzzing: must not panic, and what comes out of one document can be
/// read and redacted again. The first byte chooses the format.
pub(super) fn fuzz(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let redaction = format::fuzz_redaction();
    let format = Format::ALL[usize::from(*choice) % Format::ALL.len()];
    let Ok(redacted) = redact(&redaction, format, body) else { return };
    let body = redacted.body.as_deref().unwrap_or(body);
    let again = redact(&redaction, format, body);
    assert!(again.is_ok(), "the output is not of its format: {again:?}");
    if let Some(pointer) = redaction.rules.first().map(|rule| &rule.pointer) {
        let _found = find(body, pointer, 256);
    }
}
