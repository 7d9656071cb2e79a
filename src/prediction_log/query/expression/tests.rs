//! The language of `--where` means what it says.

use proptest::prelude::*;

use super::*;

fn error(text: &str) -> (usize, String) {
    let error = Expression::parse(text).expect_err(text);
    (error.at, error.message)
}

#[test]
fn mistakes_are_explained_where_they_are() {
    for (text, at, part) in [
        ("statsu >= 500", 0, "did you mean `status`?"),
        ("version = 'v1'", 0, "did you mean `model_version`?"),
        ("status >= 500 adn model = 'x'", 14, "expected `and`, `or` or the end"),
        ("t_total > 10", 10, "a duration needs a unit"),
        ("t_total > 10m", 12, "`us`, `ms` or `s`"),
        ("model = fraud", 8, "no column `fraud`; a text stands in single quotes"),
        ("model = \"fraud\"", 8, "single quotes"),
        ("model = 'fraud", 8, "the closing quote is missing"),
        ("model = 5", 8, "is a number and is compared with a text"),
        ("ts > 'yesterday'", 5, "is no time"),
        ("status in (200, model)", 16, "is a text and is compared with a number"),
        ("status in (200, attempt)", 16, "no columns"),
        ("status like '5%'", 0, "`like` is for texts"),
        ("status", 6, "expected a comparison"),
        ("not", 3, "expected a column or a value"),
        ("(status = 1", 11, "expected `)`"),
        ("status is 5", 10, "expected `null`"),
        ("replayed < true", 0, "neither is less"),
        ("grün = 1", 2, "has no meaning here"),
    ] {
        let (place, message) = error(text);
        assert!(place == at && message.contains(part), "{text}: {place}: {message}");
    }
    assert!(error(&"(".repeat(100)).1.contains("too many"));
    assert!(error(&"not ".repeat(100)).1.contains("too many"));
    assert!(error(&" ".repeat(20_000)).1.contains("at most"));
}

/// A table row whose columns were set by hand.
#[derive(Debug, Default)]
struct Table(Vec<(Column, Value<'static>)>);

impl Fields for Table {
    fn value(&self, column: Column) -> Value<'_> {
        let found = self.0.iter().find(|(own, _)| *own == column);
        found.map_or(Value::Null, |(_, value)| value.clone())
    }
}

#[test]
fn the_example_of_the_manual_is_evaluated() {
    let row = |status: i128, total_ms: u64, path: &'static str| {
        Table(vec![
            (Column::Status, Value::Int(status)),
            (Column::Model, Value::Text("fraud".into())),
            (Column::TTotal, Value::Duration(total_ms * 1_000_000)),
            (Column::Path, Value::Text(path.into())),
            (Column::Ts, Value::Time(1_000_000)),
            (Column::Replayed, Value::Bool(false)),
        ])
    };
    let whole = "status >= 500 and model = 'fraud' and t_total > 10ms \
                 or path like '/v2/%' and error_code is not null";
    let whole = Expression::parse(whole).expect("an expression");
    assert!(whole.takes(&row(503, 11, "/")));
    assert!(!whole.takes(&row(503, 10, "/v2/x")), "error_code is null");
    assert!(!whole.takes(&row(499, 11, "/")));
    for (text, wanted) in [
        ("status in (500, 503)", Some(true)),
        ("status not in (500, 503)", Some(false)),
        ("status not in (500, null)", None),
        ("error_code = 'x'", None),
        ("not error_code = 'x'", None),
        ("error_code = 'x' or status = 503", Some(true)),
        ("error_code = 'x' and status = 1", Some(false)),
        ("error_code not like '%'", None),
        ("status = 503.0", Some(true)),
        ("1.5ms < t_total", Some(true)),
        ("ts = '1970-01-01T00:00:01Z'", Some(true)),
        ("'1970-01-01T00:00:00Z' >= ts", Some(false)),
        ("NOT Replayed", Some(true)),
        ("replayed = null", None),
        ("model <> 'fraud' or null", None),
        ("path like '/_2/%.x\\%' or true", Some(true)),
    ] {
        let expression = Expression::parse(text).expect(text);
        assert_eq!(expression.evaluate(&row(503, 2, "/v2/a.x%")), wanted, "{text}");
    }
}

/// `like` by its definition.
fn like_slowly(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skip| like_slowly(&text[skip..], rest)),
        Some(('_', rest)) => !text.is_empty() && like_slowly(&text[1..], rest),
        Some((first, rest)) => text.first() == Some(first) && like_slowly(&text[1..], rest),
    }
}

