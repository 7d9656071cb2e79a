//! A number in a small file that is never half written.
//!
//! Owns two slots of 32 bytes that are written in turn, so that one of them is always whole, whenever
//! the process or the machine stops. Never says what the number means. Numbers are little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, by what the number means |
//! | 8 | 8 | turn: the slot with the higher one counts |
//! | 16 | 8 | the number |
//! | 24 | 4 | zero |
//! | 28 | 4 | CRC-32C of bytes 0 to 28 |

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::frame::checksum;

/// What stands first in each slot.
pub(super) type Magic = [u8; 8];

pub(super) const SLOT_BYTES: usize = 32;
const CRC_AT: usize = SLOT_BYTES - 4;

/// An open file of two slots.
#[derive(Debug)]
pub(super) struct Slots {
    file: File,
    magic: Magic,
    turn: u64,
}

impl Slots {
    /// Opens the file at `path`, making it where there is none; and the number in it, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub(super) fn open(path: &Path, magic: Magic) -> io::Result<(Self, Option<u64>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let found = newest(&file, magic)?;
        let turn = found.map_or(0, |(turn, _)| turn);
        Ok((Self { file, magic, turn }, found.map(|(_, number)| number)))
    }

    /// Writes `number` into the slot that does not count.
    ///
    /// # Errors
    /// When the file cannot be written; then the other slot still counts.
    pub(super) fn write(&mut self, number: u64) -> io::Result<()> {
        let turn = self.turn + 1;
        let slot = slot(self.magic, turn, number);
        self.file.write_all_at(&slot, turn % 2 * SLOT_BYTES as u64)?;
        self.turn = turn;
        Ok(())
    }

    /// Makes what was written survive a power loss.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The number in the file at `path`; `None` when none of its slots is whole.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read(path: &Path, magic: Magic) -> io::Result<Option<u64>> {
    Ok(newest(&File::open(path)?, magic)?.map(|(_, number)| number))
}

fn slot(magic: Magic, turn: u64, number: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&magic);
    slot[8..16].copy_from_slice(&turn.to_le_bytes());
    slot[16..24].copy_from_slice(&number.to_le_bytes());
    let crc = checksum([&slot[..CRC_AT]]);
    slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// The turn and the number of the slot that counts.
fn newest(file: &File, magic: Magic) -> io::Result<Option<(u64, u64)>> {
    let mut newest = None;
    for index in 0..2 {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, index * SLOT_BYTES as u64) {
            Ok(()) => newest = newest.max(decode(&bytes, magic)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}

fn decode(bytes: &[u8; SLOT_BYTES], magic: Magic) -> Option<(u64, u64)> {
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let whole = slot(magic, number(8), number(16)) == *bytes;
    whole.then(|| (number(8), number(16)))
}
