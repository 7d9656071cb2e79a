//! A segment: one file with a header, frames in the order of their numbers, and a seal.
//!
//! Owns file names and the header. Never reads frames. The header fills the first 512 bytes, numbers
//! little-endian, the rest zero:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `PNTSMLOG` |
//! | 8 | 2 | version of the format, 1 |
//! | 10 | 2 | length of the node's name |
//! | 12 | 4 | epoch: random, in every frame of this segment |
//! | 16 | 8 | number of the first record |
//! | 24 | 8 | creation, microseconds since the Unix epoch |
//! | 32 | ≤ 400 | name of the node |
//! | 508 | 4 | CRC-32C of bytes 0 to 508 |

use std::io;
use std::path::{Path, PathBuf};

use super::files::{FileSystem, read_full_at};
use super::frame::checksum;

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: usize = 512;
/// The name of the file whose lock says that a gateway writes here.
pub(super) const LOCK_FILE: &str = "LOCK";
/// Files that were being created when the process ended.
pub(super) const UNFINISHED: &str = ".tmp";
/// Files in which nothing could be read, kept for people to look at.
pub(super) const SUSPECT: &str = ".suspect";

const MAGIC: [u8; 8] = *b"PNTSMLOG";
const VERSION: u16 = 1;
const NODE_AT: usize = 32;
const NODE_BYTES_MAX: usize = 400;
const CRC_AT: usize = HEADER_BYTES - 4;
const EXTENSION: &str = ".seg";
const NAME_DIGITS: usize = 20;

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) epoch: u32,
    pub(super) first_lsn: u64,
    pub(super) created_us: u64,
    pub(super) node: String,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let node = self.node.split_at(self.node.floor_char_boundary(NODE_BYTES_MAX)).0;
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(node.len() as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_lsn.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created_us.to_le_bytes());
        bytes[NODE_AT..NODE_AT + node.len()].copy_from_slice(node.as_bytes());
        let crc = checksum([&bytes[..CRC_AT]]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` when it is damaged or of a later format.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let crc = u32::from_le_bytes(*bytes.last_chunk()?);
        let version = u16::from_le_bytes(part(bytes, 8));
        if bytes[..8] != MAGIC || version != VERSION || checksum([&bytes[..CRC_AT]]) != crc {
            return None;
        }
        let node_len = usize::from(u16::from_le_bytes(part(bytes, 10))).min(NODE_BYTES_MAX);
        Some(Self {
            epoch: u32::from_le_bytes(part(bytes, 12)),
            first_lsn: u64::from_le_bytes(part(bytes, 16)),
            created_us: u64::from_le_bytes(part(bytes, 24)),
            node: std::str::from_utf8(&bytes[NODE_AT..NODE_AT + node_len]).ok()?.to_owned(),
        })
    }
}

fn part<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// A segment file as the directory lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    /// The number in the name.
    pub(super) first_lsn: u64,
    /// The size in bytes.
    pub(super) bytes: u64,
}

/// The file of the segment that starts with `first_lsn`.
pub(super) fn path(dir: &Path, first_lsn: u64) -> PathBuf {
    dir.join(file_name(first_lsn))
}

/// The name of the segment that starts with `first_lsn`; names sort like numbers.
pub(super) fn file_name(first_lsn: u64) -> String {
    format!("{first_lsn:0NAME_DIGITS$}{EXTENSION}")
}

/// The number in a segment's name; `None` for other files.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let plain = digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The number in a segment's path; `None` for other files.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    parse_name(path.file_name()?.to_str()?)
}

/// The segments in `dir`, oldest first.
pub(super) fn list(files: &dyn FileSystem, dir: &Path) -> io::Result<Vec<Listed>> {
    let named = files.list(dir)?;
    let mut segments: Vec<_> = named
        .iter()
        .filter_map(|(name, bytes)| Some(Listed { first_lsn: parse_name(name)?, bytes: *bytes }))
        .collect();
    segments.sort_unstable_by_key(|segment| segment.first_lsn);
    Ok(segments)
}

/// When the segment in a file was created, in microseconds since the Unix epoch; `None` when that
/// cannot be read.
pub(super) fn created_us(files: &dyn FileSystem, path: &Path) -> Option<u64> {
    let file = files.open_read(path).ok()?;
    let mut header = [0; HEADER_BYTES];
    read_full_at(file.as_ref(), &mut header, 0).ok()?;
    Some(SegmentHeader::decode(&header)?.created_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_show_damage() {
        let header = SegmentHeader {
            epoch: 0xdead_beef,
            first_lsn: 42,
            created_us: 1_700_000_000_000_000,
            node: "edge-1".to_owned(),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header.clone()));
        for at in 0..bytes.len() {
            let mut bad = bytes;
            bad[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&bad), None, "byte {at}");
        }
        let long = SegmentHeader { node: "é".repeat(400), ..header };
        let node = SegmentHeader::decode(&long.encode()).expect("a header").node;
        assert_eq!(node, "é".repeat(200));
    }

    #[test]
    fn only_segment_names_are_segments() {
        assert_eq!(parse_name(&file_name(7)), Some(7));
        assert_eq!(parse_name(&file_name(u64::MAX)), Some(u64::MAX));
        for bad in ["LOCK", "1.seg", "+0000000000000000001.seg", "00000000000000000001.seg.tmp"] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
        assert_eq!(parse_name("99999999999999999999.seg"), None);
    }
}
