//! From rows to columns.
//!
//! Owns which value of a row belongs to which tensor, and that each row has all of them.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::column::{BASE64_KEY, Column, Guess, Sink, empty};
use super::names::Names;
use super::places::{Placement, order};
use super::shape::fit;
use super::{COLUMNS_MAX, RowKind, TENSORS_MAX, ValueError, Values, table};
use crate::protocol::json::{DecodeError, Reader, Token};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Shape, Tensor, TensorSpec};

/// The tensors in the making.
#[derive(Debug)]
pub(super) struct Columns<'s> {
    pub(super) columns: Vec<Column>,
    /// The names of the columns.
    names: Names,
    /// The number of rows; `None` where each column is a whole tensor.
    pub(super) rows: Option<usize>,
    /// Whether a column that is not there may be added, and what one without a name is called.
    open: Option<String>,
    /// The names of the places of the one column, where they are known.
    places: &'s [String],
    /// Whether the order of the columns says which is which.
    ordered: bool,
}

/// How the values of a row are told apart.
#[derive(Debug)]
enum Layout {
    /// By name.
    Named,
    /// By position: which column each cell belongs to.
    Positional(Vec<usize>),
    /// By name, all into one column in the order of these names.
    Packed(Names),
    /// By position, all into one column in this order of cells; `None` for that in which they stand.
    Cells(Option<Vec<usize>>),
    /// The row is the value of the one column.
    Single,
}

impl Layout {
    const fn rows(&self) -> &'static str {
        match self {
            Self::Named | Self::Packed(_) => "objects",
            Self::Positional(_) | Self::Cells(_) => "arrays",
            Self::Single => "values",
        }
    }
}

/// Reads all values into `columns`.
pub(super) fn read<'s>(
    values: &Values<'_>,
    mut columns: Columns<'s>,
) -> Result<Columns<'s>, DecodeError> {
    match values {
        Values::Rows { rows, kind } => columns.read_rows(&mut rows.clone(), *kind)?,
        Values::Lines(lines) => columns.read_lines(lines.clone())?,
        Values::Each(rows) => columns.read_each(rows)?,
        Values::Split { names, rows } => columns.read_split(names, &mut rows.clone())?,
        Values::Columns(reader) => columns.read_columns(&mut reader.clone())?,
        Values::Csv { text, header } => table::read(text, *header, &mut columns)?,
    }
    Ok(columns)
}

impl<'s> Columns<'s> {
    /// Columns for the tensors that a model declares.
    pub(super) fn declared(specs: &'s [TensorSpec]) -> Self {
        let column = |spec: &TensorSpec| {
            let sink = Sink::Typed(empty(spec.datatype));
            Column::new(&*spec.name, Some(spec.shape.to_vec()), sink)
        };
        let names = specs.iter().map(|spec| &*spec.name).collect();
        let places = match specs {
            [only] => only.places.as_slice(),
            _ => &[],
        };
        let ordered = specs.iter().all(|spec| spec.ordered);
        let columns = specs.iter().map(column).collect();
        Self { columns, names, rows: None, open: None, places, ordered }
    }

    /// Columns that are not known yet.
    pub(super) fn unknown(unnamed: &str) -> Self {
        Self {
            columns: Vec::new(),
            names: Names::default(),
            rows: None,
            open: Some(unnamed.to_owned()),
            places: &[],
            ordered: true,
        }
    }

    /// The columns that were found, ready to be filled.
    pub(super) fn guessed(self) -> Self {
        let column = |column: Column| match column.sink {
            Sink::Guess(guess) => {
                Column::new(column.name, None, Sink::Typed(empty(guess.datatype())))
            }
            Sink::Typed(data) => {
                Column::new(column.name, None, Sink::Typed(empty(data.datatype())))
            }
        };
        let columns = self.columns.into_iter().map(column).collect();
        Self { columns, names: self.names, rows: None, open: None, places: &[], ordered: true }
    }

    fn takes(&self) -> Vec<String> {
        self.names.list().to_vec()
    }

    /// The position of the column `name`, which is added if that is open.
    pub(super) fn position(&mut self, name: &str) -> Result<usize, ValueError> {
        if let Some(position) = self.names.position(name) {
            return Ok(position);
        }
        if self.open.is_none() || self.rows.is_some_and(|rows| rows > 0) {
            let column = shortened(name);
            return Err(ValueError::UnexpectedColumn { column, takes: self.takes() });
        }
        if self.columns.len() == TENSORS_MAX {
            return Err(ValueError::TooManyColumns { limit: TENSORS_MAX });
        }
        Ok(self.add(name))
    }

    fn add(&mut self, name: &str) -> usize {
        self.columns.push(Column::new(name, None, Sink::Guess(Guess::default())));
        self.names.push(name.to_owned());
        self.columns.len() - 1
    }

