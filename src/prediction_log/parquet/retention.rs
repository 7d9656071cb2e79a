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

/// Bytes of Parquet files that stay, with the newest hour, when something else fills the disk.
const FLOOR_BYTES: u64 = 64 * 1024 * 1024;
/// The disk is nearly full when less than this part of the wanted share is free: a fifth.
const CRITICAL_PART: u64 = 5;

/// The limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    bytes: u64,
    age: Option<Duration>,
    free: Permille,
}

/// What is there after files were removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Kept {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) removed: u64,
    /// Bytes of files that no limit removes, because a required sink has not taken them.
    pub(super) held: u64,
    /// The numbers of the rows in the files that were removed.
    pub(super) gone: Vec<(u64, u64)>,
    /// Whether too little of the file system is free and what is left here stays all the same.
    pub(super) at_floor: bool,
}

impl Limits {
    pub(super) fn new(spec: &LogSpec) -> Self {
        Self { bytes: spec.retain, age: spec.retain_age, free: spec.free }
    }

    /// The bytes that segments and Parquet files may take together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes what is too much beside `segment_bytes` of segments, oldest hours first. Files with
    /// rows beyond `taken` are still needed: they go only when the file system is nearly full.
    pub(super) fn enforce(
        &self,
        disk: &Disk,
        segment_bytes: u64,
        taken: u64,
        now_us: u64,
    ) -> io::Result<Kept> {
        let mut files = list(disk.root())?;
        files.sort_unstable_by_key(|file| std::cmp::Reverse((file.hour, file.first_lsn)));
        let newest = files.first().map(|file| file.hour);
        let untaken = files.iter().filter(|file| file.last_lsn > taken);
        let mut kept = Kept {
            held: untaken.map(|file| file.bytes).sum(),
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            ..Kept::default()
        };
        while let Some(oldest) = files.pop() {
            let too_many = kept.bytes.saturating_add(segment_bytes) > self.bytes;
            let room = self.room(disk);
            if !too_many && !self.is_too_old(&oldest, now_us) {
                if room == Room::Enough {
                    break;
                }
                if Some(oldest.hour) == newest || kept.bytes - oldest.bytes < FLOOR_BYTES {
                    kept.at_floor = true;
                    break;
                }
            }
            if oldest.last_lsn > taken && room != Room::Critical {
                continue;
            }
            disk.remove(&oldest.path)?;
            remove_empty_dirs(disk, &oldest);
            kept.files -= 1;
            kept.bytes -= oldest.bytes;
            kept.held -= if oldest.last_lsn > taken { oldest.bytes } else { 0 };
            kept.removed += 1;
            kept.gone.push((oldest.first_lsn, oldest.last_lsn));
        }
        Ok(kept)
    }

    fn is_too_old(&self, file: &ParquetFile, now_us: u64) -> bool {
        let age_us = now_us.saturating_sub(file.hour.end_us());
        self.age.is_some_and(|age| u128::from(age_us) > age.as_micros())
    }

    /// How much of the file system is free; enough where nobody can tell.
    fn room(&self, disk: &Disk) -> Room {
        let wanted = u64::from(self.free.thousandths());
        match disk.free() {
            Some(free) if free < wanted / CRITICAL_PART => Room::Critical,
            Some(free) if free < wanted => Room::Low,
            Some(_) | None => Room::Enough,
        }
    }
}

/// How much of the file system is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    /// Less than is wanted.
    Low,
    /// So little that files go which a required sink has not taken.
    Critical,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction_log::parquet::catalog::{Hour, file_name};

    const MIB: u64 = 1024 * 1024;
    const HOUR_US: u64 = 3_600_000_000;

    /// Ten files of 20 MiB without contents, one an hour, with ten numbers each.
    fn fixture() -> (tempfile::TempDir, Disk) {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Disk::new(&dir.path().join("parquet"));
        for hour in 0..10 {
            let place = disk.root().join(Hour::of(hour * HOUR_US).dir());
            std::fs::create_dir_all(&place).expect("made");
            let path = place.join(file_name(hour * 10 + 1, hour * 10 + 10));
            std::fs::File::create(path).and_then(|file| file.set_len(20 * MIB)).expect("made");
        }
        disk.said_space.set(Some((500, 1000)));
        (dir, disk)
    }

    fn limits() -> Limits {
        Limits { bytes: 1 << 40, age: None, free: Permille::saturating(50) }
    }

    fn numbers(hours: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        hours.map(|hour| (hour * 10 + 1, hour * 10 + 10)).collect()
    }

    #[test]
    fn segments_and_files_share_one_limit_and_the_oldest_hours_go() {
        let (_dir, disk) = fixture();
        let limits = Limits { bytes: 150 * MIB, ..limits() };
        let kept = limits.enforce(&disk, 50 * MIB, u64::MAX, 0).expect("listed");
        assert_eq!((kept.files, kept.bytes, kept.removed), (5, 100 * MIB, 5));
        assert_eq!(kept.gone, numbers(0..5));
        assert_eq!(list(disk.root()).expect("listed").len(), 5);
    }

    #[test]
    fn what_a_required_sink_has_not_taken_goes_only_from_a_disk_that_is_nearly_full() {
        let (_dir, disk) = fixture();
        let aged = Limits { bytes: 1, age: Some(Duration::ZERO), ..limits() };
        let kept = aged.enforce(&disk, 0, 30, 1000 * HOUR_US).expect("listed");
        assert_eq!((kept.files, kept.held, kept.gone), (7, 140 * MIB, numbers(0..3)));
        // Low, but not nearly full.
        disk.said_space.set(Some((20, 1000)));
        assert_eq!(limits().enforce(&disk, 0, 30, 0).expect("listed").removed, 0);
        disk.said_space.set(Some((9, 1000)));
        assert_eq!(limits().enforce(&disk, 0, 30, 0).expect("listed").gone, numbers(3..6));
    }

    #[test]
    fn a_disk_that_something_else_fills_leaves_the_newest_files() {
        let (_dir, disk) = fixture();
        disk.said_space.set(Some((0, 1000)));
        let kept = limits().enforce(&disk, 0, u64::MAX, 0).expect("listed");
        assert_eq!((kept.files, kept.bytes, kept.at_floor), (4, 80 * MIB, true));
        let again = limits().enforce(&disk, 0, u64::MAX, 0).expect("listed");
        assert_eq!((again.removed, again.at_floor), (0, true));
    }
}
