//! How far one consumer has come, on disk.
//!
//! Owns the file `cursors/NAME` below the log's directory. A cursor is a hint: when it is lost or
//! old, its consumer takes records once more. Two slots of 32 bytes are written in turn, numbers
//! little-endian, so that one of them is always whole:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `PNTSMCUR` |
//! | 8 | 8 | turn: the slot with the higher one counts |
//! | 16 | 8 | number of the last record that is done |
//! | 24 | 4 | zero |
//! | 28 | 4 | CRC-32C of bytes 0 to 28 |

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::frame::checksum;

/// The directory of the cursors below the log's.
const DIR: &str = "cursors";
const SLOT_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"PNTSMCUR";
const CRC_AT: usize = SLOT_BYTES - 4;
/// The least time between two syncs of a cursor.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The position of one consumer.
#[derive(Debug)]
pub struct Cursor {
    position: Arc<AtomicU64>,
    is_new: bool,
    /// Locked by the one consumer alone.
    store: Mutex<Store>,
}

#[derive(Debug)]
struct Store {
    file: File,
    turn: u64,
    /// What the file says.
    stored: u64,
    synced_at: Option<Instant>,
}

impl Cursor {
    /// Opens the cursor `name` of the log in `log_dir`, making it where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub(super) fn open(log_dir: &Path, name: &str) -> io::Result<Self> {
        let path = path(log_dir, name)?;
        std::fs::create_dir_all(log_dir.join(DIR))?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let found = read(&file)?;
        let (turn, lsn) = found.unwrap_or_default();
        let mut store = Store { file, turn, stored: lsn, synced_at: None };
        let is_new = found.is_none();
        if is_new && let Err(error) = store.write(0) {
            // It only says that there was one, even before anything was done.
            tracing::debug!(%error, name, "a new cursor of the prediction log is not written");
        }
        Ok(Self { position: Arc::new(AtomicU64::new(lsn)), is_new, store: Mutex::new(store) })
    }

    /// Whether there was none before.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The number of the last record that is done; 0 for none.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::SeqCst)
    }

    /// Says that all records up to `lsn` are done; a lower number than before changes nothing. The
    /// file is synced once a second at most.
    ///
    /// # Errors
    /// When the file cannot be written. The position counts for this process all the same.
    pub fn advance(&self, lsn: u64) -> io::Result<()> {
        if self.position.fetch_max(lsn, Ordering::SeqCst) >= lsn {
            return Ok(());
        }
        let mut store = self.store.lock();
        store.write(lsn)?;
        let now = Instant::now();
        if store.synced_at.is_none_or(|at| now.duration_since(at) >= SYNC_INTERVAL) {
            store.file.sync_data()?;
            store.synced_at = Some(now);
        }
        Ok(())
    }

    /// Moves to `lsn` over what is gone. Only in this process, until records after it are done or the
    /// cursor is closed: after a kill it is found where it was, and what is gone is told again.
    pub(super) fn pass_over(&self, lsn: u64) {
        self.position.fetch_max(lsn, Ordering::SeqCst);
    }

    pub(super) fn shared(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.position)
    }
}

impl Store {
    fn write(&mut self, lsn: u64) -> io::Result<()> {
        let turn = self.turn + 1;
        self.file.write_all_at(&slot(turn, lsn), turn % 2 * SLOT_BYTES as u64)?;
        (self.turn, self.stored) = (turn, lsn);
        Ok(())
    }
}

impl Drop for Cursor {
    /// Keeps what the next start would otherwise take once more, and what it was skipped over.
    fn drop(&mut self) {
        let lsn = self.position();
        let store = self.store.get_mut();
        let kept = if store.stored < lsn { store.write(lsn) } else { Ok(()) };
        if let Err(error) = kept.and_then(|()| store.file.sync_data()) {
            tracing::debug!(%error, "a cursor of the prediction log is not synced");
        }
    }
}

/// The position of consumer `name` of the log in `log_dir`; `None` when it never had one. For
/// commands beside a running gateway.
///
/// # Errors
/// When the file cannot be read.
pub fn cursor_position(log_dir: &Path, name: &str) -> io::Result<Option<u64>> {
    match File::open(path(log_dir, name)?) {
        Ok(file) => Ok(read(&file)?.map(|(_, lsn)| lsn)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The highest position of any cursor of the log in `log_dir`, registered or not; 0 for none.
pub(super) fn highest(log_dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(log_dir.join(DIR)) else { return 0 };
    let positions = entries.flatten().filter_map(|entry| {
        let file = File::open(entry.path()).ok()?;
        read(&file).ok()?.map(|(_, lsn)| lsn)
    });
    positions.max().unwrap_or(0)
}

fn path(log_dir: &Path, name: &str) -> io::Result<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        let message = format!("`{name}` is no name for a cursor: letters, digits, `-`, `_`, `.`");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(log_dir.join(DIR).join(name))
}

fn slot(turn: u64, lsn: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&MAGIC);
    slot[8..16].copy_from_slice(&turn.to_le_bytes());
    slot[16..24].copy_from_slice(&lsn.to_le_bytes());
    let crc = checksum([&slot[..CRC_AT]]);
    slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// The turn and the number of the slot that counts.
fn read(file: &File) -> io::Result<Option<(u64, u64)>> {
    let mut newest = None;
    for index in 0..2 {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, index * SLOT_BYTES as u64) {
            Ok(()) => newest = newest.max(decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, u64)> {
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let whole = slot(number(8), number(16)) == *bytes;
    whole.then(|| (number(8), number(16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_a_restart_and_damage_to_either_slot() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(cursor_position(dir.path(), "lake").expect("readable"), None);
        let cursor = Cursor::open(dir.path(), "lake").expect("open");
        assert_eq!(cursor.position(), 0);
        for lsn in [5, 9, 7] {
            cursor.advance(lsn).expect("written");
        }
        drop(cursor);
        assert_eq!(Cursor::open(dir.path(), "lake").expect("open").position(), 9);
        assert_eq!(highest(dir.path()), 9);
        let path = dir.path().join("cursors/lake");
        let good = std::fs::read(&path).expect("readable");
        assert_eq!(good.len(), 2 * SLOT_BYTES);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).expect("written");
            // The second slot was the first to be written, when the cursor was made.
            let left = if at < SLOT_BYTES { 9 } else { 5 };
            assert_eq!(cursor_position(dir.path(), "lake").expect("readable"), Some(left));
        }
        std::fs::write(&path, b"short").expect("written");
        assert_eq!(cursor_position(dir.path(), "lake").expect("readable"), None);
        for name in ["", "..", "a/b", ".hidden"] {
            assert!(Cursor::open(dir.path(), name).is_err(), "{name}");
        }
    }
}
