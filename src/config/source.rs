//! The files of a configuration, and places in them.
//!
//! Owns reading with its limits, and the way from a byte range to line, column and a printable excerpt.
//! Never looks at what the text means.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The most bytes of one configuration file.
pub(super) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The widest excerpt, in columns of a terminal.
const EXCERPT_WIDTH_MAX: usize = 120;

/// The most bytes of a line that are looked at before, in and after the mark.
const EXCERPT_BYTES_MAX: usize = 1024;

/// Columns that are shown before the marked part of a line that is too wide to show whole.
const EXCERPT_LEAD: usize = 30;

/// A range of bytes in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The index of the file, in the order of loading.
    pub(super) file: usize,
    /// The first byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

impl Place {
    /// The very beginning of a file, for what is missing or concerns the file as a whole.
    pub(super) const fn top(file: usize) -> Self {
        Self { file, start: 0, end: 0 }
    }
}

/// A line of a file with a part of it marked, made safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The line, or the part of a long line around the mark. No control characters.
    pub(super) text: String,
    /// Terminal columns before the mark.
    pub(super) offset: usize,
    /// Terminal columns of the mark, at least one.
    pub(super) width: usize,
}

/// Where a [`Place`] is for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// The path as it was named.
    pub(super) file: PathBuf,
    /// The line, from 1.
    pub(super) line: usize,
    /// The column in characters, from 1.
    pub(super) column: usize,
    /// The line itself.
    pub(super) excerpt: Excerpt,
}

/// All files of one configuration.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<SourceFile>,
}

#[derive(Debug)]
struct SourceFile {
    path: PathBuf,
    text: String,
    /// The byte at which each line starts.
    lines: Vec<usize>,
}

impl Sources {
    /// Adds a file and returns its index.
    pub(super) fn add(&mut self, path: &Path, text: String) -> usize {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        self.files.push(SourceFile { path: path.to_owned(), text, lines });
        self.files.len() - 1
    }

    /// Overwrites what must not be shown, so that no excerpt can hold it.
    pub(super) fn conceal(&mut self, place: Place) {
        let Some(file) = self.files.get_mut(place.file) else { return };
        let start = file.text.floor_char_boundary(place.start);
        let end = file.text.floor_char_boundary(place.end).max(start);
        let stars = |byte| if byte == b'\n' { '\n' } else { '*' };
        let hidden: String = file.text.bytes().skip(start).take(end - start).map(stars).collect();
        file.text.replace_range(start..end, &hidden);
    }

    /// The paths, in the order of loading.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The text of a file.
    pub(super) fn text(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| &file.text)
    }

    /// `path` as seen from the directory of the file that names it.
    pub(super) fn resolve(&self, file: usize, path: &str) -> PathBuf {
        let directory = self.files.get(file).and_then(|file| file.path.parent());
        directory.map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, place: Place) -> usize {
        let lines = self.files.get(place.file).map(|file| &file.lines);
        lines.map_or(1, |lines| lines.partition_point(|&first| first <= place.start).max(1))
    }

    /// Line, column and excerpt of a place.
    pub(super) fn position(&self, place: Place) -> Position {
        let Some(file) = self.files.get(place.file) else {
            let excerpt = excerpt("", 0, 0);
            return Position { file: PathBuf::new(), line: 1, column: 1, excerpt };
        };
        let start = file.text.floor_char_boundary(place.start);
        let line = self.line(Place { start, ..place });
        let first = file.lines.get(line - 1).copied().unwrap_or(0);
        let last = file.lines.get(line).map_or(file.text.len(), |next| next - 1);
        let whole = file.text.get(first..last).unwrap_or("");
        let whole = whole.strip_suffix('\r').unwrap_or(whole);
        let from = (start - first).min(whole.len());
        let to = whole.floor_char_boundary(place.end.saturating_sub(first)).max(from);
        let column = whole.get(..from).unwrap_or("").chars().count() + 1;
        Position { file: file.path.clone(), line, column, excerpt: excerpt(whole, from, to) }
    }
}

