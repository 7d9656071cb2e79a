//! The golden set: recorded answers, quality against the champion's, and whether there is any.
//!
//! Owns what counts as worse and as collapsed. Both versions answer the same rows, so that only rows on which they
//! differ count. Never runs anything.

use super::bench::Bench;
use super::golden::GoldenSet;
use super::prediction::{Prediction, Reading};
use super::probes::Probed;
use super::runner::Place;
use super::tour::Tour;
use super::{failed, needs_approval, passed, skipped};
use crate::domain::lifecycle::evidence::{Check, CheckKind};
use crate::domain::stats::paired::{Agreement, Differences, Rights};

/// The chance that an equally good version is called worse, and that one at chance is not called so.
const ALPHA: f64 = 0.05;
/// The fewest rows from which answers are called constant.
const CONSTANT_MIN: usize = 8;
/// The fewest labelled rows from which a version is called no better than chance.
const CHANCE_MIN: u64 = 50;
/// How often a class must be there to count.
const CLASS_MIN: u64 = 5;

/// Recorded answers come out again.
pub(super) fn golden(bench: &Bench, tour: Option<&Tour>) -> Check {
    const KIND: CheckKind = CheckKind::Golden;
    let set = match &bench.golden {
        Err(why) => return failed(KIND, why.clone()),
        Ok(None) => {
            let detail = match bench.runner.place {
                Place::Local(_) => "there is no golden.jsonl",
                Place::Remote(_) => "its model has no `release.golden`",
            };
            return skipped(KIND, detail.to_owned());
        }
        Ok(Some(set)) => set,
    };
    let Some(tour) = tour.filter(|tour| tour.cases > 0) else {
        return failed(KIND, format!("none of its {} cases was run in time", set.cases.len()));
    };
    if tour.failed.count > 0 {
        let (count, first) = (tour.failed.count, &tour.failed.first);
        return failed(KIND, format!("{count} of {} cases have no answer: {first}", tour.cases));
    }
    if !set.has_answers() {
        return skipped(KIND, "the golden set has labels and no outputs".to_owned());
    }
    if tour.differing.count > 0 {
        let (count, first) = (tour.differing.count, &tour.differing.first);
        return failed(
            KIND,
            format!("{count} of {} recorded answers do not come out again: {first}", tour.compared),
        );
    }
    let left = match set.cases.len() - tour.cases {
        0 => String::new(),
        left => format!("; for {left} cases there was no time"),
    };
    let detail = format!(
        "{} recorded answers came out again, {:e} apart at most{left}",
        tour.compared, tour.largest
    );
    passed(KIND, detail)
}

/// The quality of candidate and champion on the same rows.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    /// The golden set with the truths.
    pub(super) set: &'a GoldenSet,
    /// It is the candidate's.
    pub(super) own: bool,
    pub(super) reading: &'a Reading<'a>,
    pub(super) candidate: &'a Tour,
    pub(super) champion: Option<&'a Tour>,
    /// By how much the candidate may be worse.
    pub(super) margin: f64,
}

