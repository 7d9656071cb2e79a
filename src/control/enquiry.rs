//! What backends speak and serve, as far as they tell.
//!
//! Owns the rounds in which they are asked and what is known after them. An answer that is missing takes
//! nothing back: a backend that is down speaks no other dialect.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::ask::{Known, ask, is_asked};
use super::members::Members;
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BackendsSpec, Intent, VersionSpec};

/// Versions whose backends are asked at the same time.
const ASKED_AT_ONCE: usize = 16;

/// What is known about the backends of versions.
pub(super) type Spoken = BTreeMap<TargetKind, Known>;

/// The versions whose backends are asked, and what is known about them.
#[derive(Debug, Default)]
pub(super) struct Enquiry {
    asked: Vec<(TargetKind, BackendsSpec)>,
    known: Spoken,
}

impl Enquiry {
    /// Nobody was asked yet.
    pub(super) fn new(intent: &Intent) -> Self {
        let versions = intent.models.iter().flat_map(|(model, spec)| {
            spec.versions.iter().map(move |(version, spec)| (model, version, spec))
        });
        let asked = versions.filter_map(|(model, version, spec)| match spec {
            VersionSpec::Backends(spec) if is_asked(spec) => {
                Some((TargetKind::Version(model.clone(), version.clone()), spec.clone()))
            }
            VersionSpec::Backends(_) | VersionSpec::Onnx(_) => None,
        });
        Self { asked: asked.collect(), known: Spoken::new() }
    }

    /// Whether there is nobody to ask.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Asks those who were discovered from now on.
    pub(super) fn meet(&mut self, members: &Members) {
        for (kind, spec) in &mut self.asked {
            if let Some(members) = members.get(kind) {
                spec.addresses.clone_from(members);
            }
        }
    }

    /// What is known.
    pub(super) fn known(&self) -> &Spoken {
        &self.known
    }

    /// Asks all of them; whether anything is new.
    pub(super) async fn round(&mut self) -> bool {
        let mut waiting = self.asked.clone().into_iter();
        let mut running = JoinSet::new();
        let mut changed = false;
        loop {
            while running.len() < ASKED_AT_ONCE
                && let Some((kind, spec)) = waiting.next()
            {
                running.spawn(async move {
                    let TargetKind::Version(model, _) = &kind else { return None };
                    let known = ask(&spec, model.as_str()).await;
                    Some((kind, known))
                });
            }
            match running.join_next().await {
                None => return changed,
                Some(Ok(Some((kind, known)))) => changed |= self.learn(kind, known),
                Some(Ok(None) | Err(_)) => {}
            }
        }
    }

    /// Notes what is known; whether that is new.
    fn learn(&mut self, kind: TargetKind, mut known: Known) -> bool {
        let before = self.known.get(&kind).cloned().unwrap_or_default();
        known.dialect = known.dialect.or(before.dialect);
        if known.dialect == before.dialect {
            known.description = known.description.or_else(|| before.description.clone());
            known.extensions = known.extensions.or(before.extensions);
        }
        if known == before {
            return false;
        }
        if known.dialect != before.dialect {
            let dialect = known.dialect.map_or("unknown", |dialect| dialect.as_str());
            tracing::info!(target_version = %kind, dialect, "it is known what backends speak");
        }
        self.known.insert(kind, known);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dialect::Dialect;
    use crate::domain::ids::{ModelName, VersionName};
    use crate::protocol::dialect::{DeclaredModel, Extensions};

    #[test]
    fn silence_takes_nothing_back_and_another_dialect_forgets_what_the_first_told() {
        let kind = || TargetKind::Version(ModelName::new("m"), VersionName::new("v1"));
        let description = Some(DeclaredModel { name: "m".into(), ..DeclaredModel::default() });
        let mut enquiry = Enquiry::default();
        let extensions = Some(Extensions { binary_tensors: true, classification: false });
        let dialect = Some(Dialect::OpenInference);
        let told = Known { dialect, description: description.clone(), extensions };
        assert!(enquiry.learn(kind(), told.clone()));
        assert!(!enquiry.learn(kind(), told));
        assert!(!enquiry.learn(kind(), Known::default()), "a backend that is down");
        let partly = Known { dialect, ..Known::default() };
        assert!(!enquiry.learn(kind(), partly), "a backend that told a part of it");
        assert_eq!(enquiry.known()[&kind()].description, description);
        assert_eq!(enquiry.known()[&kind()].extensions, extensions);
        let other = Known { dialect: Some(Dialect::KserveV1), ..Known::default() };
        assert!(enquiry.learn(kind(), other.clone()));
        assert_eq!(enquiry.known()[&kind()], other);
    }
}
