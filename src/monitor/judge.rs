//! The judge: holds the closed windows of each version against its baseline.
//!
//! Owns one docket for each version that has a baseline, and keeps what they have come to ([`kept`]), so that evidence
//! outlasts the windows and the process. After a restart the windows that were not heard yet are heard, or all that are
//! kept where nothing was. A version that gets another baseline gets a new docket. The
//! versions of a model that have windows share its budget of false alarms.
//! Runs on the monitor's thread; never decides what follows from a verdict.

mod kept;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use self::kept::{Kept, Saved, Terms};
use super::gather::{BACK_MINUTES, Follower};
use super::references::Standing;
use super::store::{MonitorReader, VersionKey};
use crate::domain::ids::ModelName;
use crate::domain::spec::DriftSpec;
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::drift::docket::{Docket, Judgement};
use crate::domain::stats::drift::scale::units;
use crate::domain::stats::verdict::Outcome;
use crate::domain::stats::window::{Minute, WindowLength};

/// Judges windows of one length.
#[derive(Debug)]
pub struct Judge {
    length: WindowLength,
    policy: Policy,
    dockets: BTreeMap<VersionKey, Docket>,
    /// `None` where nothing is kept.
    kept: Option<Kept>,
}

impl Judge {
    /// The judge of a configuration.
    pub fn new(spec: &DriftSpec) -> Self {
        Self::asking(spec.window, spec.policy())
    }

    /// A judge of windows of this length by this policy.
    pub fn asking(length: WindowLength, policy: Policy) -> Self {
        Self { length, policy, dockets: BTreeMap::new(), kept: None }
    }

    /// Keeps what it comes to below `state`, and takes it up from there.
    #[must_use]
    pub fn keeping(self, state: &Path) -> Self {
        Self { kept: Some(Kept::new(state)), ..self }
    }

    const fn terms(&self) -> Terms {
        Terms::new(self.length, self.policy.margin)
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
        let (mut heard, length) = (false, self.length);
        for (key, standing) in standings {
            let Some(baseline) = standing.baseline() else { continue };
            let sharing = sharing.get(&key.model).copied().unwrap_or(1);
            let Some(docket) = self.docket(&key, baseline, reader) else { continue };
            for window in reader.windows(&key, length) {
                heard |= window.start >= docket.next();
                if let Some(judgement) = docket.hear(&window, sharing) {
                    tell(&key, reader.judgement(&key).as_deref(), &judgement);
                    reader.judge(&key, judgement);
                }
            }
        }
        if heard {
            self.keep(reader);
        }
    }

    /// The docket of a version; a new one goes on from what was kept.
    fn docket(
        &mut self,
        key: &VersionKey,
        baseline: &Arc<Baseline>,
        reader: &MonitorReader,
    ) -> Option<&mut Docket> {
        if !self.dockets.contains_key(key) {
            let kept = self.kept.as_mut();
            let kept = kept.and_then(|kept| kept.take(key, baseline.fingerprint()));
            let resumed =
                kept.and_then(|kept| Docket::resume(Arc::clone(baseline), self.policy, kept));
            let (docket, last) =
                resumed.unwrap_or_else(|| (Docket::new(Arc::clone(baseline), self.policy), None));
            if let Some(last) = last {
                reader.judge(key, last);
            }
            self.dockets.insert(key.clone(), docket);
        }
        self.dockets.get_mut(key)
    }

    fn keep(&mut self, reader: &MonitorReader) {
        let terms = self.terms();
        let Some(kept) = &mut self.kept else { return };
        let saved = |(key, docket): (&VersionKey, &Docket)| Saved {
            model: key.model.clone(),
            version: key.version.clone(),
            fingerprint: docket.baseline().fingerprint(),
            docket: docket.saved(reader.judgement(key).as_deref()),
        };
        kept.write(terms, reader.open(), self.dockets.iter().map(saved).collect());
    }
}

impl Follower for Judge {
    fn resumed(&mut self, reader: &MonitorReader) {
        let terms = self.terms();
        if let Some(kept) = &mut self.kept {
            kept.read(terms);
        }
        self.look(reader);
    }

