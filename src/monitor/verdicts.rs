//! A judgement as JSON, for the admin API and the command line.
//!
//! Owns the names of what was measured, and the definitions that stand beside them. Judges nothing.

use serde_json::{Map, Value, json};

use super::store::VersionKey;
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::distance;
use crate::domain::stats::drift::docket::Judgement;
use crate::domain::stats::drift::report::FeatureReport;
use crate::domain::stats::drift::scale::units;
use crate::domain::stats::drift::scale::watch::Scaled;
use crate::domain::stats::drift::yardstick::Measured;
use crate::domain::stats::interval::{
    Interval, KOLMOGOROV_SMIRNOV_DEFINITION, WASSERSTEIN_DEFINITION,
};
use crate::domain::stats::layout::Guard;
use crate::domain::stats::verdict::Verdict;
use crate::prediction_log::query::text::timestamp;

/// The judgement of one version: its features, the ones with the strongest evidence first.
pub fn judgement(key: &VersionKey, judgement: &Judgement) -> Value {
    let mut reports: Vec<&FeatureReport> = judgement.report.features.iter().collect();
    reports.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    let features: Vec<Value> =
        reports.iter().filter_map(|report| feature(&judgement.baseline, report)).collect();
    let roles: Map<String, Value> = judgement
        .report
        .roles
        .iter()
        .map(|role| (role.role.as_str().to_owned(), verdict(&role.verdict)))
        .collect();
    json!({
        "model": key.model.as_str(),
        "version": key.version.as_str(),
        "baseline": about(&judgement.baseline),
        "since": timestamp(judgement.since.start_us()),
        "until": timestamp(judgement.until.start_us()),
        "judged": judgement.judged,
        "breaches": judgement.breaches(),
        "roles": roles,
        "features": features,
        "definitions": {
            "psi": distance::PSI_DEFINITION,
            "jensen_shannon": distance::JENSEN_SHANNON_DEFINITION,
            "hellinger": distance::HELLINGER_DEFINITION,
            "l_infinity": distance::L_INFINITY_DEFINITION,
            "chi_squared": distance::CHI_SQUARED_DEFINITION,
            "kolmogorov_smirnov": KOLMOGOROV_SMIRNOV_DEFINITION,
            "wasserstein": WASSERSTEIN_DEFINITION,
        },
    })
}

/// Where a feature stands in lists: its evidence so far, then this window's.
fn strength(report: &FeatureReport) -> f64 {
    let evidence = &report.verdict.evidence;
    let breach = if report.verdict.is_breach() { 1e301 } else { 0.0 };
    breach + evidence.score.unwrap_or(0.0) + evidence.e_value.unwrap_or(0.0)
}

fn about(baseline: &Baseline) -> Value {
    json!({
        "version": baseline.version,
        "origin": baseline.origin.as_str(),
        "rows": baseline.rows,
        "created": baseline.created,
        "layout": baseline.layout().hash().to_string(),
    })
}

/// A verdict with its evidence; what does not apply is left out.
fn verdict(verdict: &Verdict) -> Value {
    let evidence = &verdict.evidence;
    let mut shown = Map::new();
    shown.insert("outcome".to_owned(), verdict.outcome.as_str().into());
    let numbers = [
        ("value", evidence.value),
        ("margin", evidence.margin),
        ("p", evidence.p),
        ("e_value", evidence.e_value),
        ("score", evidence.score),
        ("threshold", evidence.threshold),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            shown.insert(name.to_owned(), number.into());
        }
    }
    shown.into()
}

/// What there was too little of to judge this window; null where there was enough.
fn too_little(measured: &Measured) -> Option<String> {
    let Measured { n, m, needed, p, .. } = measured;
    match p {
        Some(_) => None,
        None if *m < *needed as f64 => Some(format!("baseline of {m:.0} rows, of {needed} needed")),
        None => Some(format!("{n} values, of {needed} needed")),
    }
}

fn feature(baseline: &Baseline, report: &FeatureReport) -> Option<Value> {
    let feature = baseline.layout().features().get(report.index)?;
    let reference = baseline.reference(report.index)?;
    let measured = &report.measured;
    let interval = |interval: Interval| json!([interval.lower, interval.upper]);
    let guards: Map<String, Value> = Guard::ALL
        .iter()
        .zip(measured.guards)
        .map(|(guard, share)| (guard.as_str().to_owned(), share.into()))
        .collect();
    Some(json!({
        "name": feature.name(),
        "role": feature.role().as_str(),
        "kind": feature.kind().as_str(),
        "weight": reference.weight,
        "n": measured.n,
        "m": measured.m,
        "seen": measured.seen,
        "groups": measured.groups,
        "bins": measured.bins,
        "verdict": verdict(&report.verdict),
        "too_little": too_little(measured),
        "discovery": report.is_discovery,
        "psi": measured.psi,
        "jensen_shannon": measured.jensen_shannon,
        "hellinger": measured.hellinger,
        "l_infinity": measured.l_infinity,
        "chi_squared": {
            "statistic": measured.chi_squared.statistic,
            "df": measured.chi_squared.df,
            "p": measured.chi_squared.p,
        },
        "kolmogorov_smirnov": measured.kolmogorov_smirnov.map(interval),
        "wasserstein": measured.wasserstein.map(interval),
        "guards": guards,
        "missing_in_baseline": reference.missing,
        "unknown": measured.unknown,
        "change": report.change().map(|change| json!({
            "factor": change.factor,
            "offset": change.offset,
            "units": units::named(change),
            "sentence": units::sentence(change),
        })),
        "constant_factor": report.scaled.map(constant_factor),
    }))
}

/// A factor that was the same for days.
fn constant_factor(scaled: Scaled) -> Value {
    json!({
        "factor": scaled.change.factor,
        "ln_error": scaled.change.error,
        "p": scaled.p,
        "p_limit": scaled.p_limit,
        "psi": scaled.psi.0,
        "psi_left": scaled.psi.1,
        "n": scaled.n,
        "parts": scaled.parts,
        "since": timestamp(scaled.minutes.0.start_us()),
        "until": timestamp(scaled.minutes.1.start_us()),
    })
}
