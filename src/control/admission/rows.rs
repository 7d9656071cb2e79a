//! Rows to try a version on: its sample, the edges of what is known of its inputs, and what lies beyond.
//!
//! Owns how rows are made of the model card, the baseline and the declared tensors. The same version gets the same
//! rows every time. Never runs them, and never decides what an answer to one means.

use std::collections::BTreeMap;

use half::{bf16, f16};

use crate::domain::spec::ModelCard;
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::layout::{FeatureKind, Role};
use crate::monitor::About;
use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorData, TensorSpec, element_count};

/// Rows within what is known.
const SPREAD: usize = 32;
/// The most elements of one made-up row.
const ELEMENTS_MAX: usize = 4 << 20;
/// The most elements of all rows within what is known; of wide inputs there are fewer rows.
const SPREAD_ELEMENTS_MAX: usize = 4 << 20;

/// What a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowKind {
    /// The sample of `model.toml`, or the middle of what is known.
    Sample,
    /// The smallest values of the baseline.
    Minimum,
    /// The largest.
    Maximum,
    /// Within what is known.
    Spread,
    /// Zeros.
    Zero,
    /// Not a number, where there are floats.
    Missing,
    /// Far beyond what is known.
    Extreme,
}

impl RowKind {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Sample => "the sample row",
            Self::Minimum => "the row of smallest values",
            Self::Maximum => "the row of largest values",
            Self::Spread => "a row within the known ranges",
            Self::Zero => "the row of zeros",
            Self::Missing => "the row of missing values",
            Self::Extreme => "the row of extreme values",
        }
    }
}

/// One request of one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) kind: RowKind,
    pub(super) inputs: Vec<Tensor>,
    /// It is made of what is known about the inputs, and of no guess: the version must answer it.
    pub(super) is_known: bool,
    /// If it is answered, the answer must be finite.
    pub(super) must_be_finite: bool,
}

/// What is known of one column of an input.
#[derive(Debug, Clone, Default, PartialEq)]
struct Column {
    range: Option<(f64, f64)>,
    /// Values were missing when the model was trained.
    misses: bool,
    values: Vec<String>,
}

/// What is known of the inputs of a version.
#[derive(Debug, Default)]
pub(super) struct Facts {
    columns: BTreeMap<(usize, usize), Column>,
    samples: BTreeMap<String, Vec<f64>>,
}

impl Facts {
    /// From what lies beside the artifact.
    pub(super) fn new(
        card: Option<&ModelCard>,
        baseline: Option<&Baseline>,
        about: &About,
    ) -> Self {
        let mut facts = Self::default();
        for (name, input) in card.iter().flat_map(|card| &card.inputs) {
            if !input.sample.is_empty() {
                facts.samples.insert(name.clone(), input.sample.clone());
            }
        }
        let Some(baseline) = baseline else { return facts };
        let layout = baseline.layout();
        for (feature, tensor, column) in about.columns(layout, Role::Input) {
            let Some(reference) = baseline.reference(feature) else { continue };
            let values = match layout.features().get(feature).map(|feature| feature.kind()) {
                Some(FeatureKind::Categorical(known)) => {
                    known.values().iter().map(|value| (**value).to_owned()).collect()
                }
                Some(FeatureKind::Boolean) => vec!["0".to_owned(), "1".to_owned()],
                Some(FeatureKind::Numeric(_)) | None => Vec::new(),
            };
            let misses = reference.missing > 0.0 || reference.nan > 0.0;
            let column_facts = Column { range: reference.range, misses, values };
            facts.columns.insert((tensor, column), column_facts);
        }
        facts
    }

    fn column(&self, tensor: usize, column: usize) -> Option<&Column> {
        self.columns.get(&(tensor, column))
    }

    fn has_ranges(&self) -> bool {
        self.columns.values().any(|column| column.range.is_some() || !column.values.is_empty())
    }
}

