//! Text of others' making on the terminal.
//!
//! Owns what takes the place of characters that could drive a terminal or begin a line.

/// The text with a question mark for each control character.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '?' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_drives_no_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}d é"), "a?[31mb?c?d é");
    }
}
