//! From the file to what can be computed with.

use std::sync::Arc;

use super::file::parse_digest;
use super::{
    Baseline, BaselineError, BaselineFile, Calibration, FORMAT, FeatureFile, FeatureProblem,
    KindWord, Noise, Reference,
};
use crate::domain::stats::layout::{Categories, Edges, Feature, FeatureKind, Layout, Role};

/// How far shares may be from adding up to one; they are brought to one then.
const MASS_SLACK: f64 = 1e-3;
/// The most steps of a calibration.
const CALIBRATION_STEPS_MAX: usize = 4096;

type Checked<T> = Result<T, FeatureProblem>;

/// Checks all of the file.
pub(super) fn checked(file: BaselineFile) -> Result<Baseline, BaselineError> {
    if file.format != FORMAT {
        return Err(BaselineError::Format { found: file.format });
    }
    if file.n == 0 {
        return Err(field("n", "is 0; a baseline is made of at least one row"));
    }
    if file.features.is_empty() && file.outputs.is_empty() {
        return Err(field("features", "and `outputs` are empty; there is nothing to compare with"));
    }
    let digest = match &file.digest {
        Some(text) => Some(
            parse_digest(text)
                .ok_or_else(|| field("digest", "must be `sha256:` and 64 hexadecimal digits"))?,
        ),
        None => None,
    };
    if let Some(calibration) = &file.calibration {
        check_calibration(calibration)?;
    }
    if file.metrics.values().any(|metric| !metric.value.is_finite()) {
        return Err(field("metrics", "has a value that is not finite"));
    }
    let mut features = Vec::with_capacity(file.features.len() + file.outputs.len());
    let mut references = Vec::with_capacity(features.capacity());
    for (list, role, entries) in
        [("features", Role::Input, &file.features), ("outputs", Role::Output, &file.outputs)]
    {
        for (index, entry) in entries.iter().enumerate() {
            let (feature, reference) = feature(entry, role, file.n).map_err(|problem| {
                BaselineError::Feature { list, index, name: entry.name.clone(), problem }
            })?;
            features.push(feature);
            references.push(reference);
        }
    }
    Ok(Baseline {
        model: file.model,
        version: file.version,
        digest,
        rows: file.n,
        created: file.created,
        source: file.source,
        origin: file.origin,
        calibration: file.calibration,
        metrics: file.metrics,
        golden: file.golden,
        latency_ms: file.latency_ms,
        layout: Arc::new(Layout::new(features)?),
        references: references.into(),
    })
}

fn field(field: &'static str, problem: &str) -> BaselineError {
    BaselineError::Field { field, problem: problem.to_owned() }
}

fn check_calibration(calibration: &Calibration) -> Result<(), BaselineError> {
    let Calibration { x, y, .. } = calibration;
    let ascends = |list: &[f64]| list.windows(2).all(|pair| matches!(*pair, [a, b] if a <= b));
    if x.is_empty() || x.len() != y.len() || x.len() > CALIBRATION_STEPS_MAX {
        let problem = format!(
            "has {} scores and {} probabilities; there must be as many of both, 1 to {}",
            x.len(),
            y.len(),
            CALIBRATION_STEPS_MAX
        );
        return Err(BaselineError::Field { field: "calibration", problem });
    }
    if !ascends(x) || !ascends(y) {
        return Err(field("calibration", "must ascend, in `x` and in `y`"));
    }
    if x.iter().any(|x| !x.is_finite()) || y.iter().any(|y| !(0.0..=1.0).contains(y)) {
        return Err(field("calibration", "must have finite `x`, and `y` from 0 to 1"));
    }
    Ok(())
}

fn feature(entry: &FeatureFile, role: Role, rows: u64) -> Checked<(Feature, Reference)> {
    let kind = kind(entry)?;
    let feature = Feature::new(entry.name.as_str(), role, kind);
    for (field, share) in
        [("missing", entry.missing), ("nan", entry.nan), ("infinite", entry.infinite)]
    {
        number(field, share, (0.0..=1.0).contains(&share), "a share from 0 to 1")?;
    }
    let guards = entry.missing + entry.nan + entry.infinite;
    number("missing", guards, guards <= 1.0, "at most 1 together with `nan` and `infinite`")?;
    if let Some(weight) = entry.weight {
        number("weight", weight, weight.is_finite() && weight >= 0.0, "finite and not negative")?;
    }
    if let Some(noise) = entry.noise {
        check_noise(noise)?;
    }
    let total = entry.n.map_or_else(|| (rows as f64) * (1.0 - guards), |n| n as f64);
    let reference = Reference {
        counts: counts(entry, &feature, total)?,
        total,
        means: means(entry, &feature)?,
        range: range(entry)?,
        missing: entry.missing,
        nan: entry.nan,
        infinite: entry.infinite,
        noise: entry.noise,
        weight: entry.weight,
    };
    Ok((feature, reference))
}

