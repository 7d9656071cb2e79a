//! The form of `baseline.json`, format 1.
//!
//! Owns the field names and what they mean. An unknown field is an error, so that a misspelt one is
//! noticed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Baseline, BaselineError, Reference};
use crate::domain::stats::layout::{Edges, Feature, FeatureKind, Role};

/// The format that is read and written.
pub const FORMAT: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineFile {
    /// 1.
    pub format: u32,
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// `sha256:` and the digest of the artifact in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The rows that it was made of.
    pub n: u64,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What it was made of, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How it came to be.
    #[serde(default, skip_serializing_if = "Origin::is_data")]
    pub origin: Origin,
    /// What goes into the model.
    #[serde(default)]
    pub features: Vec<FeatureFile>,
    /// What comes out of it.
    #[serde(default)]
    pub outputs: Vec<FeatureFile>,
    /// From scores to probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The metrics that the pipeline measured, such as `auc`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Metric>,
    /// The recorded answers that an admission check replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<Golden>,
    /// Latencies that the pipeline measured, in milliseconds, such as `p99`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latency_ms: BTreeMap<String, f64>,
}

/// How a baseline came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Made of the pipeline's own data.
    #[default]
    Data,
    /// Converted from the statistics of SageMaker, which have ten bins and no noise.
    SageMaker,
    /// Learned from the first traffic: a stopgap that cannot see a skew between training and serving.
    #[serde(rename = "self")]
    Own,
}

impl Origin {
    /// The word in files and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::SageMaker => "sage_maker",
            Self::Own => "self",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    const fn is_data(&self) -> bool {
        matches!(self, Self::Data)
    }
}

/// The kinds of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindWord {
    /// `edges`, `mass`, and what else numbers have.
    Numeric,
    /// `values`, `mass` and `other`.
    Categorical,
    /// `mass` of false and true, and `other`.
    Boolean,
}

/// One feature of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureFile {
    /// The name that requests or the model's metadata give it.
    pub name: String,
    /// What kind it is.
    pub kind: KindWord,
    /// The values that have a bin; where absent, `n` of the file less the shares below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Numeric: where bins begin and end, ascending; the outer bins are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<f64>,
    /// Numeric: values so frequent that each has a bin of its own, from it to the next larger float.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub point_masses: Vec<f64>,
    /// Categorical: the known values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The share of the values in each bin; bins of point masses included, `other` not.
    pub mass: Vec<f64>,
    /// The share of the values that are none of the known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<f64>,
    /// Numeric: the mean of the values in each bin, null where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub means: Vec<Option<f64>>,
    /// Numeric: the smallest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Numeric: the largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The share that was absent or null.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: f64,
    /// The share that was not a number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nan: f64,
    /// The share that was infinite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub infinite: f64,
    /// What the divergence of the pipeline's own chunks was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// How important the feature is to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// How far chunks of the data were from the rest of it, in time order: what is normal for this feature,
/// seasons included. Each chunk is held against the data without it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// The values in a chunk: its rows, less those in which the feature is missing; the median of all chunks.
    pub chunk: u64,
    /// The median of the population stability index, on the ten groups that verdicts use.
    pub psi_q50: f64,
    /// The quantile .999 of it: with less than a thousand chunks, the largest.
    pub psi_q999: f64,
}

/// A monotone map from scores to probabilities: straight lines between its points, and level beyond them. The score is
/// that of the positive class, or of the class that was named where there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How it was fitted, such as `isotonic`.
    pub method: String,
    /// Scores, ascending.
    pub x: Vec<f64>,
    /// The probability at each score.
    pub y: Vec<f64>,
}

/// A metric that the pipeline measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its value.
    pub value: f64,
    /// Its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<f64>,
    /// The rows that it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// Recorded answers beside the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The file, relative to the baseline.
    pub file: String,
    /// The rows in it.
    pub n: u64,
    /// The absolute difference that is allowed.
    pub atol: f64,
    /// The relative difference that is allowed.
    pub rtol: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// A digest as the file writes it.
pub(super) fn digest_text(digest: &[u8; 32]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let hex = digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    "sha256:".chars().chain(hex).collect()
}

/// The digest in a text of that form.
pub(super) fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut digest = [0; 32];
    if hex.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = (digit(high)? * 16 + digit(low)?) as u8;
    }
    Some(digest)
}

impl TryFrom<BaselineFile> for Baseline {
    type Error = BaselineError;

    fn try_from(file: BaselineFile) -> Result<Self, BaselineError> {
        super::check::checked(file)
    }
}

impl From<&Baseline> for BaselineFile {
    fn from(baseline: &Baseline) -> Self {
        let of = |wanted: Role| {
            let features = baseline.layout.features().iter().zip(&baseline.references);
            features
                .filter(|(feature, _)| feature.role() == wanted)
                .map(|(feature, reference)| FeatureFile::of(feature, reference))
                .collect()
        };
        Self {
            format: FORMAT,
            model: baseline.model.clone(),
            version: baseline.version.clone(),
            digest: baseline.digest.as_ref().map(digest_text),
            n: baseline.rows,
            created: baseline.created.clone(),
            source: baseline.source.clone(),
            origin: baseline.origin,
            features: of(Role::Input),
            outputs: of(Role::Output),
            calibration: baseline.calibration.clone(),
            metrics: baseline.metrics.clone(),
            golden: baseline.golden.clone(),
            latency_ms: baseline.latency_ms.clone(),
        }
    }
}

impl FeatureFile {
    fn of(feature: &Feature, reference: &Reference) -> Self {
        let mut mass: Vec<f64> =
            reference.counts.iter().map(|count| count / reference.total.max(1.0)).collect();
        let other = feature.other_bin().and_then(|_| mass.pop());
        let (kind, edges, point_masses, values) = match feature.kind() {
            FeatureKind::Numeric(edges) => {
                let points = edges.point_masses().iter().map(|&x| f64::from(x)).collect();
                (KindWord::Numeric, plain_edges(edges), points, Vec::new())
            }
            FeatureKind::Categorical(categories) => {
                let values = categories.values().iter().map(|value| (**value).to_owned()).collect();
                (KindWord::Categorical, Vec::new(), Vec::new(), values)
            }
            FeatureKind::Boolean => (KindWord::Boolean, Vec::new(), Vec::new(), Vec::new()),
        };
        Self {
            name: feature.name().to_owned(),
            kind,
            n: Some(reference.total.round() as u64),
            edges,
            point_masses,
            values,
            mass,
            other,
            means: reference.means.to_vec(),
            min: reference.range.map(|(min, _)| min),
            max: reference.range.map(|(_, max)| max),
            missing: reference.missing,
            nan: reference.nan,
            infinite: reference.infinite,
            noise: reference.noise,
            weight: reference.weight,
        }
    }
}

/// The cuts that are not those of point masses.
fn plain_edges(edges: &Edges) -> Vec<f64> {
    let of_point = |cut: f32| edges.point_masses().iter().any(|&x| cut == x || cut == x.next_up());
    edges.cuts().iter().filter(|&&cut| !of_point(cut)).map(|&cut| f64::from(cut)).collect()
}
