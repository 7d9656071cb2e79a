//! Merges the small files of an hour that is over.
//!
//! Owns which files are merged and how the hour's directory is exchanged. A reader sees either the old
//! files or the merged one, because the whole directory changes in one instant; where the file system
//! cannot do that, the merged file is added and then the others are removed, and for that moment only
//! [`super::catalog`] knows which count. Never merges rows of different hours, and never removes a
//! file before its rows are safe elsewhere.

use std::fs;

use super::catalog::{Hour, ParquetFile, catalog, file_name, list, split_covered};
use super::convert::{ConvertError, Pace, create, finish};
use super::disk::Disk;
use super::read::{ParquetReadError, ParquetRows, Prune};
use super::write::RowWriter;

/// How long after its end an hour is left alone, so that late rows join in: 10 minutes.
const GRACE_US: u64 = 600_000_000;
/// The name of the new directory while it is built.
const BUILDING: &str = "merge";

/// Why files were not merged.
#[derive(Debug, thiserror::Error)]
pub(super) enum MergeError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ParquetReadError),
    /// The merged file cannot be written or put in place.
    #[error(transparent)]
    Write(#[from] ConvertError),
}

/// Which files may be merged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mergeable {
    /// The time now, in microseconds since the Unix epoch.
    pub(super) now_us: u64,
    /// Files with later numbers are still needed as they are.
    pub(super) up_to_lsn: u64,
    /// The size of a merged file.
    pub(super) file_bytes: u64,
}

/// Groups of files that would each be one, oldest first.
pub(super) fn groups(files: &[ParquetFile], mergeable: Mergeable) -> Vec<Vec<ParquetFile>> {
    let Mergeable { now_us, up_to_lsn, file_bytes } = mergeable;
    let mut files: Vec<_> = files
        .iter()
        .filter(|file| file.hour.end_us().saturating_add(GRACE_US) <= now_us)
        .filter(|file| file.last_lsn <= up_to_lsn)
        .cloned()
        .collect();
    files.sort_unstable_by_key(|file| (file.hour, file.first_lsn));
    let mut groups = Vec::<Vec<ParquetFile>>::new();
    let mut bytes = 0;
    for file in files {
        match groups.last_mut() {
            Some(group) if group[0].hour == file.hour && bytes + file.bytes <= file_bytes => {
                bytes += file.bytes;
                group.push(file);
            }
            _ => {
                bytes = file.bytes;
                groups.push(vec![file]);
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Makes one file of `group`, whose files are of one hour; false where a file is of a later version,
/// which this one must not rewrite.
pub(super) fn merge(
    disk: &Disk,
    group: &[ParquetFile],
    level: i32,
    pace: Pace<'_>,
) -> Result<bool, MergeError> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(false) };
    disk.clear().map_err(|source| failed(disk, source))?;
    let dir = disk.root().join(first.hour.dir());
    let building = disk.work(BUILDING);
    let name = file_name(first.first_lsn, last.last_lsn);
    let merged = building.join(&name);
    let out = create(disk, &merged)?;
    let encode = |source| ConvertError::Encode { path: merged.clone(), source };
    let lsns = (first.first_lsn, last.last_lsn);
    let mut writer = None;
    let mut out = Some(out);
    for file in group {
        let mut rows = ParquetRows::open(&file.path, &Prune::default())?;
        if rows.is_of_later_version() {
            return Ok(false);
        }
        while let Some(row) = rows.next_row()? {
            let writer = match (&mut writer, out.take()) {
                (Some(writer), _) => writer,
                (none, Some(out)) => {
                    none.insert(RowWriter::new(out, level, row.node, lsns).map_err(encode)?)
                }
                (None, None) => return Ok(false),
            };
            if writer.push(&row).map_err(encode)? && !pace() {
                return Err(ConvertError::Stopped.into());
            }
        }
    }
    let Some(writer) = writer else { return Ok(false) };
    finish(disk, writer, &merged)?;
    swap(disk, group, &dir, &name).map_err(|source| failed(disk, source))?;
    Ok(true)
}

/// Puts the merged file in the place of `group`.
fn swap(
    disk: &Disk,
    group: &[ParquetFile],
    dir: &std::path::Path,
    name: &str,
) -> std::io::Result<()> {
    let building = disk.work(BUILDING);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let merged = group.iter().any(|file| file.path == entry.path());
        if !merged && entry.file_type()?.is_file() {
            disk.link(&entry.path(), &building.join(entry.file_name()))?;
        }
    }
    disk.sync_dir(&building)?;
    if !disk.exchange(&building, dir)? {
        disk.publish(&building.join(name), &dir.join(name))?;
        for file in group {
            disk.remove(&file.path)?;
        }
    }
    disk.clear()
}

/// Ends what a crash has left: unfinished files, and files that a merged one covers.
pub(super) fn recover(disk: &Disk) -> std::io::Result<()> {
    disk.clear()?;
    for covered in split_covered(list(disk.root())?).1 {
        disk.remove(&covered.path)?;
    }
    Ok(())
}

/// The groups of files that wait to be merged.
pub(super) fn waiting(
    disk: &Disk,
    mergeable: Mergeable,
    but_not: &[Hour],
) -> std::io::Result<Vec<Vec<ParquetFile>>> {
    let mut groups = groups(&catalog(disk.root())?, mergeable);
    groups.retain(|group| !but_not.contains(&group[0].hour));
    Ok(groups)
}

fn failed(disk: &Disk, source: std::io::Error) -> ConvertError {
    ConvertError::Disk { path: disk.root().to_owned(), source }
}
