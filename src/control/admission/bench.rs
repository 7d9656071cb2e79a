//! A version on the bench: how it is run, what it declares, and what lies beside its artifact.
//!
//! Owns the gathering of all that, once for all checks. Never judges it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::golden::GoldenSet;
use super::remote::Remote;
use super::rows::{Facts, Row, rows};
use super::runner::{Place, RunError, Runner};
use super::{Limits, Subject, Where};
use crate::config;
use crate::control::about_local;
use crate::domain::ids::VersionName;
use crate::domain::spec::ModelCard;
use crate::domain::stats::baseline::{Baseline, FILE_BYTES_MAX};
use crate::monitor::{About, baseline_beside, check_baseline};
use crate::protocol::tensor::Tensor;

/// A version with all that is known about it.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) version: VersionName,
    pub(super) runner: Runner,
    pub(super) about: About,
    /// The number of the contract with callers, where `model.toml` has one.
    pub(super) interface: Option<u32>,
    pub(super) baseline: Result<Option<Baseline>, String>,
    pub(super) golden: Result<Option<GoldenSet>, String>,
    /// Rows to try it on.
    pub(super) rows: Vec<Row>,
}

/// Where that is which is said about a version.
#[derive(Debug)]
enum Papers {
    /// In its folder.
    Beside(Option<PathBuf>),
    /// It has no folder: a golden set may be named for its model.
    Named(Option<PathBuf>),
}

/// What lies beside a version.
#[derive(Debug)]
struct Beside {
    card: Option<ModelCard>,
    baseline: Result<Option<Baseline>, String>,
    golden: Result<Option<GoldenSet>, String>,
}

impl Bench {
    /// Gathers what is known about `subject`.
    ///
    /// # Errors
    /// When nobody is there to ask.
    pub(super) async fn new(subject: &Subject, limits: &Limits) -> Result<Self, String> {
        let (place, about, papers, interface) = match &subject.place {
            Where::Local { model, spec } => {
                let folder = spec.path.parent().map(Path::to_path_buf);
                let (about, interface) = (about_local(spec, model), model.interface());
                (Place::Local(model.clone()), about, Papers::Beside(folder), interface)
            }
            Where::Remote { addresses, spec, golden } => {
                let remote = Remote::meet(addresses, spec, &subject.model, limits.run).await?;
                let told = remote.description().cloned().unwrap_or_default();
                let about = About {
                    inputs: told.inputs,
                    outputs: told.outputs,
                    dialect: Some(remote.dialect()),
                    ..About::default()
                };
                (Place::Remote(Box::new(remote)), about, Papers::Named(golden.clone()), None)
            }
        };
        let known = about.clone();
        let beside = tokio::task::spawn_blocking(move || match papers {
            Papers::Beside(folder) => Beside::read(folder.as_deref(), &known),
            Papers::Named(golden) => Beside::named(golden.as_deref()),
        });
        let Beside { card, baseline, golden } =
            beside.await.map_err(|gone| format!("what lies beside it cannot be read: {gone}"))?;
        let found = baseline.as_ref().ok().and_then(Option::as_ref);
        let facts = Facts::new(card.as_ref(), found, &about);
        let rows = rows(&about.inputs, &facts);
        Ok(Self {
            version: subject.version.clone(),
            runner: Runner::new(place, limits.run),
            interface: interface.or_else(|| card.and_then(|card| card.interface)),
            about,
            baseline,
            golden,
            rows,
        })
    }

    /// Why the golden set that an operator has named cannot be used: no version is to blame for it.
    pub(super) fn golden_fault(&self) -> Option<&str> {
        let is_named = matches!(self.runner.place, Place::Remote(_));
        self.golden.as_ref().err().filter(|_| is_named).map(String::as_str)
    }

    /// The golden set, if there is one that can be used.
    pub(super) fn golden_set(&self) -> Option<&GoldenSet> {
        self.golden.as_ref().ok().and_then(Option::as_ref)
    }

    /// An estimate of the memory that it takes in this process.
    pub(super) fn memory(&self) -> u64 {
        match &self.runner.place {
            Place::Local(model) => model.memory(),
            Place::Remote(_) => 0,
        }
    }

    /// At most `count` rows that it answers: golden ones, then made-up ones.
    ///
    /// # Errors
    /// When nobody is there to answer.
    pub(super) async fn answered(&mut self, count: usize) -> Result<Vec<Vec<Tensor>>, String> {
        let Self { golden, runner, rows, .. } = self;
        let golden = golden.iter().flatten().flat_map(|set| &set.cases);
        let golden = golden.map(|case| &case.golden.inputs).take(count);
        let mut answered = Vec::new();
        for inputs in golden.chain(rows.iter().map(|row| &row.inputs)) {
            if answered.len() >= count {
                break;
            }
            match runner.run(inputs, &[]).await {
                Ok(_) => answered.push(inputs.clone()),
                Err(RunError::Refused(_) | RunError::Failed(_)) => {}
                Err(error @ (RunError::Unreachable(_) | RunError::Overdue(_))) => {
                    return Err(error.to_string());
                }
            }
        }
        Ok(answered)
    }

    /// The names of the classes of an output.
    pub(super) fn classes(&self) -> &BTreeMap<String, Vec<String>> {
        &self.about.columns
    }
}

impl Beside {
    /// Reads a golden set that an operator has named. Blocks.
    fn named(golden: Option<&Path>) -> Self {
        let golden = golden.map(GoldenSet::read_named).transpose();
        let golden = golden.map_err(|error| error.to_string());
        Self { card: None, baseline: Ok(None), golden }
    }

    /// Reads what is in its folder. Blocks.
    fn read(folder: Option<&Path>, about: &About) -> Self {
        let Some(folder) = folder else {
            return Self { card: None, baseline: Ok(None), golden: Ok(None) };
        };
        // A card that cannot be read keeps a version from being loaded; here it has nothing to say.
        let card = config::card_of(&folder.join("model.onnx"));
        let card = card.and_then(|path| config::load_card(&path).ok());
        let baseline = read_baseline(&baseline_beside(&folder.join("model.onnx")), about);
        let golden = match &baseline {
            Ok(baseline) => {
                let golden = GoldenSet::read(folder, baseline.as_ref());
                golden.map_err(|error| error.to_string())
            }
            // What a baseline says of the golden set is part of it.
            Err(_unsound) => GoldenSet::read(folder, None).map_err(|error| error.to_string()),
        };
        Self { card, baseline, golden }
    }
}

fn read_baseline(path: &PathBuf, about: &About) -> Result<Option<Baseline>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let mut json = Vec::new();
    let read = file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut json);
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let baseline = Baseline::from_json(&json).and_then(|baseline| {
        check_baseline(&baseline, about)?;
        Ok(baseline)
    });
    baseline.map(Some).map_err(|error| error.to_string())
}
