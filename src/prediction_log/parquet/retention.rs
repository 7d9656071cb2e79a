//! Removes the oldest Parquet files when there are too many.
//!
//! Owns the choice: by age, by the bytes that segments and Parquet files take together, and by the
//! space that is left on the file system. Never removes a segment: that is the writer's part.

use std::io;
use std::time::Duration;

use super::catalog::{ParquetFile, list};
use super::disk::Disk;
use crate::domain::ids::Permille;
use crate::domain::spec::LogSpec;

/// The limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    bytes: u64,
    age: Option<Duration>,
    free: Permille,
}

/// What is there after files were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kept {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) removed: u64,
}

impl Limits {
    pub(super) fn new(spec: &LogSpec) -> Self {
        Self { bytes: spec.retain, age: spec.retain_age, free: spec.free }
    }

    /// Removes what is too much beside `segment_bytes` of segments, oldest hours first.
    pub(super) fn enforce(&self, disk: &Disk, segment_bytes: u64, now_us: u64) -> io::Result<Kept> {
        let mut files = list(disk.root())?;
        files.sort_unstable_by_key(|file| std::cmp::Reverse((file.hour, file.first_lsn)));
        let mut kept = Kept {
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            removed: 0,
        };
        while let Some(oldest) = files.pop() {
            let too_many = kept.bytes.saturating_add(segment_bytes) > self.bytes;
            if !too_many && !self.is_too_old(&oldest, now_us) && !self.is_disk_full(disk) {
                break;
            }
            disk.remove(&oldest.path)?;
            remove_empty_dirs(disk, &oldest);
            kept.files -= 1;
            kept.bytes -= oldest.bytes;
            kept.removed += 1;
        }
        Ok(kept)
    }

    fn is_too_old(&self, file: &ParquetFile, now_us: u64) -> bool {
        let age_us = now_us.saturating_sub(file.hour.end_us());
        self.age.is_some_and(|age| u128::from(age_us) > age.as_micros())
    }

    /// Whether less than the wanted share of the file system is free; not where nobody can tell.
    fn is_disk_full(&self, disk: &Disk) -> bool {
        rustix::fs::statvfs(disk.root()).is_ok_and(|space| {
            let wanted = u128::from(space.f_blocks) * u128::from(self.free.thousandths()) / 1000;
            u128::from(space.f_bavail) < wanted
        })
    }
}

/// Removes the directories of the hour and of the day if nothing is left in them.
fn remove_empty_dirs(disk: &Disk, file: &ParquetFile) {
    let hour = disk.root().join(file.hour.dir());
    // A directory that still holds something stays, which is all that an error here means.
    let emptied = std::fs::remove_dir(&hour).and_then(|()| match hour.parent() {
        Some(day) => std::fs::remove_dir(day),
        None => Ok(()),
    });
    if let Err(error) = emptied {
        tracing::trace!(%error, "a directory of Parquet files stays");
    }
}
