//! One server more for a version that answers clients already, and whether it stays the one that it was.
//!
//! Owns what it must show: that it is who it claims to be, that it answers probe rows with finite numbers, and that
//! its answers are those of the servers that are asked already. Never compares two versions.

use std::time::Instant;

use super::bench::Bench;
use super::compare::{self, Tolerance};
use super::identity::identity;
use super::probes::probe;
use super::runner::RunError;
use super::{CheckError, Limits, Subject, failed, passed};
use crate::domain::lifecycle::evidence::{Check, CheckKind, Outcome};

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
) -> Result<Check, CheckError> {
    const KIND: CheckKind = CheckKind::Identity;
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
    if identity.outcome == Outcome::Failed {
        return Ok(identity);
    }
    if probed.check.outcome == Outcome::Failed {
        return Ok(probed.check);
    }
    let mut compared = 0;
    for (inputs, ours) in probed.answered.iter().take(ROWS) {
        let Some(others) = &mut others else { break };
        let theirs = match others.runner.run(inputs, &[]).await {
            Ok(ran) => ran.outputs,
            Err(RunError::Unreachable(_) | RunError::Overdue(_)) => break,
            Err(error) => {
                return Ok(failed(
                    KIND,
                    format!("it answers a row that the others do not: {error}"),
                ));
            }
        };
        if let Err(what) = compare::answers(ours, &theirs, Tolerance::REPEATED) {
            return Ok(failed(KIND, format!("it does not answer as the others do: {what}")));
        }
        compared += 1;
    }
    let detail = format!("{}; {compared} answers are those of the others", identity.detail);
    Ok(passed(KIND, detail))
}

/// Asks one server of those that answer who it is.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn watch(server: &Subject, limits: &Limits) -> Result<Check, CheckError> {
    let mut bench = Bench::new(server, limits).await.map_err(CheckError::Candidate)?;
    let row = bench.answered(1).await.map_err(CheckError::Candidate)?.pop();
    identity(server, &mut bench, row.as_deref()).await
}
