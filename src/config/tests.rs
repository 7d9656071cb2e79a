//! Tests of the room as a whole: files in, intent or diagnostics out.

mod alarms;
mod broken;
mod discovery;
mod labels;
mod properties;
mod recording;
mod releases;
mod rendered;
mod sound;

use std::path::Path;

use super::interpolate::tests::Fixed;
use super::*;

/// A directory with a configuration in it.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    environment: Fixed,
}

impl Bench {
    /// A directory with `model.onnx`, and with `SECRET` and `KEY` in the environment.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = "hunter2 has sixteen bytes and more";
        let environment = Fixed(
            [("SECRET", "hunter2"), ("KEY", key)].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        );
        let bench = Self { dir, environment };
        bench.write("model.onnx", "");
        bench
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// Loads `main.toml`.
    pub(super) fn load(&self, checks: Checks) -> Result<Loaded, Diagnostics> {
        load_with(&self.dir.path().join("main.toml"), checks, &self.environment)
    }

    /// The path of a file, as it appears in diagnostics.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Loads one file with full checks.
pub(super) fn load_text(text: &str) -> Result<Loaded, Diagnostics> {
    let bench = Bench::new();
    bench.write("main.toml", text);
    bench.load(Checks::Full)
}

/// The smallest sound configuration.
pub(super) const SMALL: &str = r#"
listen = "127.0.0.1:8080"
[models.iris.versions.v1]
onnx = "model.onnx"
"#;

/// `code@line:column` of each diagnostic.
pub(super) fn codes(found: &Diagnostics) -> Vec<String> {
    let code = |one: &Diagnostic| {
        format!("{}@{}:{}", one.code.as_str(), one.location.line, one.location.column)
    };
    found.iter().map(code).collect()
}

/// A file of the repository.
pub(super) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