    fn closed(&mut self, minute: Minute, reader: &MonitorReader) {
        // What was heard of a time that has not come yet: the clock was set back. What is still kept is heard again.
        let latest = u64::from(reader.open().0) + BACK_MINUTES;
        let has_been = |next: Minute| u64::from(next.0) <= latest;
        self.dockets.retain(|_, docket| has_been(docket.next()));
        if let Some(kept) = &mut self.kept {
            kept.retain(has_been);
        }
        let next = minute.plus(1);
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
            let change = report.change().map(units::sentence);
            tracing::warn!(version = %key, feature = name, psi, margin, n, p = report.measured.p, change, "a feature has drifted from its baseline");
        } else {
            tracing::info!(version = %key, feature = name, psi, margin, n, "a feature is as its baseline again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::VersionName;
    use crate::domain::stats::counts::Counts;
    use crate::domain::stats::layout::Value;
    use crate::domain::stats::window::WindowCounts;
    use crate::monitor::store::Store;

    /// A number that lies in the upper half of the baseline a little more often than half of the time.
    const BASELINE: &str = r#"{"format": 1, "model": "m", "version": "v1", "n": 50000,
        "features": [{"name": "x", "kind": "categorical", "values": ["a", "b", "c", "d"],
                      "mass": [0.25, 0.25, 0.25, 0.25], "other": 0.0}]}"#;

    fn hour(baseline: &Baseline, at: u32) -> WindowCounts {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        for row in 0..1200 {
            // The index of this is about .03: a little above the margin.
            let value =
                ["a", "b", "c", "d", "a", "b", "c", "d", "a", "a"][(row + at as usize) % 10];
            counts.record(0, Value::Text(value));
        }
        let mut window = WindowCounts::default();
        window.add_values(&counts);
        window
    }

    /// What is concluded in the end, where the process is another one after each of `restarts` hours.
    fn concluded(restarts: &[u32], margin: f64) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let key = VersionKey { model: ModelName::new("m"), version: VersionName::new("v1") };
        let baseline = || Arc::new(Baseline::from_json(BASELINE.as_bytes()).expect("a baseline"));
        let store = Arc::new(Store::new(u64::MAX));
        let reader = MonitorReader::new(Arc::clone(&store));
        let policy = Policy { margin: 0.025, ..Policy::default() };
        let judge = |policy| Judge::asking(WindowLength::Hour, policy).keeping(dir.path());
        store.stand(&key, Standing::Ready { baseline: baseline(), of: None });
        let mut running = judge(policy);
        running.resumed(&reader);
        for at in 0..60 {
            if restarts.contains(&at) {
                // Another process reads the baseline anew.
                store.stand(&key, Standing::Ready { baseline: baseline(), of: None });
                reader.retract(&key);
                running = judge(Policy { margin, ..policy });
                running.resumed(&reader);
            }
            let minute = Minute(600_000 + at * 60);
            store.add(&key, minute, &hour(&baseline(), at));
            store.close(minute.plus(60));
            running.closed(minute.plus(59), &reader);
        }
        let last = reader.judgement(&key).expect("it was judged");
        format!("{} {:?}", last.judged, last.report)
    }

    #[test]
    fn evidence_that_is_older_than_the_windows_outlasts_the_process() {
        let never = concluded(&[], 0.025);
        assert!(never.starts_with("60 "), "{never}");
        assert_eq!(concluded(&[31, 32, 58], 0.025), never);
        // By another margin it is of no use: the last day is judged again.
        let anew = concluded(&[58], 0.024);
        assert!(anew.starts_with("27 ") || anew.starts_with("26 "), "{anew}");
    }

    #[test]
    fn what_was_heard_by_a_clock_that_was_ahead_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = VersionKey { model: ModelName::new("m"), version: VersionName::new("v1") };
        let baseline = Arc::new(Baseline::from_json(BASELINE.as_bytes()).expect("a baseline"));
        let store = Arc::new(Store::new(u64::MAX));
        let reader = MonitorReader::new(Arc::clone(&store));
        store.stand(&key, Standing::Ready { baseline: Arc::clone(&baseline), of: None });
        let mut judge = Judge::asking(WindowLength::Hour, Policy::default()).keeping(dir.path());
        let mut pass = |store: &Store, at: u32| {
            let minute = Minute(600_000 + at * 60);
            store.add(&key, minute, &hour(&baseline, at));
            store.close(minute.plus(60));
            judge.closed(minute.plus(59), &reader);
            reader.judgement(&key).map(|judgement| judgement.judged)
        };
        assert_eq!((pass(&store, 1), pass(&store, 2000)), (Some(1), Some(2)));
        store.set_back(Minute(600_000 + 2 * 60));
        assert_eq!(pass(&store, 2), Some(1), "the first hour is gone from the rings");
        assert_eq!(pass(&store, 3), Some(2));
    }
}
