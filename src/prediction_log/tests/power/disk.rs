//! A disk that loses its power.
//!
//! Owns the model: contents survive after a sync of their file, names after a sync of their
//! directory. Of the rest any part may survive, by sectors of 512 bytes. What a failed sync did not
//! write is never written by a later one, as on Linux (Rebello et al. 2020, "Can Applications Recover
//! from fsync Failures?"). Never touches a real file.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::super::super::files::{FileSystem, LockGuard, SegmentFile, Source, Space};

const SECTOR: usize = 512;

/// What is left of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survives {
    Nothing,
    All,
    /// A part, chosen by this seed.
    Some(u64),
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Power(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
    calls: u64,
    cut_at: Option<u64>,
    is_cut: bool,
    fails_sync: bool,
}

#[derive(Default, Clone)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
struct Change {
    what: What,
    /// A sync of it has failed.
    lost: bool,
}

#[derive(Clone)]
enum What {
    Write(usize, Vec<u8>),
    Len(usize),
}

/// A name goes away, comes, or both at once.
#[derive(Clone)]
struct Naming {
    from: Option<String>,
    to: Option<(String, usize)>,
}

fn write(bytes: &mut Vec<u8>, offset: usize, piece: &[u8]) {
    if bytes.len() < offset + piece.len() {
        bytes.resize(offset + piece.len(), 0);
    }
    bytes[offset..offset + piece.len()].copy_from_slice(piece);
}

impl What {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, piece) => write(bytes, *offset, piece),
            Self::Len(len) => bytes.resize(*len, 0),
        }
    }

    /// Applies the sectors that `survives` chooses.
    fn apply_some(&self, bytes: &mut Vec<u8>, survives: &mut dyn FnMut() -> bool) {
        let Self::Write(offset, piece) = self else {
            if survives() {
                self.apply(bytes);
            }
            return;
        };
        let (mut at, mut rest) = (*offset, piece.as_slice());
        while !rest.is_empty() {
            let (sector, later) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
            if survives() {
                write(bytes, at, sector);
            } else if survives() && bytes.len() < at + sector.len() {
                // The length has survived, the data has not.
                bytes.resize(at + sector.len(), 0);
            }
            (at, rest) = (at + sector.len(), later);
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        if let Some(from) = &self.from {
            names.remove(from);
        }
        if let Some((to, file)) = &self.to {
            names.insert(to.clone(), *file);
        }
    }
}

impl Contents {
    fn change(&mut self, what: What) {
        what.apply(&mut self.now);
        self.unsynced.push(Change { what, lost: false });
    }
}

impl Disk {
    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.unsynced_names.push(naming);
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let found = self.names.get(&name(path)).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

impl Power {
    /// The power fails at the call with this number, counted from now: neither it nor any later one
    /// has an effect.
    pub(super) fn cut_at(&self, call: u64) {
        let mut disk = self.0.lock();
        disk.cut_at = Some(disk.calls + call);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.0.lock().is_cut
    }

    pub(super) fn fail_next_sync(&self) {
        self.0.lock().fails_sync = true;
    }

    /// What the next start finds if the power fails now, or when it did.
    pub(super) fn lose(&self, survives: Survives) -> Self {
        let disk = self.0.lock();
        let (mut files, mut names) = (disk.files.clone(), disk.synced_names.clone());
        match survives {
            Survives::Nothing => files.iter_mut().for_each(|file| file.now = file.synced.clone()),
            Survives::All => names.clone_from(&disk.names),
            Survives::Some(seed) => {
                let mut random = fastrand::Rng::with_seed(seed);
                let share = [0.1, 0.5, 0.9][seed as usize % 3];
                let mut survives = || random.f64() < share;
                for naming in &disk.unsynced_names {
                    if survives() {
                        naming.apply(&mut names);
                    }
                }
                for file in &mut files {
                    file.now = file.synced.clone();
                    for change in &file.unsynced {
                        change.what.apply_some(&mut file.now, &mut survives);
                    }
                }
            }
        }
        for file in &mut files {
            file.synced = file.now.clone();
            file.unsynced.clear();
        }
        let synced_names = names.clone();
        Self(Arc::new(Mutex::new(Disk { files, names, synced_names, ..Disk::default() })))
    }

    /// Counts a call that changes something.
    fn call(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.0.lock();
        disk.calls += 1;
        disk.is_cut |= disk.cut_at.is_some_and(|at| disk.calls >= at);
        if disk.is_cut { Err(io::Error::from_raw_os_error(5)) } else { Ok(disk) }
    }

    fn look(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.0.lock();
        if disk.is_cut { Err(io::Error::from_raw_os_error(5)) } else { Ok(disk) }
    }

    fn opened(&self, file: usize) -> Opened {
        Opened { file, power: self.clone() }
    }
}

struct Opened {
    file: usize,
    power: Power,
}

impl Source for Opened {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.power.look()?;
        let bytes = disk.files[self.file].now.get(offset as usize..).unwrap_or_default();
        let len = buffer.len().min(bytes.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.power.look()?.files[self.file].now.len() as u64)
    }
}

impl SegmentFile for Opened {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let len = bytes.len();
        self.power.call()?.files[self.file].change(What::Write(offset as usize, bytes));
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.power.call()?;
        let fails = std::mem::take(&mut disk.fails_sync);
        let file = &mut disk.files[self.file];
        if fails {
            file.unsynced.iter_mut().for_each(|change| change.lost = true);
            return Err(io::Error::from_raw_os_error(5));
        }
        for change in file.unsynced.iter().filter(|change| !change.lost) {
            change.what.apply(&mut file.synced);
        }
        file.unsynced.retain(|change| change.lost);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.power.call()?.files[self.file].change(What::Len(len as usize));
        Ok(())
    }
}

impl FileSystem for Power {
    // Segments made ahead come from a thread of their own: the order of calls would not be repeatable.
    fn overwrites_in_place(&self, _dir: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.call().map(drop)
    }

    fn lock(&self, _path: &Path) -> io::Result<LockGuard> {
        drop(self.call()?);
        Ok(Box::new(()))
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let disk = self.look()?;
        let files = disk.names.iter();
        Ok(files.map(|(name, file)| (name.clone(), disk.files[*file].now.len() as u64)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut disk = self.call()?;
        let file = match disk.find(path) {
            Ok(file) => {
                disk.files[file].change(What::Len(0));
                file
            }
            Err(_) => {
                let file = disk.files.len();
                disk.files.push(Contents::default());
                disk.name(Naming { from: None, to: Some((name(path), file)) });
                file
            }
        };
        Ok(Box::new(self.opened(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(self.opened(self.look()?.find(path)?)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(self.opened(self.look()?.find(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        let file = disk.find(from)?;
        disk.name(Naming { from: Some(name(from)), to: Some((name(to), file)) });
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        let file = disk.find(from)?;
        if disk.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.name(Naming { from: None, to: Some((name(to), file)) });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        disk.find(path)?;
        disk.name(Naming { from: Some(name(path)), to: None });
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        disk.synced_names = disk.names.clone();
        disk.unsynced_names.clear();
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        Ok(Space { free: 1 << 40, total: 1 << 40 })
    }
}
