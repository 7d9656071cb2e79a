//! Finding one text or number in a JSON body.

use crate::domain::spec::{JsonPointer, Step};
use crate::protocol::json::{DecodeError, Number, Reader, Token};

/// The first text or number in `body` that `pointer` names, if it is not empty and not longer than
/// `limit` bytes: a key that was cut would be another key. `None` too when the body is not one whole
/// JSON document.
pub(in crate::proxy) fn find(body: &[u8], pointer: &JsonPointer, limit: usize) -> Option<String> {
    let mut reader = Reader::new(body);
    let mut found = None;
    walk(&mut reader, pointer.steps(), &mut found).and_then(|()| reader.end()).ok()?;
    found.filter(|text| !text.is_empty() && text.len() <= limit)
}

fn walk(
    reader: &mut Reader<'_>,
    steps: &[Step],
    found: &mut Option<String>,
) -> Result<(), DecodeError> {
    let token = reader.peek()?;
    let Some((step, rest)) = steps.split_first() else {
        match token {
            Token::String => *found = Some(reader.string()?.into_owned()),
            Token::Number => match reader.number()? {
                Number::Integer(text) | Number::Fraction(text) => *found = Some(text.to_owned()),
                Number::Nan | Number::Infinity | Number::NegativeInfinity => {}
            },
            Token::Null | Token::Boolean | Token::Array | Token::Object => reader.skip()?,
        }
        return Ok(());
    };
    match token {
        Token::Object => reader.object(|reader, name| {
            if found.is_none() && step.takes_name(name) {
                walk(reader, rest, found)
            } else {
                reader.skip()
            }
        }),
        Token::Array => {
            let mut index = 0;
            reader.array(|reader| {
                let meant = found.is_none() && step.takes_index(index);
                index += 1;
                if meant { walk(reader, rest, found) } else { reader.skip() }
            })
        }
        Token::Null | Token::Boolean | Token::Number | Token::String => reader.skip(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_found_as_they_were_written() {
        let text_at = |pointer: &str, body: &str| {
            find(body.as_bytes(), &JsonPointer::parse(pointer).unwrap(), 8)
        };
        let body = r#"{"id": "a\u0062c", "n": [1, 2.50, null], "long": "123456789", "o": {"":7}}"#;
        assert_eq!(text_at("/id", body).as_deref(), Some("abc"));
        assert_eq!(text_at("/n/1", body).as_deref(), Some("2.50"));
        assert_eq!(text_at("/*/1", body).as_deref(), Some("2.50"));
        assert_eq!(text_at("/o/", body).as_deref(), Some("7"));
        for (pointer, body) in
            [("/n/2", body), ("/n", body), ("/long", body), ("/x", body), ("/id", r#"{"id":"x""#)]
        {
            assert_eq!(text_at(pointer, body), None, "{pointer}");
        }
    }
}
