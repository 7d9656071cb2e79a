//! Which segments can hold rows of a stretch of time.
//!
//! Owns what the creation time in a segment's header proves. Never reads frames. A record is written
//! between the creation of its segment and that of the next one, by the same clock that its `ts` comes
//! from; exchanges take time, and clocks are set, so that segments within [`SLACK_US`] count too.

use std::collections::VecDeque;
use std::path::Path;

use super::log::{LogError, Scope};
use crate::prediction_log::ReadError;
use crate::prediction_log::files::{FileSystem as _, LocalFiles, read_full_at};
use crate::prediction_log::segment::{self, HEADER_BYTES, SegmentHeader};

/// How far a clock may have been set within one segment, in microseconds.
const SLACK_US: u64 = 3600 * 1_000_000;

/// Neighbouring segments that are read in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first_lsn: u64,
    /// The number before which the run ends.
    pub(super) end_lsn: u64,
}

/// A segment and when its records were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first_lsn: u64,
    /// The number before which it ends.
    pub(super) end_lsn: u64,
    /// Between these, in microseconds since the Unix epoch, as far as headers tell.
    pub(super) written_us: (u64, u64),
}

impl Span {
    /// How far a time is from this span, in microseconds; 0 inside.
    pub(super) fn distance_us(&self, ts_us: u64) -> u64 {
        let (first, last) = self.written_us;
        first.saturating_sub(ts_us).max(ts_us.saturating_sub(last))
    }
}

/// The segments of `dir`, oldest first.
///
/// # Errors
/// When the directory cannot be listed.
pub(super) fn spans(dir: &Path) -> Result<Vec<Span>, ReadError> {
    let files = LocalFiles;
    let listed = segment::list(&files, dir)
        .map_err(|source| ReadError::List { path: dir.to_owned(), source })?;
    let created: Vec<Option<u64>> =
        listed.iter().map(|of| created_us(&segment::path(dir, of.first_lsn))).collect();
    let span = |index: usize| {
        let own = created[index];
        let next = created.get(index + 1).copied();
        // The last segment is still being written.
        let written_us = match (own, next) {
            (Some(own), Some(Some(next))) => (own.min(next), own.max(next)),
            (Some(own), None) => (own, u64::MAX),
            _ => (0, u64::MAX),
        };
        let end_lsn = listed.get(index + 1).map_or(u64::MAX, |next| next.first_lsn);
        Span { first_lsn: listed[index].first_lsn, end_lsn, written_us }
    };
    Ok((0..listed.len()).map(span).collect())
}

/// The runs after number `done` that may hold rows of `scope`.
///
/// # Errors
/// When the directory cannot be listed.
pub(super) fn runs(dir: &Path, done: u64, scope: &Scope) -> Result<VecDeque<Run>, LogError> {
    let last_lsn = scope.last_lsn();
    let end_lsn = last_lsn.saturating_add(1);
    let Some((since, until)) = scope.ts_us else {
        return Ok([Run { first_lsn: done.saturating_add(1).min(end_lsn), end_lsn }].into());
    };
    let mut runs: VecDeque<Run> = VecDeque::new();
    for span in spans(dir)? {
        let (from, to) = span.written_us;
        let in_time =
            from.saturating_sub(SLACK_US) <= until && to.saturating_add(SLACK_US) >= since;
        let in_log = span.end_lsn > done && span.first_lsn <= last_lsn;
        if !in_time || !in_log {
            continue;
        }
        let end_lsn = span.end_lsn.min(end_lsn);
        match runs.back_mut() {
            Some(run) if run.end_lsn == span.first_lsn => run.end_lsn = end_lsn,
            _ => runs.push_back(Run { first_lsn: span.first_lsn.max(done + 1), end_lsn }),
        }
    }
    Ok(runs)
}

/// When a segment was created; `None` when its header does not say.
fn created_us(path: &Path) -> Option<u64> {
    let source = LocalFiles.open_read(path).ok()?;
    let mut header = [0; HEADER_BYTES];
    let len = read_full_at(source.as_ref(), &mut header, 0).ok()?;
    SegmentHeader::decode(&header[..len]).map(|header| header.created_us)
}
