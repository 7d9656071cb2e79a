//! Any tensor, for property tests.

use half::{bf16, f16};
use proptest::prelude::*;

use super::{Datatype, Tensor, TensorData};

/// Every datatype, with any shape of up to three dimensions. Floats are no NaN, so that tensors equal
/// themselves; BYTES are text if `text`.
pub(crate) fn tensor(text: bool) -> impl Strategy<Value = Tensor> {
    let shape = prop::collection::vec(0usize..4, 0..4);
    let datatype = prop::sample::select(Datatype::ALL.as_slice());
    (any::<String>(), shape, datatype).prop_flat_map(move |(name, shape, datatype)| {
        let count = shape.iter().product();
        data(datatype, count, text).prop_map(move |data| {
            Tensor::new(name.clone(), shape.as_slice(), data).expect("shape and data agree")
        })
    })
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
