//! How many texts stand behind the JSON of a request.
//!
//! Owns the look at which of the binary tensors are BYTES, before any of them is read.

use super::body::Body;
use super::parameters::BINARY_SIZE;
use crate::protocol::json::{DecodeError, Number, Reader, Token};
use crate::protocol::tensor::Datatype;

impl Body {
    /// The number of texts behind the JSON. What cannot be read has none: whoever reads it complains.
    pub fn texts_behind(&self) -> usize {
        let (mut texts, mut tail) = (0usize, self.tail());
        if tail.remaining() == 0 || self.is_raw() {
            return 0;
        }
        let mut reader = Reader::new(self.head());
        let _unread = reader.object(|reader, key| {
            if key != "inputs" {
                return reader.skip();
            }
            reader.array(|reader| {
                let (is_text, size) = described(reader)?;
                if let Some(data) = size.and_then(|size| tail.take(size))
                    && is_text
                {
                    texts = texts.saturating_add(data.texts());
                }
                Ok(())
            })
        });
        texts
    }
}

/// Whether the tensor that comes next is one of BYTES, and how long its data are behind the JSON.
fn described(reader: &mut Reader<'_>) -> Result<(bool, Option<usize>), DecodeError> {
    let (mut is_text, mut size) = (false, None);
    reader.object(|reader, key| match (key, reader.peek()?) {
        ("datatype", Token::String) => {
            is_text = reader.string()? == Datatype::Bytes.as_str();
            Ok(())
        }
        ("parameters", Token::Object) => reader.object(|reader, key| {
            if key != BINARY_SIZE || reader.peek()? != Token::Number {
                return reader.skip();
            }
            if let Number::Integer(text) = reader.number()? {
                size = text.parse().ok();
            }
            Ok(())
        }),
        _ => reader.skip(),
    })?;
    Ok((is_text, size))
}