/// The truth tables of SQL, written out: false is -1, unknown 0, true 1.
fn reference(expr: &Expr, row: &Table) -> i8 {
    let truth = |is: bool| if is { 1 } else { -1 };
    let negate = |value: i8, negated: bool| if negated { -value } else { value };
    let equal = |left: &Value<'_>, right: &Value<'_>| match (left, right) {
        (Value::Null, _) | (_, Value::Null) => 0,
        _ => truth(number(left) == number(right) && left.cell() == right.cell()),
    };
    match expr {
        Expr::Or(parts) => parts.iter().map(|part| reference(part, row)).max().expect("parts"),
        Expr::And(parts) => parts.iter().map(|part| reference(part, row)).min().expect("parts"),
        Expr::Not(inner) => -reference(inner, row),
        Expr::IsNull(operand, negated) => {
            negate(truth(operand.value(row) == Value::Null), *negated)
        }
        Expr::Bare(operand) => match operand.value(row) {
            Value::Bool(is) => truth(is),
            _ => 0,
        },
        Expr::In(operand, list, negated) => {
            let value = operand.value(row);
            let any = list.iter().map(|literal| equal(&value, &literal.value())).max();
            negate(any.expect("a list"), *negated)
        }
        Expr::Like(operand, pattern, negated) => match operand.value(row) {
            Value::Text(text) => {
                let chars = |text: &str| text.chars().collect::<Vec<_>>();
                negate(truth(like_slowly(&chars(&text), &chars(pattern))), *negated)
            }
            _ => 0,
        },
        Expr::Compare(left, comparison, right) => {
            let (left, right) = (left.value(row), right.value(row));
            if left == Value::Null || right == Value::Null {
                return 0;
            }
            let (less, same) = match (&left, &right) {
                (Value::Text(left), Value::Text(right)) => (left < right, left == right),
                (left, right) => (number(left) < number(right), number(left) == number(right)),
            };
            truth(match comparison {
                Comparison::Equal => same,
                Comparison::NotEqual => !same,
                Comparison::Less => less,
                Comparison::LessOrEqual => less || same,
                Comparison::Greater => !less && !same,
                Comparison::GreaterOrEqual => !less,
            })
        }
    }
}

fn number(value: &Value<'_>) -> i128 {
    match value {
        Value::Int(number) => *number,
        Value::Duration(number) | Value::Time(number) => i128::from(*number),
        Value::Bool(is) => i128::from(*is),
        _ => 0,
    }
}

/// Values from few, so that they meet.
fn literal(kind: Type) -> BoxedStrategy<Literal> {
    let value = match kind {
        Type::Text => "[a%_']{0,3}".prop_map(Literal::Text).boxed(),
        Type::Number => (-3i128..3).prop_map(Literal::Int).boxed(),
        Type::Duration => (0u64..5000).prop_map(Literal::Duration).boxed(),
        Type::Time => (0u64..5).prop_map(Literal::Time).boxed(),
        Type::Bool => any::<bool>().prop_map(Literal::Bool).boxed(),
    };
    prop_oneof![9 => value, 1 => Just(Literal::Null)].boxed()
}

fn column() -> impl Strategy<Value = Column> {
    prop::sample::select(vec![
        Column::Status,
        Column::Attempt,
        Column::Model,
        Column::Path,
        Column::TTotal,
        Column::TInfer,
        Column::Ts,
        Column::Observed,
        Column::Replayed,
    ])
}

fn predicate() -> BoxedStrategy<Expr> {
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    (column(), comparison, any::<(bool, u8)>(), "[a%_]{0,4}")
        .prop_flat_map(|(column, comparison, (negated, shape), pattern)| {
            let kind = column.kind();
            let operand = Operand::Column(column);
            let lists = prop::collection::vec(literal(kind), 1..4);
            (literal(kind), lists).prop_map(move |(value, list)| {
                let operand = operand.clone();
                let equality = if negated { Comparison::Equal } else { Comparison::NotEqual };
                match shape % 5 {
                    0 => Expr::In(operand, list, negated),
                    1 => Expr::IsNull(operand, negated),
                    2 if kind == Type::Text => Expr::Like(operand, pattern.clone(), negated),
                    2 if kind == Type::Bool => Expr::Bare(operand),
                    _ if kind == Type::Bool => {
                        Expr::Compare(operand, equality, Operand::Literal(value))
                    }
                    3 if value.kind() == Some(kind) => {
                        Expr::Compare(Operand::Literal(value), comparison, operand)
                    }
                    _ => Expr::Compare(operand, comparison, Operand::Literal(value)),
                }
            })
        })
        .boxed()
}

fn expr() -> impl Strategy<Value = Expr> {
    predicate().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    })
}

fn table() -> impl Strategy<Value = Table> {
    let cells = [
        Column::Status,
        Column::Attempt,
        Column::Model,
        Column::Path,
        Column::TTotal,
        Column::TInfer,
        Column::Ts,
        Column::Observed,
        Column::Replayed,
    ]
    .map(|column| {
        literal(column.kind()).prop_map(move |literal| {
            let value = match literal {
                Literal::Text(text) => Value::Text(text.into()),
                Literal::Int(number) => Value::Int(number),
                Literal::Duration(ns) => Value::Duration(ns),
                Literal::Time(us) => Value::Time(us),
                Literal::Bool(is) => Value::Bool(is),
                Literal::Float(_) | Literal::Null => Value::Null,
            };
            (column, value)
        })
    });
    cells.into_iter().collect::<Vec<_>>().prop_map(Table)
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(expr in expr()) {
        let whole = Expression(expr);
        let text = whole.to_string();
        let read = Expression::parse(&text);
        prop_assert_eq!(read.as_ref(), Ok(&whole), "{}", text);
    }

    #[test]
    fn the_value_is_that_of_the_truth_tables(expr in expr(), row in table()) {
        let wanted = match reference(&expr, &row) {
            1 => Some(true),
            -1 => Some(false),
            _ => None,
        };
        let whole = Expression(expr);
        prop_assert_eq!(whole.evaluate(&row), wanted, "{} of {:?}", whole, row);
    }

    #[test]
    fn any_text_is_an_expression_or_has_a_mistake_inside_it(text in "\\PC{0,40}") {
        if let Err(error) = Expression::parse(&text) {
            prop_assert!(error.at <= text.chars().count());
        }
    }
}
