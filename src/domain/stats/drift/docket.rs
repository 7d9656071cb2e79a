//! The windows of one version on their way to a verdict.
//!
//! Owns how many windows make one that can be judged: a model with little traffic needs several. Knows no
//! clock; windows say themselves when they were.

use std::sync::Arc;

use super::report::Report;
use super::{Drift, Policy};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::counts::Counts;
use crate::domain::stats::window::{Minute, Window};

/// Windows that are gathered until there are enough values; then what there is is judged.
const GATHERED_MAX: u32 = 24;

/// A version whose windows are held against one baseline.
#[derive(Debug)]
pub struct Docket {
    drift: Drift,
    /// The first minute that was not heard.
    next: Minute,
    gathered: Option<Gathered>,
    judged: u64,
}

#[derive(Debug)]
struct Gathered {
    since: Minute,
    windows: u32,
    counts: Counts,
}

/// What was concluded of one window, or of several with little in each.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What the values were held against.
    pub baseline: Arc<Baseline>,
    /// The first minute.
    pub since: Minute,
    /// The minute after the last.
    pub until: Minute,
    /// The values.
    pub counts: Counts,
    /// What they showed.
    pub report: Report,
    /// How many were judged against this baseline, this one included.
    pub judged: u64,
}

impl Docket {
    /// Nothing heard yet.
    pub fn new(baseline: Arc<Baseline>, policy: Policy) -> Self {
        Self {
            drift: Drift::new(baseline, policy),
            next: Minute::default(),
            gathered: None,
            judged: 0,
        }
    }

    /// What values are held against.
    pub const fn baseline(&self) -> &Arc<Baseline> {
        self.drift.baseline()
    }

    /// Takes a closed window. Windows that were heard before change nothing, so that all that are kept can
    /// be given after a restart.
    pub fn hear(&mut self, window: &Window) -> Option<Judgement> {
        if window.start < self.next {
            return None;
        }
        self.next = window.end();
        let baseline = Arc::clone(self.baseline());
        let values = window.counts.values_by(baseline.layout().hash())?;
        let gathered = self.gathered.get_or_insert_with(|| Gathered {
            since: window.start,
            windows: 0,
            counts: Counts::new(Arc::clone(baseline.layout())),
        });
        gathered.counts.merge(values).ok()?;
        gathered.windows += 1;
        let most =
            gathered.counts.features().iter().map(|counts| counts.valid()).max().unwrap_or(0);
        if most < self.drift.values_min() && gathered.windows < GATHERED_MAX {
            return None;
        }
        let Gathered { since, counts, .. } = self.gathered.take()?;
        let report = self.drift.observe(&counts).ok()?;
        self.judged += 1;
        Some(Judgement { baseline, since, until: self.next, counts, report, judged: self.judged })
    }
}

impl Judgement {
    /// The features and roles that are in breach.
    pub fn breaches(&self) -> usize {
        let features = self.report.features.iter().map(|feature| &feature.verdict);
        let roles = self.report.roles.iter().map(|role| &role.verdict);
        features.chain(roles).filter(|verdict| verdict.is_breach()).count()
    }
}
