//! The few file operations that the log needs, behind traits so that tests can make each of them
//! fail.
//!
//! Owns the only calls to the operating system in this room. Never knows what the bytes mean.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The most pieces that one vectored write takes (`IOV_MAX` on Linux).
const PIECES_MAX: usize = 1024;

/// File systems that write every byte to a new place: btrfs, ZFS, F2FS, bcachefs (`statfs(2)` and
/// the kernel's `linux/magic.h`).
const COPY_ON_WRITE: [i128; 4] = [0x9123_683e, 0x2fc1_2fc1, 0xf2f5_2010, 0xca45_1a4e];

/// Something that can be read at any offset.
pub(super) trait Source: Send + Sync {
    /// Reads at most `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The length in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// An open segment file.
pub(super) trait SegmentFile: Source {
    /// Writes some of `pieces` at `offset` and returns how many bytes.
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Makes the contents survive a power loss.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Keeps a directory locked until it is dropped.
pub(super) type LockGuard = Box<dyn Any + Send>;

/// The operations on a directory of segments.
pub(super) trait FileSystem: Send + Sync {
    /// Creates a directory and its parents, so that they survive a power loss.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Locks `path` for this process; [`io::ErrorKind::WouldBlock`] when another one has it.
    fn lock(&self, path: &Path) -> io::Result<LockGuard>;
    /// Names and sizes of the regular files in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Creates an empty file for reading and writing; one that exists is cut to nothing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Opens a file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Source>>;
    /// Renames a file, replacing `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; [`io::ErrorKind::AlreadyExists`] when that is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive a power loss.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The room on the file system of a directory.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// Whether bytes that are overwritten stay where they are on the disk.
    fn overwrites_in_place(&self, dir: &Path) -> io::Result<bool>;
}

/// The room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// What may still be written.
    pub(super) free: u64,
    /// All of it.
    pub(super) total: u64,
}

/// Writes all of `pieces` at `offset`, however often that takes.
pub(super) fn write_all_at(
    file: &dyn SegmentFile,
    mut pieces: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let batch = &pieces[..pieces.len().min(PIECES_MAX)];
        match file.write_at(batch, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut pieces, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset` as far as the source goes; returns how many bytes there were.
pub(super) fn read_full_at(
    source: &dyn Source,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The operating system's own file system.
#[derive(Debug)]
pub(super) struct LocalFiles;

impl Source for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl SegmentFile for File {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match pieces {
            [piece] => FileExt::write_at(self, piece, offset),
            _ => Ok(rustix::io::pwritev(self, pieces, offset)?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }
}

impl FileSystem for LocalFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let parents = parents_of_missing(path);
        fs::create_dir_all(path)?;
        parents.into_iter().try_for_each(|parent| self.sync_dir(parent))
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // For people who wonder who it is; the lock itself is what counts.
        file.set_len(0)?;
        (&file).write_all(format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Box::new(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed by retention between the listing and the look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }

    fn overwrites_in_place(&self, dir: &Path) -> io::Result<bool> {
        let kind = i128::from(rustix::fs::statfs(dir)?.f_type);
        Ok(!COPY_ON_WRITE.contains(&kind))
    }
}

/// The directories that get a new name in them when `path` is created.
fn parents_of_missing(path: &Path) -> Vec<&Path> {
    let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
    let parents = missing.filter_map(Path::parent);
    parents.map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }).collect()
}

/// Bytes in memory, read like a file.
#[derive(Debug)]
pub(super) struct MemorySource(pub Vec<u8>);

impl Source for MemorySource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let len = buffer.len().min(self.0.len() - from);
        buffer[..len].copy_from_slice(&self.0[from..from + len]);
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_gets_a_new_name_is_synced() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path();
        let (data, log) = (top.join("data"), top.join("data/log"));
        assert_eq!(parents_of_missing(&log), [data.as_path(), top]);
        LocalFiles.create_dir(&log).expect("created");
        assert!(log.is_dir());
        assert_eq!(parents_of_missing(&log), Vec::<&Path>::new());
        assert_eq!(parents_of_missing(&log.join("cursors")), [log.as_path()]);
        let relative = Path::new("no-such-directory/log");
        assert_eq!(parents_of_missing(relative), [Path::new("no-such-directory"), Path::new(".")]);
        // What cannot be synced is not said to be created.
        let file = top.join("file");
        fs::write(&file, b"").expect("written");
        assert!(LocalFiles.create_dir(&file.join("log")).is_err());
    }
}
