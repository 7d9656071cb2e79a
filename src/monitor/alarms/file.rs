//! Small files that outlast the process.
//!
//! Owns how they are written: beside, synced, renamed; a checksum in the first line. A file that is damaged
//! is set aside and said so; what it held is lost, not the start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes of a file that is read.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("its checksum is another one")]
    Checksum,
    #[error("its content is not understood")]
    Content(#[from] serde_json::Error),
}

/// Reads what [`write`] wrote; the default where there is nothing, or nothing good.
pub(super) fn read<T: DeserializeOwned + Default>(path: &Path) -> T {
    match try_read(path) {
        Ok(value) => value,
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => T::default(),
        Err(error) => {
            let aside = path.with_extension("damaged");
            let kept = fs::rename(path, &aside).is_ok();
            tracing::error!(
                path = %path.display(),
                aside = %aside.display(),
                kept,
                error = %crate::telemetry::logging::chain(&error),
                "the state of alarms is damaged and starts anew"
            );
            T::default()
        }
    }
}

fn try_read<T: DeserializeOwned>(path: &Path) -> Result<T, ReadError> {
    if fs::metadata(path)?.len() > BYTES_MAX {
        return Err(ReadError::Checksum);
    }
    let text = fs::read_to_string(path)?;
    let (sum, content) = text.split_once('\n').ok_or(ReadError::Checksum)?;
    if sum != checksum(content.as_bytes()) {
        return Err(ReadError::Checksum);
    }
    Ok(serde_json::from_str(content)?)
}

/// Writes a value so that after a crash there is the old one or the new one.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let content = serde_json::to_string(value)?;
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(dir)?;
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(format!("{}\n{content}", checksum(content.as_bytes())).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(dir)?.sync_all()
}

fn checksum(content: &[u8]) -> String {
    format!("crc32c {:08x}", crc32c::crc32c(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_starts_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a").join("state.json");
        assert_eq!(read::<Vec<u32>>(&path), [0; 0]);
        write(&path, &vec![1, 2]).expect("written");
        write(&path, &vec![1, 2, 3]).expect("written");
        assert_eq!(read::<Vec<u32>>(&path), [1, 2, 3]);
        let whole = fs::read(&path).expect("bytes");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).expect("written");
            assert_eq!(read::<Vec<u32>>(&path), [0; 0], "a bit of byte {at}");
            assert!(path.with_extension("damaged").exists());
            fs::write(&path, &whole[..at]).expect("written");
            assert_eq!(read::<Vec<u32>>(&path), [0; 0], "{at} bytes");
        }
    }
}