/// Rows for inputs that are declared so. None where nothing is declared, or a row would be too large.
pub(super) fn rows(specs: &[TensorSpec], facts: &Facts) -> Vec<Row> {
    let mut kinds = vec![RowKind::Sample];
    if facts.has_ranges() {
        kinds.extend([RowKind::Minimum, RowKind::Maximum]);
    }
    let elements = specs.iter().map(elements).fold(1, usize::saturating_add);
    let spread = (SPREAD_ELEMENTS_MAX / elements).clamp(1, SPREAD);
    kinds.extend(std::iter::repeat_n(RowKind::Spread, spread));
    kinds.push(RowKind::Zero);
    let is_float = |spec: &TensorSpec| {
        matches!(spec.datatype, Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64)
    };
    if specs.iter().any(is_float) {
        kinds.push(RowKind::Missing);
    }
    kinds.push(RowKind::Extreme);
    let mut random = fastrand::Rng::with_seed(0x706f_696e_7473);
    let rows = kinds.into_iter().filter_map(|kind| row(kind, specs, facts, &mut random));
    if specs.is_empty() { Vec::new() } else { rows.collect() }
}

/// The elements of one row.
fn elements(spec: &TensorSpec) -> usize {
    let sizes = spec.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1));
    sizes.fold(1, usize::saturating_mul)
}

fn row(
    kind: RowKind,
    specs: &[TensorSpec],
    facts: &Facts,
    random: &mut fastrand::Rng,
) -> Option<Row> {
    let mut inputs = Vec::with_capacity(specs.len());
    let mut grounds = Grounds::default();
    for (tensor, spec) in specs.iter().enumerate() {
        let shape: Shape =
            spec.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
        let count = element_count(&shape).filter(|count| *count <= ELEMENTS_MAX)?;
        let width = shape.iter().skip(1).product::<usize>().max(1);
        let sample = facts.samples.get(&spec.name).filter(|sample| sample.len() == count);
        let mut cells = Vec::with_capacity(count);
        for at in 0..count {
            let column = facts.column(tensor, at % width);
            let known = sample.and_then(|sample| sample.get(at)).copied();
            grounds.see(known, column);
            cells.push(cell(kind, known, column, random));
        }
        let data = data(spec.datatype, &cells);
        inputs.push(Tensor::new(spec.name.as_str(), shape, data).ok()?);
    }
    let is_known = match kind {
        RowKind::Sample => grounds.known,
        RowKind::Minimum | RowKind::Maximum | RowKind::Spread => grounds.ranged,
        RowKind::Zero | RowKind::Missing | RowKind::Extreme => false,
    };
    let must_be_finite = match kind {
        RowKind::Sample | RowKind::Minimum | RowKind::Maximum | RowKind::Spread => is_known,
        RowKind::Zero => grounds.zero,
        RowKind::Missing => grounds.misses,
        RowKind::Extreme => grounds.known,
    };
    Some(Row { kind, inputs, is_known, must_be_finite })
}

/// What all values of a row rest on.
#[derive(Debug)]
struct Grounds {
    /// A sample, or what the baseline knows.
    known: bool,
    /// What the baseline knows.
    ranged: bool,
    /// Zero lies within the ranges.
    zero: bool,
    /// Values were missing in training.
    misses: bool,
}

impl Default for Grounds {
    fn default() -> Self {
        Self { known: true, ranged: true, zero: true, misses: true }
    }
}

