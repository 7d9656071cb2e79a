//! The windows of one version on their way to a verdict.
//!
//! Owns how many windows make one that can be judged: a model with little traffic needs several, and a feature that
//! few rows have needs more than the others do. Owns, too, what of it is to be kept over a restart. Knows no clock;
//! windows say themselves when they were.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::detector::Detector;
use super::report::Report;
use super::scale::watch::{Part, Watch};
use super::{Drift, Policy};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::counts::{Counts, FeatureCounts};
use crate::domain::stats::verdict::Outcome;
use crate::domain::stats::window::{Minute, Window};

/// Windows that are gathered until there are enough values; then what there is is judged.
const GATHERED_MAX: u32 = 24;
/// Windows for which the values of a feature wait until they are enough: a week of hours.
const WAITING_MAX: u32 = 7 * 24;

/// A version whose windows are held against one baseline.
#[derive(Debug)]
pub struct Docket {
    drift: Drift,
    /// The first minute that was not heard.
    next: Minute,
    gathered: Option<Gathered>,
    /// The values of features that had too few of them in the judgements before.
    waiting: Counts,
    /// The windows that these values are of.
    waited: Box<[u32]>,
    /// The constant factors of the features.
    factors: Box<[Watch]>,
    judged: u64,
    /// What the last judgement began with.
    before: Option<Before>,
}

/// The evidence before a judgement, and how many versions shared the budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Before {
    sharing: u32,
    evidence: Vec<Detector>,
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
    /// The values. Of a feature that few rows have, those that waited are among them.
    pub counts: Counts,
    /// What they showed.
    pub report: Report,
    /// How many were judged against this baseline, this one included.
    pub judged: u64,
}

impl Docket {
    /// Nothing heard yet.
    pub fn new(baseline: Arc<Baseline>, policy: Policy) -> Self {
        let features = baseline.layout().features().len();
        Self {
            waiting: Counts::new(Arc::clone(baseline.layout())),
            waited: vec![0; features].into(),
            factors: vec![Watch::default(); features].into(),
            drift: Drift::new(baseline, policy),
            next: Minute::default(),
            gathered: None,
            judged: 0,
            before: None,
        }
    }

    /// The first minute that was not heard.
    pub const fn next(&self) -> Minute {
        self.next
    }

    /// What values are held against.
    pub const fn baseline(&self) -> &Arc<Baseline> {
        self.drift.baseline()
    }

    /// Takes a closed window. Windows that were heard before change nothing, so that all that are kept can
    /// be given after a restart. `sharing` versions share the budget of the model.
    pub fn hear(&mut self, window: &Window, sharing: usize) -> Option<Judgement> {
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
        let Gathered { since, windows, counts } = self.gathered.take()?;
        self.waiting.merge(&counts).ok()?;
        let counts = self.waiting.clone();
        self.before = Some(Before {
            sharing: u32::try_from(sharing).unwrap_or(u32::MAX),
            evidence: self.drift.state(),
        });
        let mut report = self.drift.observe_as_one_of(sharing, &counts).ok()?;
        for (feature, waited) in report.features.iter().zip(&mut self.waited) {
            *waited += windows;
            if let (Some(_), Some(terms), Some(watch), Some(counts)) = (
                feature.measured.p,
                self.drift.terms(feature.index, sharing),
                self.factors.get_mut(feature.index),
                counts.feature(feature.index),
            ) {
                watch.hear(Part { since, until: self.next, windows: *waited, counts }, terms);
            }
            if feature.measured.p.is_some() || *waited >= WAITING_MAX {
                *waited = 0;
                self.waiting.clear_feature(feature.index);
            }
        }
        self.judged += 1;
        self.scale(&mut report);
        Some(Judgement { baseline, since, until: self.next, counts, report, judged: self.judged })
    }

    /// Puts what is known about constant factors into a report: each is a breach by itself.
    fn scale(&self, report: &mut Report) {
        for feature in &mut report.features {
            let watch = self.factors.get(feature.index);
            feature.scaled = watch.and_then(|watch| watch.standing().copied());
            if feature.scaled.is_some() {
                feature.verdict.outcome = Outcome::Breach;
            }
        }
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

/// What is kept of a docket: the evidence of all windows so far, which are kept for a day only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedDocket {
    next: Minute,
    gathered: Option<SavedCounts>,
    waiting: Vec<FeatureCounts>,
    waited: Vec<u32>,
    factors: Vec<Watch>,
    judged: u64,
    evidence: Vec<Detector>,
    last: Option<(Before, SavedCounts)>,
}

/// Counts of some windows together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedCounts {
    since: Minute,
    until: Minute,
    windows: u32,
    counts: Vec<FeatureCounts>,
}

impl SavedDocket {
    /// The first minute that was not heard.
    pub const fn next(&self) -> Minute {
        self.next
    }
}

impl Docket {
    /// What is to be kept. `last` is what was concluded last.
    pub fn saved(&self, last: Option<&Judgement>) -> SavedDocket {
        let parts = |counts: &Counts| counts.features().to_vec();
        let gathered = self.gathered.as_ref().map(|gathered| SavedCounts {
            since: gathered.since,
            until: self.next,
            windows: gathered.windows,
            counts: parts(&gathered.counts),
        });
        let last = last.filter(|last| last.judged == self.judged).and_then(|last| {
            let counts = parts(&last.counts);
            let counts = SavedCounts { since: last.since, until: last.until, windows: 0, counts };
            Some((self.before.clone()?, counts))
        });
        SavedDocket {
            next: self.next,
            gathered,
            waiting: parts(&self.waiting),
            waited: self.waited.to_vec(),
            factors: self.factors.to_vec(),
            judged: self.judged,
            evidence: self.drift.state(),
            last,
        }
    }

    /// Takes up what was kept, against the same baseline and policy; with it comes what was concluded last, made
    /// again of the same counts. `None` where what was kept does not fit.
    pub fn resume(
        baseline: Arc<Baseline>,
        policy: Policy,
        saved: SavedDocket,
    ) -> Option<(Self, Option<Judgement>)> {
        let layout = Arc::clone(baseline.layout());
        let counts = |parts: Vec<FeatureCounts>| Counts::restore(Arc::clone(&layout), parts).ok();
        let mut docket = Self::new(Arc::clone(&baseline), policy);
        let features = docket.waited.len();
        if saved.waited.len() != features || saved.factors.len() != features {
            return None;
        }
        docket.factors = saved.factors.into();
        let last = match saved.last {
            None => None,
            Some((before, last)) => {
                let counts = counts(last.counts)?;
                let sharing = usize::try_from(before.sharing).ok()?;
                if !docket.drift.resume(&before.evidence) {
                    return None;
                }
                let mut report = docket.drift.observe_as_one_of(sharing, &counts).ok()?;
                docket.scale(&mut report);
                docket.before = Some(before);
                let (since, until, judged) = (last.since, last.until, saved.judged);
                Some(Judgement { baseline, since, until, counts, report, judged })
            }
        };
        // The same as what was just come to, unless the program is another by now: then what was concluded stands.
        if !docket.drift.resume(&saved.evidence) {
            return None;
        }
        docket.next = saved.next;
        docket.waiting = counts(saved.waiting)?;
        docket.waited = saved.waited.into();
        docket.judged = saved.judged;
        docket.gathered = match saved.gathered {
            None => None,
            Some(SavedCounts { since, windows, counts: parts, until: _ }) => {
                Some(Gathered { since, windows, counts: counts(parts)? })
            }
        };
        Some((docket, last))
    }
}
