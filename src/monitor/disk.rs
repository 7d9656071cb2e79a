//! The windows on disk, so that a restart changes no count.
//!
//! Owns the files below `data_dir/state/monitor`: one for each closed minute, hour and day in which
//! something was counted, as far back as the rings reach, and one for the minutes that were open when the
//! process was asked to end. Each is written, synced and renamed, and carries a checksum. What ended after
//! the last closed minute is counted again from the prediction log, from the record on that each file
//! names. Never decides what is closed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::{self, Entry, Stored};
use super::store::{Store, VersionKey};
use crate::domain::stats::layout::{Layout, LayoutHash};
use crate::domain::stats::rings::KEPT;
use crate::domain::stats::window::{Minute, Window, WindowLength};

/// The file of minutes that were open at the end.
const OPEN: &str = "open.win";
/// How often the share was halved, minute by minute.
const RATES: &str = "rates.json";
/// Changes of the rate that are remembered.
const RATES_MAX: usize = 1000;

/// Where counting goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resume {
    /// Records up to this number are counted.
    pub(super) lsn: u64,
    /// Records of exchanges that ended in this minute or before it are counted.
    pub(super) minute: Minute,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    /// Longer windows that are not closed and have changed, by length and first minute.
    pending: Vec<(WindowLength, Minute)>,
    rates: Rates,
}

/// Changes of the share that is looked into: the first minute, and how often it is halved.
#[derive(Debug, Default)]
pub(super) struct Rates(Vec<(u32, u8)>);

impl Rates {
    /// Those that are noted below `dir`; none where nothing is.
    pub(super) fn read(dir: &Path) -> Self {
        let json = fs::read(dir.join(RATES)).ok();
        Self(json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default())
    }

    /// How often the share was halved in a minute.
    pub(super) fn halvings(&self, minute: Minute) -> u8 {
        let before = self.0.iter().rev().find(|(from, _)| *from <= minute.0);
        before.map_or(0, |(_, halvings)| *halvings)
    }
}