    /// The one column for values without a name.
    pub(super) fn single(&mut self) -> Result<&mut Column, ValueError> {
        if self.columns.is_empty()
            && let Some(name) = self.open.clone()
        {
            self.add(&name);
        }
        let takes = if self.columns.len() == 1 { Vec::new() } else { self.takes() };
        match self.columns.as_mut_slice() {
            [column] => Ok(column),
            _ => Err(ValueError::Unnamed { takes }),
        }
    }

    /// Whether the model declares more than one tensor.
    pub(super) fn several(&self) -> bool {
        self.columns.len() > 1
    }

    /// Whether cells under these names go into one tensor of the model that has another name.
    pub(super) fn packs<S: AsRef<str>>(&self, names: &[S]) -> bool {
        match self.columns.as_slice() {
            [column] => {
                let other = names.iter().all(|name| name.as_ref() != column.name);
                column.declared.as_ref().is_none_or(|shape| shape.len() > 1)
                    && self.open.is_none()
                    && (other || self.places.len() > 1)
            }
            _ => false,
        }
    }

    fn read_rows(&mut self, reader: &mut Reader<'_>, kind: RowKind) -> Result<(), DecodeError> {
        let start = reader.offset();
        let (mut rows, mut layout) = (0, None);
        self.rows = Some(0);
        reader.array(|reader| {
            self.read_row(reader, kind, &mut layout)?;
            rows += 1;
            self.rows = Some(rows);
            Ok(())
        })?;
        if rows == 0 { Err(DecodeError::new(start, ValueError::NoRows)) } else { Ok(()) }
    }

    fn read_lines(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        let (mut rows, mut layout) = (0, None);
        self.rows = Some(0);
        while reader.clone().end().is_err() {
            self.read_row(&mut reader, RowKind::Records, &mut layout)
                .map_err(|error| error.in_index(rows))?;
            rows += 1;
            self.rows = Some(rows);
        }
        let none = || DecodeError::new(reader.offset(), ValueError::NoRows);
        if rows == 0 { Err(none()) } else { Ok(()) }
    }

