//! The shape of the source tree, checked against the rules in `src/docs/architecture.md`.
//!
//! Owns the import table and the rules about files. The text of every source file is cut into tokens
//! ([`source`]), so that comments and strings never count as code; the rules below then look at paths.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pointsman::telemetry::metrics;

use self::source::{Source, Token};

/// The most lines of a file.
const LINES_MAX: usize = 600;

/// What each room may import besides itself. `None`: everything.
const TABLE: &[(&str, Option<&[&str]>)] = &[
    ("domain", Some(&[])),
    ("protocol", Some(&["domain"])),
    ("config", Some(&["domain"])),
    ("telemetry", Some(&["domain"])),
    ("inference", Some(&["domain", "protocol", "telemetry"])),
    ("prediction_log", Some(&["domain", "telemetry"])),
    ("monitor", Some(&["domain", "protocol", "telemetry", "prediction_log"])),
    (
        "snapshot",
        Some(&["domain", "protocol", "telemetry", "inference", "prediction_log", "monitor"]),
    ),
    (
        "control",
        Some(&[
            "domain",
            "protocol",
            "config",
            "telemetry",
            "inference",
            "prediction_log",
            "monitor",
            "snapshot",
        ]),
    ),
    (
        "proxy",
        Some(&[
            "domain",
            "protocol",
            "telemetry",
            "inference",
            "prediction_log",
            "monitor",
            "snapshot",
        ]),
    ),
    ("admin", None),
    ("cli", None),
    ("app", None),
    ("main", None),
    ("lib", None),
    ("manual", None),
];

/// The external crates that `domain` may name: data structures, formats, functions, hashing and
/// derives. (`uuid` and `statrs` are built without the features that read a clock or draw numbers.)
const PURE_CRATES: &[&str] = &[
    "bytes",
    "hdrhistogram",
    "serde",
    "serde_json",
    "smallvec",
    "statrs",
    "thiserror",
    "twox_hash",
    "uuid",
];
/// What of `std::net` is a value rather than a socket.
const ADDRESSES: &[&str] =
    &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6"];
/// Modules of `std` that reach outside the process, or wait.
const EFFECTS: &[&str] = &["env", "fs", "io", "os", "process", "thread"];
/// Locks of `std::sync`.
const LOCKS: &[&str] = &["Barrier", "Condvar", "Mutex", "RwLock", "mpsc"];

/// Imports that the table forbids.
fn forbidden_imports(source: &Source) -> Vec<String> {
    let room = source.room();
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: `{room}` is not a room of the table", source.name)];
    };
    let Some(allowed) = allowed else { return Vec::new() };
    let mut found = Vec::new();
    for path in &source.paths {
        let Some(own) = path.in_crate() else { continue };
        let target = own.first().map_or("*", String::as_str);
        if target == room || allowed.contains(&target) {
            continue;
        }
        let may =
            if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
        found.push(format!(
            "{}:{}: `{room}` imports `{target}` (crate::{}); it may import {may}",
            source.name,
            path.line,
            own.join("::"),
        ));
    }
    found
}

/// Effects in the pure room.
fn impurities(source: &Source, dependencies: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut refuse = |line: usize, what: &str| {
        found.push(format!("{}:{line}: `domain` is pure and names {what}", source.name));
    };
    for (line, token) in &source.tokens {
        if let Token::Ident(word) = token
            && matches!(word.as_str(), "async" | "await")
        {
            refuse(*line, &format!("`{word}`"));
        }
    }
    for path in &source.paths {
        let whole = path.segments.join("::");
        let segment = |index: usize| path.segments.get(index).map_or("", String::as_str);
        let is_effect = match (segment(0), segment(1)) {
            ("std", "net") => !ADDRESSES.contains(&segment(2)),
            ("std", "sync") => LOCKS.contains(&segment(2)),
            ("std", module) => EFFECTS.contains(&module),
            (first, _) => dependencies.contains(first) && !PURE_CRATES.contains(&first),
        };
        let reads_clock = path.segments.len() > 1 && segment(path.segments.len() - 1) == "now";
        if is_effect || reads_clock {
            refuse(path.line, &format!("`{whole}`"));
        }
    }
    found
}

