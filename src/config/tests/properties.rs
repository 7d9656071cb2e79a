//! Whatever is in the file, it is answered.

use proptest::prelude::*;

use super::*;

/// Text that is nearly a configuration: pieces of real ones in any order.
fn nearly() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "listen",
        "models",
        "versions",
        "v1",
        "onnx",
        "backends",
        "traffic",
        "routes",
        "pools",
        "log",
        "limits",
        "include",
        "timeouts",
        "sticky",
        "model",
        "path",
        "\"127.0.0.1:80\"",
        "\"http://a:1\"",
        "\"5s\"",
        "\"1%\"",
        "\"${env:SECRET}\"",
        "\"${env:X}\"",
        "\"$${\"",
        "0.5",
        "7",
        "-1",
        "true",
        "1979-05-27",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        " = ",
        ".",
        ",",
        "\n",
        "\n",
        "\n",
        "\"",
        "'",
        "\"\"\"",
        "#",
        "\\",
        "é",
        "\u{1b}",
        "\t",
        "\r\n",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

/// A sound file with a few characters taken out, put in or doubled.
fn damaged() -> impl Strategy<Value = String> {
    let sound = include_str!("../../../config/examples/production.toml");
    let edit =
        (0..sound.len(), prop::sample::select(vec!["", "\"", "[", "]", "=", "\n", "x", "."]));
    prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut text = sound.to_owned();
        for (at, put) in edits {
            let at = text.floor_char_boundary(at.min(text.len().saturating_sub(1)));
            let end =
                at + text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            text.replace_range(at..end, put);
        }
        text
    })
}

fn answered(text: &str) -> Result<(), TestCaseError> {
    let bench = Bench::new();
    bench.write("main.toml", text);
    match bench.load(Checks::Offline) {
        Ok(loaded) => {
            let harmless = |one: &Diagnostic| one.severity == Severity::Warning;
            prop_assert!(loaded.warnings.iter().all(harmless));
        }
        Err(found) => {
            prop_assert!(found.errors() > 0);
            let lines: Vec<&str> = text.split('\n').collect();
            for one in found.iter().filter(|one| one.location.file.ends_with("main.toml")) {
                let line = lines.get(one.location.line - 1);
                prop_assert!(line.is_some(), "line {} of {}", one.location.line, lines.len());
                let width = line.map_or(0, |line| line.chars().count());
                prop_assert!(one.location.column <= width + 1, "{found}");
            }
            let control = found.render_human(false).contains(['\u{1b}', '\t']);
            prop_assert!(!control);
            prop_assert!(!found.render_human(true).contains("hunter2"));
            prop_assert!(
                serde_json::from_str::<Vec<serde_json::Value>>(&found.render_json()).is_ok()
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No text makes loading panic, and every place lies within the file.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        answered(&text)?;
    }

    /// The same for text that gets further.
    #[test]
    fn nearly_a_configuration_is_answered(text in nearly()) {
        answered(&text)?;
    }

    /// The same for a sound file with slips of the finger.
    #[test]
    fn slips_of_the_finger_are_answered(text in damaged()) {
        answered(&text)?;
    }
}
