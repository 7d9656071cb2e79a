//! Probe rows: are answers finite, the same twice, and the same in company?
//!
//! Owns what each of these rows must give. Where a version does on a row what its champion does, that row is not
//! held against it. Never makes rows.

use std::time::Instant;

use super::bench::Bench;
use super::compare::{self, Tolerance, rows_of, stacked};
use super::remote::Names;
use super::rows::RowKind;
use super::runner::{Place, RunError};
use super::tour::{Mishaps, Spread, Tour};
use super::{CheckError, failed, passed, skipped};
use crate::domain::lifecycle::evidence::{Check, CheckKind};
use crate::protocol::tensor::Tensor;

/// Rows that run together.
const BATCH: usize = 8;
/// Rows that are asked twice.
const REPEATED: usize = 3;

/// What came of the probe rows.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) check: Check,
    /// Rows of which something is known, or the golden set has them, with their answers.
    pub(super) answered: Vec<(Vec<Tensor>, Vec<Tensor>)>,
    /// Answers to rows within what is known.
    pub(super) spread: Spread,
}

/// Asks all rows; golden rows were asked on `tour`.
///
/// # Errors
/// When nobody is there to answer.
pub(super) async fn probe(
    bench: &mut Bench,
    mut champion: Option<&mut Bench>,
    tour: Option<&Tour>,
    deadline: Instant,
) -> Result<Probed, CheckError> {
    let mut seen = Seen::default();
    let mut probed = Probed {
        check: passed(CheckKind::Probes, String::new()),
        answered: Vec::new(),
        spread: Spread::default(),
    };
    let mut guessed = Vec::new();
    for row in bench.rows.clone() {
        if Instant::now() >= deadline {
            break;
        }
        let words = row.kind.words();
        seen.asked += 1;
        match bench.runner.run(&row.inputs, &[]).await {
            Ok(ran) => {
                seen.answered += 1;
                if let Some(what) = compare::first_unsound(&ran.outputs) {
                    if row.must_be_finite && !also_unsound(&mut champion, &row.inputs).await {
                        seen.wrong.note(|| format!("for {words}, {what}"));
                    } else {
                        seen.borne += 1;
                    }
                } else if row.is_known {
                    probed.spread.see(&ran.outputs, 1);
                    probed.answered.push((row.inputs, ran.outputs));
                } else if matches!(row.kind, RowKind::Sample | RowKind::Spread | RowKind::Zero) {
                    guessed.push((row.inputs, ran.outputs));
                }
            }
            Err(RunError::Unreachable(why)) => return Err(CheckError::Candidate(why)),
            Err(error) if row.is_known || matches!(error, RunError::Overdue(_)) => {
                seen.wrong.note(|| format!("for {words} there is no answer: {error}"));
            }
            Err(error) => seen.refused.note(|| format!("for {words}: {error}")),
        }
    }
    golden_rows(bench, &mut probed).await?;
    probed.answered.append(&mut guessed);
    seen.golden = tour.map_or(0, |tour| tour.rows);
    probed.check = match golden_unsound(bench, champion, tour).await {
        Some(what) => failed(CheckKind::Probes, what),
        None => seen.verdict(),
    };
    Ok(probed)
}

/// What was seen of the made-up rows.
#[derive(Debug, Default)]
struct Seen {
    asked: usize,
    answered: usize,
    wrong: Mishaps,
    refused: Mishaps,
    /// Without a finite answer, where that is no fault.
    borne: usize,
    /// Golden rows that were asked before.
    golden: usize,
}

impl Seen {
    fn verdict(&self) -> Check {
        const KIND: CheckKind = CheckKind::Probes;
        let Self { asked, answered, wrong, refused, borne, golden } = self;
        if wrong.count > 0 {
            return failed(KIND, format!("{} of {asked} rows fail: {}", wrong.count, wrong.first));
        }
        if *answered == 0 && *golden == 0 {
            let detail = match asked {
                0 => "it does not say what it takes; put a golden.jsonl beside it".to_owned(),
                _ => format!(
                    "it takes none of the made-up rows ({}); give a `sample` in model.toml or a \
                     golden.jsonl",
                    refused.first
                ),
            };
            return skipped(KIND, detail);
        }
        let detail = format!(
            "{answered} of {asked} probe rows and {golden} golden rows are answered, {} refused, \
             {borne} without a finite answer where that is borne",
            refused.count
        );
        passed(KIND, detail)
    }
}

