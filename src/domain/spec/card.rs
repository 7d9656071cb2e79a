//! What `model.toml` says about the model beside it.
//!
//! Owns the meaning of its keys. Never reads a file, and never knows the graph: whether the two agree is
//! found when the model is loaded.

use std::collections::BTreeMap;

use crate::domain::discovery::Provenance;

/// What is known about a model beyond its graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelCard {
    /// One sentence for people.
    pub description: Option<String>,
    /// The number of the contract with the callers: versions with the same number can replace each other.
    pub interface: Option<u32>,
    /// How it came about.
    pub provenance: Provenance,
    /// Inputs by name.
    pub inputs: BTreeMap<String, InputCard>,
    /// Outputs by name.
    pub outputs: BTreeMap<String, OutputCard>,
}

/// What is known about an input. Lists have one entry for each place of the last dimension.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputCard {
    /// What the places mean.
    pub names: Vec<String>,
    /// The units of the places.
    pub units: Vec<String>,
    /// What values are multiplied by before the model sees them; one for all places or one for each.
    pub scale: Vec<f64>,
    /// What is added after that; one for all places or one for each.
    pub offset: Vec<f64>,
    /// One row, as clients send it. The model is tried out and measured on it.
    pub sample: Vec<f64>,
}

/// What is known about an output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputCard {
    /// What the places of the last dimension mean, or the numbers of a label.
    pub labels: Vec<String>,
    /// The unit.
    pub unit: Option<String>,
}
