//! Two answers to one request, read alike.
//!
//! Owns the way from two bodies to the verdict of [`domain::trial::pairs`](crate::domain::trial::pairs): the outputs are
//! read as the monitor reads them, matched by name, and one row of them is compared. Never keeps a body.

use super::about::About;
use super::bodies::{Found, outputs};
use super::values::Cell;
use super::waiting::{Content, Waiting};
use crate::domain::ids::Entropy;
use crate::domain::record::Protocol;
use crate::domain::spec::Tolerance;
use crate::domain::stats::window::Minute;
use crate::domain::trial::pairs::{Both, Likeness, PairOutcome, agrees, row_of};
use crate::domain::trial::shift::Group;

/// Two answers to one request, in the words of the same client.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// What the client speaks.
    pub protocol: Protocol,
    /// What it called.
    pub path: &'a str,
    /// What it sent.
    pub request: &'a Content,
    /// What it was sent: the champion's answer.
    pub ours: &'a Content,
    /// The answer of the version on trial.
    pub theirs: &'a Content,
}

/// Compares two answers; `about` describes the champion. `None` where the champion's cannot be read, or has no
/// valid output itself: then the other's tells nothing.
pub fn compare(
    compared: &Compared<'_>,
    about: &About,
    entropy: Entropy,
    tolerance: Tolerance,
) -> Option<Likeness> {
    let waiting = |response: &Content| Waiting {
        minute: Minute::default(),
        protocol: compared.protocol,
        path: compared.path.into(),
        request: compared.request.clone(),
        response: response.clone(),
    };
    let Ok(ours) = outputs(&waiting(compared.ours), about) else {
        // Bytes that mean nothing here are at least the same or not.
        let same = compared.ours.body.concat() == compared.theirs.body.concat();
        return same.then_some(PairOutcome::Agrees.into());
    };
    if ours.is_empty() || ours.iter().any(is_broken) {
        return None;
    }
    let Ok(theirs) = outputs(&waiting(compared.theirs), about) else {
        return Some(PairOutcome::Invalid.into());
    };
    let mut matched = Vec::with_capacity(ours.len());
    for one in &ours {
        match theirs.iter().find(|other| other.name == one.name) {
            Some(other) if has_its_shape(one, other) && !is_broken(other) => {
                matched.push((one, other));
            }
            Some(_) | None => return Some(PairOutcome::Invalid.into()),
        }
    }
    let rows = matched.iter().map(|(one, _)| rows_of(one)).min().unwrap_or(0);
    let row = row_of(entropy, rows);
    let cells =
        matched.iter().flat_map(|(one, other)| cells_of(one, row).iter().zip(cells_of(other, row)));
    let both = cells.map(|(ours, theirs)| Both { ours: ours.value(), theirs: theirs.value() });
    let agrees = agrees(both.clone(), tolerance);
    let outcome = if agrees { PairOutcome::Agrees } else { PairOutcome::Differs };
    Some(Likeness { outcome, groups: Group::of(both) })
}

/// Whether an answer has a number that is none among its outputs; `None` where it cannot be read. `about` describes
/// whoever gave it.
pub fn has_broken_number(exchange: &Waiting, about: &About) -> Option<bool> {
    let outputs = outputs(exchange, about).ok().filter(|outputs| !outputs.is_empty())?;
    let mut cells = outputs.iter().flat_map(|output| &output.cells);
    Some(cells.any(|cell| matches!(cell, Cell::Number(number) if !number.is_finite())))
}

fn cells_of(found: &Found, row: usize) -> &[Cell] {
    found.cells.get(row * found.width..(row + 1) * found.width).unwrap_or_default()
}

fn rows_of(found: &Found) -> usize {
    found.cells.len().checked_div(found.width).unwrap_or(0)
}

/// Whether as much was found in one answer as in the other.
fn has_its_shape(one: &Found, other: &Found) -> bool {
    one.width == other.width && one.cells.len() == other.cells.len()
}

/// Whether an output has a number that is none, or lacks a value.
fn is_broken(found: &Found) -> bool {
    found.cells.iter().any(|cell| match cell {
        Cell::Number(number) => !number.is_finite(),
        Cell::Missing => true,
        Cell::Integer(_) | Cell::Boolean(_) | Cell::Text(_) | Cell::Wrong => false,
    })
}
