//! `pointsman log query`
//!
//! Owns the way to the rows: by the ids if there are any, else through the part of the log that can
//! hold them.

use std::io::Write;
use std::path::Path;

use super::super::args::QueryArgs;
use super::printer::Printer;
use super::progress::Progress;
use super::{CommandError, note};
use crate::prediction_log::Item;
use crate::prediction_log::query::filter::Filter;
use crate::prediction_log::query::{Log, Scope, find, last_lsn};

/// Prints the rows that match, oldest first.
pub(super) fn query(
    data_dir: &Path,
    args: &QueryArgs,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut printer = Printer::new(&args.form);
    printer.start(out)?;
    let (mut left, mut gaps) = (args.limit.unwrap_or(u64::MAX), 0_u64);
    let mut progress = Progress::records();
    for scope in scopes(data_dir, filter)? {
        let all = scope.lsns.map_or_else(|| last_lsn(data_dir), |lsns| Ok(lsns.1))?;
        let mut log = Log::open_scope(data_dir, scope)?;
        while left > 0 {
            progress.set(log.position(), all);
            let Some(item) = log.next_item()? else { break };
            match &item {
                Item::Row(row) if filter.takes(row) => left -= 1,
                Item::Row(_) => continue,
                Item::Gap(_) => {
                    gaps += 1;
                    if !filter.takes_gaps() {
                        continue;
                    }
                }
            }
            printer.print(&item, out)?;
        }
    }
    out.flush()?;
    drop(progress);
    if gaps > 0 && !filter.takes_gaps() {
        note(&format!("note: {gaps} gaps in what was read; `log verify` tells where"));
    }
    Ok(())
}

/// The parts of the log that can hold the rows, oldest first.
pub(super) fn scopes(data_dir: &Path, filter: &Filter) -> Result<Vec<Scope>, CommandError> {
    if filter.ids.is_empty() {
        return Ok(vec![Scope { ts_us: filter.ts_us(), ..Scope::default() }]);
    }
    let mut found = Vec::new();
    for &id in &filter.ids {
        if let Some(lsn) = find(data_dir, id)? {
            found.push((lsn, id));
        }
    }
    found.sort_unstable();
    found.dedup();
    let scope = |(lsn, id)| Scope { lsns: Some((lsn, lsn)), ids: vec![id], ..Scope::default() };
    Ok(found.into_iter().map(scope).collect())
}
