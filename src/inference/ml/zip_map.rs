//! `ai.onnx.ml` ZipMap, version 1, at the edge of the graph.
//!
//! Owns the class labels of a tensor of scores, whose columns they name
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html>). In ONNX the operator turns each row into a
//! map from label to score. No tensor protocol has maps, and the row says the same: so the tensor itself
//! is the output, and the labels go to the signature. Never stands within a graph, which `graph` checks.

use tract_onnx::prelude::{DatumType, IntoTensor as _, TValue, TVec, TractResult, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, bail};

use super::attributes::Attributes;
use super::labels::Labels;
use super::operator::{Form, Operator, rows};

/// Lets the scores pass and holds their labels.
#[derive(Debug)]
pub(in crate::inference) struct ZipMap {
    labels: Labels,
}

impl ZipMap {
    /// The labels, one for each column.
    pub(in crate::inference) fn into_labels(self) -> Labels {
        self.labels
    }
}

impl Operator for ZipMap {
    const NAME: &'static str = "ZipMap";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let labels = Labels::parse(attributes, "classlabels_int64s", "classlabels_strings")?;
        Ok(Self { labels })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        if input.datum_type != DatumType::F32 {
            bail!("ZipMap takes FP32, not {:?}", input.datum_type);
        }
        let count = rows(Self::NAME, &input.shape, self.labels.len())?;
        let shape = tvec!(count, self.labels.len().into());
        Ok(tvec!(Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let count = rows(Self::NAME, input.shape(), self.labels.len())?;
        if input.rank() == 2 {
            return Ok(tvec!(input));
        }
        let tensor = input.into_tensor().into_shape(&[count, self.labels.len()])?;
        Ok(tvec!(tensor.into_tvalue()))
    }
}