impl Grounds {
    fn see(&mut self, sample: Option<f64>, column: Option<&Column>) {
        let range = column.and_then(|column| column.range);
        let ranged = column.is_some_and(|column| range.is_some() || !column.values.is_empty());
        self.ranged &= ranged;
        self.known &= ranged || sample.is_some();
        self.zero &= range.is_some_and(|(least, most)| least <= 0.0 && most >= 0.0);
        self.misses &= column.is_some_and(|column| column.misses);
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Number(f64),
    Text(String),
}

fn cell(
    kind: RowKind,
    sample: Option<f64>,
    column: Option<&Column>,
    random: &mut fastrand::Rng,
) -> Cell {
    let nothing = Column::default();
    let column = column.unwrap_or(&nothing);
    if let Some(first) = column.values.first() {
        let text = match kind {
            RowKind::Spread => random.choice(&column.values).unwrap_or(first),
            RowKind::Maximum => column.values.last().unwrap_or(first),
            RowKind::Sample if sample.is_some() => return Cell::Number(sample.unwrap_or_default()),
            RowKind::Extreme => return Cell::Text("unknown to everybody".to_owned()),
            RowKind::Missing => return Cell::Number(f64::NAN),
            RowKind::Zero => return Cell::Number(0.0),
            RowKind::Sample | RowKind::Minimum => first,
        };
        return Cell::Text(text.clone());
    }
    let middle = column.range.map(|(least, most)| f64::midpoint(least, most));
    let base = sample.or(middle).unwrap_or(0.0);
    let reach = base.abs() + 1.0;
    Cell::Number(match (kind, column.range) {
        (RowKind::Sample, _) => base,
        (RowKind::Minimum, Some((least, _))) => least,
        (RowKind::Maximum, Some((_, most))) => most,
        (RowKind::Minimum | RowKind::Maximum, None) => base,
        (RowKind::Spread, Some((least, most))) => random.f64().mul_add(most - least, least),
        (RowKind::Spread, None) => random.f64().mul_add(2.0, -1.0).mul_add(reach, base),
        (RowKind::Zero, _) => 0.0,
        (RowKind::Missing, _) => f64::NAN,
        (RowKind::Extreme, Some((least, most))) => (most - least).mul_add(10.0, most),
        (RowKind::Extreme, None) => reach.mul_add(1000.0, base),
    })
}

/// The cells in the datatype of their input; what it cannot hold is taken to the nearest that it can.
fn data(datatype: Datatype, cells: &[Cell]) -> TensorData {
    fn each<T>(cells: &[Cell], of: impl Fn(f64) -> T) -> Vec<T> {
        let number = |cell: &Cell| match cell {
            Cell::Number(number) => *number,
            // Codes of categories are written as texts; what is none is a code that nobody has.
            Cell::Text(text) => text.parse().unwrap_or(-1.0),
        };
        cells.iter().map(|cell| of(number(cell))).collect()
    }
    match datatype {
        Datatype::Bool => TensorData::Bool(each(cells, |number| number > 0.5)),
        Datatype::Uint8 => TensorData::Uint8(each(cells, |number| number.round() as u8)),
        Datatype::Uint16 => TensorData::Uint16(each(cells, |number| number.round() as u16)),
        Datatype::Uint32 => TensorData::Uint32(each(cells, |number| number.round() as u32)),
        Datatype::Uint64 => TensorData::Uint64(each(cells, |number| number.round() as u64)),
        Datatype::Int8 => TensorData::Int8(each(cells, |number| number.round() as i8)),
        Datatype::Int16 => TensorData::Int16(each(cells, |number| number.round() as i16)),
        Datatype::Int32 => TensorData::Int32(each(cells, |number| number.round() as i32)),
        Datatype::Int64 => TensorData::Int64(each(cells, |number| number.round() as i64)),
        Datatype::Fp16 => TensorData::Fp16(each(cells, f16::from_f64)),
        Datatype::Bf16 => TensorData::Bf16(each(cells, bf16::from_f64)),
        Datatype::Fp32 => TensorData::Fp32(each(cells, |number| number as f32)),
        Datatype::Fp64 => TensorData::Fp64(each(cells, |number| number)),
        Datatype::Bytes => {
            let text = |cell: &Cell| match cell {
                Cell::Text(text) => text.clone().into_bytes(),
                Cell::Number(number) if number.is_nan() || *number == 0.0 => Vec::new(),
                Cell::Number(number) => number.to_string().into_bytes(),
            };
            TensorData::Bytes(cells.iter().map(text).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::InputCard;

    fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
        TensorSpec {
            name: name.to_owned(),
            datatype,
            shape: shape.into(),
            places: Vec::new(),
            ordered: true,
        }
    }

    fn baseline() -> Baseline {
        let json = br#"{"format":1,"model":"m","version":"v1","n":1000,"features":[
            {"name":"x[0]","kind":"numeric","edges":[0.0],"mass":[0.5,0.5],"min":-1,"max":3},
            {"name":"x[1]","kind":"numeric","edges":[0.0],"mass":[0.5,0.5],"min":10,"max":20,"nan":0.1},
            {"name":"c","kind":"categorical","values":["de","fr"],"mass":[0.7,0.3]}]}"#;
        Baseline::from_json(json).expect("a baseline")
    }

    #[test]
    fn rows_stand_at_the_edges_of_what_the_baseline_knows() {
        let inputs =
            vec![spec("x", Datatype::Fp32, &[-1, 2]), spec("c", Datatype::Bytes, &[-1, 1])];
        let about = About { inputs: inputs.clone(), is_local: true, ..About::default() };
        let rows = rows(&inputs, &Facts::new(None, Some(&baseline()), &about));
        let of = |kind| rows.iter().find(|row| row.kind == kind).expect("a row");
        let x = |kind| of(kind).inputs[0].data().clone();
        assert_eq!(x(RowKind::Minimum), TensorData::Fp32(vec![-1.0, 10.0]));
        assert_eq!(x(RowKind::Maximum), TensorData::Fp32(vec![3.0, 20.0]));
        assert_eq!(x(RowKind::Sample), TensorData::Fp32(vec![1.0, 15.0]));
        assert_eq!(x(RowKind::Extreme), TensorData::Fp32(vec![43.0, 120.0]));
        assert_eq!(of(RowKind::Maximum).inputs[1].data(), &TensorData::Bytes(vec![b"fr".to_vec()]));
        assert!(of(RowKind::Sample).is_known && !of(RowKind::Extreme).is_known);
        assert!(!of(RowKind::Missing).must_be_finite, "the first column never missed a value");
        for row in rows.iter().filter(|row| row.kind == RowKind::Spread) {
            let TensorData::Fp32(values) = row.inputs[0].data() else { panic!("floats") };
            assert!((-1.0..=3.0).contains(&values[0]) && (10.0..=20.0).contains(&values[1]));
        }
        let again = super::rows(&inputs, &Facts::new(None, Some(&baseline()), &about));
        assert_eq!(again[5], rows[5], "the same rows every time");
    }

    #[test]
    fn a_sample_is_known_and_a_guess_is_not() {
        let inputs = vec![spec("x", Datatype::Int64, &[-1, 2])];
        let sample = InputCard { sample: vec![4.0, 7.0], ..InputCard::default() };
        let mut card = ModelCard::default();
        card.inputs.insert("x".to_owned(), sample);
        let about = About { inputs: inputs.clone(), ..About::default() };
        let made = rows(&inputs, &Facts::new(Some(&card), None, &about));
        assert_eq!(made[0].inputs[0].data(), &TensorData::Int64(vec![4, 7]));
        assert!(made[0].is_known && made.iter().all(|row| row.kind != RowKind::Minimum));
        assert!(made.iter().all(|row| row.kind != RowKind::Missing), "integers miss nothing");
        let guessed = rows(&inputs, &Facts::default());
        assert!(guessed.iter().all(|row| !row.is_known));
        assert!(rows(&[], &Facts::default()).is_empty());
        let wide = rows(&[spec("x", Datatype::Fp32, &[-1, 3, 1024, 1024])], &Facts::default());
        assert_eq!(wide.iter().filter(|row| row.kind == RowKind::Spread).count(), 1);
    }
}
