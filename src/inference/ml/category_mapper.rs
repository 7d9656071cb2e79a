//! `ai.onnx.ml` CategoryMapper, version 1.
//!
//! Owns the mapping of texts to integers and back, by two lists of equal length
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_CategoryMapper.html>). The element type of the input
//! decides which way, as in onnxruntime, and of equal keys the last counts. Never maps anything else.

use tract_onnx::prelude::{DatumType, TValue, TVec, TractResult, tensor1, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, bail};

use super::attributes::Attributes;
use super::lookup::Precedence;
use super::map::{Map, UNUSED};
use super::operator::{Form, Operator};

/// Maps either way.
#[derive(Debug)]
pub(super) struct CategoryMapper {
    to_integers: Map,
    to_texts: Map,
}

impl Operator for CategoryMapper {
    const NAME: &'static str = "CategoryMapper";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let texts = attributes.texts("cats_strings")?;
        let integers = attributes.ints("cats_int64s")?;
        if texts.len() != integers.len() {
            let (texts, integers) = (texts.len(), integers.len());
            let reason = format!(
                "cats_strings has {texts} and cats_int64s {integers} elements, which must match"
            );
            return Err(attributes.misfit(&reason));
        }
        let integer = tensor1(&[attributes.int("default_int64")?.unwrap_or(-1)]);
        let text = tensor1(&[attributes.text("default_string")?.unwrap_or(UNUSED).to_owned()]);
        let (texts, integers) = (tensor1(&texts), tensor1(integers));
        Ok(Self {
            to_integers: Map::new(&texts, &integers, &integer, Precedence::Last)?,
            to_texts: Map::new(&integers, &texts, &text, Precedence::Last)?,
        })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        let datum_type = self.map(input.datum_type)?.value_type();
        Ok(tvec!(Form { datum_type, shape: input.shape.clone() }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        Ok(tvec!(self.map(input.datum_type())?.apply(&input)?.into_tvalue()))
    }

    fn longest_text(&self) -> usize {
        self.to_texts.longest_text()
    }
}

impl CategoryMapper {
    fn map(&self, datum_type: DatumType) -> TractResult<&Map> {
        match datum_type {
            DatumType::String => Ok(&self.to_integers),
            DatumType::I64 | DatumType::TDim => Ok(&self.to_texts),
            other => bail!("CategoryMapper takes texts or INT64, not {other:?}"),
        }
    }
}
