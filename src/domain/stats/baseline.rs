//! What a version's traffic is held against: how its training or validation data were distributed.
//!
//! Owns the checked content of a `baseline.json` ([`BaselineFile`] is its form in JSON, with the
//! description of every field), both ways. Never reads a file and never learns: [`super::build`]
//! makes a baseline from values. What is checked here can be computed with: every feature has a mass for
//! each of its bins, and edges ascend.

mod check;
mod error;
mod file;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::error::{BaselineError, FeatureProblem};
pub use self::file::{
    BaselineFile, Calibration, FORMAT, FeatureFile, Golden, KindWord, Metric, Noise, Origin,
};
use twox_hash::XxHash3_128;

use super::layout::{Layout, Role};

/// The largest `baseline.json` that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// A checked baseline.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// The model that it describes.
    pub model: String,
    /// The version that it describes.
    pub version: String,
    /// The SHA-256 of the artifact, if the file names one.
    pub digest: Option<[u8; 32]>,
    /// The rows that it was made of.
    pub rows: u64,
    /// When it was made, as the file says.
    pub created: Option<String>,
    /// What it was made of, as the file says.
    pub source: Option<String>,
    /// How it came to be.
    pub origin: Origin,
    /// From scores to probabilities, if the pipeline fitted that.
    pub calibration: Option<Calibration>,
    /// The metrics that the pipeline measured.
    pub metrics: BTreeMap<String, Metric>,
    /// The recorded answers that an admission check replays.
    pub golden: Option<Golden>,
    /// Latencies that the pipeline measured, in milliseconds.
    pub latency_ms: BTreeMap<String, f64>,
    layout: Arc<Layout>,
    references: Box<[Reference]>,
}

/// How the values of one feature were distributed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    counts: Box<[f64]>,
    total: f64,
    /// The mean of the values in each bin, where the file has it and the bin is not empty.
    pub means: Box<[Option<f64>]>,
    /// The smallest and the largest number.
    pub range: Option<(f64, f64)>,
    /// The share of values that were absent or null.
    pub missing: f64,
    /// The share of values that were not a number.
    pub nan: f64,
    /// The share of values that were infinite.
    pub infinite: f64,
    /// What the divergence of the pipeline's own chunks was.
    pub noise: Option<Noise>,
    /// How important the feature is to the model; ranks alarms.
    pub weight: Option<f64>,
}

impl Reference {
    /// The values in each bin. Not always whole numbers: a file gives shares.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// The values in all bins.
    pub const fn total(&self) -> f64 {
        self.total
    }
}

impl Baseline {
    /// Reads and checks a `baseline.json`.
    ///
    /// # Errors
    ///
    /// Says what is wrong and where.
    pub fn from_json(json: &[u8]) -> Result<Self, BaselineError> {
        if json.len() > FILE_BYTES_MAX {
            return Err(BaselineError::TooLarge { bytes: json.len() });
        }
        let file: BaselineFile = serde_json::from_slice(json)
            .map_err(|error| BaselineError::Json { message: error.to_string() })?;
        Self::try_from(file)
    }

    /// What is counted, and how it is cut.
    pub const fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The references, in the order of the layout's features.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The reference of the feature at this place of the layout.
    pub fn reference(&self, index: usize) -> Option<&Reference> {
        self.references.get(index)
    }

    /// Equal for baselines that windows are held against in the same way: the same layout, and references that are
    /// equal to the last bit. Evidence that came together against one says nothing about another.
    pub fn fingerprint(&self) -> u128 {
        let mut written = self.layout.hash().to_bytes().to_vec();
        let mut put = |number: f64| written.extend(number.to_bits().to_le_bytes());
        // No number of a reference is NaN, so that it can stand for what is not there.
        let maybe = |number: Option<f64>| number.unwrap_or(f64::NAN);
        for reference in &self.references {
            reference.counts.iter().for_each(|count| put(*count));
            reference.means.iter().for_each(|mean| put(maybe(*mean)));
            let (min, max) = reference.range.unzip();
            let noise = reference.noise;
            let numbers = [
                reference.total,
                maybe(min),
                maybe(max),
                reference.missing,
                reference.nan,
                reference.infinite,
                maybe(noise.map(|noise| noise.chunk as f64)),
                maybe(noise.map(|noise| noise.psi_q50)),
                maybe(noise.map(|noise| noise.psi_q999)),
                maybe(reference.weight),
            ];
            numbers.into_iter().for_each(&mut put);
        }
        XxHash3_128::oneshot(&written)
    }

    /// Refuses a baseline that was made for another artifact. A file without a digest fits any.
    ///
    /// # Errors
    ///
    /// Names both digests.
    pub fn check_digest(&self, artifact: &[u8; 32]) -> Result<(), BaselineError> {
        match self.digest {
            Some(named) if named != *artifact => Err(BaselineError::WrongDigest {
                named: file::digest_text(&named),
                artifact: file::digest_text(artifact),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a baseline with a feature that the model does not have.
    ///
    /// # Errors
    ///
    /// Names the feature and what there is.
    pub fn check_features(&self, role: Role, known: &[&str]) -> Result<(), BaselineError> {
        let unknown = self
            .layout
            .features()
            .iter()
            .find(|feature| feature.role() == role && !known.contains(&feature.name()));
        match unknown {
            Some(feature) => Err(BaselineError::UnknownFeature {
                role: role.as_str(),
                name: feature.name().to_owned(),
                known: known.join(", "),
            }),
            None => Ok(()),
        }
    }
}
