//! `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` inside string values.
//!
//! Owns the little grammar and its limits. Never touches keys, and never lets a value that it
//! fetched get into a message.

use std::env::VarError;
use std::path::PathBuf;

use super::Checks;
use super::source::read_text;

/// The most bytes of one `${file:…}`.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The most bytes that all replacements of a configuration may bring in together.
const TOTAL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a configuration may ask of the process around it.
pub(crate) trait Environment {
    /// The value of an environment variable.
    ///
    /// # Errors
    /// As [`std::env::var`].
    fn variable(&self, name: &str) -> Result<String, VarError>;

    /// All environment variables whose names and values are text, by name.
    fn variables(&self) -> Vec<(String, String)>;

    /// The host name, the default of `node`.
    fn host_name(&self) -> String;
}

/// A string value after replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// The characters.
    pub(super) value: String,
    /// Whether a part came from outside the file, so that it must not be shown.
    pub(super) hidden: bool,
}

/// What became of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A text, replaced or as it was.
    Known(Text),
    /// A `${file:…}` that was not looked at, because the check is offline.
    Unseen,
}

/// Why a replacement failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What is wrong; quotes only what stands in the file.
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: Option<String>,
}

impl Failure {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

/// Replaces within one configuration, and counts what comes in.
pub(super) struct Interpolator<'a> {
    environment: &'a dyn Environment,
    checks: Checks,
    fetched: usize,
}

impl<'a> Interpolator<'a> {
    /// Starts with nothing fetched.
    pub(super) fn new(environment: &'a dyn Environment, checks: Checks) -> Self {
        Self { environment, checks, fetched: 0 }
    }

