//! The judge: holds the closed windows of each version against its baseline.
//!
//! Owns one docket for each version that has a baseline. After a restart all windows that are kept are heard
//! again, which brings back the state of the verdicts. A version that gets another baseline gets a new docket. The
//! versions of a model that have windows share its budget of false alarms.
//! Runs on the monitor's thread; never decides what follows from a verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gather::{BACK_MINUTES, Follower};
use super::references::Standing;
use super::store::{MonitorReader, VersionKey};
use crate::domain::ids::ModelName;
use crate::domain::spec::DriftSpec;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::drift::docket::{Docket, Judgement};
use crate::domain::stats::verdict::Outcome;
use crate::domain::stats::window::{Minute, WindowLength};

/// Judges windows of one length.
#[derive(Debug)]
pub struct Judge {
    length: WindowLength,
    policy: Policy,
    dockets: BTreeMap<VersionKey, Docket>,
    /// The minute after the last.
    heard: Minute,
}

impl Judge {
    /// The judge of a configuration.
    pub fn new(spec: &DriftSpec) -> Self {
        Self::asking(spec.window, spec.policy())
    }

    /// A judge of windows of this length by this policy.
    pub fn asking(length: WindowLength, policy: Policy) -> Self {
        Self { length, policy, dockets: BTreeMap::new(), heard: Minute::default() }
    }

    fn look(&mut self, reader: &MonitorReader) {
        let standings = reader.standings();
        self.dockets.retain(|key, docket| {
            let is_held = |(known, standing): &(VersionKey, Standing)| {
                let same = |baseline| Arc::ptr_eq(baseline, docket.baseline());
                known == key && standing.baseline().is_some_and(same)
            };
            let stays = standings.iter().any(is_held);
            if !stays {
                reader.retract(key);
            }
            stays
        });
        let mut sharing: BTreeMap<ModelName, usize> = BTreeMap::new();
        for (key, standing) in &standings {
            if standing.baseline().is_some() && !reader.windows(key, self.length).is_empty() {
                *sharing.entry(key.model.clone()).or_default() += 1;
            }
        }
        for (key, standing) in standings {
            let Some(baseline) = standing.baseline() else { continue };
            let sharing = sharing.get(&key.model).copied().unwrap_or(1);
            let docket = self
                .dockets
                .entry(key.clone())
                .or_insert_with(|| Docket::new(Arc::clone(baseline), self.policy));
            for window in reader.windows(&key, self.length) {
                if let Some(judgement) = docket.hear(&window, sharing) {
                    tell(&key, reader.judgement(&key).as_deref(), &judgement);
                    reader.judge(&key, judgement);
                }
            }
        }
    }
}

impl Follower for Judge {
    fn resumed(&mut self, reader: &MonitorReader) {
        self.look(reader);
    }

    fn closed(&mut self, minute: Minute, reader: &MonitorReader) {
        let next = minute.plus(1);
        if u64::from(self.heard.0) > u64::from(next.0) + BACK_MINUTES {
            // The clock was set back: what is still kept is heard again.
            self.dockets.clear();
        }
        self.heard = next;
        if self.length.start_of(next) == next {
            self.look(reader);
        }
    }
}

/// Says what has become of a feature since the judgement before.
fn tell(key: &VersionKey, before: Option<&Judgement>, now: &Judgement) {
    let features = now.baseline.layout().features();
    for report in &now.report.features {
        let was = before.filter(|before| Arc::ptr_eq(&before.baseline, &now.baseline));
        let was = was.and_then(|before| before.report.features.get(report.index));
        let was = was.map_or(Outcome::Insufficient, |before| before.verdict.outcome);
        let is = report.verdict.outcome;
        if (was == Outcome::Breach) == (is == Outcome::Breach) {
            continue;
        }
        let name = features.get(report.index).map_or("", |feature| feature.name());
        let evidence = &report.verdict.evidence;
        let (psi, margin, n) = (report.measured.psi, evidence.margin, report.measured.n);
        if is == Outcome::Breach {
            tracing::warn!(version = %key, feature = name, psi, margin, n, p = report.measured.p, "a feature has drifted from its baseline");
        } else {
            tracing::info!(version = %key, feature = name, psi, margin, n, "a feature is as its baseline again");
        }
    }
}
