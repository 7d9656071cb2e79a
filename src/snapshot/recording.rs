//! What is recorded of an exchange, made ready when a snapshot is built.
//!
//! Owns the way from the settings of `[log]`, of a model or of a route to what the request path needs:
//! header names parsed, limits and omissions decided. Never looks at an exchange.

use http::HeaderName;

use super::Snapshot;
use crate::domain::record::Omission;
use crate::domain::routing::{ModelIx, RouteIx};
use crate::domain::spec::{
    BodyPolicy, Durability, FieldSource, Intent, JsonPointer, Recording, Redaction, WhenFull,
};

/// What is recorded of the exchanges of one route or model.
#[derive(Debug)]
pub struct RecordingPolicy {
    /// What a record survives.
    pub durability: Durability,
    /// Whether an exchange that cannot be recorded is refused; otherwise it is served and counted.
    pub refuses: bool,
    /// What is kept of bodies.
    pub keep: Keep,
    /// Headers that are kept.
    pub headers: Box<[HeaderName]>,
    /// Whether a request may ask that its bodies are left out.
    pub opt_out: bool,
    /// What is taken out of bodies.
    pub redaction: Redaction,
    /// The share of exchanges that are recorded.
    pub sample: f32,
    /// Where the key for feedback is found.
    pub feedback_key: Option<KeySource>,
    /// Where the session is found.
    pub session: Option<KeySource>,
}

/// How much of a body is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The first bytes, so many.
    pub limit: usize,
    /// The hash of the whole.
    pub hash: bool,
    /// Why a longer body is not whole in its row.
    pub beyond: Omission,
    /// A body that is longer is not kept at all.
    pub whole_or_nothing: bool,
}

impl Keep {
    /// Nothing but the length.
    pub const fn nothing(because: Omission) -> Self {
        Self { limit: 0, hash: false, beyond: because, whole_or_nothing: true }
    }

    fn of(recording: &Recording) -> Self {
        let (limit, hash, beyond) = match recording.body {
            BodyPolicy::Full => (recording.body_limit, true, Omission::Size),
            BodyPolicy::Head => (recording.head, true, Omission::Policy),
            BodyPolicy::Hash => (0, true, Omission::Policy),
            BodyPolicy::None => return Self::nothing(Omission::Policy),
        };
        if recording.redact.rules.is_empty() {
            return Self { limit, hash, beyond, whole_or_nothing: false };
        }
        // The hash of a body that lacks one guessable value gives that value away, and a part of a
        // body cannot be searched for what must go.
        let beyond = if limit == 0 { Omission::Policy } else { Omission::Unredactable };
        Self { limit, hash: false, beyond, whole_or_nothing: true }
    }
}

/// Where a field of a record is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a request header.
    Header(HeaderName),
    /// In the request's body.
    Request(JsonPointer),
    /// In the response's body.
    Response(JsonPointer),
}

impl KeySource {
    fn of(source: &FieldSource) -> Option<Self> {
        Some(match source {
            FieldSource::Header(name) => Self::Header(name.parse().ok()?),
            FieldSource::Request(pointer) => Self::Request(pointer.clone()),
            FieldSource::Response(pointer) => Self::Response(pointer.clone()),
        })
    }
}

impl RecordingPolicy {
    /// Makes `recording` ready; `when_full` is the choice of the whole log.
    pub fn new(recording: &Recording, when_full: Option<WhenFull>) -> Self {
        let key = |source: &Option<FieldSource>| source.as_ref().and_then(KeySource::of);
        Self {
            durability: recording.durability,
            refuses: match when_full {
                Some(choice) => choice == WhenFull::Refuse,
                None => recording.durability.waits(),
            },
            keep: Keep::of(recording),
            headers: recording.headers.iter().filter_map(|name| name.parse().ok()).collect(),
            opt_out: recording.opt_out,
            redaction: recording.redact.clone(),
            sample: recording.sample,
            feedback_key: key(&recording.feedback_key),
            session: key(&recording.session),
        }
    }

    /// Whether anything is taken out of bodies.
    pub fn redacts(&self) -> bool {
        !self.redaction.rules.is_empty()
    }
}

/// The position of a policy in [`Policies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyIx(u32);

impl PolicyIx {
    /// For exchanges that no route and no model is known of.
    pub const UNDECIDED: Self = Self(0);
}

/// All policies of a snapshot: one for exchanges that lead nowhere, then those of the models and the
/// routes, in the order of the table.
#[derive(Debug)]
pub struct Policies {
    all: Box<[RecordingPolicy]>,
    models: u32,
}

impl Policies {
    /// The policies of `intent` for the models and routes of a table, in its order.
    pub fn new<'a>(
        intent: &'a Intent,
        models: impl Iterator<Item = Option<&'a Recording>>,
        routes: impl Iterator<Item = Option<&'a Recording>>,
    ) -> Self {
        let default = &intent.log.recording;
        let policy = |recording: Option<&Recording>| {
            RecordingPolicy::new(recording.unwrap_or(default), intent.log.when_full)
        };
        let mut all = vec![policy(None)];
        all.extend(models.map(policy));
        let models = u32::try_from(all.len() - 1).unwrap_or(u32::MAX);
        all.extend(routes.map(policy));
        // What was meant for a model or route with rules may have gone astray: a name mistyped.
        if all.iter().any(RecordingPolicy::redacts)
            && let Some(undecided) = all.first_mut()
        {
            undecided.keep = Keep::nothing(Omission::Unredactable);
        }
        Self { all: all.into(), models }
    }

    /// The policy of an exchange: of its route, else of its model, else that of the whole log.
    pub fn index_of(&self, route: Option<RouteIx>, model: Option<ModelIx>) -> PolicyIx {
        let number = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        match (route, model) {
            (Some(route), _) => PolicyIx(1 + self.models + number(route.position())),
            (None, Some(model)) => PolicyIx(1 + number(model.position())),
            (None, None) => PolicyIx::UNDECIDED,
        }
    }
}

impl Snapshot {
    /// A policy by its position.
    pub fn policy(&self, index: PolicyIx) -> &RecordingPolicy {
        &self.policies.all[index.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::{RedactRule, RedactionKind};

    fn recording(body: BodyPolicy, redacts: bool) -> Recording {
        let pointer = JsonPointer::parse("/a").unwrap();
        let rule = RedactRule { pointer, kind: RedactionKind::Mask };
        let rules = redacts.then_some(rule).into_iter().collect();
        Recording { body, redact: Redaction { rules, key: None }, ..Recording::default() }
    }

    #[test]
    fn bodies_with_rules_are_kept_whole_or_not_at_all_and_have_no_hash() {
        for body in BodyPolicy::ALL {
            let (free, bound) = (recording(body, false), recording(body, true));
            let free = RecordingPolicy::new(&free, None).keep;
            let bound = RecordingPolicy::new(&bound, None).keep;
            assert_eq!(free.hash, body != BodyPolicy::None, "{body:?}");
            assert_eq!(free.limit, bound.limit, "{body:?}");
            assert!(!bound.hash && bound.whole_or_nothing, "{body:?}");
        }
    }

    #[test]
    fn each_mode_has_its_own_way_when_the_log_is_full_unless_one_is_chosen() {
        for durability in Durability::ALL {
            let recording = Recording { durability, ..Recording::default() };
            let refuses = |choice| RecordingPolicy::new(&recording, choice).refuses;
            assert_eq!(refuses(None), durability.waits());
            assert!(refuses(Some(WhenFull::Refuse)) && !refuses(Some(WhenFull::Drop)));
        }
    }
}