/// Names of the one swap outside the one file that swaps.
fn stray_swaps(source: &Source) -> Vec<String> {
    if source.name == "src/snapshot.rs" {
        return Vec::new();
    }
    source
        .tokens
        .iter()
        .filter_map(|(line, token)| match token {
            Token::Ident(word) if word.starts_with("ArcSwap") || word == "arc_swap" => {
                Some(format!("{}:{line}: only src/snapshot.rs may name `{word}`", source.name))
            }
            _ => None,
        })
        .collect()
}

/// Metric names that are not in the table of `telemetry::metrics`.
fn stray_metrics(source: &Source) -> Vec<String> {
    let is_name = |text: &str| {
        text.starts_with("pointsman_")
            && !text.ends_with('_')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    source
        .tokens
        .iter()
        .filter_map(|(line, token)| match token {
            Token::Text(text) if is_name(text) && metrics::ALL.iter().all(|d| d.name != text) => {
                Some(format!(
                    "{}:{line}: metric `{text}` is not in the table of telemetry::metrics",
                    source.name
                ))
            }
            _ => None,
        })
        .collect()
}

/// What a file must look like whatever is in it.
fn misshapen(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{name}: {lines} lines; a file has at most {LINES_MAX}"));
    }
    // A module of tests is named by its file, and each test says what it proves.
    let is_tests = name.contains("/tests/") || name.ends_with("/tests.rs");
    if !is_tests && !text.starts_with("//!") {
        found.push(format!("{name}:1: a file opens with `//!`: what it owns, what it never does"));
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `dir` with the given extension, in order.
fn files(dir: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The name of `path` below the repository's root.
fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Every source file, read.
fn sources() -> io::Result<Vec<(Source, String)>> {
    let mut read = Vec::new();
    for path in files(&root().join("src"), "rs")? {
        let text = fs::read_to_string(&path)?;
        read.push((Source::parse(&name_of(&path), &text), text));
    }
    Ok(read)
}

/// The crates below `[dependencies]`, as paths write them.
fn dependencies() -> io::Result<BTreeSet<String>> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let section = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    Ok(lines.filter_map(|line| Some(line.split_once('=')?.0.trim().replace('-', "_"))).collect())
}

fn check(what: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{what}:\n{}", violations.join("\n"));
}

#[test]
fn no_room_imports_what_the_table_forbids() -> io::Result<()> {
    let sources = sources()?;
    assert!(sources.len() > 50, "the source tree was found");
    let found: Vec<_> = sources.iter().flat_map(|(source, _)| forbidden_imports(source)).collect();
    check("forbidden imports", &found);
    Ok(())
}

#[test]
fn the_domain_is_pure() -> io::Result<()> {
    let dependencies = dependencies()?;
    assert!(dependencies.contains("tokio"), "the manifest was understood");
    let found: Vec<_> = sources()?
        .iter()
        .filter(|(source, _)| source.room() == "domain")
        .flat_map(|(source, _)| impurities(source, &dependencies))
        .collect();
    check("effects in `domain`", &found);
    Ok(())
}

#[test]
fn only_the_snapshot_swaps() -> io::Result<()> {
    let found: Vec<_> = sources()?.iter().flat_map(|(source, _)| stray_swaps(source)).collect();
    check("a second swap", &found);
    Ok(())
}

#[test]
fn every_file_is_short_and_says_what_it_owns() -> io::Result<()> {
    let found: Vec<_> =
        sources()?.iter().flat_map(|(source, text)| misshapen(&source.name, text)).collect();
    check("files out of shape", &found);
    Ok(())
}

#[test]
fn every_metric_name_is_in_the_table() -> io::Result<()> {
    let found: Vec<_> = sources()?.iter().flat_map(|(source, _)| stray_metrics(source)).collect();
    check("metrics out of the table", &found);
    Ok(())
}

#[test]
fn the_manual_lists_every_metric_and_no_other() -> io::Result<()> {
    let page = fs::read_to_string(root().join("src/docs/operations.md"))?;
    let mut found = Vec::new();
    for metric in metrics::ALL {
        let row = format!("| `{}` | {} |", metric.name, metric.kind);
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let is_row = |line: &&str| line.starts_with(&row);
        match page.lines().find(is_row) {
            None => found.push(format!("operations.md has no row `{row} …`")),
            Some(line) if line.split('|').nth(3).map(str::trim) != Some(labels.as_str()) => {
                found.push(format!("operations.md: `{}` has the labels {labels}", metric.name));
            }
            Some(_) => {}
        }
    }
    for line in page.lines() {
        let name = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
        if let Some(name) =
            name.filter(|n| n.starts_with("pointsman_") || n.starts_with("process_"))
            && metrics::ALL.iter().all(|metric| metric.name != name)
        {
            found.push(format!("operations.md lists `{name}`, which does not exist"));
        }
    }
    check("metrics in the manual", &found);
    Ok(())
}

#[test]
fn the_manual_lists_every_row_of_the_status_table() -> io::Result<()> {
    let page = fs::read_to_string(root().join("src/docs/request-path.md"))?;
    let code = fs::read_to_string(root().join("src/proxy/problem.rs"))?;
    let source = Source::parse("src/proxy/problem.rs", &code);
    let mut rows = 0;
    let mut found = Vec::new();
    for row in source.tokens.windows(3) {
        // NAME => STATUS "reason" Outcome
        let [(_, Token::Ident(status)), (_, Token::Text(reason)), (_, Token::Ident(outcome))] = row
        else {
            continue;
        };
        if status.bytes().any(|b| b.is_ascii_lowercase()) {
            continue;
        }
        rows += 1;
        let is_row = |line: &str| {
            line.contains(&format!("| `{reason}` |")) && line.contains(&snake(outcome))
        };
        if !page.lines().any(is_row) {
            found.push(format!("request-path.md has no row for `{reason}` with outcome {outcome}"));
        }
    }
    assert!(rows > 15, "the status table was found");
    check("the status table in the manual", &found);
    Ok(())
}

/// `UpstreamError` as records write it.
fn snake(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

#[test]
fn every_page_of_the_manual_is_in_rustdoc() -> io::Result<()> {
    let mut included = BTreeSet::new();
    for (source, _) in sources()? {
        let own = root().join(&source.name);
        for tokens in source.tokens.windows(4) {
            if let [(_, Token::Ident(word)), _, _, (_, Token::Text(file))] = tokens
                && word == "include_str"
            {
                included.insert(own.with_file_name(file));
            }
        }
    }
    let pages = files(&root().join("src/docs"), "md")?;
    assert!(!pages.is_empty(), "the manual was found");
    let missing = pages.iter().filter(|page| !included.contains(*page));
    let missing: Vec<_> =
        missing.map(|page| format!("{} is not included", name_of(page))).collect();
    check("pages that rustdoc does not show", &missing);
    Ok(())
}

/// Shows that the rule about imports sees every way of writing one.
#[test]
fn a_forbidden_import_is_found_however_it_is_written() {
    let forbidden = [
        ("src/domain/spec.rs", "use crate::proxy::Gateway;"),
        (
            "src/domain.rs",
            "use crate::{\n    domain::ids,\n    control::{publish::{Controller}, self},\n};",
        ),
        ("src/proxy/exchange.rs", "fn f() { crate::control::load_models(); }"),
        ("src/proxy/upstream/link.rs", "use super::super::super::control::Controller;"),
        ("src/proxy/upstream/link.rs", "mod inner { use super::super::super::super::control::X; }"),
        ("src/proxy.rs", "use super::{telemetry::Registry, admin::Admin};"),
        ("src/control.rs", "type G = Box<crate::proxy::Gateway>;"),
        ("src/control/publish.rs", "pub use pointsman::proxy as p;"),
        ("src/telemetry.rs", "use crate::*;"),
        ("src/telemetry.rs", "use crate as all;"),
        ("src/config.rs", "macro_rules! m { () => { $crate::snapshot::channel }; }"),
        ("src/snapshot.rs", "pub(in crate::proxy) struct S;"),
        ("src/cellar/barrel.rs", "struct S;"),
        ("src/protocol.rs", "#[cfg(test)]\nmod tests { use crate::inference::LocalModel; }"),
    ];
    for (name, text) in forbidden {
        assert!(!forbidden_imports(&Source::parse(name, text)).is_empty(), "{name}: {text}");
    }
    let line = forbidden_imports(&Source::parse("src/domain.rs", "//! D.\n\nuse crate::proxy::X;"));
    assert_eq!(
        line,
        [
            "src/domain.rs:3: `domain` imports `proxy` (crate::proxy::X); it may import nothing of ours"
        ]
    );
}

/// Shows that the rule about imports leaves alone what is allowed.
#[test]
fn an_import_that_is_allowed_is_not_reported() {
    let allowed = [
        (
            "src/domain/routing/split.rs",
            "use crate::domain::ids::{Entropy, Permille};\nuse super::table;",
        ),
        ("src/domain/routing/split.rs", "mod tests { use super::super::super::ids::Entropy; }"),
        ("src/proxy/upstream/link.rs", "pub(in crate::proxy) struct Link; // crate::control::X"),
        (
            "src/proxy.rs",
            "const WHY: &str = \"crate::control\"; const RAW: &str = r#\"crate::admin\"#;",
        ),
        (
            "src/proxy.rs",
            "/* crate::control /* crate::admin */ crate::app */ fn f<'a>(c: char) { c == '\"'; }",
        ),
        ("src/admin.rs", "use crate::{control, proxy};"),
        (
            "src/prediction_log/arena.rs",
            "mod tests { use super::super::frame::FrameHeader; use super::*; }",
        ),
    ];
    for (name, text) in allowed {
        let found = forbidden_imports(&Source::parse(name, text));
        assert!(found.is_empty(), "{name}: {text}: {found:?}");
    }
}

/// Shows that the other rules find what they forbid.
#[test]
fn the_other_rules_find_what_they_forbid() -> io::Result<()> {
    let dependencies = dependencies()?;
    let impure = [
        "async fn f() {}",
        "fn f() { std::time::Instant::now(); }",
        "use std::time::SystemTime; fn f() { SystemTime::now(); }",
        "use std::net::{IpAddr, TcpStream};",
        "use std::{fmt, fs};",
        "use std::sync::{Arc, Mutex};",
        "fn f() -> u64 { fastrand::u64(..) }",
        "use tokio::sync::Notify;",
        "use parking_lot::Mutex;",
    ];
    for text in impure {
        let source = Source::parse("src/domain/spec.rs", text);
        assert!(!impurities(&source, &dependencies).is_empty(), "{text}");
    }
    let pure = "use std::net::{IpAddr, SocketAddr}; use std::sync::Arc; use bytes::Bytes;\n\
                fn age(now: u64) -> u64 { now } // tokio::spawn, Instant::now()";
    let source = Source::parse("src/domain/spec.rs", pure);
    assert_eq!(impurities(&source, &dependencies), Vec::<String>::new());

    let swap = "use arc_swap::ArcSwap;";
    assert_eq!(stray_swaps(&Source::parse("src/control.rs", swap)).len(), 2);
    assert_eq!(stray_swaps(&Source::parse("src/snapshot.rs", swap)).len(), 0);
    let metric =
        "const A: &str = \"pointsman_invented_total\"; const B: &str = \"pointsman_ready\";";
    assert_eq!(stray_metrics(&Source::parse("src/proxy.rs", metric)).len(), 1);
    assert_eq!(misshapen("src/a.rs", &"// no opening\n".repeat(LINES_MAX + 1)).len(), 2);
    assert_eq!(misshapen("src/a.rs", "//! Owns a.\n"), Vec::<String>::new());
    Ok(())
}
