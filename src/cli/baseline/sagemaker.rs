//! From the statistics of SageMaker Model Monitor to a baseline.
//!
//! Owns the parts of `statistics.json` and `constraints.json` that are read. Their histograms have ten buckets
//! of one width, so that the intervals of the result are wide, and there is neither noise nor a mean of a
//! bucket; the baseline is marked `sage_maker`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::stats::baseline::{BaselineFile, FeatureFile, KindWord, Origin};
use crate::domain::stats::layout::{CATEGORIES_MAX, NAME_BYTES_MAX};

#[derive(Debug, Deserialize)]
struct Statistics {
    dataset: Option<Dataset>,
    features: Vec<Feature>,
}

#[derive(Debug, Deserialize)]
struct Dataset {
    item_count: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Feature {
    name: String,
    numerical_statistics: Option<Numerical>,
    string_statistics: Option<Textual>,
}

#[derive(Debug, Deserialize)]
struct Common {
    num_present: f64,
    num_missing: f64,
}

#[derive(Debug, Deserialize)]
struct Numerical {
    common: Common,
    min: Option<f64>,
    max: Option<f64>,
    distribution: Option<Distribution>,
}

#[derive(Debug, Deserialize)]
struct Textual {
    common: Common,
    distribution: Option<Distribution>,
}

#[derive(Debug, Deserialize)]
struct Distribution {
    kll: Option<Buckets<Bucket>>,
    categorical: Option<Buckets<Category>>,
}

#[derive(Debug, Deserialize)]
struct Buckets<T> {
    buckets: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Bucket {
    upper_bound: f64,
    count: f64,
}

#[derive(Debug, Deserialize)]
struct Category {
    value: String,
    count: f64,
}

#[derive(Debug, Default, Deserialize)]
struct Constraints {
    #[serde(default)]
    features: Vec<Constraint>,
}

#[derive(Debug, Deserialize)]
struct Constraint {
    name: String,
    string_constraints: Option<Domains>,
}

#[derive(Debug, Deserialize)]
struct Domains {
    #[serde(default)]
    domains: Vec<String>,
}

/// Fills `file` with what the statistics say. Those of `outputs` become outputs.
pub(super) fn convert(
    statistics: &[u8],
    constraints: Option<&[u8]>,
    outputs: &[String],
    file: &mut BaselineFile,
) -> Result<(), String> {
    let statistics: Statistics = serde_json::from_slice(statistics)
        .map_err(|error| format!("these are no statistics of SageMaker: {error}"))?;
    let constraints: Constraints = constraints
        .map(serde_json::from_slice)
        .transpose()
        .map_err(|error| format!("these are no constraints of SageMaker: {error}"))?
        .unwrap_or_default();
    let domains: BTreeMap<&str, &[String]> = constraints
        .features
        .iter()
        .filter_map(|c| Some((c.name.as_str(), c.string_constraints.as_ref()?.domains.as_slice())))
        .collect();
    let mut rows = 0.0_f64;
    for feature in &statistics.features {
        let known = domains.get(feature.name.as_str()).copied().unwrap_or_default();
        let (built, seen) = of_feature(feature, known)?;
        rows = rows.max(seen);
        let is_output = outputs.contains(&feature.name);
        if is_output { file.outputs.push(built) } else { file.features.push(built) }
    }
    if let Some(name) = outputs.iter().find(|name| file.outputs.iter().all(|f| f.name != **name)) {
        return Err(format!("there is no feature `{name}` that could be an output"));
    }
    let counted = statistics.dataset.and_then(|dataset| dataset.item_count).unwrap_or(rows);
    file.n = counted.max(1.0) as u64;
    file.origin = Origin::SageMaker;
    Ok(())
}

/// One feature, and how many rows it was counted in.
fn of_feature(feature: &Feature, domain: &[String]) -> Result<(FeatureFile, f64), String> {
    let lacks = |what: &str| format!("feature `{}` has no {what}", feature.name);
    let (kind, common) = match (&feature.numerical_statistics, &feature.string_statistics) {
        (Some(numerical), _) => (KindWord::Numeric, &numerical.common),
        (None, Some(textual)) => (KindWord::Categorical, &textual.common),
        (None, None) => return Err(lacks("`numerical_statistics` and no `string_statistics`")),
    };
    let seen = common.num_present + common.num_missing;
    let mut built = FeatureFile {
        name: feature.name.clone(),
        kind,
        n: Some(common.num_present.max(0.0) as u64),
        edges: Vec::new(),
        point_masses: Vec::new(),
        values: Vec::new(),
        mass: Vec::new(),
        other: None,
        means: Vec::new(),
        min: None,
        max: None,
        missing: if seen > 0.0 { common.num_missing / seen } else { 0.0 },
        nan: 0.0,
        infinite: 0.0,
        noise: None,
        weight: None,
    };
    if let Some(numerical) = &feature.numerical_statistics {
        let kll = numerical.distribution.as_ref().and_then(|d| d.kll.as_ref());
        let kll = kll.ok_or_else(|| lacks("`numerical_statistics.distribution.kll`"))?;
        of_buckets(&kll.buckets, &mut built);
        if let (Some(min), Some(max)) = (numerical.min, numerical.max) {
            (built.min, built.max) = (Some(min), Some(max));
        }
    } else if let Some(textual) = &feature.string_statistics {
        let categorical = textual.distribution.as_ref().and_then(|d| d.categorical.as_ref());
        let buckets = categorical.map(|c| c.buckets.as_slice()).unwrap_or_default();
        of_categories(buckets, domain, common.num_present, &mut built);
    }
    Ok((built, seen))
}

/// Edges are the inner bounds; a bound that is no larger than the one before, at single precision, is none,
/// and its buckets are one bin.
fn of_buckets(buckets: &[Bucket], built: &mut FeatureFile) {
    let total: f64 = buckets.iter().map(|bucket| bucket.count.max(0.0)).sum();
    let mut open = 0.0;
    for (at, bucket) in buckets.iter().enumerate() {
        open += if total > 0.0 { bucket.count.max(0.0) / total } else { 0.0 };
        let edge = f64::from(bucket.upper_bound as f32);
        let ascends = built.edges.last().is_none_or(|last| *last < edge);
        if at + 1 < buckets.len() && ascends && edge.is_finite() {
            built.edges.push(edge);
            built.mass.push(open);
            open = 0.0;
        }
    }
    built.mass.push(open);
}

fn of_categories(buckets: &[Category], domain: &[String], present: f64, built: &mut FeatureFile) {
    let mut counts: Vec<(&str, f64)> =
        buckets.iter().map(|bucket| (bucket.value.as_str(), bucket.count.max(0.0))).collect();
    for value in domain {
        if counts.iter().all(|(known, _)| known != value) {
            counts.push((value, 0.0));
        }
    }
    counts.retain(|(value, _)| value.len() <= NAME_BYTES_MAX);
    counts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    counts.dedup_by(|a, b| a.0 == b.0);
    counts.truncate(CATEGORIES_MAX);
    let known: f64 = counts.iter().map(|(_, count)| count).sum();
    let total = present.max(known).max(f64::MIN_POSITIVE);
    built.values = counts.iter().map(|(value, _)| (*value).to_owned()).collect();
    built.mass = counts.iter().map(|(_, count)| count / total).collect();
    built.other = Some(((total - known) / total).max(0.0));
}

#[cfg(test)]
mod tests;
