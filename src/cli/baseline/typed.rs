//! Data as Parquet.
//!
//! Owns how the types of Arrow are taken: integers and floats are numbers, texts and dictionaries of texts are
//! categories. What has several values in a row, such as a list, is refused by name.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::table::{Choice, Table, When};
use crate::domain::stats::baseline::KindWord;
use crate::domain::stats::layout::Value;

/// Reads the columns that are chosen.
pub(super) fn read(path: &Path, choice: &Choice) -> Result<Table, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let schema = builder.schema().clone();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    choice.check(&names)?;
    let mut kinds = Vec::with_capacity(names.len());
    for field in schema.fields() {
        let kind = kind(field.data_type());
        match kind {
            Some(kind) => kinds.push((field.name().clone(), kind)),
            None if choice.takes(field.name()) => {
                return Err(format!(
                    "column `{}` is of type {}, which has no histogram; leave it out with `--ignore {}`",
                    field.name(),
                    field.data_type(),
                    field.name()
                ));
            }
            None => {}
        }
    }
    let mut table = Table::new(&kinds, choice);
    let mut times = Vec::new();
    for batch in builder.build().map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        take(&batch, &mut table, choice, &mut times)?;
    }
    if choice.time.is_some() {
        table.sort(&times);
    }
    table.doubt(choice);
    Ok(table)
}

fn take(
    batch: &RecordBatch,
    table: &mut Table,
    choice: &Choice,
    times: &mut Vec<When>,
) -> Result<(), String> {
    for column in &mut table.columns {
        let array = batch.column_by_name(&column.name);
        let array =
            array.ok_or_else(|| format!("a row group lacks the column `{}`", column.name))?;
        each(array.as_ref(), &mut |value| column.values.push(value))?;
    }
    if let Some(array) = choice.time.as_ref().and_then(|name| batch.column_by_name(name)) {
        each(array.as_ref(), &mut |value| {
            times.push(match value {
                Value::Number(number) => When::Number(number),
                Value::Integer(integer) => When::Number(integer as f64),
                Value::Text(text) => When::Text(text.into()),
                Value::Boolean(_) | Value::Missing | Value::Wrong => When::Missing,
            });
        })?;
    }
    table.rows += batch.num_rows() as u64;
    Ok(())
}

/// The kind of a type; `None` for one that has none.
fn kind(of: &DataType) -> Option<KindWord> {
    match of {
        DataType::Boolean => Some(KindWord::Boolean),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(KindWord::Categorical),
        DataType::Dictionary(_, values) => kind(values),
        DataType::Date32 | DataType::Timestamp(..) => Some(KindWord::Numeric),
        of if of.is_numeric()
            && !matches!(of, DataType::Decimal128(..) | DataType::Decimal256(..)) =>
        {
            Some(KindWord::Numeric)
        }
        _ => None,
    }
}

/// Hands over each value of an array.
fn each(array: &dyn Array, take: &mut dyn FnMut(Value<'_>)) -> Result<(), String> {
    match array.data_type() {
        DataType::Float64 => primitive::<Float64Type>(array, Value::Number, take),
        DataType::Float32 => primitive::<Float32Type>(array, |x| Value::Number(x.into()), take),
        DataType::Float16 => primitive::<Float16Type>(array, |x| Value::Number(x.to_f64()), take),
        DataType::Int64 => primitive::<Int64Type>(array, Value::Integer, take),
        DataType::Int32 => primitive::<Int32Type>(array, |x| Value::Integer(x.into()), take),
        DataType::Int16 => primitive::<Int16Type>(array, |x| Value::Integer(x.into()), take),
        DataType::Int8 => primitive::<Int8Type>(array, |x| Value::Integer(x.into()), take),
        DataType::UInt64 => primitive::<UInt64Type>(array, |x| Value::Number(x as f64), take),
        DataType::UInt32 => primitive::<UInt32Type>(array, |x| Value::Integer(x.into()), take),
        DataType::UInt16 => primitive::<UInt16Type>(array, |x| Value::Integer(x.into()), take),
        DataType::UInt8 => primitive::<UInt8Type>(array, |x| Value::Integer(x.into()), take),
        DataType::Date32 => primitive::<Date32Type>(array, |x| Value::Integer(x.into()), take),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => primitive::<TimestampSecondType>(array, Value::Integer, take),
            TimeUnit::Millisecond => {
                primitive::<TimestampMillisecondType>(array, Value::Integer, take);
            }
            TimeUnit::Microsecond => {
                primitive::<TimestampMicrosecondType>(array, Value::Integer, take);
            }
            TimeUnit::Nanosecond => {
                primitive::<TimestampNanosecondType>(array, Value::Integer, take);
            }
        },
        DataType::Boolean => {
            array.as_boolean().iter().for_each(|x| take(x.map_or(Value::Missing, Value::Boolean)));
        }
        DataType::Utf8 => {
            array
                .as_string::<i32>()
                .iter()
                .for_each(|x| take(x.map_or(Value::Missing, Value::Text)));
        }
        DataType::LargeUtf8 => {
            array
                .as_string::<i64>()
                .iter()
                .for_each(|x| take(x.map_or(Value::Missing, Value::Text)));
        }
        DataType::Utf8View => {
            array.as_string_view().iter().for_each(|x| take(x.map_or(Value::Missing, Value::Text)));
        }
        DataType::Dictionary(..) => return dictionary(array, take),
        other => return Err(format!("values of type {other} cannot be read")),
    }
    Ok(())
}

fn primitive<T: ArrowPrimitiveType>(
    array: &dyn Array,
    value: impl Fn(T::Native) -> Value<'static>,
    take: &mut dyn FnMut(Value<'_>),
) {
    for element in array.as_primitive::<T>() {
        take(element.map_or(Value::Missing, &value));
    }
}

/// A dictionary: its values once, then a key for each row.
fn dictionary(array: &dyn Array, take: &mut dyn FnMut(Value<'_>)) -> Result<(), String> {
    let dictionary = array
        .as_any_dictionary_opt()
        .ok_or_else(|| "a dictionary has keys that cannot be read".to_owned())?;
    let mut texts: Vec<Option<String>> = Vec::new();
    each(dictionary.values().as_ref(), &mut |value| {
        texts.push(match value {
            Value::Text(text) => Some(text.to_owned()),
            Value::Integer(integer) => Some(integer.to_string()),
            Value::Number(_) | Value::Boolean(_) | Value::Missing | Value::Wrong => None,
        });
    })?;
    let keys = dictionary.normalized_keys();
    for (row, key) in keys.into_iter().enumerate() {
        let text = texts.get(key).and_then(Option::as_deref);
        take(text.filter(|_| array.is_valid(row)).map_or(Value::Missing, Value::Text));
    }
    Ok(())
}
