//! Which Parquet files there are: names, hours, and what covers what.
//!
//! Owns the layout `dt=YYYY-MM-DD/hour=HH/FIRST-LAST.parquet` below the Parquet directory. Never opens
//! a file. The hour is that of the rows' `ts`, in UTC; the numbers are the log sequence numbers of the
//! segments that the rows come from, so that the same rows always have the same name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Microseconds of an hour.
const HOUR_US: u64 = 3_600_000_000;
const EXTENSION: &str = ".parquet";
const DIGITS: usize = 20;

/// An hour, counted since the Unix epoch in UTC; hours after the year 9999 count as its last day's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u32);

impl Hour {
    /// 9999-12-30, 21:00: the last hour that a [`jiff::Timestamp`] can be in wherever one looks from.
    const MAX: u64 = 70_389_501;

    /// The hour of a time in microseconds since the Unix epoch.
    pub fn of(ts_us: u64) -> Self {
        Self(u32::try_from((ts_us / HOUR_US).min(Self::MAX)).unwrap_or(u32::MAX))
    }

    /// When it ends, in microseconds since the Unix epoch.
    pub fn end_us(self) -> u64 {
        (u64::from(self.0) + 1) * HOUR_US
    }

    /// `YYYY/MM/DD/HH`.
    pub(in crate::prediction_log) fn path(self) -> PathBuf {
        let seconds = i64::from(self.0) * 3600;
        let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        PathBuf::from(at.strftime("%Y/%m/%d/%H").to_string())
    }

    /// Its directory below the Parquet directory.
    pub fn dir(self) -> PathBuf {
        let seconds = i64::from(self.0) * 3600;
        let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        PathBuf::from(at.strftime("dt=%Y-%m-%d/hour=%H").to_string())
    }

    /// The hour of the names of a directory and the one below it.
    fn parse(day: &str, hour: &str) -> Option<Self> {
        let date: jiff::civil::Date = day.strip_prefix("dt=")?.parse().ok()?;
        let hour: i8 = hour.strip_prefix("hour=")?.parse().ok()?;
        let at = date.at(hour.clamp(0, 23), 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        let hours = at.timestamp().as_second() / 3600;
        u32::try_from(hours).ok().filter(|&hours| u64::from(hours) <= Self::MAX).map(Self)
    }
}

/// A Parquet file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetFile {
    /// Where it is.
    pub path: PathBuf,
    /// The hour in which all its rows are.
    pub hour: Hour,
    /// The first log sequence number that it stands for, as far as its hour goes.
    pub first_lsn: u64,
    /// The last one.
    pub last_lsn: u64,
    /// Its size.
    pub bytes: u64,
}

impl ParquetFile {
    /// Whether this file holds all rows of `other`.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.hour == other.hour
            && self.first_lsn <= other.first_lsn
            && self.last_lsn >= other.last_lsn
    }
}

/// The directory of Parquet files below a gateway's `data_dir`.
pub fn parquet_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("parquet")
}

/// The files below `parquet_dir` by their first number; those that another one covers are left out.
/// Files with other names are passed over; a directory that is not there has none.
///
/// # Errors
/// When a directory cannot be listed.
pub fn catalog(parquet_dir: &Path) -> io::Result<Vec<ParquetFile>> {
    Ok(split_covered(list(parquet_dir)?).0)
}

/// All files, in no order.
pub(super) fn list(parquet_dir: &Path) -> io::Result<Vec<ParquetFile>> {
    let mut files = Vec::new();
    for (day, day_dir) in entries(parquet_dir)? {
        if !day.starts_with("dt=") {
            continue;
        }
        for (name, dir) in entries(&day_dir)? {
            if let Some(hour) = Hour::parse(&day, &name) {
                files.extend(list_hour(&dir, hour)?);
            }
        }
    }
    Ok(files)
}

