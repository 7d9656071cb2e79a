//! How versions that serve do, minute by minute: from the monitor to the signals of their health.
//!
//! Owns one feed for each content that serves, so that no window is told twice. Never judges what follows.

use std::collections::BTreeMap;

use super::Key;
use super::capacity::Load;
use crate::control::health::{Feed, Rules, View};
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::health::{Signal, Window};
use crate::domain::lifecycle::policy::GuardPolicy;
use crate::domain::lifecycle::time::Now;
use crate::domain::spec::AlarmRules;
use crate::domain::stats::window::{Minute, WindowLength};
use crate::monitor::{MonitorReader, QualityReader, VersionKey};

/// The feeds, and what they read.
#[derive(Debug)]
pub(super) struct Feeds {
    monitor: MonitorReader,
    quality: QualityReader,
    feeds: BTreeMap<(Key, Digest), Feed>,
    /// The minute that was open at the last look.
    open: Option<Minute>,
}

/// What counts as bad for a model.
pub(super) fn rules(guard: &GuardPolicy, alarms: &AlarmRules) -> Rules {
    let slow = guard
        .latency
        .map(|latency| (latency.slo, 1.0 - f64::from(latency.target.thousandths()) / 1000.0));
    Rules::new(guard, alarms, slow)
}

impl Feeds {
    pub(super) fn new(monitor: MonitorReader, quality: QualityReader) -> Self {
        Self { monitor, quality, feeds: BTreeMap::new(), open: None }
    }

    /// Whether a minute was closed since the last look.
    pub(super) fn is_due(&mut self) -> bool {
        let open = Some(self.monitor.open());
        std::mem::replace(&mut self.open, open) != open
    }

    /// The windows of a content that serves which are new.
    pub(super) fn windows(
        &mut self,
        content: (Key, Digest),
        rules: &Rules,
        now: Now,
    ) -> Vec<(Signal, Window)> {
        let (model, version) = content.0.clone();
        let open = self.monitor.open();
        // What was before it served says nothing about it now.
        let feed = self.feeds.entry(content).or_insert_with(|| Feed::new(open));
        let key = VersionKey { model, version };
        let view = View::read(&self.monitor, &self.quality, &key, rules, feed.next());
        feed.windows(&view, rules, now)
    }

    /// What a version was asked lately, and answered.
    pub(super) fn load(&self, (model, version): (&ModelName, &VersionName), is_well: bool) -> Load {
        let key = VersionKey { model: model.clone(), version: version.clone() };
        let windows = self.monitor.windows(&key, WindowLength::Minute);
        Load::new(&windows, self.monitor.open(), is_well)
    }

    /// Ends the feeds of what does not serve any more.
    pub(super) fn retain(&mut self, serves: impl Fn(&Key, &Digest) -> bool) {
        self.feeds.retain(|(key, digest), _| serves(key, digest));
    }
}
