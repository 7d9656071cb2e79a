//! Who still needs the segments.
//!
//! Owns the list of the log's consumers. Never removes a segment: the writer's retention does, and
//! asks here what may go.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::cursor::Cursor;

/// The consumer that turns closed segments into Parquet. Where it is registered, segments that every
/// consumer has passed are released at once.
pub(super) const PARQUET: &str = "parquet";

/// The consumers of one log.
#[derive(Debug, Default)]
pub struct Consumers {
    /// `None` where nothing is recorded.
    dir: Option<PathBuf>,
    /// Locked when a consumer registers, once a closed segment, and when metrics are read.
    list: Mutex<Vec<Consumer>>,
}

#[derive(Debug)]
struct Consumer {
    name: String,
    required: bool,
    position: Arc<AtomicU64>,
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
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir: Some(dir), list: Mutex::default() }
    }

    /// Registers a consumer and returns its cursor. Segments wait for a `required` one; any other is
    /// skipped forward when room is needed, and a gap row says so.
    ///
    /// # Errors
    /// When the cursor cannot be opened, the name is taken, or nothing is recorded.
    pub fn register(&self, name: &str, required: bool) -> io::Result<Cursor> {
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
        list.push(Consumer { name: name.to_owned(), required, position: cursor.shared() });
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
}
