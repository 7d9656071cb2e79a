//! Rows in JSON, in whichever of the usual shapes.
//!
//! Owns where each dialect keeps its rows and what it calls their columns. Takes what there is: a value that
//! is null is missing, one of a type that no feature has is wrong. Pure.
//!
//! | shape | of |
//! |---|---|
//! | `{"inputs": [{"name": …, "shape": …, "data": …}]}` | the Open Inference Protocol |
//! | `{"instances": [row, …]}`, `{"examples": [row, …]}` | KServe V1, TensorFlow Serving, MLflow |
//! | `{"inputs": {"age": [1, 2], …}}` | TensorFlow Serving in columns |
//! | `{"dataframe_split": {"columns": […], "data": [row, …]}}`, `{"dataframe_records": [row, …]}` | MLflow |
//! | `{"data": [row, …]}`, `[row, …]`, one row | TorchServe, SageMaker, others |
//! | a row: `3`, `[3, "de"]`, `{"age": 3, "country": "de"}` | |

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Found;
use crate::domain::spec::{Extractors, JsonPointer, Step};
use crate::monitor::values::{Cell, single};
use crate::protocol::tensor::{Tensor, TensorData};

/// The most members of the rows of one body that are looked at.
const NAMES_MAX: usize = 4096;
/// The longest name of a member; what is longer, or empty, is no name of a feature.
const NAME_BYTES_MAX: usize = 256;
/// The most values of one name in one body.
const CELLS_MAX: usize = 1 << 20;

/// The inputs of a request.
pub(in crate::monitor) fn inputs(body: &Json, raw: Option<&Extractors>) -> Vec<Found> {
    const NAME: &str = "input";
    if let Some(extractors) = raw {
        let rows = extractors.rows.as_ref().and_then(|at| rows_at(NAME, body, at));
        return rows.unwrap_or_else(|| rows_of(NAME, body));
    }
    if let Some(found) = tensors(body, "inputs") {
        return found;
    }
    if let Some(frame) = body.get("dataframe_split").and_then(Json::as_object) {
        let names = frame.get("columns").and_then(Json::as_array);
        let columns = names.map(|names| names.iter().map(text).collect()).unwrap_or_default();
        let mut found = frame.get("data").map(|rows| rows_of(NAME, rows)).unwrap_or_default();
        if let [only] = found.as_mut_slice() {
            only.columns = columns;
        }
        return found;
    }
    for key in ["instances", "dataframe_records", "examples", "inputs", "data"] {
        match body.get(key) {
            Some(Json::Object(columns)) => return columns_of(columns),
            Some(rows) => return rows_of(NAME, rows),
            None => {}
        }
    }
    rows_of(NAME, body)
}

/// The outputs of a response.
pub(in crate::monitor) fn outputs(body: &Json, raw: Option<&Extractors>) -> Vec<Found> {
    const NAME: &str = "output";
    if let Some(extractors) = raw {
        let sides = [("prediction", &extractors.prediction), ("label", &extractors.label)];
        let named = sides.into_iter().filter_map(|(name, at)| Some((name, at.as_ref()?)));
        let found: Vec<_> =
            named.filter_map(|(name, at)| rows_at(name, body, at)).flatten().collect();
        return if found.is_empty() { rows_of(NAME, body) } else { found };
    }
    if let Some(found) = tensors(body, "outputs") {
        return found;
    }
    for key in ["predictions", "outputs", "results"] {
        match body.get(key) {
            Some(Json::Object(columns)) => return columns_of(columns),
            Some(rows) => return rows_of(NAME, rows),
            None => {}
        }
    }
    rows_of(NAME, body)
}

/// The values that a pointer leads to, as a feature of that name.
pub(in crate::monitor) fn at(body: &Json, name: &str, pointer: &JsonPointer) -> Found {
    let found = matches(body, pointer).into_iter();
    let mut cells: Vec<Cell> = found.map(|value| value.map_or(Cell::Missing, cell)).collect();
    if cells.is_empty() {
        cells.push(Cell::Missing);
    }
    Found { name: name.to_owned(), columns: Vec::new(), width: 1, cells }
}

