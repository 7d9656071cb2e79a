//! `pointsman log tail`
//!
//! Owns following: the log is asked again, because nothing announces records across processes.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::super::args::TailArgs;
use super::CommandError;
use super::printer::Printer;
use crate::prediction_log::Item;
use crate::prediction_log::query::filter::Filter;
use crate::prediction_log::query::{Log, Scope, last};

/// How often a followed log is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// Prints the last records that match, oldest first, and with `follow` every further one until the
/// output is closed.
pub(super) fn tail(
    data_dir: &Path,
    args: &TailArgs,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let start = last(data_dir, args.lines, filter)?;
    let scope = Scope {
        lsns: Some((start.first_lsn, u64::MAX)),
        ts_us: filter.ts_us().map(|(since, _)| (since, u64::MAX)),
        ..Scope::default()
    };
    let mut log = Log::open_scope(data_dir, scope)?;
    let mut printer = Printer::new(&args.form);
    let (mut skip, mut left) = (start.skip, args.lines);
    printer.start(out)?;
    loop {
        while let Some(item) = log.next_item()? {
            match &item {
                Item::Row(row) if !filter.takes(row) => continue,
                Item::Row(row) if !row.is_gap() && skip > 0 => {
                    skip -= 1;
                    continue;
                }
                Item::Row(row) if !row.is_gap() => {
                    // Records that came in since the last ones were counted are for those who follow.
                    if left == 0 && !args.follow {
                        return Ok(());
                    }
                    left = left.saturating_sub(1);
                }
                Item::Gap(_) if !filter.takes_gaps() => continue,
                Item::Row(_) | Item::Gap(_) if skip > 0 => continue,
                Item::Row(_) | Item::Gap(_) => {}
            }
            printer.print(&item, out)?;
        }
        out.flush()?;
        if !args.follow {
            return Ok(());
        }
        wait(POLL);
    }
}

fn wait(time: Duration) {
    let never = (Mutex::new(()), Condvar::new());
    never.1.wait_for(&mut never.0.lock(), time);
}
