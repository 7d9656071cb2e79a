//! The settings of the monitor: what it may take, and where the features of a model are found.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pointer::JsonPointer;
use crate::domain::ids::Permille;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::window::WindowLength;

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
    /// How drift is judged.
    pub drift: DriftSpec,
}

/// How drift is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftSpec {
    /// The windows that are judged.
    pub window: WindowLength,
    /// The population stability index that does not matter.
    pub margin: Permille,
    /// The time in which one false alarm of a model is accepted.
    pub quiet: Duration,
}

impl Default for DriftSpec {
    fn default() -> Self {
        Self {
            window: WindowLength::Hour,
            margin: Permille::saturating(20),
            quiet: Duration::from_secs(90 * 24 * 60 * 60),
        }
    }
}

impl DriftSpec {
    /// What is asked of the test.
    pub fn policy(&self) -> Policy {
        let window = f64::from(self.window.minutes()) * 60.0;
        Policy {
            margin: f64::from(self.margin.thousandths()) / 1000.0,
            windows: self.quiet.as_secs_f64() / window,
            ..Policy::default()
        }
    }
}

impl Default for MonitorSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            memory: 64 * MIB,
            queue: 16 * MIB,
            cpu: Permille::saturating(30),
            drift: DriftSpec::default(),
        }
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
