//! As much of a peer's text as a message shows.
//!
//! Owns the one bound: a name is as long as whoever sends it likes, and messages go into answers, records and logs.

/// The most characters of a text that are shown.
const CHARS_MAX: usize = 64;

/// The beginning of `text`, with an ellipsis where there is more of it.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters_and_short_ones_stay() {
        for kept in [String::new(), "ä".repeat(CHARS_MAX)] {
            assert_eq!(shortened(&kept), kept);
        }
        assert_eq!(shortened(&"ä".repeat(CHARS_MAX + 1)), format!("{}…", "ä".repeat(CHARS_MAX)));
    }
}
