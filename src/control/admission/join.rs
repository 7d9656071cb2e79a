//! One server more for a version that answers clients already, and whether it stays the one that it was.
//!
//! Owns what it must show: that it is who it claims to be, that it answers probe rows with finite numbers, and that
//! its answers are those of the servers that are asked already. Never compares two versions.

use std::collections::BTreeSet;
use std::time::Instant;

use super::bench::Bench;
use super::compare::{self, Tolerance};
use super::identity::identity;
use super::probes::probe;
use super::runner::{Place, RunError};
use super::{CheckError, Limits, Shown, Subject, failed, passed};
use crate::domain::lifecycle::evidence::{Check, CheckKind, Outcome};
use crate::protocol::tensor::Tensor;

/// Rows that both are asked.
const ROWS: usize = 8;

/// Asks one server; `known` are those that answer clients.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn join(
    newcomer: &Subject,
    known: Option<&Subject>,
    limits: &Limits,
) -> Result<Shown, CheckError> {
    let deadline = Instant::now() + limits.time / 4;
    let mut bench = Bench::new(newcomer, limits).await.map_err(CheckError::Candidate)?;
    // Where the others are away, there is nobody to compare it with.
    let mut others = match known {
        Some(known) => Bench::new(known, limits).await.ok(),
        None => None,
    };
    let probed = probe(&mut bench, others.as_mut(), None, deadline).await?;
    let row = probed.answered.first().map(|(inputs, _)| inputs.clone());
    let identity = identity(newcomer, &mut bench, row.as_deref()).await?;
    let check = if identity.outcome == Outcome::Failed {
        identity
    } else if probed.check.outcome == Outcome::Failed {
        probed.check
    } else {
        match as_the_others(others.as_mut(), &probed.answered).await {
            Ok(compared) => {
                let how =
                    format!("{}; {compared} answers are those of the others", identity.detail);
                passed(CheckKind::Identity, how)
            }
            Err(what) => failed(CheckKind::Identity, what),
        }
    };
    Ok(shown(&bench, check))
}

/// How many answers are those that the others give; or the first that is not.
async fn as_the_others(
    others: Option<&mut Bench>,
    answered: &[(Vec<Tensor>, Vec<Tensor>)],
) -> Result<usize, String> {
    let Some(others) = others else { return Ok(0) };
    let mut compared = 0;
    for (inputs, ours) in answered.iter().take(ROWS) {
        let theirs = match others.runner.run(inputs, &[]).await {
            Ok(ran) => ran.outputs,
            Err(RunError::Unreachable(_) | RunError::Overdue(_)) => break,
            Err(error) => return Err(format!("it answers a row that the others do not: {error}")),
        };
        compare::answers(ours, &theirs, Tolerance::REPEATED)
            .map_err(|what| format!("it does not answer as the others do: {what}"))?;
        compared += 1;
    }
    Ok(compared)
}

/// Asks one server of those that answer who it is.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn watch(server: &Subject, limits: &Limits) -> Result<Shown, CheckError> {
    let mut bench = Bench::new(server, limits).await.map_err(CheckError::Candidate)?;
    let row = bench.answered(1).await.map_err(CheckError::Candidate)?.pop();
    let check = identity(server, &mut bench, row.as_deref()).await?;
    Ok(shown(&bench, check))
}

fn shown(bench: &Bench, check: Check) -> Shown {
    let versions = match &bench.runner.place {
        Place::Remote(remote) => remote.versions(0),
        Place::Local(_) => BTreeSet::new(),
    };
    Shown { check, versions }
}
