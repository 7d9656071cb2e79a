//! The monitor over the prediction log of the past.
//!
//! Owns the order in which minutes are closed when nobody waits for the clock: once records have gone on for
//! long enough. Everything else is what a running gateway does. Blocks; not for a gateway's threads.

use std::path::Path;
use std::sync::Arc;

use super::disk::Rates;
use super::gather::Follower;
use super::observe::Versions;
use super::references::References;
use super::store::{MonitorReader, Store};
use super::tally::Batch;
use super::{About, VersionKey};
use crate::domain::record::Entry;
use crate::domain::routing::TargetKind;
use crate::domain::spec::Intent;
use crate::domain::stats::window::Minute;
use crate::prediction_log::Item;
use crate::prediction_log::query::{Log, LogError, Scope};

/// Minutes that records may be late, against those before them in the log.
const LATE_MINUTES: u32 = 30;

/// The windows of a part of the log.
#[derive(Debug)]
pub struct Replay {
    versions: Versions,
    store: Arc<Store>,
    references: References,
    /// The share that was looked into.
    rates: Rates,
}

/// What a replay has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Exchanges that were counted.
    pub exchanges: u64,
    /// Records of versions that are not configured, or not monitored.
    pub unknown: u64,
    /// Places where the log has something missing.
    pub gaps: u64,
}

impl Replay {
    /// A replay for the versions of `intent`.
    pub fn new(intent: &Intent, versions: impl IntoIterator<Item = (TargetKind, About)>) -> Self {
        let known = Versions::new(intent, 1);
        for (kind, about) in versions {
            if let Some(version) = known.version(&kind) {
                version.describe(about);
            }
        }
        let store = Arc::new(Store::new(u64::MAX));
        let state = super::Places { data_dir: intent.data_dir.clone(), log: None }.state();
        let mut references = References::reading(&state);
        references.settle(&known, &store);
        Self { versions: known, store, references, rates: Rates::read(&state) }
    }

    /// Reads what was counted.
    pub fn reader(&self) -> MonitorReader {
        MonitorReader::new(Arc::clone(&self.store))
    }

    /// Counts the exchanges that ended from minute `from` up to, but not in, `to`. `followers` are told of
    /// every minute, in order. Only versions that are `wanted` are counted.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn run(
        &mut self,
        data_dir: &Path,
        (from, to): (Minute, Minute),
        wanted: &dyn Fn(&VersionKey) -> bool,
        followers: &mut [&mut dyn Follower],
    ) -> Result<Replayed, LogError> {
        let began = Minute(from.0.saturating_sub(LATE_MINUTES)).start_us();
        let scope = Scope { ts_us: Some((began, to.start_us())), ..Scope::default() };
        let mut log = Log::open_scope(data_dir, scope)?;
        let mut batch = Batch::default();
        let mut replayed = Replayed::default();
        let mut open = from;
        while let Some(item) = log.next_item()? {
            let row = match item {
                Item::Row(row) => row,
                Item::Gap(_) => {
                    replayed.gaps += 1;
                    continue;
                }
            };
            let Entry::Prediction(record) = &row.entry else {
                replayed.gaps += u64::from(row.is_gap());
                continue;
            };
            let minute = Minute::of_exchange(record.ts_us, record.latency.t_total);
            if minute < from || minute >= to {
                continue;
            }
            let decision = &record.decision;
            let version = self.versions.find(decision.model, decision.model_version);
            if version.as_ref().is_some_and(|version| !wanted(version.key())) {
                continue;
            }
            let passed = Minute(minute.0.saturating_sub(LATE_MINUTES));
            if passed > open {
                batch.flush(&self.store);
                self.close(&mut open, passed, followers);
            }
            let (versions, store) = (&self.versions, &self.store);
            // What was passed over then is passed over now.
            let halvings = |minute| self.rates.halvings(minute);
            let references = &mut self.references;
            let counted = batch.recount(versions, record, references, store, halvings);
            match counted {
                Some(_) => replayed.exchanges += 1,
                None => replayed.unknown += 1,
            }
        }
        batch.flush(&self.store);
        self.close(&mut open, to, followers);
        Ok(replayed)
    }

    fn close(&self, open: &mut Minute, next: Minute, followers: &mut [&mut dyn Follower]) {
        let reader = self.reader();
        while *open < next {
            let minute = *open;
            *open = minute.plus(1);
            self.store.close(*open);
            followers.iter_mut().for_each(|follower| follower.closed(minute, &reader));
        }
    }
}
