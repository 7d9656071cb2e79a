//! The journal of the life cycle on disk: every event, synced before anything follows from it.
//!
//! Owns the files below `state/lifecycle`, their recovery and their bound. [`Journal::append`] returns once the
//! events are on the disk; a caller that gets an error has changed nothing. Never decides, and never publishes:
//! whoever holds the journal folds an event only after it was appended. Blocks: [`Writer`] has it on a thread of its
//! own.
//!
//! ```text
//! journal.jsonl     crc32c of the JSON, a space, one event as JSON or an array of those that were written together, a
//!                   newline; the tail may be torn
//! state.json        the state up to some event: written when the journal has grown, then the journal
//!                   becomes journal.1.jsonl, the past that can still be read, and a new one begins
//! ```
//!
//! A line that was not written to its end was never acknowledged and is cut off. A line in the midst that does
//! not read stops the recovery with its place: what follows it cannot be trusted, and a person has to look.

mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

pub use self::writer::{Entry, Gone, UnderWay, Writer, Written};
use crate::domain::lifecycle::event::Event;
use crate::domain::lifecycle::state::{FoldError, State};
use crate::telemetry::logging::chain;

/// Bytes of the journal after which the state is written and a new journal begins.
pub const JOURNAL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The longest event: a line above is not written, and one that long is damage.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// The format of `state.json`.
const FORMAT: u32 = 1;

const JOURNAL: &str = "journal.jsonl";
const PAST: &str = "journal.1.jsonl";
const STATE: &str = "state.json";
const NEW_STATE: &str = "state.json.new";

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file or its folder could not be read, written or synced.
    #[error("{path}: cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A line in the midst does not read.
    #[error(
        "{path}:{line}: {why}; later lines cannot be trusted. Move the file away to start from the \
         last written state, or restore it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The state file does not read.
    #[error("{path}: {why}. Restore it: the journal goes on from it")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An event does not fit the state: nothing was written.
    #[error("the event does not fit the state")]
    Fold(#[source] FoldError),
    /// An event is too long, or has no JSON form: nothing was written.
    #[error("an event of {bytes} bytes cannot be written: {EVENT_BYTES_MAX} at most")]
    Event {
        /// Its length, as far as known.
        bytes: usize,
    },
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Events that were folded, besides those in the written state.
    pub events: usize,
    /// Bytes at the end that were never acknowledged and are cut off.
    pub torn: usize,
}

/// The open journal with the state that it adds up to.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Absent while the file could not be created.
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    state: Arc<State>,
    /// What stands behind the last whole line was not cut off yet: nothing is written before that.
    is_torn: bool,
    /// Why the journal could not be replaced when it had grown; it is tried again with each event.
    trouble: Option<JournalError>,
}

/// What stands in `state.json`.
#[derive(Debug, Deserialize)]
struct Kept {
    v: u32,
    state: State,
}

/// The same, to be written.
#[derive(Debug, Serialize)]
struct ToKeep<'a> {
    v: u32,
    state: &'a State,
}

impl Journal {
    /// Opens or creates the journal in `folder` and recovers the state.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if a file cannot be read, or says something that cannot be.
    pub fn open(folder: &Path) -> Result<(Self, Recovery), JournalError> {
        Self::open_with(folder, JOURNAL_BYTES_MAX)
    }

