//! `ai.onnx.ml` FeatureVectorizer, version 1.
//!
//! Owns the concatenation of rows of numbers, as FP32
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_FeatureVectorizer.html>). Where `inputdimensions` and the
//! width of an input differ, a row is cut off or filled with zeros, as in onnxruntime. Without the
//! attribute the widths are those of the inputs. Never mixes batch sizes.

use tract_onnx::prelude::{DatumType, TValue, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{DimLike, IntoTValue as _, TDim, bail, ensure};

use super::attributes::Attributes;
use super::operator::{Form, Operator, check_numbers};

/// How many features of each input are taken; all where it does not say.
#[derive(Debug)]
pub(super) struct FeatureVectorizer {
    widths: Vec<usize>,
}

impl Operator for FeatureVectorizer {
    const NAME: &'static str = "FeatureVectorizer";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        const NAME: &str = "inputdimensions";
        // Keeps a row within what memory has, whatever a file says.
        const WIDTH_MAX: i64 = 1 << 24;
        let width =
            |width: &i64| match usize::try_from(*width) {
                Ok(size) if *width <= WIDTH_MAX => Ok(size),
                _ => Err(attributes
                    .refuse(NAME, &format!("has the element {width}, not 0 to {WIDTH_MAX}"))),
            };
        let widths = attributes.ints(NAME)?.iter().map(width).collect::<TractResult<_>>()?;
        Ok(Self { widths })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let shapes = inputs.iter().map(|input| {
            check_numbers(Self::NAME, input.datum_type)?;
            self.matrix(&input.shape)
        });
        let shapes = shapes.collect::<TractResult<Vec<(TDim, TDim)>>>()?;
        self.check_count(inputs.len())?;
        let Some((rows, _)) = shapes.first() else { bail!("FeatureVectorizer got no input") };
        let widths = shapes.iter().enumerate().map(|(position, (_, columns))| {
            self.widths.get(position).map_or_else(|| columns.clone(), |width| TDim::from(*width))
        });
        let width: TDim = widths.sum();
        Ok(tvec!(Form { datum_type: DatumType::F32, shape: tvec!(rows.clone(), width) }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.check_count(inputs.len())?;
        let mut parts = Vec::with_capacity(inputs.len());
        let mut count = None;
        for (position, input) in inputs.iter().enumerate() {
            let (rows, columns) = self.matrix(input.shape())?;
            let width = self.widths.get(position).copied().unwrap_or(columns);
            ensure!(
                *count.get_or_insert(rows) == rows,
                "FeatureVectorizer got inputs of different batch sizes"
            );
            parts.push((input.cast_to::<f32>()?, columns, width));
        }
        let rows = count.unwrap_or(0);
        let width: usize = parts.iter().map(|(_, _, width)| width).sum();
        let mut output = Tensor::zero::<f32>(&[rows, width])?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let elements = plain.as_slice_mut::<f32>()?;
        let mut begin = 0;
        for (part, columns, part_width) in &parts {
            let values = part.try_as_plain_ram()?.as_slice::<f32>()?;
            if *columns > 0 && width > 0 {
                let places = elements.chunks_exact_mut(width);
                for (row, places) in values.chunks_exact(*columns).zip(places) {
                    let places = places.iter_mut().skip(begin).take(*part_width);
                    places.zip(row).for_each(|(place, x)| *place = *x);
                }
            }
            begin += part_width;
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl FeatureVectorizer {
    fn check_count(&self, inputs: usize) -> TractResult<()> {
        ensure!(
            self.widths.is_empty() || self.widths.len() == inputs,
            "FeatureVectorizer says the widths of {} inputs, but gets {inputs}",
            self.widths.len()
        );
        Ok(())
    }

    /// Rows and columns: one row where there is one dimension, all but the first dimension as columns.
    fn matrix<D: DimLike>(&self, shape: &[D]) -> TractResult<(D, D)> {
        match shape {
            [] => bail!("FeatureVectorizer takes rows of numbers, not a scalar"),
            [columns] => Ok((D::one(), columns.clone())),
            [rows, columns] => Ok((rows.clone(), columns.clone())),
            [_, ..] => bail!("FeatureVectorizer takes tensors of rank 1 or 2, not {}", shape.len()),
        }
    }
}
