//! Lists of prediction servers, as a file and a catalogue have them: JSON or TOML.
//!
//! Owns their format: a JSON array of objects, or `[[backends]]` tables. An entry that is wrong is left out
//! and makes the answer one that is not whole. Never reads a file or asks anybody.

use serde::Deserialize;

use crate::config::{backend_address, provenance};
use crate::domain::dialect::Dialect;
use crate::domain::discovery::{Answer, Endpoint, Listing, Release};
use crate::domain::ids::{ModelName, VersionName, is_valid_name};
use crate::domain::spec::{BackendAddress, DiscoverySpec};

/// The largest list.
pub(super) const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Toml,
}

#[derive(Debug, Deserialize)]
struct Document {
    backends: Vec<Entry>,
}

/// One server. Other fields are not looked at: a catalogue may have its own.
#[derive(Debug, Deserialize)]
struct Entry {
    address: String,
    model: Option<String>,
    version: Option<String>,
    dialect: Option<String>,
    publisher: Option<String>,
    trained_at: Option<String>,
}

/// Reads a list; what it does not say of model and version, `spec` may.
pub(super) fn read(text: &[u8], format: Format, spec: &DiscoverySpec) -> Answer {
    let entries = match format {
        Format::Json => serde_json::from_slice::<Vec<Entry>>(text).map_err(|e| e.to_string()),
        Format::Toml => std::str::from_utf8(text)
            .map_err(|e| e.to_string())
            .and_then(|text| toml::from_str::<Document>(text).map_err(|e| e.message().to_owned()))
            .map(|document| document.backends),
    };
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => return Answer::Failed(format!("the list cannot be read: {error}")),
    };
    let mut listing = Listing::default();
    let mut wrong = None;
    for (at, entry) in entries.into_iter().enumerate() {
        match backend(entry, spec) {
            Ok((address, endpoint)) => listing.backend(address, endpoint),
            Err(why) => drop(wrong.get_or_insert_with(|| format!("entry {}: {why}", at + 1))),
        }
    }
    match wrong {
        None => Answer::Whole(listing),
        Some(why) => Answer::Part(listing, why),
    }
}

fn backend(entry: Entry, spec: &DiscoverySpec) -> Result<(BackendAddress, Endpoint), String> {
    let address = backend_address(&entry.address)?;
    let serves = serves(entry.model.as_deref(), entry.version.as_deref(), spec)?;
    let dialect = match entry.dialect {
        None => None,
        Some(word) => {
            let known = Dialect::parse(&word);
            Some(known.ok_or_else(|| format!("no dialect is called `{}`", word.escape_debug()))?)
        }
    };
    let said = provenance(entry.publisher.as_deref(), entry.trained_at.as_deref())?;
    let provenance = serves.iter().filter(|_| !said.is_unknown());
    let provenance = provenance.map(|release| (release.clone(), said.clone())).collect();
    Ok((address, Endpoint { serves: serves.into_iter().collect(), dialect, provenance }))
}

/// What a server is said to serve: both names, from the entry or from the source.
pub(super) fn serves(
    model: Option<&str>,
    version: Option<&str>,
    spec: &DiscoverySpec,
) -> Result<Option<Release>, String> {
    if let Some(bad) = [model, version].into_iter().flatten().find(|name| !is_valid_name(name)) {
        return Err(format!("`{}` is no name", bad.escape_debug()));
    }
    let model = model.map(ModelName::new).or_else(|| spec.model.clone());
    let version = version.map(VersionName::new).or_else(|| spec.version.clone());
    Ok(model.zip(version))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::spec::DiscoveryPlace;

    fn spec(model: Option<&str>, version: Option<&str>) -> DiscoverySpec {
        DiscoverySpec {
            place: DiscoveryPlace::File("x".into()),
            model: model.map(ModelName::new),
            version: version.map(VersionName::new),
            ask: false,
            interval: Duration::ZERO,
            shrink_after: Duration::ZERO,
        }
    }

    fn shown(listing: &Listing) -> Vec<String> {
        let one = |(address, endpoint): (&BackendAddress, &Endpoint)| {
            let serves = endpoint.serves.iter().map(|(m, v)| format!(" {m}/{v}"));
            let dialect = endpoint.dialect.map_or("", |dialect| dialect.as_str());
            let said = endpoint.provenance.values();
            let said: String = said.filter_map(|it| it.publisher.as_deref()).collect();
            format!("{}{} {dialect}{said}", address.authority(), serves.collect::<String>())
        };
        listing.backends().map(one).collect()
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let json = br#"[{"address": "http://a:1", "model": "m", "version": "v", "zone": 3},
                        {"address": "http://b:2", "version": "w", "dialect": "kserve_v1"},
                        {"address": "http://c:3", "version": "x", "publisher": "nightly",
                         "trained_at": "2026-11-26T20:00:00Z"}]"#;
        let toml = br#"
            [[backends]]
            address = "http://a:1"
            model = "m"
            version = "v"
            [[backends]]
            address = "http://b:2"
            version = "w"
            dialect = "kserve_v1"
            [[backends]]
            address = "http://c:3"
            version = "x"
            publisher = "nightly"
            trained_at = "2026-11-26T20:00:00Z"
        "#;
        let spec = spec(Some("fraud"), None);
        let read = |text: &[u8], format| match read(text, format, &spec) {
            Answer::Whole(listing) => shown(&listing),
            other => panic!("{other:?}"),
        };
        let expected = ["a:1 m/v ", "b:2 fraud/w kserve_v1", "c:3 fraud/x nightly"];
        assert_eq!(read(json, Format::Json), expected);
        assert_eq!(read(toml, Format::Toml), expected);
        assert!(read(b"[]", Format::Json).is_empty());
    }

    #[test]
    fn a_wrong_entry_makes_a_part_and_a_wrong_text_nothing() {
        for (text, clue) in [
            (r#"[{"address": "http://a:1"}, {"address": "b:2"}]"#, "entry 2: the address"),
            (r#"[{"address": "https://b"}, {"address": "http://a:1"}]"#, "entry 1: the address"),
            (
                r#"[{"address": "http://a:1"}, {"address": "http://b:2", "model": "a/b"}]"#,
                "`a/b` is no name",
            ),
            (
                r#"[{"address": "http://a:1"}, {"address": "http://b:2", "dialect": "x"}]"#,
                "no dialect",
            ),
            (
                r#"[{"address": "http://a:1"}, {"address": "http://b:2", "trained_at": "today"}]"#,
                "`trained_at` must be a moment",
            ),
        ] {
            match read(text.as_bytes(), Format::Json, &spec(None, None)) {
                Answer::Part(listing, why) => {
                    assert_eq!(shown(&listing), ["a:1 "]);
                    assert!(why.contains(clue), "{why}");
                }
                other => panic!("{other:?}"),
            }
        }
        for bad in ["", "[{\"address\": \"http://a:1\"", "{}", "[1]", "null", "\u{feff}[]"] {
            let read = read(bad.as_bytes(), Format::Json, &spec(None, None));
            assert!(matches!(read, Answer::Failed(_)), "{bad}: {read:?}");
        }
        assert!(matches!(read(b"x = 1", Format::Toml, &spec(None, None)), Answer::Failed(_)));
        assert!(matches!(read(&[0xff], Format::Toml, &spec(None, None)), Answer::Failed(_)));
    }
}
