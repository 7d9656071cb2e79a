//! The `include` of the main file.
//!
//! Owns which files belong to a configuration, and their order. Never reads them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Checks;
use super::diagnostic::{Code, Finding};
use super::form;
use super::keys;
use super::reader::{At, Context, Fields};
use super::source::Place;
use super::tree::Table;

/// The most files that a configuration may include.
const FILES_MAX: usize = 256;

/// The characters that make a pattern out of a path.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// The files that the main file includes, sorted within each pattern, each once.
pub(super) fn files(
    context: Context<'_>,
    main: usize,
    root: &Table,
    checks: Checks,
) -> Vec<PathBuf> {
    let Some(entry) = root.entries.get("include") else { return Vec::new() };
    // Only this key is looked at here; the reader sees the whole table, and reports, later.
    let only = Table { entries: [("include".to_owned(), entry.clone())].into() };
    let fields = Fields::ahead(context, &only, &keys::TOP, Place::top(main));
    let own = context.sources.paths().nth(main).map(Path::to_owned).unwrap_or_default();
    let mut seen: BTreeSet<PathBuf> = own.canonicalize().into_iter().collect();
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in fields.list("include", form::some_text).unwrap_or_default() {
        for path in matches(&fields, main, &pattern, checks) {
            // One file by two names is one file.
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if seen.insert(real) {
                files.push(path);
            }
        }
        if files.len() > FILES_MAX {
            let message = format!("more than {FILES_MAX} files are included");
            fields.add(Finding::error(Code::TooMany, pattern.place, message));
            files.truncate(FILES_MAX);
            break;
        }
    }
    files
}

/// Takes an `include` out of a file that is itself included, and reports it.
pub(super) fn without_include(context: Context<'_>, mut table: Table) -> Table {
    if let Some(entry) = table.entries.remove("include") {
        let message = "only the main file may include others";
        let finding = Finding::error(Code::Include, entry.key, message);
        context.report.add(finding.help("list the files in the main file"));
    }
    table
}

fn matches(fields: &Fields<'_>, main: usize, pattern: &At<String>, checks: Checks) -> Vec<PathBuf> {
    let add = |finding: Finding| {
        fields.add(finding);
        Vec::new()
    };
    let bad = |why: String| Finding::error(Code::Include, pattern.place, why);
    let path = fields.context().sources.resolve(main, &pattern.value);
    let shown = pattern.shown();
    if !pattern.value.contains(WILDCARDS) {
        return match (path.is_file(), checks) {
            (true, _) => vec![path],
            (false, Checks::Full) => add(bad(format!("the included file {shown} is not there"))
                .help("paths are relative to the including file")),
            (false, Checks::Offline) => add(Finding::warning(
                Code::Include,
                pattern.place,
                format!("the included file {shown} is not there"),
            )),
        };
    }
    // The directory of the main file is no pattern, whatever characters it has.
    let directory = fields.context().sources.resolve(main, "");
    let escaped = glob::Pattern::escape(&directory.to_string_lossy());
    let absolute = Path::new(&pattern.value).is_absolute();
    let full = match escaped.as_str() {
        _ if absolute => pattern.value.clone(),
        "" => pattern.value.clone(),
        directory => format!("{}/{}", directory.trim_end_matches('/'), pattern.value),
    };
    let found = match glob::glob(&full) {
        Ok(found) => found,
        Err(error) => {
            return add(bad(format!("{shown} is not a pattern: {}", error.msg))
                .help("`*` takes any characters but `/`, `[ab]` one of some: \"conf.d/*.toml\""));
        }
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for path in found.take(FILES_MAX * 4) {
        match path {
            Ok(path) if path.is_file() => files.push(path),
            Ok(_) => {}
            Err(error) => {
                let phrase = format!("{shown} cannot be followed: {}", error.error());
                add(bad(phrase));
            }
        }
    }
    files.sort();
    if files.is_empty() {
        let message = format!("no file matches {shown}");
        fields.add(Finding::warning(Code::NoEffect, pattern.place, message));
    }
    files
}
