//! The real file system with faults in it.
//!
//! Owns when which call fails, hangs or does part of its work. Never knows what the bytes mean.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::super::files::{FileSystem, LocalFiles, LockGuard, SegmentFile, Source, Space};
use super::super::*;
use crate::domain::spec::LogSpec;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Good,
    /// The call with this number fails once.
    FailOnce(u64),
    /// The calls with these two numbers fail.
    FailTwice(u64, u64),
    /// The next call of the first kind fails, then the next of the second, and so on.
    FailNext(&'static [Op]),
    /// The call with this number and all later ones fail.
    FailFrom(u64),
    /// Writes take part of what they are given.
    Short,
    /// Writes and creations find no space.
    Full,
    /// Writes take part of what they are given, and then find no space.
    FullAfterPart,
    /// Syncs fail.
    NoSync,
    /// The next sync of a file fails.
    FailSyncOnce,
    /// Writes hang.
    Stalled,
}

/// Kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Create,
    Write,
    /// Of a file.
    Sync,
    Rename,
    Other,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    calls: u64,
    part_written: bool,
    /// Writes that hang now.
    stalled: u64,
    /// Syncs wait; those that waited fail when they are let go.
    holds_syncs: bool,
    /// Syncs that wait now.
    held_syncs: u64,
    /// What the file system is said to have, if not the truth.
    space: Option<Space>,
    /// Whether spare files are of use.
    spares: bool,
    /// Bytes that were read through handles for reading, by file.
    read: BTreeMap<PathBuf, u64>,
}

/// Whether this sync had to wait, and has waited.
fn waited(state: &mut MutexGuard<'_, State>, changed: &Condvar) -> bool {
    let waits = state.holds_syncs;
    state.held_syncs += u64::from(waits);
    while state.holds_syncs {
        changed.wait(state);
    }
    state.held_syncs -= u64::from(waits);
    waits
}

/// The real file system with a fault in it.
#[derive(Clone)]
pub(super) struct Faulty(Arc<(Mutex<State>, Condvar)>);

impl Faulty {
    pub(super) fn new(mode: Mode) -> Self {
        let state = State {
            mode,
            calls: 0,
            part_written: false,
            stalled: 0,
            holds_syncs: false,
            held_syncs: 0,
            space: None,
            spares: false,
            read: BTreeMap::new(),
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    pub(super) fn set(&self, mode: Mode) {
        let mut state = self.0.0.lock();
        state.mode = mode;
        state.part_written = false;
        self.0.1.notify_all();
    }

    /// Whether spare files are of use.
    pub(super) fn with_spares(self, spares: bool) -> Self {
        self.0.0.lock().spares = spares;
        self
    }

    /// Says how much is free, of twice as much.
    pub(super) fn set_space(&self, free: u64) {
        self.0.0.lock().space = Some(Space { free, total: free * 2 });
    }

    /// Bytes that were read of each file through handles for reading.
    pub(super) fn read(&self) -> BTreeMap<PathBuf, u64> {
        self.0.0.lock().read.clone()
    }

    /// Lets syncs wait, or lets those that waited fail.
    pub(super) fn hold_syncs(&self, hold: bool) {
        self.0.0.lock().holds_syncs = hold;
        self.0.1.notify_all();
    }

    /// Writes that hang, and syncs that wait.
    pub(super) fn waiting(&self) -> (u64, u64) {
        let state = self.0.0.lock();
        (state.stalled, state.held_syncs)
    }

    pub(super) fn calls(&self) -> u64 {
        self.0.0.lock().calls
    }

    /// Counts a call and fails it if its turn has come.
    fn call(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.calls += 1;
        let fails = match state.mode {
            Mode::FailOnce(number) => state.calls == number,
            Mode::FailTwice(first, second) => [first, second].contains(&state.calls),
            Mode::FailNext([next, rest @ ..]) if *next == op => {
                state.mode = Mode::FailNext(rest);
                true
            }
            Mode::FailFrom(number) => state.calls >= number,
            _ => false,
        };
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn no_space(&self) -> io::Result<()> {
        match self.0.0.lock().mode {
            Mode::Full | Mode::FullAfterPart => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn file(&self, file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(FaultyFile { file, faults: self.clone() })
    }
}

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    faults: Faulty,
}

struct CountedSource {
    source: Box<dyn Source>,
    faults: Faulty,
    path: PathBuf,
}

impl Source for CountedSource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.source.read_at(buffer, offset)?;
        *self.faults.0.0.lock().read.entry(self.path.clone()).or_default() += read as u64;
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        self.source.size()
    }
}

impl Source for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.faults.call(Op::Write)?;
        let mut state = self.faults.0.0.lock();
        state.stalled += 1;
        while state.mode == Mode::Stalled {
            self.faults.0.1.wait(&mut state);
        }
        state.stalled -= 1;
        let part = match state.mode {
            Mode::Short => true,
            Mode::FullAfterPart => !std::mem::replace(&mut state.part_written, true),
            _ => false,
        };
        if !part {
            drop(state);
            self.faults.no_space()?;
            return self.file.write_at(pieces, offset);
        }
        let first = &pieces[0];
        self.file.write_at(&[IoSlice::new(&first[..first.len().div_ceil(3)])], offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.call(Op::Sync)?;
        let mut state = self.faults.0.0.lock();
        if waited(&mut state, &self.faults.0.1) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if matches!(state.mode, Mode::NoSync | Mode::FailSyncOnce) {
            if state.mode == Mode::FailSyncOnce {
                state.mode = Mode::Good;
            }
            return Err(io::Error::from_raw_os_error(5));
        }
        drop(state);
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.call(Op::Other)?;
        self.file.set_len(len)
    }
}

impl FileSystem for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Op::Other)?;
        LocalFiles.create_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        self.call(Op::Other)?;
        LocalFiles.lock(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.call(Op::Other)?;
        LocalFiles.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.call(Op::Create)?;
        self.no_space()?;
        Ok(self.file(LocalFiles.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.call(Op::Other)?;
        Ok(self.file(LocalFiles.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        self.call(Op::Other)?;
        let (source, faults, path) = (LocalFiles.open_read(path)?, self.clone(), path.to_owned());
        Ok(Box::new(CountedSource { source, faults, path }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Op::Rename)?;
        LocalFiles.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Op::Other)?;
        LocalFiles.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Op::Other)?;
        LocalFiles.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Op::Other)?;
        if waited(&mut self.0.0.lock(), &self.0.1) {
            return Err(io::Error::from_raw_os_error(5));
        }
        LocalFiles.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.0.0.lock().space.map_or_else(|| LocalFiles.space(dir), Ok)
    }

    fn overwrites_in_place(&self, _: &Path) -> io::Result<bool> {
        Ok(self.0.0.lock().spares)
    }
}

pub(super) fn open(faults: &Faulty, dir: &Path, spec: &LogSpec) -> Result<Recorder, OpenError> {
    Recorder::open_with(Arc::new(faults.clone()), dir, "n1", 1, spec)
}
