//! Small files below `state/` that must be whole whenever they are read.
//!
//! Owns the way a file is replaced: written beside, synced, renamed, and the folder synced. Never knows what
//! is in it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The folder below `data_dir`.
pub const STATE_DIR: &str = "state";

/// Replaces the file at `path`; whoever reads it sees the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let next = with_suffix(path, ".next");
    let mut file = File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    sync_folder(folder)
}

/// Syncs a folder: names that were given or taken in it outlast a loss of power.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads a file of at most `most` bytes; `None` when there is none.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(Some(bytes))
}

/// Moves a file that cannot be understood out of the way, so that it can be looked at.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = with_suffix(path, ".damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_read_within_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/x.json");
        assert_eq!(read(&path, 10).unwrap(), None);
        replace(&path, b"one").unwrap();
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_deref(), Some(&b"three"[..]));
        assert!(read(&path, 4).is_err());
        assert!(read(dir.path(), 4).is_err());
        let aside = put_aside(&path).unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"three");
        assert_eq!(read(&path, 5).unwrap(), None);
    }
}
