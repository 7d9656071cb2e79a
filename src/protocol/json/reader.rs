//! The pull reader.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::decimal::{self, Decimal};
use super::{DecodeError, DecodeErrorKind};

/// The deepest nesting that is read.
pub const DEPTH_MAX: u32 = 64;

/// The kind of the value that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number, or one of the tokens for NaN and the infinities.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Token {
    /// The kind in an error message.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number<'a> {
    /// Digits with an optional minus sign.
    Integer(&'a str),
    /// A number with a fraction or an exponent.
    Fraction(&'a str),
    /// `NaN`.
    Nan,
    /// `Infinity`.
    Infinity,
    /// `-Infinity`.
    NegativeInfinity,
}

/// Reads one JSON document front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    lenient: bool,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, lenient: false }
    }

    /// The same for an answer: whoever wrote it cannot be told what to write instead.
    pub fn lenient(bytes: &'a [u8]) -> Self {
        Self { lenient: true, ..Self::new(bytes) }
    }

    /// Whether what can only mean one thing counts, although it should be written otherwise.
    pub fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// The position in bytes.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes from `start` up to the position.
    pub fn read_since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The kind of the next value.
    ///
    /// # Errors
    /// When no value starts here.
    pub fn peek(&mut self) -> Result<Token, DecodeError> {
        match self.next_byte("a value")? {
            b'"' => Ok(Token::String),
            b'{' => Ok(Token::Object),
            b'[' => Ok(Token::Array),
            b't' | b'f' => Ok(Token::Boolean),
            b'n' => Ok(Token::Null),
            b'-' | b'0'..=b'9' | b'N' | b'I' => Ok(Token::Number),
            found => Err(self.unexpected(found, "a value")),
        }
    }

    /// Reads an object and hands each key to `member`, which must read the value. The key is added to
    /// the pointer of an error in the value.
    ///
    /// # Errors
    /// When it is not an object, or what `member` returns.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect_token(Token::Object, "an object")?;
        self.open()?;
        let mut first = true;
        while let Some(key) = self.next_key(first)? {
            first = false;
            member(self, &key).map_err(|e| e.in_key(&key))?;
        }
        Ok(())
    }

    /// Reads an array and hands each index to `element`, which must read the value. The index is
    /// added to the pointer of an error in the value.
    ///
    /// # Errors
    /// When it is not an array, or what `element` returns.
    pub fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect_token(Token::Array, "an array")?;
        self.open()?;
        let mut index = 0;
        while self.next_element(index == 0).map_err(|e| e.in_index(index))? {
            element(self).map_err(|e| e.in_index(index))?;
            index += 1;
        }
        Ok(())
    }

    /// Reads an array of values or of arrays, to any depth, and calls `element` for each value that
    /// is not an array, in order.
    ///
    /// # Errors
    /// When it is not an array or nested too deep, or what `element` returns.
    pub fn flattened(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.flattened_into(&mut Vec::new(), |_reader, _none| 0, element)
    }

    /// Reads an array of values or of arrays, to any depth, into `out`. Before each value that is not an
    /// array, `many` may read any number of values with the comma behind each, and says how many it did;
    /// `element` reads the others.
    ///
    /// # Errors
    /// When it is not an array or nested too deep, or what `element` returns.
    pub(super) fn flattened_into<T>(
        &mut self,
        out: &mut Vec<T>,
        mut many: impl FnMut(&mut Self, &mut Vec<T>) -> usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect_token(Token::Array, "an array")?;
        self.open()?;
        let mut indices: SmallVec<[usize; 8]> = smallvec![0];
        let locate = |error: DecodeError, indices: &[usize]| {
            indices.iter().rev().fold(error, |error, &index| error.in_index(index))
        };
        while let Some(index) = indices.last_mut() {
            let first = *index == 0;
            if !self.next_element(first).map_err(|e| locate(e, &indices))? {
                indices.pop();
                if let Some(outer) = indices.last_mut() {
                    *outer += 1;
                }
                continue;
            }
            if let Some(index) = indices.last_mut() {
                *index += many(self, out);
            }
            if self.peek_is(b'[') {
                self.open().map_err(|e| locate(e, &indices))?;
                indices.push(0);
            } else {
                out.push(element(self).map_err(|e| locate(e, &indices))?);
                if let Some(index) = indices.last_mut() {
                    *index += 1;
                }
            }
        }
        Ok(())
    }

    /// Reads the number that comes next, if it is valid and short and `convert` takes it.
    #[inline]
    pub(super) fn quick_number<T>(
        &mut self,
        convert: &impl Fn(Decimal<'_>) -> Option<T>,
    ) -> Option<T> {
        self.skip_space();
        let decimal = decimal::scan(self.bytes.get(self.at..)?)?;
        let value = convert(decimal)?;
        self.at += decimal.text.len();
        Some(value)
    }

    /// Reads numbers and the comma behind each into `out` for as long as [`Self::quick_number`] takes
    /// them, and says how many it read.
    pub(super) fn quick_numbers<T>(
        &mut self,
        out: &mut Vec<T>,
        convert: &impl Fn(Decimal<'_>) -> Option<T>,
    ) -> usize {
        let before = out.len();
        loop {
            let start = self.at;
            match self.quick_number(convert) {
                Some(value) if self.peek_is(b',') => {
                    self.at += 1;
                    out.push(value);
                }
                _ => {
                    self.at = start;
                    return out.len() - before;
                }
            }
        }
    }

    /// Reads a string; borrowed unless it has escapes.
    ///
    /// # Errors
    /// When it is not a valid string.
    pub fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.expect_token(Token::String, "a string")?;
        let start = self.at + 1;
        self.at = start;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.ends("the end of a string")),
                Some(b'"') => break,
                Some(b'\\') => return self.string_with_escapes(start).map(Cow::Owned),
                Some(0..=0x1f) => {
                    return Err(self.bad_string("a control character must be escaped"));
                }
                Some(_) => self.at += 1,
            }
        }
        let text = self.utf8(start)?;
        self.at += 1;
        Ok(Cow::Borrowed(text))
    }

    /// Reads a number without converting it.
    ///
    /// # Errors
    /// When it is not a valid number.
    pub fn number(&mut self) -> Result<Number<'a>, DecodeError> {
        self.expect_token(Token::Number, "a number")?;
        let start = self.at;
        let negative = self.eat(b'-');
        match self.bytes.get(self.at) {
            Some(b'I') => {
                self.literal("Infinity")?;
                return Ok(if negative { Number::NegativeInfinity } else { Number::Infinity });
            }
            Some(b'N') if !negative => return self.literal("NaN").map(|()| Number::Nan),
            Some(b'0') => {
                self.at += 1;
                if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                    return Err(self.bad_number("a leading zero"));
                }
            }
            _ => self.digits()?,
        }
        let mut integer = true;
        if self.eat(b'.') {
            integer = false;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            integer = false;
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let text = self.utf8(start)?;
        Ok(if integer { Number::Integer(text) } else { Number::Fraction(text) })
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        self.expect_token(Token::Boolean, "a boolean")?;
        if self.bytes.get(self.at) == Some(&b't') {
            self.literal("true").map(|()| true)
        } else {
            self.literal("false").map(|()| false)
        }
    }

    /// Reads `null` if it comes next, and says whether it did.
    ///
    /// # Errors
    /// When a word other than `null` starts with its first letter, or the document ends.
    pub fn null(&mut self) -> Result<bool, DecodeError> {
        if self.peek()? == Token::Null { self.literal("null").map(|()| true) } else { Ok(false) }
    }

    /// Reads any value, checks its syntax and forgets it.
    ///
    /// # Errors
    /// When it is not valid JSON.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let floor = self.depth;
        // One bit a level, set for objects; `DEPTH_MAX` levels fit into it.
        let mut objects: u64 = 0;
        let mut first;
        loop {
            match self.peek()? {
                token @ (Token::Array | Token::Object) => {
                    self.open()?;
                    objects = objects << 1 | u64::from(token == Token::Object);
                    first = true;
                }
                Token::String => first = self.string().map(|_| false)?,
                Token::Number => first = self.number().map(|_| false)?,
                Token::Boolean => first = self.boolean().map(|_| false)?,
                Token::Null => first = self.literal("null").map(|()| false)?,
            }
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                let more = if objects & 1 == 1 {
                    self.next_key(first)?.is_some()
                } else {
                    self.next_element(first)?
                };
                if more {
                    break;
                }
                objects >>= 1;
                first = false;
            }
        }
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&mut self) -> Result<(), DecodeError> {
        self.skip_space();
        match self.bytes.get(self.at) {
            None => Ok(()),
            Some(&byte) => Err(DecodeError::new(self.at, DecodeErrorKind::TrailingByte(byte))),
        }
    }

    /// Steps into the array or object whose first byte is next.
    fn open(&mut self) -> Result<(), DecodeError> {
        if self.depth == DEPTH_MAX {
            return Err(DecodeError::new(self.at, DecodeErrorKind::TooDeep { limit: DEPTH_MAX }));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether an array has another element; steps out of it when not.
    fn next_element(&mut self, first: bool) -> Result<bool, DecodeError> {
        match self.next_byte("',' or ']'")? {
            b']' => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ if first => Ok(true),
            b',' => {
                self.at += 1;
                Ok(true)
            }
            found => Err(self.unexpected(found, "',' or ']'")),
        }
    }

    /// The next key of an object, its colon read as well; steps out of the object at its end.
    fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        match self.next_byte("',' or '}'")? {
            b'}' => {
                self.at += 1;
                self.depth -= 1;
                return Ok(None);
            }
            _ if first => {}
            b',' => self.at += 1,
            found => return Err(self.unexpected(found, "',' or '}'")),
        }
        match self.next_byte("a key")? {
            b'"' => {}
            found => return Err(self.unexpected(found, "a key")),
        }
        let key = self.string()?;
        match self.next_byte("':'")? {
            b':' => self.at += 1,
            found => return Err(self.unexpected(found, "':'")),
        }
        Ok(Some(key))
    }

    /// The rest of a string from its first backslash on, see RFC 8259 section 7.
    fn string_with_escapes(&mut self, start: usize) -> Result<String, DecodeError> {
        let mut text = self.utf8(start)?.to_owned();
        loop {
            let plain = self.at;
            while self.bytes.get(self.at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            text.push_str(self.utf8(plain)?);
            match self.bytes.get(self.at) {
                None => return Err(self.ends("the end of a string")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                Some(_) => return Err(self.bad_string("a control character must be escaped")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        let Some(&byte) = self.bytes.get(self.at) else { return Err(self.ends("an escape")) };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.bad_string("an unknown escape")),
        })
    }

    /// The character of `\uXXXX`, or of two of them that form a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, DecodeError> {
        let high = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&high) && self.eat(b'\\') && self.eat(b'u') {
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.bad_string("a lone surrogate"));
            }
            0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(code).ok_or_else(|| self.bad_string("a lone surrogate"))
    }

    fn hex4(&mut self) -> Result<u32, DecodeError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|&b| char::from(b).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.bad_string("four hex digits expected"));
            };
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// The bytes from `start` to here as text.
    fn utf8(&self, start: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.read_since(start)).map_err(|error| {
            let offset = start + error.valid_up_to();
            DecodeError::new(offset, DecodeErrorKind::InvalidString("not UTF-8"))
        })
    }

    fn digits(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.bad_number("a digit is missing")) } else { Ok(()) }
    }

    /// Reads `word`; an error points at the first byte that differs.
    fn literal(&mut self, word: &'static str) -> Result<(), DecodeError> {
        for expected in word.bytes() {
            match self.bytes.get(self.at) {
                Some(&found) if found == expected => self.at += 1,
                Some(&found) => return Err(self.unexpected(found, word)),
                None => return Err(self.ends(word)),
            }
        }
        Ok(())
    }

    fn expect_token(&mut self, token: Token, expected: &'static str) -> Result<(), DecodeError> {
        let found = self.peek()?;
        if found == token {
            return Ok(());
        }
        let kind = DecodeErrorKind::WrongType { expected, found: found.name() };
        Err(DecodeError::new(self.at, kind))
    }

    fn peek_is(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.bytes.get(self.at) == Some(&byte)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn next_byte(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        self.skip_space();
        self.bytes.get(self.at).copied().ok_or_else(|| self.ends(expected))
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    #[cold]
    fn ends(&self, expected: &'static str) -> DecodeError {
        DecodeError::new(self.at, DecodeErrorKind::UnexpectedEnd { expected })
    }

    #[cold]
    fn unexpected(&self, found: u8, expected: &'static str) -> DecodeError {
        DecodeError::new(self.at, DecodeErrorKind::UnexpectedByte { found, expected })
    }

    #[cold]
    fn bad_string(&self, why: &'static str) -> DecodeError {
        DecodeError::new(self.at, DecodeErrorKind::InvalidString(why))
    }

    #[cold]
    fn bad_number(&self, why: &'static str) -> DecodeError {
        DecodeError::new(self.at, DecodeErrorKind::InvalidNumber(why))
    }
}