    fn read_each(&mut self, rows: &[Reader<'_>]) -> Result<(), DecodeError> {
        let mut layout = None;
        self.rows = Some(0);
        for (row, reader) in rows.iter().enumerate() {
            self.read_row(&mut reader.clone(), RowKind::Instances, &mut layout)
                .map_err(|error| error.in_index(row))?;
            self.rows = Some(row + 1);
        }
        if rows.is_empty() { Err(DecodeError::new(0, ValueError::NoRows)) } else { Ok(()) }
    }

    fn read_split(
        &mut self,
        names: &[Cow<'_, str>],
        reader: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        let start = reader.offset();
        let placement = self.placement(Some(names), names.len());
        let mut layout = match placement.map_err(|error| DecodeError::new(start, error))? {
            Placement::Each(positions) => Layout::Positional(positions),
            Placement::One(order) => Layout::Cells(order),
        };
        let mut rows = 0;
        self.rows = Some(0);
        reader.array(|reader| {
            self.read_laid_out(reader, &mut layout, names.len())?;
            rows += 1;
            self.rows = Some(rows);
            Ok(())
        })?;
        if rows == 0 { Err(DecodeError::new(start, ValueError::NoRows)) } else { Ok(()) }
    }

    /// Reads one row; the first one decides the layout of all.
    fn read_row(
        &mut self,
        reader: &mut Reader<'_>,
        kind: RowKind,
        layout: &mut Option<Layout>,
    ) -> Result<(), DecodeError> {
        let token = reader.peek()?;
        if layout.is_none() {
            *layout = Some(match token {
                Token::Object if !is_base64(reader) => {
                    let names =
                        if kind == RowKind::Records { keys(reader)? } else { Names::default() };
                    if kind == RowKind::Records && self.packs(names.list()) {
                        let known = !self.places.is_empty();
                        Layout::Packed(if known {
                            self.places.iter().cloned().collect()
                        } else {
                            names
                        })
                    } else {
                        Layout::Named
                    }
                }
                Token::Array if self.several() => {
                    let start = reader.offset();
                    self.check_order().map_err(|error| DecodeError::new(start, error))?;
                    Layout::Positional((0..self.columns.len()).collect())
                }
                Token::Null
                | Token::Boolean
                | Token::Number
                | Token::String
                | Token::Array
                | Token::Object => Layout::Single,
            });
        }
        let Some(layout) = layout else { return Ok(()) };
        let width = self.columns.len();
        self.read_laid_out(reader, layout, width)
    }

    fn read_laid_out(
        &mut self,
        reader: &mut Reader<'_>,
        layout: &mut Layout,
        width: usize,
    ) -> Result<(), DecodeError> {
        let found = reader.peek()?;
        let start = reader.offset();
        let expected = match layout {
            Layout::Named | Layout::Packed(_) => Token::Object,
            Layout::Positional(_) | Layout::Cells(_) => Token::Array,
            Layout::Single => found,
        };
        let fits = found == expected
            && (found != Token::Object || !matches!(layout, Layout::Single) || is_base64(reader));
        if !fits {
            let (expected, found) = (layout.rows(), found.name());
            return Err(DecodeError::new(start, ValueError::RowKind { expected, found }));
        }
        match layout {
            Layout::Named => self.read_named(reader),
            Layout::Packed(names) => self.read_packed(reader, names),
            Layout::Positional(positions) => self.read_positional(reader, positions, width),
            Layout::Cells(order) => self.read_cells(reader, order.as_deref(), width),
            Layout::Single => {
                self.single().map_err(|error| DecodeError::new(start, error))?.read(reader)
            }
        }
    }

    fn read_named(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let before = self.rows.unwrap_or(0);
        let start = reader.offset();
        // Rows mostly have their keys in the order of the first.
        let mut next = 0;
        reader.object(|reader, name| {
            let start = reader.offset();
            let at = |error| DecodeError::new(start, error);
            if self.columns.get(next).is_none_or(|column| column.name != name) {
                next = self.position(name).map_err(at)?;
            }
            let Some(column) = self.columns.get_mut(next) else { return reader.skip() };
            if column.rows > before {
                return Err(at(ValueError::DuplicateColumn { column: shortened(&column.name) }));
            }
            next += 1;
            column.read(reader)
        })?;
        match self.columns.iter().find(|column| column.rows == before) {
            Some(column) => {
                let column = shortened(&column.name);
                Err(DecodeError::new(start, ValueError::MissingColumn { column }))
            }
            None => Ok(()),
        }
    }

    fn read_positional(
        &mut self,
        reader: &mut Reader<'_>,
        positions: &[usize],
        width: usize,
    ) -> Result<(), DecodeError> {
        let start = reader.offset();
        let mut index = 0;
        reader.array(|reader| {
            let column = positions.get(index).and_then(|&position| self.columns.get_mut(position));
            index += 1;
            match column {
                Some(column) => column.read(reader),
                None => reader.skip(),
            }
        })?;
        if index == width {
            return Ok(());
        }
        Err(DecodeError::new(start, ValueError::Width { expected: width, found: index }))
    }

    /// Reads the cells of a row, an array of `width`, into the one column.
    fn read_cells(
        &mut self,
        reader: &mut Reader<'_>,
        order: Option<&[usize]>,
        width: usize,
    ) -> Result<(), DecodeError> {
        let start = reader.offset();
        let at = |error| DecodeError::new(start, error);
        let column = self.single().map_err(at)?;
        let (mut found, mut cells) = (0, SmallVec::<[Reader<'_>; 16]>::new());
        reader.array(|reader| {
            found += 1;
            match order {
                None => column.read_at(reader, 1),
                Some(_) => {
                    if found <= width {
                        cells.push(reader.clone());
                    }
                    reader.skip()
                }
            }
        })?;
        if found != width {
            return Err(at(ValueError::Width { expected: width, found }));
        }
        for &index in order.unwrap_or_default() {
            if let Some(cell) = cells.get_mut(index) {
                column.read_at(cell, 1).map_err(|error| error.in_index(index))?;
            }
        }
        column.shape.close(0, width).map_err(at)?;
        column.rows += 1;
        Ok(())
    }

    /// Reads the cells of a row in the order of `names`, whatever their order in the row.
    fn read_packed(&mut self, reader: &mut Reader<'_>, names: &Names) -> Result<(), DecodeError> {
        let start = reader.offset();
        let mut cells: SmallVec<[Option<Reader<'_>>; 16]> =
            names.list().iter().map(|_| None).collect();
        reader.object(|reader, name| {
            let at = |error| DecodeError::new(reader.offset(), error);
            let cell = names.position(name).and_then(|place| cells.get_mut(place));
            match cell {
                Some(cell @ None) => *cell = Some(reader.clone()),
                Some(Some(_)) => {
                    return Err(at(ValueError::DuplicateColumn { column: shortened(name) }));
                }
                None => {
                    let column = shortened(name);
                    return Err(at(ValueError::UnexpectedColumn {
                        column,
                        takes: names.list().to_vec(),
                    }));
                }
            }
            reader.skip()
        })?;
        let column = self.single().map_err(|error| DecodeError::new(start, error))?;
        for (name, cell) in names.list().iter().zip(cells) {
            let missing =
                || DecodeError::new(start, ValueError::MissingColumn { column: shortened(name) });
            let mut cell = cell.ok_or_else(missing)?;
            column.read_at(&mut cell, 1).map_err(|error| error.in_key(name))?;
        }
        column
            .shape
            .close(0, names.list().len())
            .map_err(|error| DecodeError::new(start, error))?;
        column.rows += 1;
        Ok(())
    }

    /// Reads whole tensors.
    fn read_columns(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let token = reader.peek()?;
        let start = reader.offset();
        if token == Token::Object && !is_base64(reader) {
            return self.read_named(reader);
        }
        self.single().map_err(|error| DecodeError::new(start, error))?.read(reader)
    }

    /// Whether values without names may be told apart by their order.
    fn check_order(&self) -> Result<(), ValueError> {
        if self.ordered { Ok(()) } else { Err(ValueError::Unnamed { takes: self.takes() }) }
    }

    /// Where each column of a table belongs.
    pub(super) fn placement<S: AsRef<str>>(
        &mut self,
        names: Option<&[S]>,
        width: usize,
    ) -> Result<Placement, ValueError> {
        let Some(names) = names else {
            if !self.several() {
                return Ok(Placement::One(None));
            }
            self.check_order()?;
            let expected = self.columns.len();
            if width != expected {
                return Err(ValueError::Width { expected, found: width });
            }
            return Ok(Placement::Each((0..width).collect()));
        };
        if self.packs(names) {
            return order(self.places, names).map(Placement::One);
        }
        let mut positions = Vec::with_capacity(names.len());
        let mut taken = vec![false; self.columns.len()];
        for name in names {
            let position = self.position(name.as_ref())?;
            if taken.len() <= position {
                taken.resize(position + 1, false);
            }
            match taken.get_mut(position) {
                Some(taken) if !*taken => *taken = true,
                _ => return Err(ValueError::DuplicateColumn { column: shortened(name.as_ref()) }),
            }
            positions.push(position);
        }
        let missing = taken.iter().zip(&self.columns).find(|(taken, _)| !**taken);
        match missing {
            Some((_, column)) => Err(ValueError::MissingColumn { column: shortened(&column.name) }),
            None => Ok(Placement::Each(positions)),
        }
    }

    /// Whether the model declares a tensor of this name, or its only tensor a place.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.position(name).is_some() || self.places.iter().any(|place| place == name)
    }

    /// The finished tensors; `batch` says whether a batch dimension may be implied.
    pub(super) fn into_tensors(
        self,
        batch: bool,
        start: usize,
    ) -> Result<Vec<Tensor>, DecodeError> {
        let rows = self.rows;
        let tensor = |column: Column| {
            let dims = rows.into_iter().chain(column.shape.dims());
            let mut shape: Shape = dims.collect();
            let Sink::Typed(data) = column.sink else { return Ok(None) };
            if let Some(declared) = &column.declared {
                let empty = data.is_empty();
                let fitted = fit(&shape, declared, batch || rows.is_none() && !empty);
                let emptied = || {
                    let size = |&dim: &i64| usize::try_from(dim).unwrap_or(0);
                    (empty && rows.is_none()).then(|| declared.iter().map(size).collect())
                };
                let wrong = || ValueError::Shape {
                    tensor: shortened(&column.name),
                    found: shape.to_vec(),
                    expected: declared.clone(),
                };
                shape = fitted
                    .or_else(emptied)
                    .ok_or_else(wrong)
                    .map_err(|e| DecodeError::new(start, e))?;
            }
            let tensor = Tensor::new(column.name, shape, data);
            tensor.map(Some).map_err(|error| DecodeError::new(start, error))
        };
        self.columns.into_iter().filter_map(|column| tensor(column).transpose()).collect()
    }
}

/// Whether the object that comes next stands for bytes.
fn is_base64(reader: &Reader<'_>) -> bool {
    let mut reader = reader.clone();
    let mut keys = 0;
    let only = reader.object(|reader, key| {
        keys += 1;
        if key != BASE64_KEY || reader.peek()? != Token::String {
            // Ends the reading, which a large object need not go on with.
            return Err(DecodeError::new(reader.offset(), ValueError::Object));
        }
        reader.skip()
    });
    only.is_ok() && keys == 1
}

/// The keys of the object that comes next.
fn keys(reader: &Reader<'_>) -> Result<Names, DecodeError> {
    let mut reader = reader.clone();
    let mut keys = Names::default();
    reader.object(|reader, key| {
        if keys.list().len() == COLUMNS_MAX {
            let error = ValueError::TooManyColumns { limit: COLUMNS_MAX };
            return Err(DecodeError::new(reader.offset(), error));
        }
        keys.push(key.to_owned());
        reader.skip()
    })?;
    Ok(keys)
}
