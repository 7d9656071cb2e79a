//! Named values beside tensors, as clients and servers tell each other how to read or make them.
//!
//! Owns what a parameter can be. Never knows which there are, or what one means.

use std::borrow::Cow;

/// Named values beside the tensors, in the order of the body.
pub type Parameters<'a> = Vec<(Cow<'a, str>, Parameter<'a>)>;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter<'a> {
    /// A string.
    String(Cow<'a, str>),
    /// An integer that fits into 64 bits.
    Integer(i64),
    /// An integer beyond [`i64::MAX`] that fits into 64 bits without a sign.
    Unsigned(u64),
    /// Any other number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
}

impl Parameter<'_> {
    /// The same without the body that it was read from.
    pub fn into_owned(self) -> Parameter<'static> {
        match self {
            Self::String(text) => Parameter::String(Cow::Owned(text.into_owned())),
            Self::Integer(value) => Parameter::Integer(value),
            Self::Unsigned(value) => Parameter::Unsigned(value),
            Self::Number(value) => Parameter::Number(value),
            Self::Boolean(value) => Parameter::Boolean(value),
        }
    }
}

/// The value of the parameter `name`, the first if it stands more than once.
pub fn parameter<'p, 'a>(
    parameters: &'p [(Cow<'a, str>, Parameter<'a>)],
    name: &str,
) -> Option<&'p Parameter<'a>> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}
