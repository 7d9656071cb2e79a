//! From words to a checked expression.
//!
//! Owns the grammar and the types: what is built here can be evaluated without an error.

use super::lexer::{Token, Word, words};
use super::{Comparison, Expr, ExpressionError, Literal, Operand};
use crate::prediction_log::query::column::{Column, Type};
use crate::prediction_log::query::text::parse_timestamp;

/// How deep parentheses and negations may stand in each other.
const DEPTH_MAX: usize = 64;
/// Words that are no columns.
const KEYWORDS: [&str; 9] = ["and", "or", "not", "in", "like", "is", "null", "true", "false"];

pub(super) fn parse(text: &str) -> Result<Expr, ExpressionError> {
    let mut parser = Parser { words: words(text)?, at: 0, depth: 0 };
    let whole = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(whole),
        _ => parser.fail("expected `and`, `or` or the end"),
    }
}

struct Parser {
    /// Ends with [`Token::End`], which is never passed.
    words: Vec<Word>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn expression(&mut self) -> Result<Expr, ExpressionError> {
        let mut parts = vec![self.conjunction()?];
        while self.keyword("or") {
            parts.push(self.conjunction()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }

    fn conjunction(&mut self) -> Result<Expr, ExpressionError> {
        let mut parts = vec![self.negation()?];
        while self.keyword("and") {
            parts.push(self.negation()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) })
    }

    fn negation(&mut self) -> Result<Expr, ExpressionError> {
        if !self.keyword("not") {
            return self.predicate();
        }
        self.deeper(|parser| Ok(Expr::Not(Box::new(parser.negation()?))))
    }

    fn deeper(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<Expr, ExpressionError>,
    ) -> Result<Expr, ExpressionError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail("too many parentheses and negations in each other");
        }
        let inner = inner(self)?;
        self.depth -= 1;
        Ok(inner)
    }

    fn predicate(&mut self) -> Result<Expr, ExpressionError> {
        if self.sign("(") {
            return self.deeper(|parser| {
                let inner = parser.expression()?;
                if parser.sign(")") { Ok(inner) } else { parser.fail("expected `)`") }
            });
        }
        let at = self.place();
        let operand = self.operand()?;
        if let Some(comparison) = self.comparison() {
            return self.compare(at, operand, comparison);
        }
        if self.keyword("is") {
            let negated = self.keyword("not");
            return match self.keyword("null") {
                true => Ok(Expr::IsNull(operand, negated)),
                false => self.fail("expected `null`"),
            };
        }
        let negated = self.keyword("not");
        if self.keyword("in") {
            return Ok(Expr::In(operand.clone(), self.list(&operand)?, negated));
        }
        if self.keyword("like") {
            return self.like(at, operand, negated);
        }
        if negated {
            return self.fail("expected `in` or `like`");
        }
        match operand.kind() {
            None | Some(Type::Bool) => Ok(Expr::Bare(operand)),
            Some(kind) => {
                let what = kind.as_str();
                self.fail(&format!("expected a comparison: `{operand}` is {what}"))
            }
        }
    }

    fn compare(
        &mut self,
        at: usize,
        left: Operand,
        comparison: Comparison,
    ) -> Result<Expr, ExpressionError> {
        let right_at = self.place();
        let right = self.operand()?;
        // A literal takes the type of the other side.
        let (left, right) = match left {
            Operand::Literal(_) => (fitted(left, right.kind(), at)?, right),
            Operand::Column(_) => {
                let right = fitted(right, left.kind(), right_at)?;
                (left, right)
            }
        };
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if ordered && [&left, &right].iter().any(|side| side.kind() == Some(Type::Bool)) {
            let message = "truth values are equal or not, neither is less".to_owned();
            return Err(ExpressionError { message, at });
        }
        Ok(Expr::Compare(left, comparison, right))
    }

    fn list(&mut self, operand: &Operand) -> Result<Vec<Literal>, ExpressionError> {
        if !self.sign("(") {
            return self.fail("expected `(` and a list of values");
        }
        let mut list = Vec::new();
        loop {
            let at = self.place();
            match fitted(self.operand()?, operand.kind(), at)? {
                Operand::Literal(literal) => list.push(literal),
                Operand::Column(_) => {
                    let message = "a list holds values, no columns".to_owned();
                    return Err(ExpressionError { message, at });
                }
            }
            if !self.sign(",") {
                break;
            }
        }
        if self.sign(")") { Ok(list) } else { self.fail("expected `,` or `)`") }
    }

    fn like(
        &mut self,
        at: usize,
        operand: Operand,
        negated: bool,
    ) -> Result<Expr, ExpressionError> {
        if !matches!(operand.kind(), None | Some(Type::Text)) {
            let what = operand.kind().map_or("", Type::as_str);
            let message = format!("`like` is for texts; `{operand}` is {what}");
            return Err(ExpressionError { message, at });
        }
        let Token::Literal(Literal::Text(pattern)) = self.peek().clone() else {
            return self.fail("expected a text in single quotes");
        };
        self.at += 1;
        Ok(Expr::Like(operand, pattern, negated))
    }

    fn operand(&mut self) -> Result<Operand, ExpressionError> {
        let operand = match self.peek().clone() {
            Token::Literal(literal) => Operand::Literal(literal),
            Token::Name(name) => match name.to_ascii_lowercase().as_str() {
                "null" => Operand::Literal(Literal::Null),
                "true" => Operand::Literal(Literal::Bool(true)),
                "false" => Operand::Literal(Literal::Bool(false)),
                word if KEYWORDS.contains(&word) => {
                    return self.fail(&format!("expected a column or a value before `{word}`"));
                }
                word => match Column::from_name(word) {
                    Some(column) => Operand::Column(column),
                    None => return self.fail(&unknown(&name)),
                },
            },
            Token::Sign(_) | Token::End => return self.fail("expected a column or a value"),
        };
        self.at += 1;
        Ok(operand)
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek() {
            Token::Sign("=" | "==") => Comparison::Equal,
            Token::Sign("!=" | "<>") => Comparison::NotEqual,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Token::Name(name) if name.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.at += usize::from(is);
        is
    }

    fn peek(&self) -> &Token {
        self.words.get(self.at).map_or(&Token::End, |word| &word.token)
    }

    fn place(&self) -> usize {
        self.words.get(self.at).map_or(0, |word| word.at)
    }

    fn fail<T>(&self, message: &str) -> Result<T, ExpressionError> {
        Err(ExpressionError { message: message.to_owned(), at: self.place() })
    }
}

