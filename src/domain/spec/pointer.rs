//! JSON Pointers (RFC 6901), with `*` for every member of an object or an array, and what they are for
//! in bodies that the gateway does not know otherwise.

use std::fmt;

/// The most steps of a pointer.
const STEPS_MAX: usize = 64;

/// A path to values in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonPointer(Vec<Step>);

/// One step of a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The member of this name, or the element of this index.
    Name(String),
    /// Every member or element.
    Any,
}

impl Step {
    /// Whether the member `name` is meant.
    pub fn takes_name(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Any => true,
        }
    }

    /// Whether the element at `index` is meant. As in RFC 6901, `01` is no index.
    pub fn takes_index(&self, index: usize) -> bool {
        match self {
            Self::Name(own) => {
                let plain = own == "0" || !own.starts_with('0');
                plain && own.bytes().all(|b| b.is_ascii_digit()) && own.parse() == Ok(index)
            }
            Self::Any => true,
        }
    }
}

/// Why a text is no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not start with a slash.
    #[error("a JSON pointer starts with `/`")]
    Slash,
    /// A tilde stands alone.
    #[error("in a JSON pointer `~` is written `~0`, and `/` in a name is written `~1`")]
    Tilde,
    /// It is too long.
    #[error("a JSON pointer has at most {STEPS_MAX} steps")]
    Long,
}

impl JsonPointer {
    /// Reads `/inputs/*/data/0`. A name that is a star is written `~2`, which RFC 6901 leaves free.
    ///
    /// # Errors
    /// [`PointerError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let steps = text.strip_prefix('/').ok_or(PointerError::Slash)?;
        let steps: Vec<_> = steps.split('/').map(step).collect::<Result<_, _>>()?;
        if steps.len() > STEPS_MAX {
            return Err(PointerError::Long);
        }
        Ok(Self(steps))
    }

    /// The steps; at least one.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

fn step(text: &str) -> Result<Step, PointerError> {
    if text == "*" {
        return Ok(Step::Any);
    }
    let mut name = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        name.push(match (char, char == '~') {
            (plain, false) => plain,
            (_, true) => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some('2') => '*',
                _ => return Err(PointerError::Tilde),
            },
        });
    }
    Ok(Step::Name(name))
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                Step::Any => f.write_str("/*")?,
                Step::Name(name) if name == "*" => f.write_str("/~2")?,
                Step::Name(name) => write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?,
            }
        }
        Ok(())
    }
}

/// Where a raw body has what the gateway must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extractors {
    /// The rows of a request: an array of them, or one row for each value that the pointer finds.
    pub rows: Option<JsonPointer>,
    /// The prediction in a response.
    pub prediction: Option<JsonPointer>,
    /// The label in a response.
    pub label: Option<JsonPointer>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_read_and_print_the_same() {
        for text in ["/", "/a", "/a/0/b", "/a~1b/~0", "/*/x", "/~2", "/inputs/*/data/*"] {
            assert_eq!(JsonPointer::parse(text).map(|p| p.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(JsonPointer::parse("a"), Err(PointerError::Slash));
        assert_eq!(JsonPointer::parse("/~"), Err(PointerError::Tilde));
        assert_eq!(JsonPointer::parse("/~3"), Err(PointerError::Tilde));
        assert_eq!(JsonPointer::parse(&"/a".repeat(65)), Err(PointerError::Long));
    }

    #[test]
    fn steps_take_names_and_plain_indexes() {
        let step = |text: &str| Step::Name(text.to_owned());
        assert!(step("10").takes_index(10) && step("0").takes_index(0));
        assert!(!step("010").takes_index(10) && !step("+1").takes_index(1));
        assert!(Step::Any.takes_index(3) && Step::Any.takes_name("x"));
    }
}
