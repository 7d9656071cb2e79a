//! Rows as Parquet files, one for each hour, as the gateway itself writes them.
//!
//! Owns the two passes: the first learns which numbers each hour has, the second writes, so that a file's
//! name and footer are right from the start and a file is closed with its last row.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::files::Files;
use super::{ExportError, Summary, lacks_body};
use crate::domain::record;
use crate::prediction_log::parquet::{Hour, RowWriter, stamp};
use crate::prediction_log::query::filter::{Filter, ts_us};
use crate::prediction_log::query::log::{Log, Scope};
use crate::prediction_log::{Item, Row};

/// The level of zstd.
const LEVEL: i32 = 3;

/// The rows of one hour.
#[derive(Debug, Default)]
struct Hourly {
    first_lsn: u64,
    last_lsn: u64,
    rows: u64,
    node: String,
}

struct Writing {
    path: PathBuf,
    writer: RowWriter<BufWriter<File>>,
}

pub(super) fn export(
    data_dir: &Path,
    scopes: &[Scope],
    filter: &Filter,
    out: (&Path, bool),
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, ExportError> {
    let mut files = Files::create(out.0, out.1)?;
    let mut summary = Summary::default();
    let mut hours: BTreeMap<Hour, Hourly> = BTreeMap::new();
    let mut upto = 0;
    each(data_dir, scopes, filter, u64::MAX, &mut |row, _| {
        let hourly = hours.entry(Hour::of(ts_us(&row.entry))).or_default();
        if hourly.rows == 0 {
            (hourly.first_lsn, hourly.node) = (row.lsn, row.node.to_owned());
        }
        hourly.rows += 1;
        hourly.last_lsn = hourly.last_lsn.max(row.lsn);
        upto = upto.max(row.lsn);
        Ok(())
    })?;
    let mut writing: BTreeMap<Hour, Writing> = BTreeMap::new();
    let summed = &mut summary;
    let gaps = each(data_dir, scopes, filter, upto, &mut |row, position| {
        progress(position);
        let hour = Hour::of(ts_us(&row.entry));
        let Some(hourly) = hours.get_mut(&hour).filter(|hourly| hourly.rows > 0) else {
            return Ok(());
        };
        if let Entry::Vacant(vacant) = writing.entry(hour) {
            let path = files.aside();
            let file = File::create(&path)
                .map_err(|source| ExportError::Write { path: path.clone(), source })?;
            let lsns = (hourly.first_lsn, hourly.last_lsn);
            let writer = RowWriter::new(BufWriter::new(file), LEVEL, &hourly.node, lsns)
                .map_err(|source| ExportError::Parquet { path: path.clone(), source })?;
            vacant.insert(Writing { path, writer });
        }
        let Some(at) = writing.get_mut(&hour) else { return Ok(()) };
        let fail = |source| ExportError::Parquet { path: at.path.clone(), source };
        at.writer.push(row).map_err(fail)?;
        summed.rows += 1;
        if let record::Entry::Prediction(record) = &row.entry {
            summed.without_whole_body += u64::from(lacks_body(record));
        }
        hourly.rows -= 1;
        if hourly.rows == 0
            && let Some(whole) = writing.remove(&hour)
        {
            let name = format!("{:020}-{:020}.parquet", hourly.first_lsn, hourly.last_lsn);
            close(whole, &hour.dir().join(name), &mut files)?;
        }
        Ok(())
    })?;
    // Rows that retention removed between the passes: what is there is written all the same.
    for (hour, whole) in writing {
        let Some(hourly) = hours.get(&hour) else { continue };
        let name = format!("{:020}-{:020}.parquet", hourly.first_lsn, hourly.last_lsn);
        close(whole, &hour.dir().join(name), &mut files)?;
    }
    summary.gaps_left_out = gaps;
    summary.events = summary.rows;
    files.finish(&mut summary)?;
    Ok(summary)
}

fn close(whole: Writing, name: &Path, files: &mut Files) -> Result<(), ExportError> {
    let path = whole.path;
    let fail = |source| ExportError::Write { path: path.clone(), source };
    let out = whole
        .writer
        .finish()
        .map_err(|source| ExportError::Parquet { path: path.clone(), source })?;
    drop(out.into_inner().map_err(|error| fail(error.into_error()))?);
    let file = File::options().read(true).write(true).open(&path).map_err(fail)?;
    stamp(&file).and_then(|()| file.sync_all()).map_err(fail)?;
    let bytes = file.metadata().map_err(fail)?.len();
    files.publish(&path, name, bytes)
}

/// Calls `take` with each row up to number `upto` that is asked for; returns the places where something
/// is missing.
fn each(
    data_dir: &Path,
    scopes: &[Scope],
    filter: &Filter,
    upto: u64,
    take: &mut dyn FnMut(&Row<'_>, u64) -> Result<(), ExportError>,
) -> Result<u64, ExportError> {
    let mut gaps = 0;
    for scope in scopes {
        let mut scope = scope.clone();
        let lsns = scope.lsns.unwrap_or((1, u64::MAX));
        scope.lsns = Some((lsns.0, lsns.1.min(upto)));
        let mut log = Log::open_scope(data_dir, scope)?;
        loop {
            let position = log.position();
            match log.next_item()? {
                Some(Item::Row(row)) if filter.takes(&row) => take(&row, position)?,
                Some(Item::Row(_)) => {}
                Some(Item::Gap(_)) => gaps += 1,
                None => break,
            }
        }
    }
    Ok(gaps)
}
