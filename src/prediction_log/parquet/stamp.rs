//! The checksum of a whole Parquet file.
//!
//! Owns its place: a key-value in the footer whose value is a placeholder while the checksum is computed,
//! and is replaced by it afterwards. Parquet itself guards nothing but the pages that a writer gives a
//! checksum, and the writer gives none. Never looks at columns.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::read::ParquetReadError;

/// The key in the footer.
pub(super) const CRC_KEY: &str = "pointsman.crc32c";
/// The value while there is no checksum: as long as CRC-32C in hexadecimal.
pub(super) const PLACEHOLDER: &str = "--crc---";

/// The last bytes of a file: the length of the footer in 4 bytes, and the magic.
const TAIL_BYTES: u64 = 8;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The longest footer that is looked through.
const FOOTER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the checksum of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// The file is what was written.
    Good,
    /// The file has none: it was not written by a gateway of this version.
    Absent,
    /// Something in the file was changed.
    Bad,
}

/// Computes the checksum of a finished file and puts it in its place.
///
/// # Errors
/// When the file cannot be read or written.
pub(in crate::prediction_log) fn stamp(file: &File) -> io::Result<()> {
    let (size, place) = (file.metadata()?.len(), place(file)?);
    if let Some(place) = place {
        let crc = format!("{:08x}", sum(file, size, place)?);
        file.write_all_at(crc.as_bytes(), place)?;
    }
    Ok(())
}

/// Holds the file at `path` against its checksum.
///
/// # Errors
/// When the file cannot be read.
pub fn checksum(path: &Path) -> Result<Checksum, ParquetReadError> {
    let fail = |source| ParquetReadError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    check(&file).map_err(fail)
}

fn check(file: &File) -> io::Result<Checksum> {
    let size = file.metadata()?.len();
    let Some(place) = place(file)? else { return Ok(Checksum::Absent) };
    let mut stored = [0; PLACEHOLDER.len()];
    file.read_exact_at(&mut stored, place)?;
    if stored == PLACEHOLDER.as_bytes() {
        return Ok(Checksum::Absent);
    }
    let good = format!("{:08x}", sum(file, size, place)?).as_bytes() == stored;
    Ok(if good { Checksum::Good } else { Checksum::Bad })
}

/// Where the value stands.
fn place(file: &File) -> io::Result<Option<u64>> {
    let size = file.metadata()?.len();
    let Some(tail_at) = size.checked_sub(TAIL_BYTES) else { return Ok(None) };
    let mut tail = [0; 4];
    file.read_exact_at(&mut tail, tail_at)?;
    let len = u64::from(u32::from_le_bytes(tail)).min(tail_at).min(FOOTER_BYTES_MAX);
    let mut footer = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut footer, tail_at - len)?;
    let key = CRC_KEY.as_bytes();
    let found = footer.windows(key.len()).rposition(|window| window == key);
    // Thrift's compact protocol: a field header and a length of one byte each, then the value.
    let value = found.map(|at| at + key.len() + 2);
    let value = value.filter(|at| at + PLACEHOLDER.len() <= footer.len());
    Ok(value.map(|at| tail_at - len + at as u64))
}

/// CRC-32C of the file with the placeholder in its place.
fn sum(file: &File, size: u64, place: u64) -> io::Result<u32> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let after = place + PLACEHOLDER.len() as u64;
    let mut crc = 0;
    for (from, to) in [(0, place), (after, size)] {
        let mut at = from;
        while at < to {
            let len = usize::try_from(to - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            file.read_exact_at(&mut chunk[..len], at)?;
            crc = crc32c::crc32c_append(crc, &chunk[..len]);
            at += len as u64;
        }
        if from == 0 {
            crc = crc32c::crc32c_append(crc, PLACEHOLDER.as_bytes());
        }
    }
    Ok(crc)
}
