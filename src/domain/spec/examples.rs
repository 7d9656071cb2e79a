//! An intent and a model for tests: everything as it comes, for a test to change what it is about.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Intent, ModelSpec};

/// A gateway without a model, a pool or a route.
pub(crate) fn intent() -> Intent {
    Intent {
        node: "test".to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: "data".into(),
        workers: None,
        models: BTreeMap::new(),
        pools: BTreeMap::new(),
        routes: BTreeMap::new(),
        limits: Default::default(),
        protocols: Default::default(),
        forwarding: Default::default(),
        inference: Default::default(),
        log: Default::default(),
        sinks: BTreeMap::new(),
        discovery: BTreeMap::new(),
        feedback: Default::default(),
        monitor: Default::default(),
        alarms: Default::default(),
        drain: Default::default(),
        telemetry: Default::default(),
    }
}

/// A model without a version.
pub(crate) fn model() -> ModelSpec {
    ModelSpec {
        versions: BTreeMap::new(),
        aliases: BTreeMap::new(),
        traffic: BTreeMap::new(),
        trial: None,
        shadow: None,
        killed: None,
        killed_versions: BTreeMap::new(),
        sticky: None,
        balance: Default::default(),
        timeouts: Default::default(),
        keep_alive: Default::default(),
        execution: Default::default(),
        recording: Default::default(),
        monitor: Default::default(),
        alarms: Default::default(),
        labels: None,
        lifecycle: None,
    }
}