/// Cuts a printable window out of `line` that shows the bytes `from..to`.
fn excerpt(line: &str, from: usize, to: usize) -> Excerpt {
    // More than is shown, and not the whole of a line that may be a megabyte long.
    let first = line.floor_char_boundary(from.saturating_sub(EXCERPT_BYTES_MAX));
    let last = |at: usize| line.floor_char_boundary(at.saturating_add(EXCERPT_BYTES_MAX));
    let before = printable(line.get(first..from).unwrap_or(""));
    let marked = printable(line.get(from..to.min(last(from))).unwrap_or(""));
    let after = printable(line.get(to..last(to)).unwrap_or(""));
    let (before, marked, after) =
        if before.width() + marked.width() + after.width() <= EXCERPT_WIDTH_MAX {
            (before, marked, after)
        } else {
            let before = tail(&before, EXCERPT_LEAD);
            let marked = head(&marked, EXCERPT_WIDTH_MAX - EXCERPT_LEAD);
            let room = EXCERPT_WIDTH_MAX.saturating_sub(before.width() + marked.width());
            let after = head(&after, room);
            (before, marked, after)
        };
    Excerpt {
        offset: before.width(),
        width: marked.width().max(1),
        text: format!("{before}{marked}{after}").trim_end().to_owned(),
    }
}

/// Replaces what would move the cursor or change the terminal: a tab becomes a space, every other
/// control character U+FFFD.
pub(super) fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
            '\u{fffd}'
        }
        c => c,
    };
    text.chars().map(safe).collect()
}

/// The first part of `text` that fits into `width` columns.
fn head(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// The last part of `text` that fits into `width` columns.
fn tail(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    let mut kept: Vec<char> = text.chars().rev().take_while(fits).chain(['…']).collect();
    kept.reverse();
    kept.into_iter().collect()
}

/// Why a file could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The operating system refused.
    #[error("cannot be read")]
    Io(#[source] io::Error),
    /// A directory, a pipe, a device.
    #[error("is not a regular file")]
    NotAFile,
    /// Longer than the limit.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    /// Not text; the part before the first bad byte is text.
    #[error("is not UTF-8 text")]
    NotText {
        /// The text with the bad bytes replaced.
        lossy: String,
        /// The offset of the first bad byte.
        at: usize,
    },
}

impl ReadError {
    /// The error and its cause in one phrase.
    pub(super) fn phrase(&self) -> String {
        match self {
            Self::Io(source) => format!("{self}: {source}"),
            Self::NotAFile | Self::TooLarge(_) | Self::NotText { .. } => self.to_string(),
        }
    }
}

/// Reads a text file of at most `max` bytes, without a byte order mark.
///
/// # Errors
/// [`ReadError`]; with `regular`, also for anything that is not a regular file, so that a pipe cannot
/// block the start.
pub(super) fn read_text(path: &Path, max: usize, regular: bool) -> Result<String, ReadError> {
    let kind = fs::metadata(path).map_err(ReadError::Io)?;
    if kind.is_dir() || (regular && !kind.is_file()) {
        return Err(ReadError::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(ReadError::Io)?;
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() > max {
        return Err(ReadError::TooLarge(max));
    }
    let text = String::from_utf8(bytes).map_err(|error| ReadError::NotText {
        at: error.utf8_error().valid_up_to(),
        lossy: String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), ToOwned::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str, start: usize, end: usize) -> Position {
        let mut sources = Sources::default();
        let file = sources.add(Path::new("dir/a.toml"), text.to_owned());
        sources.position(Place { file, start, end })
    }

    #[test]
    fn columns_count_characters_and_marks_count_terminal_columns() {
        let at = position("x = 1\nké = \"日本\" # c\r\n", 12, 20);
        assert_eq!((at.line, at.column), (2, 6));
        assert_eq!(
            at.excerpt,
            Excerpt { text: "ké = \"日本\" # c".to_owned(), offset: 5, width: 6 }
        );
    }

    #[test]
    fn long_lines_and_control_characters_stay_printable() {
        let text = format!("{}\t\u{1b}[31mKEY{}", "a".repeat(5000), "b".repeat(5000));
        let at = position(&text, 5006, 5009);
        assert_eq!((at.line, at.column), (1, 5007));
        assert!(at.excerpt.text.width() <= EXCERPT_WIDTH_MAX, "{:?}", at.excerpt);
        assert!(!at.excerpt.text.contains('\u{1b}'));
        let marked: String =
            at.excerpt.text.chars().skip(at.excerpt.offset).take(at.excerpt.width).collect();
        assert_eq!(marked, "KEY");
    }

    #[test]
    fn places_beyond_the_end_are_clamped() {
        let at = position("abc\n", 400, 500);
        assert_eq!((at.line, at.column, at.excerpt.width), (2, 1, 1));
    }
}
