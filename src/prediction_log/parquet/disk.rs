//! The steps on the disk that converting and merging take.
//!
//! Owns their order within one file: written, synced, renamed, its directory synced. Unfinished files
//! lie in a directory of their own beside the Parquet directory, where no pattern for Parquet files
//! looks. Never decides what is written. Each step can be made to fail in tests, as if the process had
//! ended there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

/// Where unfinished files lie, beside the Parquet directory.
const WORK: &str = "parquet.work";

/// A Parquet directory and the place for what is not finished.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    work: PathBuf,
    /// Steps until everything fails.
    #[cfg(test)]
    pub(super) steps: std::cell::Cell<Option<u32>>,
    /// Exchanging directories is refused, as some file systems do.
    #[cfg(test)]
    pub(super) no_exchange: bool,
    /// Free and all bytes that the file system is said to have, if not the truth.
    #[cfg(test)]
    pub(super) said_space: std::cell::Cell<Option<(u64, u64)>>,
}

impl Disk {
    /// The directory `root`, which need not be there yet.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            work: root.with_file_name(WORK),
            #[cfg(test)]
            steps: std::cell::Cell::new(None),
            #[cfg(test)]
            no_exchange: false,
            #[cfg(test)]
            said_space: std::cell::Cell::new(None),
        }
    }

    /// The Parquet directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The thousandths of the file system that are free; `None` where nobody can tell.
    pub(super) fn free(&self) -> Option<u64> {
        let space = rustix::fs::statvfs(&self.root).ok();
        let space = space.map(|space| (space.f_bavail, space.f_blocks));
        #[cfg(test)]
        let space = self.said_space.get().or(space);
        let (free, total) = space.filter(|space| space.1 > 0)?;
        u64::try_from(u128::from(free) * 1000 / u128::from(total)).ok()
    }

    /// The path of an unfinished file.
    pub(super) fn work(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Removes everything that is unfinished.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.step()?;
        match fs::remove_dir_all(&self.work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Creates an unfinished file, and its directory if need be.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        File::options().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file's contents survive a loss of power.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_all()
    }

    /// Moves a finished file to its place, for good.
    pub(super) fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        let dir = to.parent().unwrap_or(&self.root);
        self.create_dir(dir)?;
        self.step()?;
        fs::rename(from, to)?;
        self.sync_dir(dir)
    }

    /// Gives the file `from` the second name `to`.
    pub(super) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::hard_link(from, to)
    }

    /// Removes a file; one that is gone already is no error.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Lets two directories change places in one instant; false where the file system cannot.
    pub(super) fn exchange(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.step()?;
        #[cfg(test)]
        if self.no_exchange {
            return Ok(false);
        }
        match rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        for path in [one, other] {
            self.sync_dir(path.parent().unwrap_or(&self.root))?;
        }
        Ok(true)
    }

    /// Makes the names in a directory survive a loss of power.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        File::open(dir)?.sync_all()
    }

    /// Creates a directory below the root so that it survives a loss of power.
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        self.step()?;
        fs::create_dir_all(dir)?;
        // Each parent up to that of the root holds a name that may be new.
        for parent in dir.ancestors().skip(1).take_while(|path| *path != Path::new("")) {
            self.sync_dir(parent)?;
            if Some(parent) == self.root.parent() {
                break;
            }
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests count the steps")]
    #[expect(clippy::unnecessary_wraps, reason = "tests make a step fail")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        match self.steps.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the process ended here")),
            Some(left) => {
                self.steps.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
