//! Files that get their names when they are whole.
//!
//! Owns the steps on the disk: written aside, synced, renamed, the directory synced. Never knows what
//! the lines mean.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{ExportError, Summary};

/// Files that are open at once; the one that was not written to for longest is closed for another.
const OPEN_MAX: usize = 64;

/// A directory that is exported to.
pub(super) struct Files {
    root: PathBuf,
    /// Where unfinished files lie.
    work: PathBuf,
    force: bool,
    open: Vec<OpenFile>,
    /// Files so far.
    made: u64,
    done: Summary,
}

struct OpenFile {
    folder: PathBuf,
    path: PathBuf,
    out: BufWriter<File>,
    first_lsn: u64,
    last_lsn: u64,
    bytes: u64,
}

impl Files {
    /// Creates the directory `root`.
    pub(super) fn create(root: &Path, force: bool) -> Result<Self, ExportError> {
        let work = root.join(format!(".unfinished-{}", std::process::id()));
        fs::create_dir_all(&work)
            .map_err(|source| ExportError::Write { path: work.clone(), source })?;
        let (root, open) = (root.to_owned(), Vec::new());
        Ok(Self { root, work, force, open, made: 0, done: Summary::default() })
    }

    /// A path for a file that is not finished.
    pub(super) fn aside(&mut self) -> PathBuf {
        self.made += 1;
        self.work.join(self.made.to_string())
    }

    /// Adds the lines of the row `lsn` to the file of `folder`.
    pub(super) fn put(&mut self, folder: &Path, lsn: u64, lines: &[u8]) -> Result<(), ExportError> {
        let index = match self.open.iter().position(|file| file.folder == folder) {
            Some(index) => index,
            None => self.open_file(folder, lsn)?,
        };
        // The files that were written to last stand at the end.
        let mut file = self.open.remove(index);
        file.last_lsn = lsn;
        file.bytes += lines.len() as u64;
        let written = file.out.write_all(lines);
        written.map_err(|source| ExportError::Write { path: file.path.clone(), source })?;
        self.open.push(file);
        Ok(())
    }

    fn open_file(&mut self, folder: &Path, lsn: u64) -> Result<usize, ExportError> {
        if self.open.len() >= OPEN_MAX {
            let oldest = self.open.remove(0);
            self.close(oldest)?;
        }
        let path = self.aside();
        let file = File::create(&path)
            .map_err(|source| ExportError::Write { path: path.clone(), source })?;
        self.open.push(OpenFile {
            folder: folder.to_owned(),
            path,
            out: BufWriter::new(file),
            first_lsn: lsn,
            last_lsn: lsn,
            bytes: 0,
        });
        Ok(self.open.len() - 1)
    }

    fn close(&mut self, file: OpenFile) -> Result<(), ExportError> {
        let fail = |source| ExportError::Write { path: file.path.clone(), source };
        let out = file.out.into_inner().map_err(|error| fail(error.into_error()))?;
        out.sync_all().map_err(fail)?;
        let name = format!("{:020}-{:020}.jsonl", file.first_lsn, file.last_lsn);
        self.publish(&file.path, &file.folder.join(name), file.bytes)
    }

    /// Gives a finished and synced file its name below the root.
    pub(super) fn publish(
        &mut self,
        from: &Path,
        name: &Path,
        bytes: u64,
    ) -> Result<(), ExportError> {
        let to = self.root.join(name);
        let fail = |source| ExportError::Write { path: to.clone(), source };
        let dir = to.parent().unwrap_or(&self.root);
        fs::create_dir_all(dir).map_err(fail)?;
        let exists = to.try_exists().map_err(fail)?;
        if exists && !self.force {
            return Err(ExportError::Exists { path: to });
        }
        fs::rename(from, &to).map_err(fail)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)?;
        self.done.replaced += u64::from(exists);
        self.done.bytes += bytes;
        self.done.files.push(to);
        Ok(())
    }

    /// Closes all files, and adds what became of them to `summary`.
    pub(super) fn finish(mut self, summary: &mut Summary) -> Result<(), ExportError> {
        while !self.open.is_empty() {
            let file = self.open.remove(0);
            self.close(file)?;
        }
        self.done.files.sort();
        summary.files = std::mem::take(&mut self.done.files);
        summary.bytes = self.done.bytes;
        summary.replaced = self.done.replaced;
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.work) {
            Ok(()) => {}
            Err(error) => {
                debug_assert!(error.kind() != io::ErrorKind::InvalidInput, "{error}");
            }
        }
    }
}