    fn open_with(folder: &Path, bytes_max: u64) -> Result<(Self, Recovery), JournalError> {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let mut state = read_state(&folder.join(STATE))?;
        let path = folder.join(JOURNAL);
        let mut content = Vec::new();
        let file = match open_journal(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut content).map_err(failed("read", &path))?;
                Some(file)
            }
            // What is written can be read; a new journal is begun once there is room.
            Err(error) if is_full(&error) => None,
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let (whole, events) = read_lines(&path, &content)?;
        let mut recovery = Recovery { events: 0, torn: content.len() - whole };
        for (line, event) in events {
            // A crash between the written state and the new journal leaves events that it holds.
            if event.seq <= state.seq() {
                continue;
            }
            state.apply(&event).map_err(|error| JournalError::Damaged {
                path: path.clone(),
                line,
                why: error.to_string(),
            })?;
            recovery.events += 1;
        }
        let (folder, state) = (folder.to_path_buf(), Arc::new(state));
        let bytes = whole as u64;
        let is_torn = true;
        let mut journal = Self { folder, file, bytes, bytes_max, state, is_torn, trouble: None };
        match journal.mend() {
            // It is tried again with the next event.
            Err(JournalError::Io { cause, .. }) if is_full(&cause) => {}
            mended => mended?,
        }
        Ok((journal, recovery))
    }

    /// The state that the written events add up to.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Writes the next events together, syncs them, and folds them: all that fit, each in its place.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: then nothing has changed. One of an event that does not fit is beside the others.
    pub fn append(
        &mut self,
        entries: &[Entry],
    ) -> Result<Vec<Result<Event, JournalError>>, JournalError> {
        self.mend()?;
        let mut after = State::clone(&self.state);
        let mut lines = Vec::with_capacity(entries.len());
        let outcomes = entries.iter().map(|(draft, now)| {
            let event = after.stamp(draft.clone(), *now);
            let json = encode(&event)?;
            // A rejected event must not reach the disk, or no recovery would get past it.
            after.apply(&event).map_err(JournalError::Fold)?;
            lines.push(json);
            Ok(event)
        });
        let outcomes: Vec<Result<Event, JournalError>> = outcomes.collect();
        if lines.is_empty() {
            return Ok(outcomes);
        }
        self.write(line_of(&lines).as_bytes())?;
        self.state = Arc::new(after);
        if self.bytes >= self.bytes_max {
            // The events are written and folded, whatever becomes of this.
            self.trouble = self.compact().err();
        }
        Ok(outcomes)
    }

    /// Why the journal grows beyond its bound, if it does.
    pub fn trouble(&self) -> Option<&JournalError> {
        self.trouble.as_ref()
    }

    /// Makes the file end with its last whole line, where an earlier write, or the process before, left more or no
    /// file at all.
    fn mend(&mut self) -> Result<(), JournalError> {
        if !self.is_torn {
            return Ok(());
        }
        let path = self.folder.join(JOURNAL);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open_journal(&path).map_err(failed("create", &path))?),
        };
        file.set_len(self.bytes).map_err(failed("cut", &path))?;
        file.seek(SeekFrom::Start(self.bytes)).map_err(failed("seek", &path))?;
        file.sync_all().map_err(failed("sync", &path))?;
        sync_folder(&self.folder)?;
        self.is_torn = false;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> Result<(), JournalError> {
        let written = match &mut self.file {
            Some(file) => file.write_all(line).and_then(|()| file.sync_data()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let Err(cause) = written else {
            self.bytes += line.len() as u64;
            return Ok(());
        };
        // What came to the disk is taken back, or a later start would find events that were refused.
        self.is_torn = true;
        if let Err(error) = self.mend() {
            tracing::warn!(error = %chain(&error), "a half write to the journal is not taken back yet");
        }
        Err(failed("append to", &self.folder.join(JOURNAL))(cause))
    }

    /// Writes the state down and begins a new journal.
    fn compact(&mut self) -> Result<(), JournalError> {
        let (new, path) = (self.folder.join(NEW_STATE), self.folder.join(STATE));
        let written = ToKeep { v: FORMAT, state: &self.state };
        let json = serde_json::to_vec(&written)
            .map_err(|cause| failed("write", &new)(io::Error::other(cause)))?;
        let mut file = File::create(&new).map_err(failed("create", &new))?;
        file.write_all(&json).map_err(failed("write", &new))?;
        file.sync_all().map_err(failed("sync", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
        sync_folder(&self.folder)?;
        let (journal, past) = (self.folder.join(JOURNAL), self.folder.join(PAST));
        fs::rename(&journal, &past).map_err(failed("replace", &past))?;
        // The open file is the past: without a new one nothing is appended.
        (self.file, self.bytes, self.is_torn) = (None, 0, true);
        self.mend()
    }

    /// The events that can still be read, oldest first: at most those of two journals.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if a file cannot be read.
    pub fn events(&self) -> Result<Vec<Event>, JournalError> {
        let mut events = Vec::new();
        for name in [PAST, JOURNAL] {
            let path = self.folder.join(name);
            let content = match fs::read(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(failed("read", &path)(cause)),
            };
            let (_, read) = read_lines(&path, &content)?;
            events.extend(read.into_iter().map(|(_, event)| event));
        }
        Ok(events)
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError + use<> {
    let path = path.to_path_buf();
    move |cause| JournalError::Io { operation, path: path.clone(), cause }
}

fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(failed("sync", folder))
}

/// The journal, to be read and written; created where there is none.
fn open_journal(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Whether there is no room: what can be read is still sound.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The JSON of one event.
fn encode(event: &Event) -> Result<String, JournalError> {
    let json = serde_json::to_string(event).map_err(|_error| JournalError::Event { bytes: 0 })?;
    if json.len() > EVENT_BYTES_MAX {
        return Err(JournalError::Event { bytes: json.len() });
    }
    Ok(json)
}

/// One line of the journal: what is written together has one checksum, and is there as a whole or not at all.
fn line_of(events: &[String]) -> String {
    let json = match events {
        [one] => one.clone(),
        many => format!("[{}]", many.join(",")),
    };
    format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()))
}

/// The events of one line without its newline.
fn decode(line: &[u8]) -> Result<Vec<Event>, String> {
    let text = std::str::from_utf8(line).map_err(|_error| "it is no text".to_owned())?;
    let (crc, json) = text.split_once(' ').ok_or("it has no checksum")?;
    let crc = u32::from_str_radix(crc, 16).map_err(|_error| "its checksum is no number")?;
    if crc != crc32c::crc32c(json.as_bytes()) {
        return Err("its checksum is wrong".to_owned());
    }
    let events = match json.starts_with('[') {
        true => serde_json::from_str(json),
        false => serde_json::from_str(json).map(|event| vec![event]),
    };
    events.map_err(|error| format!("it is no event: {error}"))
}

/// Whether a line that is no event begins with one.
fn begins_with_event(line: &[u8]) -> bool {
    let Some((crc, rest)) = line.split_first_chunk::<9>() else { return false };
    let crc = std::str::from_utf8(crc).ok().and_then(|crc| crc.strip_suffix(' '));
    let crc = crc.and_then(|crc| u32::from_str_radix(crc, 16).ok());
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
    let is_value = values.next().is_some_and(|value| value.is_ok());
    let json = rest.get(..values.byte_offset()).unwrap_or_default();
    is_value && crc == Some(crc32c::crc32c(json))
}

/// Events with their lines, from 1.
type Lines = Vec<(usize, Event)>;

/// The events of a file, and how many bytes they take; what stands behind is torn.
fn read_lines(path: &Path, content: &[u8]) -> Result<(usize, Lines), JournalError> {
    let (mut events, mut whole) = (Vec::new(), 0);
    let mut lines = content.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let Some(body) = line.strip_suffix(b"\n") else { break };
        match decode(body) {
            Ok(together) => {
                events.extend(together.into_iter().map(|event| (index + 1, event)));
                whole += line.len();
            }
            // Blocks of one write may reach the disk in any order: the last line, too, may have its
            // newline and lack its beginning. With a whole event in it, two lines have become one.
            Err(_torn) if lines.peek().is_none() && !begins_with_event(body) => break,
            Err(why) => {
                return Err(JournalError::Damaged {
                    path: path.to_path_buf(),
                    line: index + 1,
                    why,
                });
            }
        }
    }
    Ok((whole, events))
}

fn read_state(path: &Path) -> Result<State, JournalError> {
    let broken = |why: String| JournalError::State { path: path.to_path_buf(), why };
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(cause) => return Err(failed("read", path)(cause)),
    };
    let written: Kept =
        serde_json::from_slice(&content).map_err(|error| broken(error.to_string()))?;
    if written.v > FORMAT {
        return Err(broken(format!("it has format {}; this program reads {FORMAT}", written.v)));
    }
    Ok(written.state)
}

#[cfg(test)]
mod tests;