    /// Replaces every `${…}` in `text`; `$${` stands for `${` itself. Values that were fetched are
    /// not looked at again. `resolve` turns a path in the text into one of the file system.
    ///
    /// # Errors
    /// A [`Failure`] for the first `${…}` that cannot be replaced.
    pub(super) fn replace(
        &mut self,
        text: &str,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> Result<Outcome, Failure> {
        let mut out = Text { value: String::with_capacity(text.len()), hidden: false };
        let mut seen = true;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.value.push_str(before);
                out.value.push_str("${");
                rest = after;
                continue;
            }
            let Some((inside, after)) = after.split_once('}') else {
                return Err(Failure::new(
                    "`${` is not closed",
                    "close it with `}`, or write `$${` for the characters `${` themselves",
                ));
            };
            if inside.contains("${") {
                return Err(Failure::new("`${…}` inside `${…}`", "one replacement at a time"));
            }
            out.value.push_str(before);
            out.hidden = true;
            match self.fetch(inside, &resolve)? {
                Some(value) => {
                    self.fetched += value.len();
                    out.value.push_str(&value);
                }
                None => seen = false,
            }
            if self.fetched > TOTAL_BYTES_MAX {
                return Err(Failure {
                    message: format!("replacements bring in more than {TOTAL_BYTES_MAX} bytes"),
                    help: None,
                });
            }
            rest = after;
        }
        out.value.push_str(rest);
        Ok(if seen { Outcome::Known(out) } else { Outcome::Unseen })
    }

    fn fetch(
        &self,
        inside: &str,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> Result<Option<String>, Failure> {
        match inside.split_once(':') {
            Some(("env", rest)) => self.variable(rest).map(Some),
            Some(("file", path)) => self.secret(path, resolve),
            Some((scheme, _)) => Err(Failure::new(
                format!("`${{{scheme}:…}}` is not known"),
                "write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}",
            )),
            None => Err(Failure::new(
                format!("`${{{inside}}}` does not say where the value comes from"),
                format!("write ${{env:{inside}}} or ${{file:{inside}}}"),
            )),
        }
    }

    fn variable(&self, rest: &str) -> Result<String, Failure> {
        let (name, default) = match rest.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (rest, None),
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(Failure::new(
                format!("`{name}` cannot be the name of an environment variable"),
                "write ${env:NAME} or ${env:NAME:-default}",
            ));
        }
        // As in a shell, `:-` also replaces an empty value.
        match (self.environment.variable(name), default) {
            (Ok(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
            (Ok(value), _) => Ok(value),
            (Err(VarError::NotPresent), Some(default)) => Ok(default.to_owned()),
            (Err(VarError::NotPresent), None) => Err(Failure::new(
                format!("the environment variable `{name}` is not set"),
                format!("set it, or give a default: ${{env:{name}:-default}}"),
            )),
            (Err(VarError::NotUnicode(_)), _) => Err(Failure {
                message: format!("the environment variable `{name}` is not UTF-8 text"),
                help: None,
            }),
        }
    }

    fn secret(
        &self,
        path: &str,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> Result<Option<String>, Failure> {
        if path.is_empty() || path.contains('\0') {
            return Err(Failure::new("`${file:}` names no file", "write ${file:PATH}"));
        }
        match self.checks {
            Checks::Offline => Ok(None),
            Checks::Full => {
                let path = resolve(path);
                let text = read_text(&path, SECRET_BYTES_MAX, true).map_err(|error| Failure {
                    message: format!("the file `{}` {}", path.display(), error.phrase()),
                    help: None,
                })?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// An environment for tests.
    #[derive(Debug, Default)]
    pub(in crate::config) struct Fixed(pub(in crate::config) BTreeMap<String, String>);

    impl Environment for Fixed {
        fn variable(&self, name: &str) -> Result<String, VarError> {
            self.0.get(name).cloned().ok_or(VarError::NotPresent)
        }

        fn variables(&self) -> Vec<(String, String)> {
            self.0.clone().into_iter().collect()
        }

        fn host_name(&self) -> String {
            "edge-7".to_owned()
        }
    }

    fn replace(text: &str, pairs: &[(&str, &str)]) -> Result<Text, Failure> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = Fixed(pairs.iter().map(owned).collect());
        match Interpolator::new(&environment, Checks::Full).replace(text, |path| path.into())? {
            Outcome::Known(text) => Ok(text),
            Outcome::Unseen => unreachable!("a full check sees everything"),
        }
    }

    #[test]
    fn variables_defaults_and_escapes() {
        let value = |text: &str| replace(text, &[("A", "1"), ("EMPTY", "")]).map(|out| out.value);
        assert_eq!(value("x${env:A}y${env:A}"), Ok("x1y1".to_owned()));
        assert_eq!(value("${env:B:-b:c}"), Ok("b:c".to_owned()));
        assert_eq!(value("${env:EMPTY:-full}"), Ok("full".to_owned()));
        assert_eq!(value("${env:EMPTY}"), Ok(String::new()));
        assert_eq!(value("$${env:A} $ $$ $A"), Ok("${env:A} $ $$ $A".to_owned()));
        for bad in [
            "${",
            "${}",
            "${A}",
            "${env:}",
            "${env:B}",
            "${env:A B}",
            "${vault:x}",
            "${file:}",
            "${file:/nonexistent/x}",
            "${env:B:-${env:A}}",
        ] {
            assert!(value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secret_files_lose_one_line_end_and_have_a_limit() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let text = format!("${{file:{}}}", path.display());
        std::fs::write(&path, "s3cret\r\n").expect("write");
        let got = replace(&text, &[]).expect("readable");
        assert_eq!(got, Text { value: "s3cret".to_owned(), hidden: true });
        std::fs::write(&path, vec![b'x'; SECRET_BYTES_MAX + 1]).expect("write");
        assert!(replace(&text, &[]).expect_err("large").message.contains("larger than"));
        let offline = Interpolator::new(&Fixed::default(), Checks::Offline)
            .replace("a${file:/nonexistent/x}", |path| path.into());
        assert_eq!(offline, Ok(Outcome::Unseen));
    }

    proptest! {
        /// Text without `${` is left alone, and is not hidden.
        #[test]
        fn plain_text_stays(text in "[^$]{0,40}|([^{$]|\\$[^{$]){0,20}") {
            prop_assume!(!text.contains("${"));
            prop_assert_eq!(replace(&text, &[]), Ok(Text { value: text, hidden: false }));
        }

        /// What a variable holds comes through unchanged, whatever it looks like.
        #[test]
        fn values_are_not_read_again(value in ".{0,40}", before in "[a-z]{0,3}") {
            let out = replace(&format!("{before}${{env:V}}"), &[("V", &value)]);
            let expected = Text { value: format!("{before}{value}"), hidden: true };
            prop_assert_eq!(out, Ok(expected));
        }

        /// Escaping every `${` gives back the text, whatever it is.
        #[test]
        fn escaping_is_possible_for_any_text(text in "([${}a:]|env){0,20}") {
            prop_assume!(!text.contains("$${"));
            let escaped = text.replace("${", "$${");
            prop_assert_eq!(replace(&escaped, &[]).map(|out| out.value), Ok(text));
        }

        /// Any text is answered, and no failure tells a value.
        #[test]
        fn failures_keep_values_to_themselves(text in "([${}:-]|env|file|V|/){0,20}") {
            if let Err(failure) = replace(&text, &[("V", "hunter2")]) {
                let told = format!("{failure:?}").contains("hunter2");
                prop_assert!(!told);
            }
        }
    }
}