/// The first golden rows with their answers, for the checks that follow.
async fn golden_rows(bench: &mut Bench, probed: &mut Probed) -> Result<(), CheckError> {
    let Bench { golden, runner, .. } = bench;
    let Ok(Some(set)) = golden else { return Ok(()) };
    for case in set.cases.iter().take(BATCH) {
        let names = case.golden.outputs.iter().map(Tensor::name).collect::<Vec<_>>();
        match runner.run(&case.golden.inputs, &names).await {
            Ok(ran) if compare::first_unsound(&ran.outputs).is_none() => {
                // What clients send comes first.
                probed.answered.insert(0, (case.golden.inputs.clone(), ran.outputs));
            }
            Err(RunError::Unreachable(why)) => return Err(CheckError::Candidate(why)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// What is wrong with answers to golden rows, if the champion does better on the first of them.
async fn golden_unsound(
    bench: &Bench,
    mut champion: Option<&mut Bench>,
    tour: Option<&Tour>,
) -> Option<String> {
    let tour = tour.filter(|tour| tour.unsound.count > 0)?;
    let set = bench.golden_set()?;
    let first = tour.first_unsound.and_then(|place| set.cases.get(place))?;
    if also_unsound(&mut champion, &first.golden.inputs).await {
        return None;
    }
    Some(format!(
        "{} of {} golden cases are not answered with finite numbers, the first in {}",
        tour.unsound.count, tour.cases, tour.unsound.first
    ))
}

/// Whether the champion does not answer this with finite numbers either.
async fn also_unsound(champion: &mut Option<&mut Bench>, inputs: &[Tensor]) -> bool {
    let Some(champion) = champion else { return false };
    let ran = champion.runner.run(inputs, &[]).await;
    ran.is_ok_and(|ran| compare::first_unsound(&ran.outputs).is_some())
}

/// Asks a few rows again, at backends each of them.
pub(super) async fn determinism(bench: &mut Bench, probed: &Probed) -> Check {
    const KIND: CheckKind = CheckKind::Determinism;
    let (mut largest, mut asked) = (0.0_f64, 0);
    for (inputs, first) in probed.answered.iter().take(REPEATED) {
        let times = match &bench.runner.place {
            Place::Local(_) => 1,
            Place::Remote(remote) => remote.backends().max(1),
        };
        for backend in 0..times {
            let (again, at) = match again(bench, backend, inputs, first).await {
                Ok(again) => again,
                // Whether anybody is there is for the check of identity to say; one that went has not shown this.
                Err(RunError::Unreachable(_)) => {
                    if let Place::Remote(remote) = &mut bench.runner.place {
                        remote.meet_one(backend, false);
                    }
                    continue;
                }
                Err(error) => {
                    let detail = format!("the second time there is no answer: {error}");
                    return failed(KIND, detail);
                }
            };
            asked += 1;
            match compare::answers(&again, first, Tolerance::REPEATED) {
                Ok(difference) => largest = largest.max(difference),
                Err(what) => {
                    let detail = format!("the same row gives another answer{at}: {what}");
                    return failed(KIND, detail);
                }
            }
        }
    }
    if asked == 0 {
        return skipped(KIND, "there is no row that it answers".to_owned());
    }
    let detail = format!("{asked} rows asked again differ by at most {largest:e}");
    passed(KIND, detail)
}

async fn again(
    bench: &mut Bench,
    backend: usize,
    inputs: &[Tensor],
    first: &[Tensor],
) -> Result<(Vec<Tensor>, String), RunError> {
    let names = first.iter().map(Tensor::name).collect::<Vec<_>>();
    let time = bench.runner.time();
    match &mut bench.runner.place {
        Place::Local(_) => Ok((bench.runner.run(inputs, &names).await?.outputs, String::new())),
        Place::Remote(remote) => {
            let Names { model, version } = remote.names();
            let (model, version) = (model.to_owned(), version.map(str::to_owned));
            let own = Names { model: &model, version: version.as_deref() };
            let said = remote.predict_at(backend, own, inputs, &names, time).await?;
            Ok((said.ran.outputs, format!(" at {}", remote.authority(backend))))
        }
    }
}

/// Asks rows together that were asked alone.
///
/// # Errors
/// When nobody is there to answer.
pub(super) async fn batch(bench: &mut Bench, probed: &Probed) -> Result<Check, CheckError> {
    const KIND: CheckKind = CheckKind::Batch;
    let is_open = match &bench.runner.place {
        Place::Local(model) => model.has_batch(),
        Place::Remote(_) => bench.about.inputs.iter().all(|spec| spec.shape.first() == Some(&-1)),
    };
    if !is_open {
        return Ok(skipped(KIND, "it takes one row at a time".to_owned()));
    }
    let single = |(inputs, _): &&(Vec<Tensor>, Vec<Tensor>)| {
        inputs.iter().all(|input| input.shape().first() == Some(&1))
    };
    let group: Vec<_> = probed.answered.iter().filter(single).take(BATCH).collect();
    let count = group.first().map_or(0, |(inputs, _)| inputs.len());
    let inputs = (0..count).map(|at| {
        let parts: Option<Vec<&Tensor>> = group.iter().map(|(inputs, _)| inputs.get(at)).collect();
        parts.and_then(|parts| stacked(&parts))
    });
    let Some(inputs) = inputs.collect::<Option<Vec<_>>>().filter(|_| group.len() > 1) else {
        return Ok(skipped(KIND, "there are no rows of one shape that it answers".to_owned()));
    };
    let together = match bench.runner.run(&inputs, &[]).await {
        Ok(ran) => ran.outputs,
        Err(RunError::Unreachable(why)) => return Err(CheckError::Candidate(why)),
        Err(RunError::Refused(why)) => {
            return Ok(skipped(KIND, format!("it takes no rows together: {why}")));
        }
        Err(error) => {
            let detail = format!("{} rows together give no answer: {error}", group.len());
            return Ok(failed(KIND, detail));
        }
    };
    let mut largest = 0.0_f64;
    for (row, (_, alone)) in group.iter().enumerate() {
        let own = together.iter().map(|output| rows_of(output, group.len(), row));
        let Some(own) = own.collect::<Option<Vec<_>>>() else {
            let detail = format!("{} rows together do not give a row each", group.len());
            return Ok(failed(KIND, detail));
        };
        match compare::answers(&own, alone, Tolerance::TOGETHER) {
            Ok(difference) => largest = largest.max(difference),
            Err(what) => {
                let detail = format!(
                    "row {row} of {} together is not what it is alone: {what}",
                    group.len()
                );
                return Ok(failed(KIND, detail));
            }
        }
    }
    let detail =
        format!("{} rows together differ from each alone by at most {largest:e}", group.len());
    Ok(passed(KIND, detail))
}
