//! A small typed language over the columns of a row, for `--where`.
//!
//! Owns its grammar, its types and its meaning. Pure: reads no clock, no file and no row but the one
//! that it is given. As in SQL there are three truth values: a comparison with a value that is not
//! there is neither true nor false, and a row is taken only where the whole is true.
//!
//! ```text
//! expression = conjunction { "or" conjunction }
//! conjunction = negation { "and" negation }
//! negation   = "not" negation | predicate
//! predicate  = "(" expression ")"
//!            | operand [ ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) operand
//!                      | [ "not" ] "in" "(" literal { "," literal } ")"
//!                      | [ "not" ] "like" text
//!                      | "is" [ "not" ] "null" ]
//! operand    = column | literal
//! literal    = number | duration | text | "true" | "false" | "null"
//! ```
//!
//! A text stands in single quotes, a quote in it twice. A duration is a number with `us`, `ms` or `s`.
//! `like` knows `%` for any characters and `_` for one; a backslash takes their meaning. A time is
//! compared with RFC 3339 text.

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use super::column::{Column, Type, Value};
use super::text::timestamp;
use crate::prediction_log::Row;

/// A condition on a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(Expr);

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", .at + 1)]
pub struct ExpressionError {
    /// What is wrong.
    pub message: String,
    /// Where, counted in characters from 0.
    pub at: usize,
}

/// Something with columns.
pub trait Fields {
    /// The value in `column`.
    fn value(&self, column: Column) -> Value<'_>;
}

impl Fields for Row<'_> {
    fn value(&self, column: Column) -> Value<'_> {
        column.value(self)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    /// Two or more.
    Or(Vec<Self>),
    /// Two or more.
    And(Vec<Self>),
    Not(Box<Self>),
    Compare(Operand, Comparison, Operand),
    In(Operand, Vec<Literal>, Negated),
    Like(Operand, String, Negated),
    IsNull(Operand, Negated),
    /// A truth value by itself.
    Bare(Operand),
}

type Negated = bool;

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Column(Column),
    Literal(Literal),
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Nanoseconds.
    Duration(u64),
    /// Microseconds since the Unix epoch.
    Time(u64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Expression {
    /// Reads an expression and checks the types in it.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        parser::parse(text).map(Self)
    }

    /// Whether `row` is taken.
    pub fn takes(&self, row: &impl Fields) -> bool {
        self.evaluate(row) == Some(true)
    }

    /// True, false, or neither.
    pub fn evaluate(&self, row: &impl Fields) -> Option<bool> {
        self.0.evaluate(row)
    }
}

impl Expr {
    fn evaluate(&self, row: &impl Fields) -> Option<bool> {
        match self {
            Self::Or(parts) => all(parts, row, true),
            Self::And(parts) => all(parts, row, false),
            Self::Not(inner) => inner.evaluate(row).map(|is| !is),
            Self::Compare(left, comparison, right) => {
                let order = compare(&left.value(row), &right.value(row))?;
                Some(comparison.holds(order))
            }
            Self::In(operand, list, negated) => {
                is_in(&operand.value(row), list).map(|is| is != *negated)
            }
            Self::Like(operand, pattern, negated) => match operand.value(row) {
                Value::Text(text) => Some(like(&text, pattern) != *negated),
                _ => None,
            },
            Self::IsNull(operand, negated) => Some((operand.value(row) == Value::Null) != *negated),
            Self::Bare(operand) => match operand.value(row) {
                Value::Bool(is) => Some(is),
                _ => None,
            },
        }
    }
}

/// `or` when `decisive` is true, `and` when it is false: one decisive part decides, else one that is
/// unknown makes the whole unknown.
fn all(parts: &[Expr], row: &impl Fields, decisive: bool) -> Option<bool> {
    let mut whole = Some(!decisive);
    for part in parts {
        match part.evaluate(row) {
            Some(is) if is == decisive => return Some(decisive),
            Some(_) => {}
            None => whole = None,
        }
    }
    whole
}

fn is_in(value: &Value<'_>, list: &[Literal]) -> Option<bool> {
    if *value == Value::Null {
        return None;
    }
    let mut whole = Some(false);
    for literal in list {
        match compare(value, &literal.value()) {
            Some(Ordering::Equal) => return Some(true),
            Some(_) => {}
            None => whole = None,
        }
    }
    whole
}