fn kind(entry: &FeatureFile) -> Checked<FeatureKind> {
    let refuse = |kind, field, is_there: bool| {
        if is_there { Err(FeatureProblem::Misplaced { kind, field }) } else { Ok(()) }
    };
    match entry.kind {
        KindWord::Numeric => {
            refuse("numeric", "values", !entry.values.is_empty())?;
            refuse("numeric", "other", entry.other.is_some())?;
            Ok(FeatureKind::Numeric(Edges::new(&entry.edges, &entry.point_masses)?))
        }
        KindWord::Categorical | KindWord::Boolean => {
            let is_boolean = entry.kind == KindWord::Boolean;
            let word = if is_boolean { "boolean" } else { "categorical" };
            refuse(word, "edges", !entry.edges.is_empty())?;
            refuse(word, "point_masses", !entry.point_masses.is_empty())?;
            refuse(word, "means", !entry.means.is_empty())?;
            refuse(word, "min", entry.min.is_some())?;
            refuse(word, "max", entry.max.is_some())?;
            refuse(word, "values", is_boolean && !entry.values.is_empty())?;
            if is_boolean {
                return Ok(FeatureKind::Boolean);
            }
            Ok(FeatureKind::Categorical(Categories::new(&entry.values)?))
        }
    }
}

/// The masses as counts, brought to add up to the number of values.
fn counts(entry: &FeatureFile, feature: &Feature, total: f64) -> Checked<Box<[f64]>> {
    let mut mass = entry.mass.clone();
    if feature.other_bin().is_some() {
        mass.push(entry.other.unwrap_or(0.0));
    }
    if mass.len() != feature.bins() {
        let others = usize::from(feature.other_bin().is_some());
        return Err(FeatureProblem::Length {
            field: "mass",
            found: entry.mass.len(),
            wanted: feature.bins() - others,
        });
    }
    for &share in &mass {
        number("mass", share, (0.0..=1.0).contains(&share), "shares from 0 to 1")?;
    }
    let sum: f64 = mass.iter().sum();
    // A feature that was always missing has no mass at all.
    if total == 0.0 && sum == 0.0 {
        return Ok(mass.into());
    }
    if (sum - 1.0).abs() > MASS_SLACK {
        return Err(FeatureProblem::Mass { found: sum });
    }
    Ok(mass.iter().map(|share| share / sum * total).collect())
}

fn means(entry: &FeatureFile, feature: &Feature) -> Checked<Box<[Option<f64>]>> {
    if !entry.means.is_empty() && entry.means.len() != feature.bins() {
        return Err(FeatureProblem::Length {
            field: "means",
            found: entry.means.len(),
            wanted: feature.bins(),
        });
    }
    for mean in entry.means.iter().flatten() {
        number("means", *mean, mean.is_finite(), "finite")?;
    }
    Ok(entry.means.clone().into())
}

fn range(entry: &FeatureFile) -> Checked<Option<(f64, f64)>> {
    match (entry.min, entry.max) {
        (Some(min), Some(max)) => {
            number("min", min, min.is_finite(), "finite")?;
            number("max", max, max.is_finite() && min <= max, "finite and not below `min`")?;
            Ok(Some((min, max)))
        }
        (None, None) => Ok(None),
        (Some(found), None) | (None, Some(found)) => {
            number("min", found, false, "there together with `max`")?;
            Ok(None)
        }
    }
}

fn check_noise(noise: Noise) -> Checked<()> {
    let Noise { chunk, psi_q50, psi_q999 } = noise;
    number("noise.chunk", chunk as f64, chunk > 0, "at least 1")?;
    let sound = |psi: f64| psi.is_finite() && psi >= 0.0;
    number("noise.psi_q50", psi_q50, sound(psi_q50), "finite and not negative")?;
    let is_above = sound(psi_q999) && psi_q50 <= psi_q999;
    number("noise.psi_q999", psi_q999, is_above, "finite and not below `psi_q50`")
}

fn number(field: &'static str, found: f64, is_sound: bool, wanted: &'static str) -> Checked<()> {
    if is_sound { Ok(()) } else { Err(FeatureProblem::Number { field, found, wanted }) }
}
