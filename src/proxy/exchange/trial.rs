//! What an exchange tells about a version on trial.
//!
//! Owns whom the end of an exchange speaks against, and the look for numbers that are none in an answer of a
//! backend. Costs a request of a model without a trial one comparison. Never decides who answers.

use std::time::Duration;

use http::HeaderValue;

use super::Exchange;
use crate::domain::record::Outcome;
use crate::domain::routing::{Arm, ModelIx};
use crate::domain::stats::window::Minute;
use crate::monitor::Waiting;
use crate::monitor::pairs::has_broken_number as has_broken_number_among;
use crate::proxy::offload::INLINE_BYTES_MAX;
use crate::proxy::problem::Cause;
use crate::snapshot::{Answered, Canary, RuntimeKind, Snapshot};

/// The counts of a trial on requests of clients, where the model has one.
pub(super) fn canary_of(snapshot: &Snapshot, model: ModelIx) -> Option<&Canary> {
    snapshot.model(model).trial.as_ref()?.as_canary()
}

impl Exchange {
    /// Whether the answer is compared with those of another version.
    pub(super) fn is_compared(&self) -> bool {
        matches!(self.arm(), Some(Arm::Candidate | Arm::Control))
    }

    fn arm(&self) -> Option<Arm> {
        self.decision?.reason.arm()
    }

    /// Counts the exchange for the trial that it is a part of.
    pub(super) fn count_for_trial(&mut self, took: Duration) {
        let Some(arm) = self.arm().filter(|arm| *arm != Arm::Rest) else { return };
        let Some(failed) = self.speaks_against_version() else { return };
        let invalid = if failed { None } else { self.has_invalid_output() };
        let Some(model) = self.decision.and_then(|decision| decision.model) else { return };
        let Some(trial) = &self.snapshot.model(model).trial else { return };
        if let Some(canary) = trial.as_canary() {
            let answered = Answered { failed, took, invalid };
            canary.answer(self.context.worker.index, arm, &answered);
        }
        let panicked = self.problem.as_ref().filter(|problem| problem.cause == Cause::ModelPanic);
        if let Some(problem) = panicked.filter(|_| arm == Arm::Candidate) {
            trial.crash(&problem.detail);
        }
    }

    /// Whether the end of the exchange speaks against the version that answered; `None` where it says nothing
    /// about it.
    ///
    /// A refusal by the version itself does: both arms get the same requests, and one that refuses what the
    /// other takes is worse. So does a client that did not wait for the answer.
    fn speaks_against_version(&self) -> Option<bool> {
        match (&self.problem, self.outcome) {
            (Some(problem), _) => problem.cause.blames_version().then_some(true),
            (None, Outcome::Ok) => Some(false),
            (None, _) => Some(true),
        }
    }

    /// Whether the answer has a number that is none; `None` where it cannot be told.
    fn has_invalid_output(&mut self) -> Option<bool> {
        let is_local =
            self.target().is_some_and(|target| matches!(target.kind, RuntimeKind::Local(_)));
        if is_local {
            return self.values.as_ref()?.has_broken_output();
        }
        self.response.capture.seal();
        if self.is_grpc || !self.response.is_plain_json() {
            return self.has_broken_tensor();
        }
        if self.response.capture.omission().is_some() || self.response.capture.bytes() == 0 {
            return None;
        }
        let pieces = self.response.capture.payload();
        Some(has_broken_number(pieces.pieces()))
    }

    /// The same for an answer that must be decoded to be told, as one over gRPC, if it is short.
    fn has_broken_tensor(&mut self) -> Option<bool> {
        let is_short = |bytes: u64| (1..=INLINE_BYTES_MAX as u64).contains(&bytes);
        if !is_short(self.response.capture.bytes()) || !is_short(self.request.capture.bytes()) {
            return None;
        }
        self.request.capture.seal();
        let exchange = Waiting {
            minute: Minute::default(),
            protocol: self.protocol,
            path: self.uri.path().into(),
            request: self.request.content().ok()?,
            response: self.response.content().ok()?,
        };
        // What is compressed may be long.
        let is_plain = exchange.response.content_encoding.is_none()
            && exchange.request.content_encoding.is_none();
        is_plain.then(|| has_broken_number_among(&exchange, &self.target()?.about()))?
    }
}

/// Whether a content type says JSON.
pub(super) fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
}

/// Whether JSON has a number that is none, as encoders write it: `NaN` and `Infinity`, or `null` where JSON is taken at
/// its word. Outside of strings no other word has their letters. A `null` counts in lists only: elsewhere it is a field
/// without a value, as of a model without a version.
fn has_broken_number<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut in_string, mut escaped) = (false, false);
    // What is open, the innermost last: a list is a one. What lies deeper than it is wide is taken for no list.
    let mut lists: u64 = 0;
    for byte in pieces.flatten() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'N' | b'I' => return true,
            b'n' if lists & 1 == 1 => return true,
            b'[' => lists = (lists << 1) | 1,
            b'{' => lists <<= 1,
            b']' | b'}' => lists >>= 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_found_outside_of_strings_only() {
        let found = |text: &str| {
            // However it is cut.
            (0..text.len()).all(|at| {
                let (head, tail) = text.as_bytes().split_at(at);
                has_broken_number([head, tail].into_iter())
            })
        };
        let clean = |text: &str| !has_broken_number(std::iter::once(text.as_bytes()));
        for broken in [r#"{"p":[0.1,NaN]}"#, r#"[-Infinity]"#, r#"{"a\"":"x","y":Infinity}"#] {
            assert!(found(broken), "{broken}");
        }
        for sound in [r#"{"label":"NaN"}"#, r#"{"I\"N":[1.5e-3,true]}"#, "", r#"["\\"]"#] {
            assert!(clean(sound), "{sound}");
        }
    }

    #[test]
    fn a_null_is_a_number_that_is_none_in_lists_only() {
        let broken = |text: &str| has_broken_number(std::iter::once(text.as_bytes()));
        // As servers that encode with orjson write it.
        assert!(broken(
            r#"{"model_version":null,"outputs":[{"data":[0.1,null],"parameters":null}]}"#
        ));
        assert!(broken(r#"{"predictions":[[0.5,0.5],[null,1.0]]}"#));
        let sound =
            r#"{"id":null,"outputs":[{"parameters":null,"data":[1,2]},{"data":[]}],"v":null}"#;
        assert!(!broken(sound) && !broken("null") && !broken(r#"["null"]"#));
        let (deep, up) = ("[".repeat(100), "]".repeat(100));
        assert!(broken(&format!("{deep}null")) && !broken(&format!("{deep}{up}null")));
        let within = format!("[{}1{},null]", "{\"a\":".repeat(70), "}".repeat(70));
        assert!(!broken(&within), "what is beyond is missed, and nothing else is taken for it");
    }

    #[test]
    fn json_is_told_by_its_type() {
        let is = |text: &'static str| is_json(Some(&HeaderValue::from_static(text)));
        assert!(is("application/json; charset=utf-8") && is("application/vnd.x+json"));
        assert!(!is("application/octet-stream") && !is_json(None));
    }
}