/// The order of two values of one type; `None` when one is not there.
fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Float(right)) => (*left as f64).partial_cmp(right),
        (Value::Float(left), Value::Int(right)) => left.partial_cmp(&(*right as f64)),
        (Value::Duration(left), Value::Duration(right))
        | (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Whether `text` has the shape of `pattern`. Takes time for the product of both lengths at most.
fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<Wild>) = (text.chars().collect(), wilds(pattern));
    let (mut at, mut next) = (0, 0);
    // Where the last `%` was, and where in the text it ends for now.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(next) {
            Some(Wild::Any) => {
                star = Some((next, at));
                next += 1;
            }
            Some(Wild::One) => (at, next) = (at + 1, next + 1),
            Some(Wild::Is(char)) if *char == text[at] => (at, next) = (at + 1, next + 1),
            _ => match &mut star {
                Some((from, end)) => {
                    *end += 1;
                    (at, next) = (*end, *from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[next..].iter().all(|wild| matches!(wild, Wild::Any))
}

enum Wild {
    Any,
    One,
    Is(char),
}

fn wilds(pattern: &str) -> Vec<Wild> {
    let mut chars = pattern.chars();
    let mut wilds = Vec::new();
    while let Some(char) = chars.next() {
        wilds.push(match char {
            '%' => Wild::Any,
            '_' => Wild::One,
            '\\' => Wild::Is(chars.next().unwrap_or('\\')),
            char => Wild::Is(char),
        });
    }
    wilds
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, row: &'a impl Fields) -> Value<'a> {
        match self {
            Self::Column(column) => row.value(*column),
            Self::Literal(literal) => literal.value(),
        }
    }

    /// `None` for null, which goes with everything.
    fn kind(&self) -> Option<Type> {
        match self {
            Self::Column(column) => Some(column.kind()),
            Self::Literal(literal) => literal.kind(),
        }
    }
}

impl Literal {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(*is),
            Self::Int(number) => Value::Int(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Duration(ns) => Value::Duration(*ns),
            Self::Time(us) => Value::Time(*us),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
        }
    }

    fn kind(&self) -> Option<Type> {
        match self {
            Self::Null => None,
            Self::Bool(_) => Some(Type::Bool),
            Self::Int(_) | Self::Float(_) => Some(Type::Number),
            Self::Duration(_) => Some(Type::Duration),
            Self::Time(_) => Some(Type::Time),
            Self::Text(_) => Some(Type::Text),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Expr {
    /// How tightly it binds: an expression inside a tighter one stands in parentheses.
    const fn binding(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Not(_) => 2,
            _ => 3,
        }
    }

    fn write_parts(f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str) -> fmt::Result {
        let binding = if word == "or" { 0 } else { 1 };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            part.write_in(f, binding + 1)?;
        }
        Ok(())
    }

    fn write_in(&self, f: &mut fmt::Formatter<'_>, binding: u8) -> fmt::Result {
        if self.binding() < binding { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: bool| if negated { "not " } else { "" };
        match self {
            Self::Or(parts) => Self::write_parts(f, parts, "or"),
            Self::And(parts) => Self::write_parts(f, parts, "and"),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.write_in(f, 2)
            }
            Self::Compare(left, comparison, right) => {
                write!(f, "{left} {} {right}", comparison.as_str())
            }
            Self::In(operand, list, negated) => {
                write!(f, "{operand} {}in (", not(*negated))?;
                for (index, literal) in list.iter().enumerate() {
                    write!(f, "{}{literal}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::Like(operand, pattern, negated) => {
                write!(f, "{operand} {}like {}", not(*negated), quoted(pattern))
            }
            Self::IsNull(operand, negated) => write!(f, "{operand} is {}null", not(*negated)),
            Self::Bare(operand) => operand.fmt(f),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(column) => f.write_str(column.name()),
            Self::Literal(literal) => literal.fmt(f),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(is) => write!(f, "{is}"),
            Self::Int(number) => write!(f, "{number}"),
            // With a point or an exponent, so that it is not read as a whole number.
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Duration(ns) if ns % 1000 == 0 => write!(f, "{}us", ns / 1000),
            Self::Duration(ns) => write!(f, "{}.{:03}us", ns / 1000, ns % 1000),
            Self::Time(us) => f.write_str(&quoted(&timestamp(*us))),
            Self::Text(text) => f.write_str(&quoted(text)),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
