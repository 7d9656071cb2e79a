//! `golden.jsonl`: recorded requests with their answers and truths.
//!
//! Owns reading the file within its bounds, and what a complaint says: the line, what is wrong, what to do. Never
//! runs anything.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::compare::Tolerance;
use crate::domain::stats::baseline::{Baseline, Golden};
use crate::protocol::open_inference::{GoldenCase, GoldenError, Label, decode_golden_case};

/// The name of the file where `baseline.json` does not name another.
pub(super) const NAME: &str = "golden.jsonl";
/// The largest file that is read, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;
/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 8 << 20;
/// The most rows of a file, over all lines.
pub(super) const ROWS_MAX: usize = 20_000;

/// A golden set.
#[derive(Debug)]
pub(super) struct GoldenSet {
    pub(super) cases: Vec<Case>,
    pub(super) tolerance: Tolerance,
    /// Rows in all cases.
    pub(super) rows: usize,
}

/// A case and where it stands.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) line: usize,
    pub(super) golden: GoldenCase,
}

/// Why a golden set cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum GoldenFileError {
    #[error("{} cannot be read: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has {bytes} bytes, more than the limit of {FILE_BYTES_MAX}; record fewer rows", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("line {line} of {} is longer than {LINE_BYTES_MAX} bytes; write one case a line", .path.display())]
    TooLong { path: PathBuf, line: usize },
    #[error("line {line} of {} is no golden case: {source}; write it again", .path.display())]
    Line { path: PathBuf, line: usize, source: GoldenError },
    #[error("{} has more than {ROWS_MAX} rows; record fewer", .path.display())]
    TooMany { path: PathBuf },
    #[error("{} has no case", .path.display())]
    Empty { path: PathBuf },
    #[error("{} has {found} rows, but baseline.json says {wanted}: write both again", .path.display())]
    Count { path: PathBuf, found: usize, wanted: u64 },
    #[error("baseline.json names the golden file `{0}`; it must be the name of a file beside it")]
    Name(String),
    #[error(
        "baseline.json allows differences of atol {atol} and rtol {rtol}; both must be finite and not negative"
    )]
    Tolerance { atol: f64, rtol: f64 },
    #[error("baseline.json names {}, which is not there", .0.display())]
    Missing(PathBuf),
    #[error("{} is not a regular file", .0.display())]
    NoFile(PathBuf),
}

impl GoldenFileError {
    /// The line that it is about; the first where it is about all of the file.
    pub(super) const fn line(&self) -> usize {
        match self {
            Self::TooLong { line, .. } | Self::Line { line, .. } => *line,
            _ => 1,
        }
    }
}

impl GoldenSet {
    /// Reads the golden set of `folder`; `None` where there is none. Blocks.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub(super) fn read(
        folder: &Path,
        baseline: Option<&Baseline>,
    ) -> Result<Option<Self>, GoldenFileError> {
        let declared = baseline.and_then(|baseline| baseline.golden.as_ref());
        let name = declared.map_or(NAME, |golden| golden.file.as_str());
        // Anything else could lead out of the folder.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(GoldenFileError::Name(name.to_owned()));
        }
        let path = folder.join(name);
        let tolerance = declared.map_or(Ok(Tolerance::default()), tolerance_of)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if declared.is_some() {
                    Err(GoldenFileError::Missing(path))
                } else {
                    Ok(None)
                };
            }
            Err(source) => return Err(GoldenFileError::Read { path, source }),
        };
        let set = Self { cases: Vec::new(), tolerance, rows: 0 }.filled(&path, file)?;
        match declared.map(|golden| golden.n) {
            Some(wanted) if wanted != set.rows as u64 => {
                Err(GoldenFileError::Count { path, found: set.rows, wanted })
            }
            _ => Ok(Some(set)),
        }
    }

    /// Reads the golden set at `path`, which an operator has named. Blocks.
    ///
    /// # Errors
    /// When it is not there or cannot be used.
    pub(super) fn read_named(path: &Path) -> Result<Self, GoldenFileError> {
        let failed = |source| GoldenFileError::Read { path: path.to_owned(), source };
        // Opening a pipe would wait for whoever writes into it.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(GoldenFileError::NoFile(path.to_owned()));
        }
        let file = File::open(path).map_err(failed)?;
        let set = Self { cases: Vec::new(), tolerance: Tolerance::default(), rows: 0 };
        set.filled(path, file)
    }

    fn filled(mut self, path: &Path, file: File) -> Result<Self, GoldenFileError> {
        let path = || path.to_owned();
        let failed = |source| GoldenFileError::Read { path: path(), source };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.len() > FILE_BYTES_MAX {
            return Err(GoldenFileError::TooLarge { path: path(), bytes: metadata.len() });
        }
        // The file may grow while it is read.
        let mut reader = BufReader::new(file.take(FILE_BYTES_MAX));
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
            if read.map_err(failed)? == 0 {
                break;
            }
            if text.len() as u64 > LINE_BYTES_MAX {
                return Err(GoldenFileError::TooLong { path: path(), line });
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let golden = decode_golden_case(text.trim_ascii())
                .map_err(|source| GoldenFileError::Line { path: path(), line, source })?;
            self.rows = self.rows.saturating_add(golden.rows());
            if self.rows > ROWS_MAX {
                return Err(GoldenFileError::TooMany { path: path() });
            }
            self.cases.push(Case { line, golden });
        }
        if self.cases.is_empty() {
            return Err(GoldenFileError::Empty { path: path() });
        }
        Ok(self)
    }

    /// Whether any case has recorded answers.
    pub(super) fn has_answers(&self) -> bool {
        self.cases.iter().any(|case| !case.golden.outputs.is_empty())
    }

    /// Every truth.
    pub(super) fn labels(&self) -> impl Iterator<Item = &Label> {
        self.cases.iter().flat_map(|case| &case.golden.labels)
    }
}

