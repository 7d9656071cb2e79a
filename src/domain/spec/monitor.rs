//! The settings of the monitor: what it may take, and where the features of a model are found.

use std::collections::BTreeMap;

use super::pointer::JsonPointer;
use crate::domain::ids::Permille;

const MIB: u64 = 1024 * 1024;

/// What the monitor may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorSpec {
    /// Whether anything is monitored.
    pub enabled: bool,
    /// Bytes of all windows that are kept.
    pub memory: u64,
    /// Bytes of bodies that wait to be looked into.
    pub queue: u64,
    /// The share of one core that looking into bodies may take.
    pub cpu: Permille,
}

impl Default for MonitorSpec {
    fn default() -> Self {
        Self { enabled: true, memory: 64 * MIB, queue: 16 * MIB, cpu: Permille::saturating(100) }
    }
}

/// How one model is monitored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMonitorSpec {
    /// Whether it is.
    pub enabled: bool,
    /// Where the features are in the JSON body of a request, by name; empty to find them by the dialect.
    pub features: BTreeMap<String, JsonPointer>,
    /// Where the outputs are in the JSON body of a response, by name; empty to find them by the dialect.
    pub outputs: BTreeMap<String, JsonPointer>,
}

impl Default for ModelMonitorSpec {
    fn default() -> Self {
        Self { enabled: true, features: BTreeMap::new(), outputs: BTreeMap::new() }
    }
}
