//! `ai.onnx.ml` ArrayFeatureExtractor, version 1.
//!
//! Owns the selection of elements along the last axis, by indices
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html>). As in onnxruntime a tensor
//! of rank 1 is one row, and the indices are taken as a flat list. No indices select nothing, where
//! onnxruntime fails: classifiers look up the labels of their rows, and a batch may have none. Never counts
//! from the end: an index below zero is out of range.

use tract_onnx::prelude::{Datum, DatumType, TValue, TVec, Tensor, TractResult, tensor1, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim, bail, ensure};

use super::attributes::Attributes;
use super::operator::{Form, Operator, Unacceptable};

/// Has no attributes.
#[derive(Debug)]
pub(super) struct ArrayFeatureExtractor;

impl Operator for ArrayFeatureExtractor {
    const NAME: &'static str = "ArrayFeatureExtractor";

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let [data, indices] = inputs else { bail!("ArrayFeatureExtractor takes data and indices") };
        ensure!(
            matches!(indices.datum_type, DatumType::I64 | DatumType::TDim),
            "ArrayFeatureExtractor takes INT64 indices, not {:?}",
            indices.datum_type
        );
        let mut shape = match &*data.shape {
            [] => bail!("ArrayFeatureExtractor takes rows, not a scalar"),
            [_columns] => tvec!(TDim::from(1)),
            [rows @ .., _columns] => rows.into(),
        };
        shape.push(indices.shape.iter().product());
        Ok(tvec!(Form { datum_type: data.datum_type, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [data, indices] = &*inputs else {
            bail!("ArrayFeatureExtractor takes data and indices")
        };
        let (rows, columns): (TVec<usize>, usize) = match *data.shape() {
            [] => bail!("ArrayFeatureExtractor takes rows, not a scalar"),
            [columns] => (tvec!(1), columns),
            [ref rows @ .., columns] => (rows.into(), columns),
        };
        let indices = indices.cast_to::<i64>()?;
        let index = |index: &i64| match usize::try_from(*index) {
            Ok(place) if place < columns => Ok(place),
            _ => {
                let reason = format!("index {index} is not one of the {columns} features");
                Err(Unacceptable::new(reason).into())
            }
        };
        let indices = indices.try_as_plain_ram()?.as_slice::<i64>()?.iter().map(index);
        let indices = indices.collect::<TractResult<Vec<usize>>>()?;
        let shape: TVec<usize> = rows.iter().copied().chain([indices.len()]).collect();
        let output = match data.datum_type() {
            DatumType::String => pick::<String>(data, columns, &indices)?,
            DatumType::F32 => pick::<f32>(data, columns, &indices)?,
            DatumType::F64 => pick::<f64>(data, columns, &indices)?,
            DatumType::I64 => pick::<i64>(data, columns, &indices)?,
            DatumType::I32 => pick::<i32>(data, columns, &indices)?,
            DatumType::Bool => pick::<bool>(data, columns, &indices)?,
            DatumType::TDim => pick::<TDim>(data, columns, &indices)?,
            other => bail!("ArrayFeatureExtractor takes texts or numbers, not {other:?}"),
        };
        Ok(tvec!(output.into_shape(&shape)?.into_tvalue()))
    }
}

fn pick<T: Datum + Clone>(data: &Tensor, columns: usize, indices: &[usize]) -> TractResult<Tensor> {
    let elements = data.try_as_plain_ram()?.as_slice::<T>()?;
    let rows = elements.chunks_exact(columns.max(1));
    let picked = rows.flat_map(|row| indices.iter().filter_map(|index| row.get(*index).cloned()));
    Ok(tensor1(&picked.collect::<Vec<_>>()))
}
