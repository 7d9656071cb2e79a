//! `pointsman baseline`: makes a `baseline.json` of a pipeline's data.
//!
//! Owns which column is what, and the file that is written. The mathematics is `domain::stats::build`. Needs
//! no configuration: it runs where the pipeline runs.

mod delimited;
mod sagemaker;
mod table;
mod typed;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use self::table::{Choice, Table};
use super::Failure;
use super::args::BaselineArgs;
use crate::domain::ids::is_valid_name;
use crate::domain::stats::baseline::{Baseline, BaselineFile, FORMAT, FeatureFile, Origin};
use crate::domain::stats::build::Options;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::drift::yardstick::Yardstick;

/// The writer for pipelines in Python.
const PYTHON: &str = include_str!("baseline/pointsman_baseline.py");
/// The bins of a score.
const SCORE_BINS: usize = 64;

/// Makes the baseline and writes it.
pub(super) fn baseline(args: &BaselineArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.python {
        return Ok(out.write_all(PYTHON.as_bytes())?);
    }
    let name = |name: &Option<String>| match name {
        Some(name) if is_valid_name(name) => Ok(name.clone()),
        Some(name) => Err(Failure::Usage(format!("`{}` is no name", name.escape_debug()))),
        None => Err(Failure::Usage("a model and a version are needed".to_owned())),
    };
    let mut file = BaselineFile {
        format: FORMAT,
        model: name(&args.model)?,
        version: name(&args.version)?,
        digest: digest(args)?,
        n: 0,
        created: Some(
            jiff::Timestamp::now().round(jiff::Unit::Second).map_err(Failure::other)?.to_string(),
        ),
        source: args.source.clone(),
        origin: Origin::Data,
        features: Vec::new(),
        outputs: Vec::new(),
        calibration: None,
        metrics: BTreeMap::new(),
        golden: None,
        latency_ms: BTreeMap::new(),
    };
    match (&args.from_sagemaker, &args.data) {
        (Some(statistics), _) => {
            let constraints = args.constraints.as_deref().map(read).transpose()?;
            sagemaker::convert(
                &read(statistics)?,
                constraints.as_deref(),
                &args.outputs,
                &mut file,
            )
            .map_err(|error| in_file(statistics, error))?;
        }
        (None, Some(data)) => of_data(args, data, &mut file)?,
        (None, None) => return Err(Failure::Usage("`--data` is needed".to_owned())),
    }
    weigh(&args.weights, &mut file.features)?;
    // What is written can be read.
    let baseline = Baseline::try_from(file.clone()).map_err(Failure::other)?;
    if let Some(warning) = too_small(&baseline) {
        // What is written to the output is the file.
        writeln!(std::io::stderr(), "warning: {warning}")?;
    }
    let text = written(&file)?;
    match &args.out {
        None => out.write_all(text.as_bytes())?,
        Some(path) => fs::write(path, text)
            .map_err(|error| in_file(path, format!("cannot be written: {error}")))?,
    }
    Ok(())
}

/// What drift detection will not see because there are few values; by the feature that has the fewest.
fn too_small(baseline: &Baseline) -> Option<String> {
    let margin = Policy::default().margin;
    let features = baseline.layout().features().iter().zip(baseline.references());
    let yardsticks = features.map(|(feature, reference)| {
        (feature, reference, Yardstick::new(feature, reference, margin))
    });
    let (feature, reference, yardstick) =
        yardsticks.max_by(|(.., a), (.., b)| a.own().total_cmp(&b.own()))?;
    let (name, values, needed) =
        (feature.name(), reference.total(), yardstick.groups().values_min());
    if values < needed as f64 {
        return Some(format!(
            "`{name}` has {values:.0} values, of {needed} that it takes to be judged for drift"
        ));
    }
    let own = yardstick.own();
    (own > margin).then(|| {
        format!(
            "`{name}` has {values:.0} values only: their own error by chance makes the margin of drift {:.2} where \
             {margin} is asked for, and less is not seen; {:.0} values make it {}",
            margin + own,
            (values * own / margin * 2.0 / 1000.0).ceil() * 1000.0,
            margin * 1.5,
        )
    })
}

fn of_data(args: &BaselineArgs, data: &Path, file: &mut BaselineFile) -> Result<(), Failure> {
    let choice = Choice {
        outputs: args.outputs.iter().chain(&args.scores).cloned().collect(),
        scores: args.scores.clone(),
        categorical: args.categorical.clone(),
        numeric: args.numeric.clone(),
        ignored: args.ignore.clone(),
        time: args.time.clone(),
    };
    let is_parquet = data.extension().is_some_and(|end| end == "parquet" || end == "pq");
    let table =
        if is_parquet { typed::read(data, &choice) } else { delimited::read(data, &choice) };
    let Table { rows, columns, doubts } = table.map_err(|error| in_file(data, error))?;
    for doubt in doubts {
        // What is written to the output is the file.
        writeln!(std::io::stderr(), "warning: {doubt}")?;
    }
    file.n = rows;
    for column in columns {
        let is_score = args.scores.contains(&column.name);
        let options = Options {
            bins: if is_score { SCORE_BINS } else { args.bins.into() },
            chunk: args.chunk as usize,
            even: is_score.then_some((0.0, 1.0)),
        };
        let may_be_class = column.is_output && !is_score && !args.numeric.contains(&column.name);
        let classes = may_be_class.then(|| column.values.classes(|_| false)).flatten();
        let built = classes.as_ref().unwrap_or(&column.values).build(&column.name, options);
        if column.is_output { file.outputs.push(built) } else { file.features.push(built) }
    }
    Ok(())
}

fn digest(args: &BaselineArgs) -> Result<Option<String>, Failure> {
    let Some(path) = &args.artifact else { return Ok(args.digest.clone()) };
    let hex: String =
        Sha256::digest(read(path)?).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(format!("sha256:{hex}")))
}

fn weigh(weights: &[String], features: &mut [FeatureFile]) -> Result<(), Failure> {
    for text in weights {
        let (name, weight) = text
            .rsplit_once('=')
            .and_then(|(name, weight)| Some((name, weight.parse::<f64>().ok()?)))
            .ok_or_else(|| Failure::Usage(format!("`--weight {text}`: want COLUMN=NUMBER")))?;
        let feature =
            features.iter_mut().find(|feature| feature.name == name).ok_or_else(|| {
                Failure::Usage(format!("`--weight {text}`: there is no feature `{name}`"))
            })?;
        feature.weight = Some(weight);
    }
    Ok(())
}

/// The file as text: one line for each feature, so that a difference of two files can be read.
fn written(file: &BaselineFile) -> Result<String, Failure> {
    let text = |value: &serde_json::Value| serde_json::to_string(value).map_err(Failure::other);
    let serde_json::Value::Object(fields) = serde_json::to_value(file).map_err(Failure::other)?
    else {
        return Err(Failure::other("a baseline is an object"));
    };
    let mut lines = Vec::with_capacity(fields.len());
    for (name, value) in &fields {
        let shown = match value {
            serde_json::Value::Array(entries) if !entries.is_empty() => {
                let entries = entries.iter().map(text).collect::<Result<Vec<_>, _>>()?;
                format!("[\n  {}\n ]", entries.join(",\n  "))
            }
            value => text(value)?,
        };
        lines.push(format!(" \"{name}\": {shown}"));
    }
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, Failure> {
    let path = path.as_ref();
    fs::read(path).map_err(|error| in_file(path, format!("cannot be read: {error}")))
}

fn in_file(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::other(format!("{}: {error}", path.display()))
}
