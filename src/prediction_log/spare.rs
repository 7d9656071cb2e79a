//! One file of zeros, made ahead, that becomes the next segment.
//!
//! Owns the file `spare.tmp` and the thread that fills it. A sync of a file whose blocks are written
//! already has no metadata to write, which is what most of a sync of a growing file costs. Never
//! makes anybody wait for it, and a spare that cannot be made only means that the next segment
//! grows. Only writes zeros, so that nothing in a spare can be taken for a record.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::files::{FileSystem, SegmentFile, write_all_at};
use super::segment::UNFINISHED;

/// A spare is not made longer than this; a longer segment grows from there on.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that are written and synced at once: what waits for another sync of this disk waits for at
/// most as much.
const CHUNK_BYTES: usize = 512 * 1024;
/// So many times its length has to be free, or the room is left to records.
const FREE_FACTOR: u64 = 8;

/// What becomes of the next segment's file.
pub(super) struct Spare {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    bytes: u64,
    state: State,
    ending: Arc<AtomicBool>,
}

enum State {
    /// Not asked for.
    None,
    /// Being made, or waiting to be taken.
    Made(JoinHandle<io::Result<Box<dyn SegmentFile>>>),
    /// Nothing is to be gained here, or it could not be made for this segment.
    Failed,
}

impl Spare {
    /// Of the log in `dir`, for segments of `segment_bytes`.
    pub(super) fn new(files: Arc<dyn FileSystem>, dir: &Path, segment_bytes: u64) -> Self {
        Self {
            files,
            path: dir.join("spare".to_owned() + UNFINISHED),
            bytes: segment_bytes.min(BYTES_MAX),
            state: State::None,
            ending: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Starts to make one, unless there is one or making one has failed since the last was taken.
    pub(super) fn prepare(&mut self) {
        if !matches!(self.state, State::None) {
            return;
        }
        let (files, path) = (Arc::clone(&self.files), self.path.clone());
        let (bytes, ending) = (self.bytes, Arc::clone(&self.ending));
        let thread = std::thread::Builder::new()
            .name("log-spare".to_owned())
            .spawn(move || make(files.as_ref(), &path, bytes, &ending));
        self.state = thread.map_or(State::Failed, State::Made);
    }

    /// The spare under its new name `to`, if there is one.
    pub(super) fn take(&mut self, to: &Path) -> Option<Box<dyn SegmentFile>> {
        if matches!(&self.state, State::Made(thread) if !thread.is_finished()) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::None) {
            State::Made(thread) => {
                let file = thread.join().ok()?.ok()?;
                // One that stays is overwritten by the next.
                self.files.rename(&self.path, to).ok().map(|()| file)
            }
            State::None | State::Failed => None,
        }
    }
}

impl Drop for Spare {
    /// Leaves neither a thread nor a file.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let State::Made(thread) = std::mem::replace(&mut self.state, State::Failed)
            && matches!(thread.join(), Ok(Ok(_)))
        {
            // The next start removes one that stays.
            drop(self.files.remove(&self.path));
        }
    }
}

/// Makes a file of `bytes` zeros that are on the disk; on failure there is no file.
fn make(
    files: &dyn FileSystem,
    path: &Path,
    bytes: u64,
    ending: &AtomicBool,
) -> io::Result<Box<dyn SegmentFile>> {
    let dir = path.parent().unwrap_or(path);
    if !files.overwrites_in_place(dir)? {
        return Err(io::ErrorKind::Unsupported.into());
    }
    if files.space(dir)?.free / FREE_FACTOR < bytes {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let file = files.create(path)?;
    let filled = fill(file.as_ref(), bytes, ending);
    if filled.is_err() {
        drop(files.remove(path));
    }
    filled.map(|()| file)
}

fn fill(file: &dyn SegmentFile, bytes: u64, ending: &AtomicBool) -> io::Result<()> {
    let zeros = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        if ending.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = zeros.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        write_all_at(file, &mut [IoSlice::new(&zeros[..len])], at)?;
        file.sync()?;
        at += len as u64;
    }
    Ok(())
}