fn tolerance_of(golden: &Golden) -> Result<Tolerance, GoldenFileError> {
    let sound = |number: f64| number.is_finite() && number >= 0.0;
    let Golden { atol, rtol, .. } = *golden;
    if sound(atol) && sound(rtol) {
        Ok(Tolerance { atol, rtol })
    } else {
        Err(GoldenFileError::Tolerance { atol, rtol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str =
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[1,2]}],"labels":[0,1]}"#;

    fn read(text: &str) -> Result<Option<GoldenSet>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(NAME), text).expect("written");
        let place = folder.path().display().to_string();
        GoldenSet::read(folder.path(), None)
            .map_err(|error| error.to_string().replace(&place, "FOLDER"))
    }

    #[test]
    fn cases_keep_their_lines_and_blank_lines_are_nothing() {
        let set = read(&format!("{CASE}\n\n{CASE}")).expect("a set").expect("there");
        assert_eq!(set.cases.iter().map(|case| case.line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((set.rows, set.has_answers(), set.labels().count()), (4, false, 4));
        let nowhere = tempfile::tempdir().expect("a folder");
        assert!(GoldenSet::read(nowhere.path(), None).expect("no error").is_none());
    }

    #[test]
    fn a_malformed_line_is_named() {
        let error = read(&format!("{CASE}\n{{\"inputs\":[]}}\n")).expect_err("no case");
        let expected =
            "line 2 of FOLDER/golden.jsonl is no golden case: `inputs` is empty; write it again";
        assert_eq!(error, expected);
        let error =
            read(&format!("{CASE}\n\n{}", CASE.get(..40).expect("longer"))).expect_err("cut off");
        assert!(error.starts_with("line 3 of FOLDER/golden.jsonl is no golden case: "), "{error}");
        assert_eq!(read("\n \n").expect_err("empty"), "FOLDER/golden.jsonl has no case");
    }

    #[test]
    fn a_set_that_an_operator_has_named_must_be_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("truths.jsonl");
        let error = GoldenSet::read_named(&path).expect_err("nothing is there");
        assert!(error.to_string().contains("truths.jsonl cannot be read: "), "{error}");
        let error = GoldenSet::read_named(folder.path()).expect_err("no file");
        assert!(error.to_string().ends_with(" is not a regular file"), "{error}");
        fs::write(&path, format!("{CASE}\nnothing")).expect("written");
        let error = GoldenSet::read_named(&path).expect_err("malformed");
        assert_eq!(error.line(), 2, "{error}");
        fs::write(&path, CASE).expect("written");
        assert_eq!(GoldenSet::read_named(&path).expect("a set").rows, 2);
    }

    #[test]
    fn there_are_bounds() {
        let many = format!("{CASE}\n").repeat(ROWS_MAX / 2 + 1);
        assert!(read(&many).expect_err("too many").contains("more than 20000 rows"));
        let long = "x".repeat(usize::try_from(LINE_BYTES_MAX).expect("small") + 1);
        assert!(read(&long).expect_err("too long").contains("line 1 of"));
    }
}
