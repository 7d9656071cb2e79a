//! Between the tensors of the protocols and those of tract.

use tract_onnx::prelude::{
    Datum, DatumType, TValue, Tensor as TractTensor, TractError, TractResult, tensor0, tensor1,
};

use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorData, TensorSpec};

/// tract's name for a datatype, `None` for the one that it does not have.
pub(super) fn datum_type(datatype: Datatype) -> Option<DatumType> {
    Some(match datatype {
        Datatype::Bool => DatumType::Bool,
        Datatype::Uint8 => DatumType::U8,
        Datatype::Uint16 => DatumType::U16,
        Datatype::Uint32 => DatumType::U32,
        Datatype::Uint64 => DatumType::U64,
        Datatype::Int8 => DatumType::I8,
        Datatype::Int16 => DatumType::I16,
        Datatype::Int32 => DatumType::I32,
        Datatype::Int64 => DatumType::I64,
        Datatype::Fp16 => DatumType::F16,
        Datatype::Fp32 => DatumType::F32,
        Datatype::Fp64 => DatumType::F64,
        Datatype::Bytes => DatumType::String,
        Datatype::Bf16 => return None,
    })
}

/// Copies an input into aligned memory of tract's. Texts are UTF-8, which the signature checks.
pub(super) fn to_tract(tensor: &Tensor) -> TractResult<TValue> {
    let shape = tensor.shape();
    let tensor = match tensor.data() {
        TensorData::Bool(values) => TractTensor::from_shape(shape, values),
        TensorData::Uint8(values) => TractTensor::from_shape(shape, values),
        TensorData::Uint16(values) => TractTensor::from_shape(shape, values),
        TensorData::Uint32(values) => TractTensor::from_shape(shape, values),
        TensorData::Uint64(values) => TractTensor::from_shape(shape, values),
        TensorData::Int8(values) => TractTensor::from_shape(shape, values),
        TensorData::Int16(values) => TractTensor::from_shape(shape, values),
        TensorData::Int32(values) => TractTensor::from_shape(shape, values),
        TensorData::Int64(values) => TractTensor::from_shape(shape, values),
        TensorData::Fp16(values) => TractTensor::from_shape(shape, values),
        TensorData::Fp32(values) => TractTensor::from_shape(shape, values),
        TensorData::Fp64(values) => TractTensor::from_shape(shape, values),
        TensorData::Bf16(_) => Err(TractError::msg("BF16 inputs are refused when a model loads")),
        TensorData::Bytes(values) => {
            let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone());
            let texts: Vec<String> = values.iter().map(text).collect::<Result<_, _>>()?;
            tensor1(&texts).into_shape(shape)
        }
    }?;
    Ok(tensor.into())
}

/// The number that every element of a made-up tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Zeros,
    Ones,
}

/// A tensor of one number, or of texts that say it; zeros are empty ones.
pub(super) fn filled(datatype: Datatype, shape: &[usize], fill: Fill) -> TractResult<TValue> {
    let tensor = match (datum_type(datatype), fill) {
        (Some(DatumType::String), fill) => {
            let text = if fill == Fill::Zeros { "" } else { "1" };
            tensor1(&vec![text.to_owned(); shape.iter().product()]).into_shape(shape)
        }
        (datum_type, Fill::Zeros) => {
            TractTensor::zero_dt(datum_type.unwrap_or(DatumType::F32), shape)
        }
        (datum_type, Fill::Ones) => {
            let one = tensor0(1_u8).cast_to_dt(datum_type.unwrap_or(DatumType::F32))?.into_owned();
            one.broadcast_scalar_to_shape(shape)
        }
    };
    Ok(tensor?.into())
}

/// Copies an output out of tract's memory, as the datatype that the model declares.
pub(super) fn from_tract(spec: &TensorSpec, value: &TValue) -> TractResult<Tensor> {
    let expected = datum_type(spec.datatype)
        .ok_or_else(|| TractError::msg(format!("output {spec} has no form")))?;
    // Shapes that the model computes with are symbolic inside of tract.
    let value = value.cast_to_dt(expected)?;
    let data = match spec.datatype {
        Datatype::Bool => TensorData::Bool(elements(&value)?),
        Datatype::Uint8 => TensorData::Uint8(elements(&value)?),
        Datatype::Uint16 => TensorData::Uint16(elements(&value)?),
        Datatype::Uint32 => TensorData::Uint32(elements(&value)?),
        Datatype::Uint64 => TensorData::Uint64(elements(&value)?),
        Datatype::Int8 => TensorData::Int8(elements(&value)?),
        Datatype::Int16 => TensorData::Int16(elements(&value)?),
        Datatype::Int32 => TensorData::Int32(elements(&value)?),
        Datatype::Int64 => TensorData::Int64(elements(&value)?),
        Datatype::Fp16 => TensorData::Fp16(elements(&value)?),
        Datatype::Fp32 => TensorData::Fp32(elements(&value)?),
        Datatype::Fp64 => TensorData::Fp64(elements(&value)?),
        Datatype::Bytes | Datatype::Bf16 => {
            let texts = elements::<String>(&value)?;
            TensorData::Bytes(texts.into_iter().map(String::into_bytes).collect())
        }
    };
    Ok(Tensor::new(spec.name.clone(), Shape::from_slice(value.shape()), data)?)
}

/// About how many bytes an answer of these outputs has: numbers as JSON writes them, texts as they are.
pub(super) fn answer_bytes<'a>(outputs: impl Iterator<Item = &'a TractTensor>) -> u64 {
    const NUMBER_BYTES: u64 = 8;
    let bytes = outputs.map(|output| {
        let texts = match output.datum_type() {
            DatumType::String => output.try_as_plain_ram().and_then(|plain| {
                Ok(plain.as_slice::<String>()?.iter().map(String::len).sum::<usize>())
            }),
            _ => Ok(0),
        };
        // What cannot be read is refused when it is converted.
        let texts = texts.unwrap_or(0) as u64;
        (output.len() as u64).saturating_mul(NUMBER_BYTES).saturating_add(texts)
    });
    bytes.fold(0, u64::saturating_add)
}

fn elements<T: Datum + Clone>(value: &TractTensor) -> TractResult<Vec<T>> {
    Ok(value.try_as_plain_ram()?.as_slice::<T>()?.to_vec())
}