impl Disk {
    /// Opens or makes the directory.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), pending: Vec::new(), rates: Rates::read(dir) })
    }

    /// Reads everything into `store`. `None` where nothing was ever kept.
    pub(super) fn load(&mut self, store: &Store) -> Option<Resume> {
        let mut layouts = BTreeMap::new();
        let mut files = self.files();
        // The longest first: what a longer window has is not added to it again.
        files.sort_by_key(|(length, start, _)| (std::cmp::Reverse(*length), *start));
        let mut closed: Vec<(WindowLength, Minute)> = Vec::new();
        let mut resume: Option<Resume> = None;
        for (length, start, path) in files {
            let Some(stored) = self.read(&path, &mut layouts) else { continue };
            for entry in &stored.entries {
                self.add(store, length, entry, &closed);
            }
            closed.push((length, start));
            if length == WindowLength::Minute {
                resume = Some(Resume { lsn: stored.lsn, minute: start });
            }
        }
        let last = resume?;
        if let Some(open) = self.read(&self.dir.join(OPEN), &mut layouts) {
            let newer: Vec<_> =
                open.entries.iter().filter(|entry| entry.minute > last.minute).collect();
            // A minute that was closed after the restart has a file, which holds what was kept of it here.
            if !newer.is_empty() || open.lsn >= last.lsn {
                for entry in newer {
                    self.add(store, WindowLength::Minute, entry, &closed);
                    self.expect(WindowLength::Minute, entry.minute);
                }
                return Some(Resume { lsn: open.lsn, ..last });
            }
        }
        Some(last)
    }

    /// Adds a stored window to the rings of its length and of longer ones that have no file.
    fn add(
        &mut self,
        store: &Store,
        length: WindowLength,
        entry: &Entry,
        closed: &[(WindowLength, Minute)],
    ) {
        for longer in WindowLength::ALL.into_iter().filter(|longer| *longer >= length) {
            let start = longer.start_of(entry.minute);
            // An hour is a part of a day that has a file, and so are its minutes.
            let covered = closed
                .iter()
                .any(|(of, at)| *of > length && *of <= longer && of.start_of(entry.minute) == *at);
            if !covered {
                store.add_to(&entry.key, longer, entry.minute, &entry.counts);
                if longer > length {
                    self.expect(longer, start);
                }
            }
        }
    }

    fn read(&self, path: &Path, layouts: &mut BTreeMap<[u8; 16], Arc<Layout>>) -> Option<Stored> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "windows cannot be read");
                return None;
            }
        };
        let layout = |hash: LayoutHash, layout: Layout| {
            Arc::clone(layouts.entry(hash.to_bytes()).or_insert_with(|| Arc::new(layout)))
        };
        match codec::decode(&bytes, layout) {
            Ok(stored) => Some(stored),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "stored windows are damaged and left out");
                None
            }
        }
    }

    /// The files of closed windows.
    fn files(&self) -> Vec<(WindowLength, Minute, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let parsed = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (word, start) = name.strip_suffix(".win")?.split_once('-')?;
            let length = WindowLength::from_word(word)?;
            Some((length, Minute(start.parse().ok()?), entry.path()))
        });
        parsed.collect()
    }

    /// Says that counting begins, where nothing was kept before.
    pub(super) fn begin(&self, resume: Resume) -> io::Result<()> {
        self.write(WindowLength::Minute, resume.minute, resume.lsn, &[])
    }

    /// Removes windows that begin after `open`: the clock was ahead, and has been set right.
    pub(super) fn set_back(&mut self, open: Minute) {
        self.pending.retain(|(_, start)| *start <= open);
        self.rates.0.retain(|(from, _)| *from <= open.0);
        for (_, _, path) in self.files().into_iter().filter(|(_, start, _)| *start > open) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "windows of the future cannot be removed");
            }
        }
    }

    /// Writes windows that have changed, as far as they are closed. `touched` are minutes.
    pub(super) fn close(
        &mut self,
        store: &Store,
        touched: &[Minute],
        open: Minute,
        lsn: u64,
    ) -> io::Result<()> {
        for minute in touched {
            for length in WindowLength::ALL {
                self.expect(length, length.start_of(*minute));
            }
        }
        let is_over =
            |(length, start): &(WindowLength, Minute)| start.plus(length.minutes()) <= open;
        let mut over: Vec<_> = self.pending.iter().copied().filter(is_over).collect();
        over.sort_unstable();
        for (length, start) in over {
            let windows = store.at(length, start);
            self.write(length, start, lsn, &windows)?;
            self.pending.retain(|pending| *pending != (length, start));
        }
        self.remove_old(open);
        Ok(())
    }

    /// Whether a window is as it was last written.
    pub(super) fn has(&self, length: WindowLength, start: Minute) -> bool {
        !self.pending.contains(&(length, start))
    }

    fn expect(&mut self, length: WindowLength, start: Minute) {
        if !self.pending.contains(&(length, start)) {
            self.pending.push((length, start));
        }
    }

    /// Writes the minutes that are still open, at the end of the process.
    pub(super) fn park(&self, store: &Store, open: Minute, lsn: u64) -> io::Result<()> {
        let entries = entries(&store.from(WindowLength::Minute, open));
        write_whole(&self.dir.join(OPEN), &codec::encode(lsn, &entries))
    }

    fn write(
        &self,
        length: WindowLength,
        start: Minute,
        lsn: u64,
        windows: &[(VersionKey, Arc<Window>)],
    ) -> io::Result<()> {
        let path = self.dir.join(format!("{}-{}.win", length.as_str(), start.0));
        write_whole(&path, &codec::encode(lsn, &entries(windows)))
    }

    /// Removes what is older than the rings reach; the newest minute stays, however old.
    fn remove_old(&self, open: Minute) {
        let files = self.files();
        let newest =
            files.iter().filter(|file| file.0 == WindowLength::Minute).map(|file| file.1).max();
        for (length, start, path) in files {
            let kept = u32::try_from(KEPT[length as usize]).unwrap_or(u32::MAX);
            let reach = kept.saturating_mul(length.minutes());
            let is_newest = length == WindowLength::Minute && Some(start) == newest;
            if start.plus(reach) < open
                && !is_newest
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "old windows cannot be removed");
            }
        }
    }

    /// How often the share was halved in a minute.
    pub(super) fn halvings(&self, minute: Minute) -> u8 {
        self.rates.halvings(minute)
    }

    /// Notes that the share is halved so often from `minute` on, before it is.
    pub(super) fn note_rate(&mut self, minute: Minute, halvings: u8) -> io::Result<()> {
        let rates = &mut self.rates.0;
        rates.push((minute.0, halvings));
        let excess = rates.len().saturating_sub(RATES_MAX);
        rates.drain(..excess);
        let json = serde_json::to_vec(rates)?;
        write_whole(&self.dir.join(RATES), &json)
    }
}

fn entries(windows: &[(VersionKey, Arc<Window>)]) -> Vec<Entry> {
    let entry = |(key, window): &(VersionKey, Arc<Window>)| Entry {
        key: key.clone(),
        minute: window.start,
        counts: window.counts.clone(),
    };
    windows.iter().map(entry).collect()
}

/// Puts `bytes` in the place of the file `path`, whole or not at all, and synced.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = dir.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
