//! Names and numbers that identify things, each with a type of its own so that two of them cannot be
//! mixed up.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares a cheap-to-clone name type over `Arc<str>`.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name; [`is_valid_name`] is checked where names enter (the configuration).
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                if is_valid_name(&text) {
                    Ok(Self::new(text))
                } else {
                    Err(D::Error::custom(format_args!("{text:?} is not a name")))
                }
            }
        }
    };
}

name_type!(
    /// A prediction contract that clients call, such as `fraud`.
    ModelName
);
name_type!(
    /// One release of a model, such as `v7`.
    VersionName
);
name_type!(
    /// The name of a routing rule in the configuration.
    RouteName
);
name_type!(
    /// The name of a set of interchangeable backends in the configuration.
    PoolName
);
name_type!(
    /// What a version is, by its content: the sha256 of its artifact in hexadecimal digits, or the
    /// identity that its backends declare.
    Digest
);
name_type!(
    /// The name of a place to which the prediction log is delivered.
    SinkName
);
name_type!(
    /// The name of a source of discovery.
    SourceName
);

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether `name` may name a model, version, route or pool: 1 to [`NAME_BYTES_MAX`] bytes, ASCII
/// letters, digits, `-`, `_` and `.`, not starting with a dot (names become path segments, labels
/// and directory names).
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

/// The number of a published snapshot; each publication adds one, within one run of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// A share in thousandths, 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Permille(u16);

impl Permille {
    /// Everything.
    pub const ALL: Self = Self(1000);
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// `None` above 1000.
    pub fn new(thousandths: u16) -> Option<Self> {
        (thousandths <= 1000).then_some(Self(thousandths))
    }

    /// So many thousandths, at most all.
    pub const fn saturating(thousandths: u16) -> Self {
        Self(if thousandths > 1000 { 1000 } else { thousandths })
    }

    /// The share in thousandths.
    pub fn thousandths(self) -> u16 {
        self.0
    }
}

impl From<Permille> for u16 {
    fn from(share: Permille) -> Self {
        share.0
    }
}

impl TryFrom<u16> for Permille {
    type Error = String;

    fn try_from(thousandths: u16) -> Result<Self, String> {
        Self::new(thousandths).ok_or_else(|| format!("{thousandths} is more than 1000 thousandths"))
    }
}

/// The randomness that a decision may use, drawn outside and kept in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entropy(pub u64);

/// The id of a prediction record: a UUIDv7 (RFC 9562 section 5.7), so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId([u8; 16]);

impl RecordId {
    /// The length of the textual form.
    pub const TEXT_LEN: usize = 36;

    /// Builds a version 7 UUID from a Unix time in milliseconds and 74 bits out of `random`.
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(*uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).as_uuid().as_bytes())
    }

    /// Reads back an id that was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses the hyphenated textual form, `None` for anything that is not a UUID.
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|uuid| Self(*uuid.as_bytes()))
    }

    /// The 16 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The time in the id, in milliseconds since the Unix epoch.
    pub fn unix_ms(&self) -> u64 {
        self.0[..6].iter().fold(0, |ms, &byte| ms << 8 | u64::from(byte))
    }

    /// Writes the hyphenated lower-case form into `buffer` and returns it as text.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; Self::TEXT_LEN]) -> &'a str {
        uuid::Uuid::from_bytes(self.0).hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::TEXT_LEN]))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_ids_carry_their_time_and_survive_the_text_form() {
        let id = RecordId::from_parts(1_700_000_000_123, [0xff; 10]);
        assert_eq!(id.unix_ms(), 1_700_000_000_123);
        let text = id.to_string();
        assert_eq!(text.as_bytes()[14], b'7', "version nibble in {text}");
        assert_eq!(RecordId::parse(&text), Some(id));
        assert_eq!(RecordId::parse("not-a-uuid"), None);
    }

    #[test]
    fn names_that_could_leave_their_folder_or_label_are_refused() {
        for good in ["iris", "v1", "2024-01-31", "a_b.c"] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "é", "a\0", &"x".repeat(129)] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
    }
}
