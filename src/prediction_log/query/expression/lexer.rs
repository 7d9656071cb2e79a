//! From the text of an expression to its words.
//!
//! Owns what a number, a duration, a text and a name look like. Never knows which names exist.

use super::{ExpressionError, Literal};

/// A word and the place of its first character.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub(super) at: usize,
    pub(super) token: Token,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword, as it was written.
    Name(String),
    /// A number, a duration or a text.
    Literal(Literal),
    /// An operator, a parenthesis or a comma.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// The longest expression, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// The signs, longer ones before their beginnings.
const SIGNS: [&str; 11] = ["<=", ">=", "!=", "<>", "==", "=", "<", ">", "(", ")", ","];

pub(super) fn words(text: &str) -> Result<Vec<Word>, ExpressionError> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("an expression has at most {TEXT_BYTES_MAX} bytes");
        return Err(ExpressionError { message, at: 0 });
    }
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut words = Vec::new();
    loop {
        let word = lexer.next()?;
        let is_end = word.token == Token::End;
        words.push(word);
        if is_end {
            return Ok(words);
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Word, ExpressionError> {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        let at = self.at;
        let token = match self.peek(0) {
            None => Token::End,
            Some('\'') => Token::Literal(Literal::Text(self.quoted()?)),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                Token::Name(self.take(|c| c.is_ascii_alphanumeric() || c == '_'))
            }
            Some('-') if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => {
                Token::Literal(self.number()?)
            }
            Some(c) if c.is_ascii_digit() => Token::Literal(self.number()?),
            Some(c) => Token::Sign(self.sign(c)?),
        };
        Ok(Word { at, token })
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&mut self, is: impl Fn(char) -> bool) -> String {
        let rest = &self.chars[self.at..];
        let text: String = rest.iter().copied().take_while(|&c| is(c)).collect();
        self.at += text.chars().count();
        text
    }

    fn sign(&mut self, first: char) -> Result<&'static str, ExpressionError> {
        let found = SIGNS.into_iter().find(|sign| {
            sign.chars().enumerate().all(|(ahead, char)| self.peek(ahead) == Some(char))
        });
        match found {
            Some(sign) => {
                self.at += sign.len();
                Ok(sign)
            }
            None if first == '"' => self.fail(self.at, "a text stands in single quotes"),
            None => self.fail(self.at, &format!("`{first}` has no meaning here")),
        }
    }

    fn quoted(&mut self) -> Result<String, ExpressionError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('\''), Some('\'')) => {
                    text.push('\'');
                    self.at += 2;
                }
                (Some('\''), _) => {
                    self.at += 1;
                    return Ok(text);
                }
                (Some(char), _) => {
                    text.push(char);
                    self.at += 1;
                }
                (None, _) => return self.fail(start, "the closing quote is missing"),
            }
        }
    }

    /// A number, or a duration when a unit follows.
    fn number(&mut self) -> Result<Literal, ExpressionError> {
        let start = self.at;
        let mut digits = String::new();
        if self.peek(0) == Some('-') {
            digits.push('-');
            self.at += 1;
        }
        digits.push_str(&self.take(|c| c.is_ascii_digit()));
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            digits.push('.');
            digits.push_str(&self.take(|c| c.is_ascii_digit()));
        }
        if self.peek(0).is_some_and(|c| matches!(c, 'e' | 'E')) {
            let signed = usize::from(self.peek(1).is_some_and(|c| matches!(c, '+' | '-')));
            if self.peek(1 + signed).is_some_and(|c| c.is_ascii_digit()) {
                digits.extend(self.chars[self.at..=self.at + signed].iter());
                self.at += 1 + signed;
                digits.push_str(&self.take(|c| c.is_ascii_digit()));
            }
        }
        let unit_at = self.at;
        let unit = self.take(|c| c.is_alphabetic());
        if !unit.is_empty() {
            return match duration_ns(&digits, &unit) {
                Some(ns) => Ok(Literal::Duration(ns)),
                None => self.fail(unit_at, "a duration is a number with `us`, `ms` or `s`: `10ms`"),
            };
        }
        let whole = digits.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let number = if whole {
            digits.parse().ok().map(Literal::Int)
        } else {
            digits.parse().ok().filter(|number: &f64| number.is_finite()).map(Literal::Float)
        };
        number.map_or_else(|| self.fail(start, "the number is too large"), Ok)
    }

    fn fail<T>(&self, at: usize, message: &str) -> Result<T, ExpressionError> {
        Err(ExpressionError { message: message.to_owned(), at })
    }
}

/// Nanoseconds, exactly; `None` for an unknown unit, and for what a nanosecond cannot count.
fn duration_ns(digits: &str, unit: &str) -> Option<u64> {
    // Digits after the point that still count.
    let places = match unit {
        "us" | "µs" | "μs" => 3,
        "ms" => 6,
        "s" => 9,
        _ => return None,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > places {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<places$}").parse().ok()?;
    whole.checked_mul(10_u64.pow(places as u32))?.checked_add(part)
}
