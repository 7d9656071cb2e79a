//! Who still needs the segments.
//!
//! Owns the list of the log's consumers. Never removes a segment: the writer's retention does, and
//! asks here what may go.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::aside::Aside;
use super::cursor::Cursor;
use super::files::FileSystem;

/// The consumer that turns closed segments into Parquet. Where it is registered, segments that every
/// consumer has passed are released at once.
pub(super) const PARQUET: &str = "parquet";

/// The consumers of one log.
#[derive(Debug, Default)]
pub struct Consumers {
    /// `None` where nothing is recorded.
    dir: Option<PathBuf>,
    /// The segments in which one of them found damage.
    aside: Aside,
    /// Bytes of Parquet files that cannot be removed, told by who writes them.
    held_bytes: AtomicU64,
    /// Locked when a consumer registers, once a closed segment, and when metrics are read.
    list: Mutex<Vec<Consumer>>,
}

#[derive(Debug)]
struct Consumer {
    name: String,
    required: bool,
    /// Whether it takes Parquet files, which may go only when it has them; it needs no segments.
    takes_files: bool,
    position: Arc<AtomicU64>,
}

impl Consumer {
    fn makes_parquet(&self) -> bool {
        self.name == PARQUET
    }
}

/// How far a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Its name.
    pub name: String,
    /// Whether segments wait for it.
    pub required: bool,
    /// The number of the last record that is done; 0 for none.
    pub position: u64,
}

impl Consumers {
    pub(super) fn new(files: Arc<dyn FileSystem>, dir: &Path) -> Self {
        let aside = Aside::new(files, dir);
        let held_bytes = AtomicU64::new(0);
        Self { dir: Some(dir.to_owned()), aside, held_bytes, list: Mutex::default() }
    }

    /// Tells how many bytes of Parquet files cannot be removed: they count against the limit of the
    /// segments.
    pub(super) fn set_held_bytes(&self, bytes: u64) {
        self.held_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of Parquet files that cannot be removed.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// The damaged segments that are kept.
    pub(super) fn aside(&self) -> &Aside {
        &self.aside
    }

    /// Registers a consumer and returns its cursor. Segments wait for a `required` one; any other is
    /// skipped forward when room is needed, and a gap row says so.
    ///
    /// # Errors
    /// When the cursor cannot be opened, the name is taken, or nothing is recorded.
    pub fn register(&self, name: &str, required: bool) -> io::Result<Cursor> {
        self.add(name, required, false)
    }

    /// Registers a consumer of Parquet files, like [`Self::register`]: these, not segments, wait for
    /// a `required` one.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub(super) fn register_for_files(&self, name: &str, required: bool) -> io::Result<Cursor> {
        self.add(name, required, true)
    }

    fn add(&self, name: &str, required: bool, takes_files: bool) -> io::Result<Cursor> {
        let Some(dir) = &self.dir else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "nothing is recorded"));
        };
        let mut list = self.list.lock();
        // A position that nobody holds any more belongs to a consumer that has ended.
        list.retain(|consumer| Arc::strong_count(&consumer.position) > 1);
        if list.iter().any(|consumer| consumer.name == name) {
            let message = format!("the log already has a consumer `{name}`");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        let cursor = Cursor::open(dir, name)?;
        let (name, position) = (name.to_owned(), cursor.shared());
        list.push(Consumer { name, required, takes_files, position });
        Ok(cursor)
    }

    /// How far each consumer has come.
    pub fn stats(&self) -> Vec<ConsumerStats> {
        let list = self.list.lock();
        let stats = list.iter().map(|consumer| ConsumerStats {
            name: consumer.name.clone(),
            required: consumer.required,
            position: consumer.position.load(Ordering::SeqCst),
        });
        stats.collect()
    }

    /// Whether one of them turns segments into Parquet.
    pub(super) fn makes_parquet(&self) -> bool {
        self.list.lock().iter().any(Consumer::makes_parquet)
    }

    /// Up to where segments are no longer needed because all consumers have passed and Parquet holds
    /// them; `None` where no consumer makes Parquet of them.
    pub(super) fn released_up_to(&self) -> Option<u64> {
        let list = self.list.lock();
        let has_parquet = list.iter().any(Consumer::makes_parquet);
        let readers = list.iter().filter(|consumer| !consumer.takes_files);
        let lowest = readers.map(|consumer| consumer.position.load(Ordering::SeqCst)).min();
        lowest.filter(|_| has_parquet)
    }

    /// Up to where segments have become Parquet; `None` where they do not.
    pub(super) fn parquet_up_to(&self) -> Option<u64> {
        let list = self.list.lock();
        let parquet = list.iter().find(|consumer| consumer.name == PARQUET);
        parquet.map(|consumer| consumer.position.load(Ordering::SeqCst))
    }

    /// Up to where all required consumers have passed; `None` without any.
    pub(super) fn required_up_to(&self) -> Option<u64> {
        let list = self.list.lock();
        let required = list.iter().filter(|consumer| consumer.required && !consumer.takes_files);
        required.map(|consumer| consumer.position.load(Ordering::SeqCst)).min()
    }

    /// Moves every optional consumer that is not beyond `lsn` there; returns their names and where
    /// they were.
    pub(super) fn skip_to(&self, lsn: u64) -> Vec<(String, u64)> {
        self.skip(lsn, |consumer| !consumer.takes_files && !consumer.required)
    }

    /// Up to where all required consumers of Parquet files have these; [`u64::MAX`] without any.
    pub(super) fn files_required_up_to(&self) -> u64 {
        let list = self.list.lock();
        let required = list.iter().filter(|consumer| consumer.required && consumer.takes_files);
        let positions = required.map(|consumer| consumer.position.load(Ordering::SeqCst));
        positions.min().unwrap_or(u64::MAX)
    }

    /// Moves every consumer of Parquet files that is not beyond `lsn` there, because the files are
    /// gone; returns their names and where they were.
    pub(super) fn skip_files_to(&self, lsn: u64) -> Vec<(String, u64)> {
        self.skip(lsn, |consumer| consumer.takes_files)
    }

    fn skip(&self, lsn: u64, whom: impl Fn(&Consumer) -> bool) -> Vec<(String, u64)> {
        let list = self.list.lock();
        let skipped = list.iter().filter(|consumer| whom(consumer)).filter_map(|consumer| {
            let position = consumer.position.fetch_max(lsn, Ordering::SeqCst);
            (position < lsn).then(|| (consumer.name.clone(), position))
        });
        skipped.collect()
    }
}
