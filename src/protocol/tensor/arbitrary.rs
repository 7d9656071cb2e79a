//! Any tensor, for property tests.

use half::{bf16, f16};
use proptest::prelude::*;

use super::{Datatype, Tensor, TensorData};
use crate::protocol::parameters::{Parameter, Parameters};

/// Every datatype, with any shape of up to three dimensions and parameters. Floats are no NaN, so that tensors
/// equal themselves; BYTES are text if `text`.
pub(crate) fn tensor(text: bool) -> impl Strategy<Value = Tensor> {
    let shape = prop::collection::vec(0usize..4, 0..4);
    let datatype = prop::sample::select(Datatype::ALL.as_slice());
    let described = (any::<String>(), shape, datatype, parameters());
    described.prop_flat_map(move |(name, shape, datatype, parameters)| {
        let count = shape.iter().product();
        data(datatype, count, text).prop_map(move |data| {
            let tensor = Tensor::new(name.clone(), shape.as_slice(), data);
            tensor.expect("shape and data agree").with_parameters(parameters.clone())
        })
    })
}

/// A few parameters in the order of their names, as messages keep them. None has a name that means something.
pub(crate) fn parameters() -> impl Strategy<Value = Parameters<'static>> {
    let value = prop_oneof![
        any::<bool>().prop_map(Parameter::Boolean),
        any::<i64>().prop_map(Parameter::Integer),
        (i64::MAX as u64 + 1..).prop_map(Parameter::Unsigned),
        any::<f64>().prop_map(Parameter::Number),
        any::<String>().prop_map(|text| Parameter::String(text.into())),
    ];
    prop::collection::btree_map("[a-s]{1,4}", value, 0..4)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// Tensors that have a JSON form.
pub(crate) fn json_tensor() -> impl Strategy<Value = Tensor> {
    let has_form = |tensor: &Tensor| !matches!(tensor.datatype(), Datatype::Fp16 | Datatype::Bf16);
    tensor(true).prop_filter("has a JSON form", has_form)
}

fn data(datatype: Datatype, count: usize, text: bool) -> BoxedStrategy<TensorData> {
    macro_rules! of {
        ($variant:ident, $element:expr) => {
            prop::collection::vec($element, count).prop_map(TensorData::$variant).boxed()
        };
    }
    let half = || any::<u16>().prop_map(f16::from_bits).prop_filter("no NaN", |v| !v.is_nan());
    let brain = || any::<u16>().prop_map(bf16::from_bits).prop_filter("no NaN", |v| !v.is_nan());
    match datatype {
        Datatype::Bool => of!(Bool, any::<bool>()),
        Datatype::Uint8 => of!(Uint8, any::<u8>()),
        Datatype::Uint16 => of!(Uint16, any::<u16>()),
        Datatype::Uint32 => of!(Uint32, any::<u32>()),
        Datatype::Uint64 => of!(Uint64, any::<u64>()),
        Datatype::Int8 => of!(Int8, any::<i8>()),
        Datatype::Int16 => of!(Int16, any::<i16>()),
        Datatype::Int32 => of!(Int32, any::<i32>()),
        Datatype::Int64 => of!(Int64, any::<i64>()),
        Datatype::Fp16 => of!(Fp16, half()),
        Datatype::Bf16 => of!(Bf16, brain()),
        Datatype::Fp32 => of!(Fp32, any::<f32>()),
        Datatype::Fp64 => of!(Fp64, any::<f64>()),
        Datatype::Bytes if text => of!(Bytes, any::<String>().prop_map(String::into_bytes)),
        Datatype::Bytes => of!(Bytes, any::<Vec<u8>>()),
    }
}