/// The files of one hour in its directory.
pub(super) fn list_hour(dir: &Path, hour: Hour) -> io::Result<Vec<ParquetFile>> {
    let mut files = Vec::new();
    for (name, path) in entries(dir)? {
        let Some((first_lsn, last_lsn)) = parse_name(&name) else { continue };
        match fs::metadata(&path) {
            Ok(metadata) => {
                files.push(ParquetFile { path, hour, first_lsn, last_lsn, bytes: metadata.len() });
            }
            // Merged or removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// The files that count, by their first number, and those that are covered by one of them.
pub(super) fn split_covered(mut files: Vec<ParquetFile>) -> (Vec<ParquetFile>, Vec<ParquetFile>) {
    // In each hour the widest comes first, so that each file meets what may cover it before it.
    files.sort_unstable_by_key(|file| (file.hour, file.first_lsn, u64::MAX - file.last_lsn));
    let (mut counting, mut covered) = (Vec::<ParquetFile>::new(), Vec::new());
    for file in files {
        match counting.last() {
            Some(widest) if widest.covers(&file) => covered.push(file),
            _ => counting.push(file),
        }
    }
    counting.sort_by_key(|file| (file.first_lsn, file.hour));
    (counting, covered)
}

/// The name of the file with the rows of these numbers.
pub(super) fn file_name(first_lsn: u64, last_lsn: u64) -> String {
    format!("{first_lsn:0DIGITS$}-{last_lsn:0DIGITS$}{EXTENSION}")
}

/// The numbers in a name.
fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(EXTENSION)?.split_once('-')?;
    let number = |digits: &str| {
        let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok())?
    };
    Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
}

/// The names in a directory with their paths; none when it is not there.
fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Vec::new()),
                _ => Err(error),
            };
        }
    };
    let mut named = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            named.push((name, entry.path()));
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(hour: u64, first_lsn: u64, last_lsn: u64) -> ParquetFile {
        let (path, hour) = (PathBuf::new(), Hour::of(hour * HOUR_US));
        ParquetFile { path, hour, first_lsn, last_lsn, bytes: 0 }
    }

    proptest! {
        #[test]
        fn every_time_has_a_directory_that_reads_back(ts_us in prop_oneof![any::<u64>(), 0..1u64 << 52]) {
            let hour = Hour::of(ts_us);
            let dir = hour.dir();
            let names: Vec<_> = dir.iter().map(|name| name.to_str().expect("text")).collect();
            prop_assert_eq!(Hour::parse(names[0], names[1]), Some(hour));
        }
    }

    #[test]
    fn hours_are_those_of_utc() {
        assert_eq!(Hour::of(0).dir(), Path::new("dt=1970-01-01/hour=00"));
        assert_eq!(Hour::of(1_700_000_000_000_000).dir(), Path::new("dt=2023-11-14/hour=22"));
        assert_eq!(Hour::of(u64::MAX).dir(), Path::new("dt=9999-12-30/hour=21"));
    }

    #[test]
    fn names_read_back_and_others_are_passed_over() {
        assert_eq!(parse_name(&file_name(1, u64::MAX)), Some((1, u64::MAX)));
        for bad in [
            "part-0.parquet".to_owned(),
            file_name(2, 1),
            file_name(1, 2) + ".tmp",
            format!("+{}", file_name(1, 2)),
        ] {
            assert_eq!(parse_name(&bad), None, "{bad}");
        }
    }

    #[test]
    fn covered_files_are_left_out_within_their_hour_only() {
        let files =
            vec![file(1, 5, 6), file(1, 1, 9), file(2, 5, 6), file(1, 7, 9), file(1, 10, 12)];
        let (counting, covered) = split_covered(files);
        assert_eq!(counting, [file(1, 1, 9), file(2, 5, 6), file(1, 10, 12)]);
        assert_eq!(covered, [file(1, 5, 6), file(1, 7, 9)]);
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_files() {
        assert_eq!(catalog(Path::new("/nonexistent/parquet")).expect("listed"), []);
    }
}
