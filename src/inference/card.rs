//! What `model.toml` says, fitted to the model beside it.
//!
//! Owns whether the two agree, and the scale and offset that values get before the model sees them. Never
//! reads a file.

use crate::domain::spec::{InputCard, ModelCard};
use crate::protocol::tensor::{Datatype, Tensor, TensorData, TensorSpec};

use super::signature::{Ordered, Signature};

/// A card whose entries are at the positions of the model's inputs.
#[derive(Debug, Default)]
pub(super) struct FittedCard {
    interface: Option<u32>,
    inputs: Vec<FittedInput>,
}

#[derive(Debug, Default)]
struct FittedInput {
    /// One for each place of the last dimension; none where values are taken as they are.
    affine: Vec<(f64, f64)>,
    sample: Vec<f64>,
}

impl FittedCard {
    /// Fits `card` to the model; names and labels go into its signature.
    pub(super) fn new(card: &ModelCard, signature: &mut Signature) -> Result<Self, String> {
        let known = |name: &str, specs: &[TensorSpec]| specs.iter().any(|spec| spec.name == name);
        if let Some(name) = card.inputs.keys().find(|name| !known(name, &signature.inputs)) {
            return Err(format!("it describes the input '{name}', which the model does not take"));
        }
        if let Some(name) = card.outputs.keys().find(|name| !known(name, &signature.outputs)) {
            return Err(format!(
                "it describes the output '{name}', which the model does not return"
            ));
        }
        let inputs = signature.inputs.iter_mut().map(|spec| match card.inputs.get(&spec.name) {
            None => Ok(FittedInput::default()),
            Some(input) => {
                let fitted = FittedInput::new(input, spec)?;
                if !input.names.is_empty() {
                    spec.places.clone_from(&input.names);
                }
                Ok(fitted)
            }
        });
        let inputs = inputs.collect::<Result<_, String>>()?;
        for spec in &signature.outputs {
            let Some(output) = card.outputs.get(&spec.name) else { continue };
            if output.labels.is_empty() {
                continue;
            }
            let places = last(spec).filter(|_| spec.shape.len() > 1);
            if let Some(places) = places.filter(|places| *places != output.labels.len()) {
                let labels = output.labels.len();
                return Err(format!("output '{}' has {places} places, not {labels}", spec.name));
            }
            signature.columns.insert(spec.name.clone(), output.labels.clone());
        }
        Ok(Self { interface: card.interface, inputs })
    }

    pub(super) const fn interface(&self) -> Option<u32> {
        self.interface
    }

    /// Gives the values of a request their scale and offset.
    pub(super) fn prepare(&self, inputs: &mut Ordered) {
        for (fitted, tensor) in self.inputs.iter().zip(inputs) {
            if !fitted.affine.is_empty() {
                fitted.apply(tensor);
            }
        }
    }

    /// The sample row of an input, ready for the model.
    pub(super) fn sample(
        &self,
        position: usize,
        spec: &TensorSpec,
        shape: &[usize],
    ) -> Option<Tensor> {
        let fitted = self.inputs.get(position)?;
        let sample = &fitted.sample;
        let data = match spec.datatype {
            _ if sample.is_empty() => return None,
            Datatype::Fp32 => TensorData::Fp32(sample.iter().map(|value| single(*value)).collect()),
            Datatype::Fp64 => TensorData::Fp64(sample.clone()),
            #[expect(clippy::cast_possible_truncation, reason = "whole numbers were asked for")]
            Datatype::Int64 => {
                TensorData::Int64(sample.iter().map(|value| *value as i64).collect())
            }
            #[expect(clippy::cast_possible_truncation, reason = "whole numbers were asked for")]
            Datatype::Int32 => {
                TensorData::Int32(sample.iter().map(|value| *value as i32).collect())
            }
            _ => return None,
        };
        let mut tensor = Tensor::new(spec.name.clone(), shape, data).ok()?;
        if !fitted.affine.is_empty() {
            fitted.apply(&mut tensor);
        }
        Some(tensor)
    }
}

impl FittedInput {
    fn new(card: &InputCard, spec: &TensorSpec) -> Result<Self, String> {
        let name = &spec.name;
        let places = last(spec);
        let lists = [
            ("names", card.names.len(), false),
            ("units", card.units.len(), false),
            ("scale", card.scale.len(), true),
            ("offset", card.offset.len(), true),
        ];
        for (list, length, one_for_all) in lists {
            let good = length == 0 || (one_for_all && length == 1) || Some(length) == places;
            if !good {
                let places = places.map_or_else(|| "any number of".to_owned(), |n| n.to_string());
                return Err(format!(
                    "input '{name}' has {places} places, but `{list}` has {length} entries"
                ));
            }
        }
        let mut names: Vec<&str> = card.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        if let Some(twice) =
            names.iter().zip(names.iter().skip(1)).find_map(|(a, b)| (a == b).then_some(a))
        {
            return Err(format!("`names` of input '{name}' has '{twice}' more than once"));
        }
        let scaled = !card.scale.is_empty() || !card.offset.is_empty();
        if scaled && !matches!(spec.datatype, Datatype::Fp32 | Datatype::Fp64) {
            let datatype = spec.datatype;
            return Err(format!("input '{name}' is {datatype}, and only FP32 and FP64 are scaled"));
        }
        if spec.datatype == Datatype::Fp32 {
            for (list, values) in [("scale", &card.scale), ("offset", &card.offset)] {
                if let Some(beyond) = values.iter().find(|value| !single(**value).is_finite()) {
                    return Err(format!("`{list}` of input '{name}' has {beyond}, beyond FP32"));
                }
            }
        }
        let dims = spec.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1));
        let row = dims.fold(1, usize::saturating_mul);
        if !card.sample.is_empty() && card.sample.len() != row {
            let found = card.sample.len();
            return Err(format!(
                "a row of input '{name}' has {row} values, but `sample` has {found}"
            ));
        }
        let whole = matches!(spec.datatype, Datatype::Int32 | Datatype::Int64);
        if whole && card.sample.iter().any(|value| value.fract() != 0.0) {
            return Err(format!("the `sample` of input '{name}' must be whole numbers"));
        }
        let count = if scaled { card.scale.len().max(card.offset.len()) } else { 0 };
        let at = |list: &[f64], place: usize, absent: f64| {
            list.get(place).or_else(|| list.first()).copied().unwrap_or(absent)
        };
        let affine = (0..count)
            .map(|at_place| (at(&card.scale, at_place, 1.0), at(&card.offset, at_place, 0.0)));
        Ok(Self { affine: affine.collect(), sample: card.sample.clone() })
    }

    /// `value * scale + offset`, computed as the model would with its own floats.
    fn apply(&self, tensor: &mut Tensor) {
        let affine = self.affine.iter().cycle();
        if let Some(values) = tensor.fp32_mut() {
            for (value, (scale, offset)) in values.iter_mut().zip(affine) {
                *value = *value * single(*scale) + single(*offset);
            }
        } else if let Some(values) = tensor.fp64_mut() {
            for (value, (scale, offset)) in values.iter_mut().zip(affine) {
                *value = *value * scale + offset;
            }
        }
    }
}

/// A number of the card as the model sees it.
#[expect(clippy::cast_possible_truncation, reason = "the model computes with FP32")]
const fn single(value: f64) -> f32 {
    value as f32
}

/// The size of the last dimension, if it is fixed.
fn last(spec: &TensorSpec) -> Option<usize> {
    spec.shape.last().and_then(|size| usize::try_from(*size).ok())
}
