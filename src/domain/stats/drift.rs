//! Whether a version's traffic still looks like its baseline.
//!
//! Owns the test of one window ([`yardstick`]), the evidence that windows bring together
//! ([`detector`]), how both are divided over the features of a model, and which windows are judged
//! together ([`docket`]). Never knows the time: a
//! window is what it is given, and the same windows in the same order give the same verdicts, whether or not
//! the state was kept and taken up in between ([`docket::SavedDocket`]).
//!
//! ```text
//! counts of a window ─▶ yardstick: gate, psi, margin test ─▶ p ─▶ e ─▶ detector of the feature ─▶ verdict
//!                                                                 └─▶ mean ─▶ detector of the role ─▶ verdict
//! ```
//!
//! Beside it each number is asked whether one constant factor explains how it differs ([`scale`]): a change of units may be
//! below any margin.
//!
//! The law: without drift beyond the margin, the expected number of windows up to a false alarm is at least
//! [`Policy::windows`], over all features, roles and versions of a model together. Windows have to be independent for
//! that; where they are not, [`Yardstick`] takes the noise that the pipeline measured into account.

pub mod detector;
pub mod docket;
pub mod report;
pub mod scale;
pub mod yardstick;

use std::sync::Arc;

use self::detector::{Detector, Step, e_value};
use self::report::{FeatureReport, Report, RoleReport, false_discoveries};
use self::scale::Ruler;
use self::scale::watch::Terms;
use self::yardstick::Yardstick;
use super::baseline::Baseline;
use super::counts::{Counts, UnlikeLayouts};
use super::layout::Role;
use super::verdict::{Evidence, Outcome, Verdict};

/// All windows are held against one finite reference and are not wholly independent; simulation asks
/// for thresholds higher by this factor.
const ONE_REFERENCE: f64 = 1.2;
/// The parts of the budget that features, roles and constant factors have.
const SHARES: [f64; 3] = [0.4, 0.4, 0.2];

/// What is asked of drift detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The population stability index that does not matter; .02 is a shift of a seventh of a standard
    /// deviation.
    pub margin: f64,
    /// The windows in which one false alarm of the model is accepted.
    pub windows: f64,
    /// The share of false ones among the features that a report marks.
    pub false_discovery: f64,
}

impl Default for Policy {
    /// One false alarm in 90 days of windows of an hour.
    fn default() -> Self {
        Self { margin: 0.02, windows: 90.0 * 24.0, false_discovery: 0.05 }
    }
}

/// The drift of one version: the state that windows change.
#[derive(Debug, Clone)]
pub struct Drift {
    baseline: Arc<Baseline>,
    policy: Policy,
    yardsticks: Box<[Yardstick]>,
    /// Of the numbers.
    rulers: Box<[Option<Ruler>]>,
    features: Box<[Detector]>,
    roles: Vec<(Role, Detector)>,
    /// The score at which a feature alarms.
    feature_threshold: f64,
    /// The score at which all features of a role together alarm.
    role_threshold: f64,
}

impl Drift {
    /// Nothing seen yet.
    pub fn new(baseline: Arc<Baseline>, policy: Policy) -> Self {
        let features = baseline.layout().features();
        let yardsticks: Box<[Yardstick]> = features
            .iter()
            .zip(baseline.references())
            .map(|(feature, reference)| Yardstick::new(feature, reference, policy.margin))
            .collect();
        let roles: Vec<(Role, Detector)> = [Role::Input, Role::Output]
            .into_iter()
            .filter(|role| features.iter().any(|feature| feature.role() == *role))
            .map(|role| (role, Detector::default()))
            .collect();
        let rulers = features.iter().zip(baseline.references());
        let rulers = rulers.map(|(feature, reference)| Ruler::new(feature, reference)).collect();
        let [of_features, of_roles, _] = SHARES;
        let windows = ONE_REFERENCE * policy.windows.max(1.0);
        Self {
            feature_threshold: windows / of_features * yardsticks.len().max(1) as f64,
            role_threshold: windows / of_roles * roles.len().max(1) as f64,
            rulers,
            features: vec![Detector::default(); yardsticks.len()].into(),
            yardsticks,
            roles,
            policy,
            baseline,
        }
    }

    /// What traffic is held against.
    pub const fn baseline(&self) -> &Arc<Baseline> {
        &self.baseline
    }

