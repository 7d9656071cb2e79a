//! What discovery counts for the metrics.
//!
//! Owns the counters. Their names are those of [`crate::telemetry::metrics`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::domain::ids::SourceName;

/// The counters. The locks are taken once an answer or an order, and when metrics are read.
#[derive(Debug, Default)]
pub struct Counts {
    answers: Mutex<BTreeMap<(SourceName, &'static str), u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    unsaved: AtomicU64,
}

impl Counts {
    pub(super) fn answered(&self, source: &SourceName, result: &'static str) {
        *self.answers.lock().entry((source.clone(), result)).or_default() += 1;
    }

    pub(super) fn refused(&self, reason: &'static str) {
        *self.refused.lock().entry(reason).or_default() += 1;
    }

    pub(super) fn unsaved(&self) {
        self.unsaved.fetch_add(1, Relaxed);
    }

    /// Answers by source and what they were worth.
    pub fn answers(&self) -> Vec<((SourceName, &'static str), u64)> {
        self.answers.lock().iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// Registrations, renewals and removals that were refused, by reason.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.refused.lock().iter().map(|(reason, count)| (*reason, *count)).collect()
    }

    /// Attempts to write what is known that failed.
    pub fn not_saved(&self) -> u64 {
        self.unsaved.load(Relaxed)
    }
}
