//! `ai.onnx.ml` LabelEncoder, versions 1, 2 and 4.
//!
//! Owns the mapping of each element to a value, or to a default where it is not among the keys
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html>). Keys and values are texts, INT64 or
//! FP32, with version 4 also the FP64, INT32 and INT16 of a tensor. Version 1 has one list of texts, whose
//! positions are the integers. Of equal keys the last counts from version 4 on, as specified (in
//! onnxruntime the first does), and the first before, of which the specification says nothing. A NaN
//! matches any NaN. Never lets the types of keys and elements differ.

use tract_onnx::prelude::{
    DatumType, TValue, TVec, Tensor, TractError, TractResult, tensor1, tvec,
};
use tract_onnx::tract_hir::internal::IntoTValue as _;

use super::attributes::Attributes;
use super::lookup::Precedence;
use super::map::{Map, UNUSED};
use super::operator::{Form, Operator};

/// Maps elements to values: one map, or in version 1 texts to positions and positions to texts.
#[derive(Debug)]
pub(super) struct LabelEncoder {
    maps: Vec<Map>,
}

impl Operator for LabelEncoder {
    const NAME: &'static str = "LabelEncoder";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        if attributes.version() < 2 {
            return Self::parse_classes(attributes);
        }
        let keys = list(attributes, ["keys_strings", "keys_int64s", "keys_floats", "keys_tensor"])?;
        let values = list(
            attributes,
            ["values_strings", "values_int64s", "values_floats", "values_tensor"],
        )?;
        if keys.len() != values.len() {
            let (keys, values) = (keys.len(), values.len());
            let reason = format!("there are {keys} keys and {values} values, which must match");
            return Err(attributes.misfit(&reason));
        }
        let precedence =
            if attributes.version() < 4 { Precedence::First } else { Precedence::Last };
        let default = default(attributes, values.datum_type())?;
        Ok(Self { maps: vec![Map::new(&keys, &values, &default, precedence)?] })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        let datum_type = self.map(input.datum_type)?.value_type();
        Ok(tvec!(Form { datum_type, shape: input.shape.clone() }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let output = self.map(input.datum_type())?.apply(&input)?;
        Ok(tvec!(output.into_tvalue()))
    }

    fn longest_text(&self) -> usize {
        self.maps.iter().map(Map::longest_text).max().unwrap_or(0)
    }
}

impl LabelEncoder {
    fn parse_classes(attributes: &Attributes<'_>) -> TractResult<Self> {
        let classes = attributes.texts("classes_strings")?;
        let integer = attributes.int("default_int64")?.unwrap_or(-1);
        let text = attributes.text("default_string")?.unwrap_or(UNUSED);
        let positions: Vec<i64> = (0..).take(classes.len()).collect();
        let (classes, positions) = (tensor1(&classes), tensor1(&positions));
        let (integer, text) = (tensor1(&[integer]), tensor1(&[text.to_owned()]));
        let to_positions = Map::new(&classes, &positions, &integer, Precedence::First)?;
        let to_texts = Map::new(&positions, &classes, &text, Precedence::First)?;
        Ok(Self { maps: vec![to_positions, to_texts] })
    }

    fn map(&self, datum_type: DatumType) -> TractResult<&Map> {
        let found = match datum_type {
            DatumType::TDim => DatumType::I64,
            other => other,
        };
        let map = self.maps.iter().find(|map| map.key_type() == found);
        map.ok_or_else(|| {
            let keys: Vec<_> = self.maps.iter().map(Map::key_type).collect();
            TractError::msg(format!("LabelEncoder has keys of type {keys:?}, but gets {found:?}"))
        })
    }
}

/// The one of four attributes that is given: texts, integers, floats or a tensor.
fn list(attributes: &Attributes<'_>, names: [&'static str; 4]) -> TractResult<Tensor> {
    let [texts, integers, floats, tensor] = names;
    let mut lists: TVec<Tensor> = TVec::new();
    if attributes.has(texts) {
        lists.push(tensor1(&attributes.texts(texts)?));
    }
    if attributes.has(integers) {
        lists.push(tensor1(attributes.ints(integers)?));
    }
    if attributes.has(floats) {
        lists.push(tensor1(attributes.floats(floats)?));
    }
    if attributes.version() >= 4 {
        lists.extend(attributes.tensor(tensor)?);
    }
    match (lists.pop(), lists.pop()) {
        (Some(list), None) => Ok(list),
        _ => Err(attributes.misfit(&format!("exactly one of {} must be given", names.join(", ")))),
    }
}

/// The value of what is not among the keys, in a tensor of one element.
fn default(attributes: &Attributes<'_>, datum_type: DatumType) -> TractResult<Tensor> {
    let text = attributes.text("default_string")?.unwrap_or(UNUSED);
    let integer = attributes.int("default_int64")?.unwrap_or(-1);
    let float = attributes.float("default_float")?.unwrap_or(-0.0);
    if attributes.version() >= 4
        && let Some(default) = attributes.tensor("default_tensor")?
    {
        if default.datum_type() != datum_type || default.len() != 1 {
            let found = default.datum_type();
            let reason = format!(
                "must have one element of {datum_type:?}, has {} of {found:?}",
                default.len()
            );
            return Err(attributes.refuse("default_tensor", &reason));
        }
        return Ok(default);
    }
    Ok(match datum_type {
        DatumType::String => tensor1(&[text.to_owned()]),
        DatumType::F32 | DatumType::F64 => tensor1(&[float]).cast_to_dt(datum_type)?.into_owned(),
        _ => tensor1(&[integer]).cast_to_dt(datum_type)?.into_owned(),
    })
}