/// The rows that a pointer leads to: what stands there, or with a `*` each of the places. `None` where it leads nowhere.
fn rows_at(name: &str, body: &Json, pointer: &JsonPointer) -> Option<Vec<Found>> {
    let found = matches(body, pointer);
    match found.as_slice() {
        [] => None,
        [Some(one)] if !pointer.steps().contains(&Step::Any) => Some(rows_of(name, one)),
        rows => Some(rows_in(name, rows)),
    }
}

/// What a pointer leads to, in the order of the document. A place under a `*` that has nothing where the rest of the
/// pointer leads is a missing value: the places after it are not its.
fn matches<'j>(body: &'j Json, pointer: &JsonPointer) -> Vec<Option<&'j Json>> {
    fn walk<'j>(at: &'j Json, steps: &[Step], found: &mut Vec<Option<&'j Json>>) {
        let Some((step, rest)) = steps.split_first() else {
            if found.len() < CELLS_MAX {
                found.push(Some(at));
            }
            return;
        };
        let mut take = |value: &'j Json| {
            let before = found.len();
            walk(value, rest, found);
            if *step == Step::Any && found.len() == before && before < CELLS_MAX {
                found.push(None);
            }
        };
        match at {
            Json::Object(members) => {
                let taken = members.iter().filter(|(name, _)| step.takes_name(name));
                taken.for_each(|(_, value)| take(value));
            }
            Json::Array(elements) => {
                let taken = elements.iter().enumerate().filter(|(at, _)| step.takes_index(*at));
                taken.for_each(|(_, value)| take(value));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(body, pointer.steps(), &mut found);
    found
}

/// Tensors of the Open Inference Protocol; `None` where there are none.
fn tensors(body: &Json, key: &str) -> Option<Vec<Found>> {
    let tensors = body.get(key)?.as_array()?;
    let found = tensors.iter().map(|tensor| {
        let name = tensor.get("name")?.as_str()?;
        let shape = tensor.get("shape")?.as_array()?;
        let mut cells = Vec::new();
        flatten(tensor.get("data")?, &mut cells);
        let rows = shape.first().and_then(Json::as_u64).unwrap_or(1);
        let rows = usize::try_from(rows).unwrap_or(1).max(1);
        let width = (cells.len() / rows).max(1);
        Some(Found { name: name.to_owned(), columns: Vec::new(), width, cells })
    });
    found.collect()
}

/// Columns by name, a value for each row.
fn columns_of(columns: &serde_json::Map<String, Json>) -> Vec<Found> {
    columns.iter().flat_map(|(name, rows)| rows_of(name, rows)).collect()
}

/// Rows; a single one where it is no array.
fn rows_of(name: &str, rows: &Json) -> Vec<Found> {
    let rows: Vec<_> = match rows {
        Json::Array(rows) => rows.iter().map(Some).collect(),
        one => vec![Some(one)],
    };
    rows_in(name, &rows)
}

/// The values of rows, of which some may be missing.
fn rows_in(name: &str, rows: &[Option<&Json>]) -> Vec<Found> {
    // Members of rows that are objects have names of their own.
    if rows.iter().flatten().any(|row| row.is_object()) {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        let mut names: Vec<&str> = Vec::new();
        for name in
            rows.iter().flatten().filter_map(|row| row.as_object()).flat_map(|row| row.keys())
        {
            let is_name = (1..=NAME_BYTES_MAX).contains(&name.len());
            if names.len() < NAMES_MAX && is_name && known.insert(name) {
                names.push(name);
            }
        }
        // Of very many rows with very many members, fewer members.
        names.truncate((CELLS_MAX / rows.len().max(1)).max(1));
        return names
            .into_iter()
            .map(|member| {
                let values: Vec<_> =
                    rows.iter().map(|row| row.and_then(|row| row.get(member))).collect();
                flat(member, &values)
            })
            .collect();
    }
    vec![flat(name, rows)]
}

/// Rows of equal width; where they are not, each counts as one value of the wrong type.
fn flat(name: &str, rows: &[Option<&Json>]) -> Found {
    let name = name.to_owned();
    let mut cells = Vec::new();
    let mut width = None;
    if rows.contains(&None)
        && let Some(row) = rows.iter().flatten().next()
    {
        // A row that is missing is as wide as the others.
        flatten(row, &mut cells);
        width = Some(std::mem::take(&mut cells).len());
    }
    for row in rows {
        let before = cells.len();
        match row {
            Some(row) => flatten(row, &mut cells),
            None => cells.resize(before + width.unwrap_or(1), Cell::Missing),
        }
        let own = cells.len() - before;
        if *width.get_or_insert(own) != own || own == 0 {
            let cells = vec![Cell::Wrong; rows.len()];
            return Found { name, columns: Vec::new(), width: 1, cells };
        }
    }
    Found { name, columns: Vec::new(), width: width.unwrap_or(1), cells }
}

/// The values of arrays in arrays, in order.
fn flatten(value: &Json, cells: &mut Vec<Cell>) {
    match value {
        Json::Array(elements) => elements.iter().for_each(|element| flatten(element, cells)),
        one if cells.len() < CELLS_MAX => cells.push(cell(one)),
        _ => {}
    }
}

/// One value.
pub(in crate::monitor) fn cell(value: &Json) -> Cell {
    match value {
        Json::Null => Cell::Missing,
        Json::Bool(truth) => Cell::Boolean(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Cell::Integer(integer),
            (None, Some(number)) => Cell::Number(number),
            (None, None) => Cell::Wrong,
        },
        // What JSON has no numbers for is written as text by some clients.
        Json::String(text) if text == "NaN" => Cell::Number(f64::NAN),
        Json::String(text) if text == "Infinity" => Cell::Number(f64::INFINITY),
        Json::String(text) if text == "-Infinity" => Cell::Number(f64::NEG_INFINITY),
        Json::String(text) => Cell::Text(text.as_str().into()),
        Json::Array(_) | Json::Object(_) => Cell::Wrong,
    }
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a tensor has.
pub(in crate::monitor) fn of_tensor(tensor: &Tensor) -> Found {
    let rows = tensor.shape().first().copied().unwrap_or(1).max(1);
    let width = (tensor.data().len() / rows).max(1);
    macro_rules! cells {
        ($values:expr, $of:expr) => {
            $values.iter().take(CELLS_MAX).map($of).collect()
        };
    }
    let cells: Vec<Cell> = match tensor.data() {
        TensorData::Fp32(values) => cells!(values, |value| Cell::Number((*value).into())),
        TensorData::Fp64(values) => cells!(values, |value| Cell::Number(*value)),
        TensorData::Fp16(values) => cells!(values, |value| Cell::Number(value.to_f64())),
        TensorData::Bf16(values) => cells!(values, |value| Cell::Number(value.to_f64())),
        TensorData::Int8(values) => cells!(values, |value| Cell::Integer((*value).into())),
        TensorData::Int16(values) => cells!(values, |value| Cell::Integer((*value).into())),
        TensorData::Int32(values) => cells!(values, |value| Cell::Integer((*value).into())),
        TensorData::Int64(values) => cells!(values, |value| Cell::Integer(*value)),
        TensorData::Uint8(values) => cells!(values, |value| Cell::Integer((*value).into())),
        TensorData::Uint16(values) => cells!(values, |value| Cell::Integer((*value).into())),
        TensorData::Uint32(values) => cells!(values, |value| Cell::Integer((*value).into())),
        TensorData::Uint64(values) => cells!(values, |value| match i64::try_from(*value) {
            Ok(integer) => Cell::Integer(integer),
            Err(_) => Cell::Number(single(*value as f64).into()),
        }),
        TensorData::Bool(values) => cells!(values, |value| Cell::Boolean(*value)),
        TensorData::Bytes(values) => cells!(values, |value| match std::str::from_utf8(value) {
            Ok(text) => Cell::Text(text.into()),
            Err(_) => Cell::Wrong,
        }),
    };
    Found { name: tensor.name().to_owned(), columns: Vec::new(), width, cells }
}