    /// What is asked.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the factor of a feature is held against, where it has one. `sharing` versions share the budget of the model.
    pub fn terms(&self, index: usize, sharing: usize) -> Option<Terms<'_>> {
        let ruler = self.rulers.get(index)?.as_ref()?;
        let dispersion = self.yardsticks.get(index)?.dispersion();
        let [.., of_factors] = SHARES;
        let rulers = self.rulers.iter().flatten().count();
        let among = (rulers * sharing.max(1)) as f64 * self.policy.windows.max(1.0);
        Some(Terms { ruler, dispersion, p_window: of_factors / among })
    }

    /// The values from which on a window says something about every feature.
    pub fn values_min(&self) -> u64 {
        self.yardsticks.iter().map(|y| y.groups().values_min() as u64).max().unwrap_or(0)
    }

    /// Takes a closed window into account, as the only version of its model.
    ///
    /// # Errors
    ///
    /// Refuses counts of another layout than the baseline's.
    pub fn observe(&mut self, window: &Counts) -> Result<Report, UnlikeLayouts> {
        self.observe_as_one_of(1, window)
    }

    /// Takes a closed window into account. `sharing` versions share the budget of the model.
    ///
    /// # Errors
    ///
    /// Refuses counts of another layout than the baseline's.
    pub fn observe_as_one_of(
        &mut self,
        sharing: usize,
        window: &Counts,
    ) -> Result<Report, UnlikeLayouts> {
        let (ours, theirs) = (self.baseline.layout().hash(), window.layout().hash());
        if ours != theirs {
            return Err(UnlikeLayouts { ours, theirs });
        }
        let sharing = sharing.max(1) as f64;
        let threshold = sharing * self.feature_threshold;
        let layout = Arc::clone(self.baseline.layout());
        let mut reports = Vec::with_capacity(self.yardsticks.len());
        for (index, ((yardstick, detector), counts)) in
            self.yardsticks.iter().zip(&mut self.features).zip(window.features()).enumerate()
        {
            let measured = yardstick.measure(counts);
            let step = measured.p.map(|p| detector.observe(e_value(p), threshold));
            let verdict = Verdict {
                outcome: outcome(step.as_ref(), detector),
                evidence: yardstick.evidence(&measured, detector.score(), threshold),
            };
            let ruler = self.rulers.get(index).and_then(Option::as_ref);
            let change = ruler.filter(|_| verdict.is_breach()).and_then(|it| it.explain(counts));
            let (is_discovery, scaled) = (false, None);
            reports.push(FeatureReport { index, measured, verdict, is_discovery, change, scaled });
        }
        let ps: Vec<Option<f64>> = reports.iter().map(|report| report.measured.p).collect();
        for (report, is_discovery) in
            reports.iter_mut().zip(false_discoveries(&ps, self.policy.false_discovery))
        {
            report.is_discovery = is_discovery;
        }
        let weights = self.baseline.references().iter().map(|r| r.weight);
        let weighted: Vec<(Role, Option<f64>, Option<f64>)> = layout
            .features()
            .iter()
            .zip(weights)
            .zip(&ps)
            .map(|((feature, weight), p)| (feature.role(), weight, p.map(e_value)))
            .collect();
        let threshold = sharing * self.role_threshold;
        let roles = self
            .roles
            .iter_mut()
            .map(|(role, detector)| {
                let of_role =
                    weighted.iter().filter(|(of, ..)| of == role).map(|(_, w, e)| (*w, *e));
                let e = weighted_mean(of_role);
                let step = e.map(|e| detector.observe(e, threshold));
                let evidence = Evidence {
                    definition: "mean of the features' e-values, by weight",
                    e_value: e,
                    score: Some(detector.score()),
                    threshold: Some(threshold),
                    ..Evidence::default()
                };
                let outcome = outcome(step.as_ref(), detector);
                RoleReport { role: *role, verdict: Verdict { outcome, evidence } }
            })
            .collect();
        Ok(Report { features: reports, roles })
    }

    /// The evidence that has come together, to be put back with [`Self::resume`].
    pub fn state(&self) -> Vec<Detector> {
        self.features
            .iter()
            .chain(self.roles.iter().map(|(_, detector)| detector))
            .copied()
            .collect()
    }

    /// Puts back what [`Self::state`] gave. Without effect, and `false`, where that was for another number of
    /// features, or cannot be.
    pub fn resume(&mut self, state: &[Detector]) -> bool {
        if state.len() != self.features.len() + self.roles.len()
            || !state.iter().all(Detector::is_sound)
        {
            return false;
        }
        let all =
            self.features.iter_mut().chain(self.roles.iter_mut().map(|(_, detector)| detector));
        for (ours, stored) in all.zip(state) {
            *ours = *stored;
        }
        true
    }
}

/// A window that says nothing does not end what has drifted: the values may be missing because they have.
fn outcome(step: Option<&Step>, detector: &Detector) -> Outcome {
    match step {
        None if detector.is_drifting() => Outcome::Breach,
        None => Outcome::Insufficient,
        Some(step) if step.is_drifting => Outcome::Breach,
        Some(_) => Outcome::Pass,
    }
}

/// The mean of the e-values of one role. A mean of e-values is one, however they depend on each other;
/// a product would not be.
fn weighted_mean(values: impl Iterator<Item = (Option<f64>, Option<f64>)>) -> Option<f64> {
    let known: Vec<(f64, f64)> =
        values.filter_map(|(weight, e)| Some((weight.unwrap_or(1.0), e?))).collect();
    let total: f64 = known.iter().map(|(weight, _)| weight).sum();
    let count = known.len() as f64;
    match known.len() {
        0 => None,
        _ if total > 0.0 => Some(known.iter().map(|(weight, e)| weight * e).sum::<f64>() / total),
        _ => Some(known.iter().map(|(_, e)| e).sum::<f64>() / count),
    }
}