/// `operand` as something that can be compared with a value of type `wanted`.
fn fitted(operand: Operand, wanted: Option<Type>, at: usize) -> Result<Operand, ExpressionError> {
    let (Some(wanted), Some(kind)) = (wanted, operand.kind()) else { return Ok(operand) };
    if wanted == kind {
        return Ok(operand);
    }
    let fail = |message: String| Err(ExpressionError { message, at });
    match (&operand, wanted) {
        (Operand::Literal(Literal::Text(text)), Type::Time) => match parse_timestamp(text) {
            Some(us) => Ok(Operand::Literal(Literal::Time(us))),
            None => fail(format!("'{text}' is no time: write '2026-01-31T12:00:00Z'")),
        },
        (Operand::Literal(Literal::Int(number)), Type::Duration) => {
            fail(format!("a duration needs a unit: `{number}us`, `{number}ms` or `{number}s`"))
        }
        _ => {
            let (is, other) = (kind.as_str(), wanted.as_str());
            fail(format!("`{operand}` is {is} and is compared with {other}"))
        }
    }
}

fn unknown(name: &str) -> String {
    match Column::suggestion(name) {
        Some(column) => format!("no column `{name}`; did you mean `{}`?", column.name()),
        None => format!("no column `{name}`; a text stands in single quotes: '{name}'"),
    }
}