impl Trial<'_> {
    fn truths(&self) -> impl Iterator<Item = Prediction> {
        self.set.labels().map(|label| self.reading.truth(label))
    }

    /// The metric is not worse than the champion's.
    pub(super) fn metric(&self) -> Check {
        const KIND: CheckKind = CheckKind::GoldenMetric;
        let Some(champion) = self.champion else {
            return skipped(KIND, "there is no champion to compare it with".to_owned());
        };
        if self.candidate.cases == 0 || champion.cases == 0 {
            return skipped(KIND, "there was no time to ask both for the golden rows".to_owned());
        }
        if !self.own && self.candidate.failed.count == self.candidate.cases {
            let detail = "it does not take the golden rows of its champion".to_owned();
            return skipped(KIND, detail);
        }
        if self.candidate.predictions.iter().all(Option::is_none) {
            return failed(KIND, "no prediction can be read out of its answers".to_owned());
        }
        if champion.predictions.iter().all(Option::is_none) {
            let detail = "no prediction can be read out of the champion's answers".to_owned();
            return skipped(KIND, detail);
        }
        if self.reading.is_of_values() { self.errors(champion) } else { self.rights(champion) }
    }

    fn rights(&self, champion: &Tour) -> Check {
        const KIND: CheckKind = CheckKind::GoldenMetric;
        let mut rights = Rights::default();
        for ((truth, ours), theirs) in
            self.truths().zip(&self.candidate.predictions).zip(&champion.predictions)
        {
            rights.count(ours.as_ref() == Some(&truth), theirs.as_ref() == Some(&truth));
        }
        let Some((ours, theirs)) = rights.shares() else {
            return skipped(KIND, "no labelled row was run".to_owned());
        };
        let p = rights.p_worse();
        let numbers = format!(
            "accuracy {ours:.4} against the champion's {theirs:.4} on the same {} rows ({} against {} \
             right where they differ, p = {p:.2e})",
            rights.n(),
            rights.candidate_only,
            rights.control_only
        );
        self.judged(theirs - ours, p, &numbers)
    }

    fn errors(&self, champion: &Tour) -> Check {
        const KIND: CheckKind = CheckKind::GoldenMetric;
        let mut differences = Differences::default();
        let (mut ours, mut theirs) = (0.0, 0.0);
        for ((truth, own), other) in
            self.truths().zip(&self.candidate.predictions).zip(&champion.predictions)
        {
            let (
                Prediction::Value(truth),
                Some(Prediction::Value(own)),
                Some(Prediction::Value(other)),
            ) = (truth, own, other)
            else {
                continue;
            };
            let (own, other) = ((own - truth).abs(), (other - truth).abs());
            differences.add(own - other);
            (ours, theirs) = (ours + own, theirs + other);
        }
        let n = differences.n();
        if n == 0 {
            return skipped(KIND, "no labelled row was run".to_owned());
        }
        let (ours, theirs) = (ours / n as f64, theirs / n as f64);
        let p = differences.p_larger();
        let numbers = format!(
            "mean absolute error {ours:.4} against the champion's {theirs:.4} on the same {n} rows \
             (p = {p:.2e})"
        );
        // Errors have a unit; the margin is a share of the champion's.
        let excess = if theirs > 0.0 { (ours - theirs) / theirs } else { ours - theirs };
        self.judged(excess, p, &numbers)
    }

    fn judged(&self, worse_by: f64, p: f64, numbers: &str) -> Check {
        const KIND: CheckKind = CheckKind::GoldenMetric;
        let margin = self.margin;
        if worse_by.is_nan() || (worse_by > margin && p < ALPHA) {
            return failed(KIND, format!("{numbers}; it may be worse by {margin}"));
        }
        if worse_by > margin {
            return needs_approval(
                KIND,
                format!(
                    "{numbers}; it may be worse by {margin}, and these are too few rows to call it worse: give more \
                     golden rows with labels, or approve it"
                ),
            );
        }
        passed(KIND, numbers.to_owned())
    }

    fn agreement(&self, tour: &Tour) -> Agreement {
        let mut agreement = Agreement::default();
        for (truth, own) in self.truths().zip(&tour.predictions) {
            if let (Prediction::Class(truth), Some(Prediction::Class(own))) = (truth, own) {
                agreement.count(own, &truth);
            }
        }
        agreement
    }

    /// The sentence that says that predictions have nothing to do with the truth, if that is so, and not so of
    /// the champion.
    fn at_chance(&self) -> Option<String> {
        let ours = self.agreement(self.candidate);
        let tells = |it: &Agreement| it.n() >= CHANCE_MIN && it.classes(CLASS_MIN) >= 2;
        if !tells(&ours) || ours.p_chance() <= ALPHA {
            return None;
        }
        let theirs = self.champion.map(|tour| self.agreement(tour));
        if theirs.is_some_and(|theirs| theirs.p_chance() > ALPHA) {
            return None;
        }
        Some(format!(
            "{} of {} golden rows are right, {:.0} would be by chance (p = {:.2})",
            ours.agreed(),
            ours.n(),
            ours.by_chance(),
            ours.p_chance()
        ))
    }
}

/// Answers depend on the input.
pub(super) fn collapse(probed: &Probed, tour: Option<&Tour>, trial: Option<&Trial<'_>>) -> Check {
    const KIND: CheckKind = CheckKind::Collapse;
    if let Some(what) = trial.and_then(Trial::at_chance) {
        return failed(KIND, what);
    }
    let golden = tour.map(|tour| &tour.spread);
    for (spread, whose) in
        golden.map(|it| (it, "golden")).into_iter().chain([(&probed.spread, "probe")])
    {
        if spread.is_constant() && spread.rows() >= CONSTANT_MIN {
            let detail = format!("all {} {whose} rows have the same answer", spread.rows());
            return failed(KIND, detail);
        }
    }
    let rows = golden.map_or(0, |spread| spread.rows()) + probed.spread.rows();
    if rows < CONSTANT_MIN {
        let detail = format!(
            "{rows} rows are known of what clients send, and it takes {CONSTANT_MIN}; put a \
             golden.jsonl or a baseline.json beside it, or name a golden set for servers (`release.golden`)"
        );
        return skipped(KIND, detail);
    }
    passed(KIND, format!("answers to {rows} rows differ"))
}
