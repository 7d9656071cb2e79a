//! Convolutions of ours against those of tract.

use tract_onnx::prelude::{
    DatumExt as _, DatumType, IntoTensor as _, SpecialOps as _, TValue, Tensor, TypedModel,
    TypedSimplePlan, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp as _, IntoTValue as _, Symbol, TDim, TVec,
};
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

use super::conv::DirectConv;
use super::dense::Dense;
use super::{kernel, lower};

/// Numbers between -1 and 1 that look random.
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut draw = fastrand::Rng::with_seed(seed);
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|_| draw.f32().mul_add(2.0, -1.0)).collect();
    Tensor::from_shape(shape, &values).expect("agrees")
}

struct Case {
    channels: usize,
    outputs: usize,
    image: &'static [usize],
    window: &'static [usize],
    strides: &'static [usize],
    dilations: &'static [usize],
    padding: PaddingSpec,
}

impl Case {
    const PLAIN: Self = Self {
        channels: 3,
        outputs: 16,
        image: &[9, 11],
        window: &[3, 3],
        strides: &[1, 1],
        dilations: &[1, 1],
        padding: PaddingSpec::Valid,
    };

    /// A graph of the convolution alone, for any number of images.
    fn graph(&self) -> (TypedModel, Symbol) {
        let mut model = TypedModel::default();
        let images = model.symbols.sym("N");
        let mut shape: TVec<TDim> = tvec!(images.clone().into(), self.channels.into());
        shape.extend(self.image.iter().map(TDim::from));
        let input = model.add_source("input", f32::fact(shape)).expect("an input");
        let mut shape = vec![self.outputs, self.channels];
        shape.extend(self.window);
        let weights = numbers(&shape, 1);
        let weights = model.add_const("weights", weights).expect("weights");
        let bias = model.add_const("bias", numbers(&[self.outputs], 2)).expect("a bias");
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: self.window.into(),
            padding: self.padding.clone(),
            dilations: Some(self.dilations.into()),
            strides: Some(self.strides.into()),
            input_channels: self.channels,
            output_channels: self.outputs,
        };
        let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: 1, q_params: None };
        let output = model.wire_node("conv", conv, &[input, weights, bias]).expect("fits");
        model.select_output_outlets(&output).expect("an output");
        (model, images)
    }

    fn images(&self, count: usize) -> Tensor {
        let mut shape = vec![count, self.channels];
        shape.extend(self.image);
        numbers(&shape, 3)
    }
}

fn run(model: TypedModel, input: &Tensor) -> Tensor {
    let plan = TypedSimplePlan::new(model.into_optimized().expect("optimised")).expect("a plan");
    let input: TValue = input.clone().into_tvalue();
    plan.run(tvec!(input)).expect("runs").remove(0).into_tensor()
}

fn lowered(mut model: TypedModel) -> TypedModel {
    lower(&mut model).expect("lowers");
    model
}

fn is_ours(model: &TypedModel) -> bool {
    model.nodes().iter().any(|node| node.op_is::<DirectConv>() || node.op_is::<Dense>())
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32").to_vec()
}

/// The same but for the order in which products were added.
fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    for (found, expected) in floats(found).iter().zip(floats(expected)) {
        assert!((found - expected).abs() < 1e-5, "{what}: {found}, not {expected}");
    }
}

#[test]
fn windows_of_any_kind_see_what_those_of_tract_see() {
    if kernel::lanes().is_none() {
        return;
    }
    let explicit = |before: [usize; 2], after: [usize; 2]| {
        PaddingSpec::Explicit(before.as_slice().into(), after.as_slice().into())
    };
    let cases = [
        Case::PLAIN,
        Case { padding: explicit([1, 1], [1, 1]), strides: &[2, 2], ..Case::PLAIN },
        Case { padding: explicit([0, 2], [3, 1]), strides: &[2, 1], ..Case::PLAIN },
        Case { padding: PaddingSpec::SameUpper, strides: &[3, 2], ..Case::PLAIN },
        Case { padding: PaddingSpec::SameLower, strides: &[2, 3], ..Case::PLAIN },
        Case { dilations: &[2, 3], padding: explicit([2, 3], [2, 3]), ..Case::PLAIN },
        Case { window: &[5, 1], padding: explicit([2, 0], [2, 0]), ..Case::PLAIN },
        Case { window: &[1, 1], strides: &[2, 2], ..Case::PLAIN },
        Case { window: &[2, 4], outputs: 8, ..Case::PLAIN },
        // Blocks of two registers, and what is left over for two or one.
        Case { outputs: 17, ..Case::PLAIN },
        Case { outputs: 33, channels: 1, ..Case::PLAIN },
        Case { outputs: 64, channels: 5, ..Case::PLAIN },
        Case { outputs: 77, image: &[3, 3], ..Case::PLAIN },
        // More positions than go through the weights at once.
        Case { outputs: 40, image: &[30, 31], ..Case::PLAIN },
        Case {
            image: &[23],
            window: &[4],
            strides: &[3],
            dilations: &[2],
            padding: PaddingSpec::SameUpper,
            ..Case::PLAIN
        },
    ];
    for case in &cases {
        for count in [1, 3] {
            let (model, images) = case.graph();
            let ours = lowered(model.clone());
            assert!(is_ours(&ours), "{:?}", case.window);
            let input = case.images(count);
            let expected = run(model, &input);
            let any = run(ours.clone(), &input);
            assert_close(&any, &expected, &format!("{:?} {:?}", case.window, case.padding));
            let sizes = [(images, TDim::from(count))].into_iter().collect();
            let known = run(ours.set_symbols(&sizes).expect("sizes"), &input);
            assert_eq!(known, any, "{:?}", case.window);
        }
    }
}

#[test]
fn a_border_takes_no_more_than_a_few_images() {
    if kernel::lanes().is_none() {
        return;
    }
    let explicit = |border: [usize; 2]| {
        PaddingSpec::Explicit(border.as_slice().into(), border.as_slice().into())
    };
    // As wide as a window is taken, wider ones and windows far apart are left to tract.
    let cases: [(_, &[usize], &[usize], _); 4] = [
        (explicit([3, 3]), &[1, 1], &[1, 1], true),
        (explicit([3, 4]), &[1, 1], &[1, 1], false),
        (explicit([500_000, 0]), &[900_000, 1], &[1, 1], false),
        (explicit([1025, 0]), &[1, 1], &[512, 1], false),
    ];
    for (padding, strides, dilations, ours) in cases {
        let case = Case { padding, strides, dilations, ..Case::PLAIN };
        assert_eq!(is_ours(&lowered(case.graph().0)), ours, "{strides:?} {dilations:?}");
    }
    // Far below a megabyte, and beyond, of little.
    let spec = |channels| PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec![1, 1000],
        padding: explicit([0, 999]),
        dilations: None,
        strides: Some(tvec![1, 1000]),
        input_channels: channels,
        output_channels: 8,
    };
    for (channels, height, fits) in [(2, 4, true), (2, 10_000, false)] {
        let lanes = kernel::lanes().unwrap_or(8);
        let weights = vec![1.0; 8 * channels * 1000];
        let panels = kernel::Panels::new(&weights, &[0.0], 8, lanes).expect("fits");
        let conv = DirectConv::new(spec(channels), panels);
        let image = numbers(&[1, channels, height, 1], 3).into_tvalue();
        let found = conv.eval(&EvalContext::out_of_plan(), tvec!(image));
        assert_eq!(found.is_ok(), fits, "{height} lines");
    }
}

#[test]
fn an_image_has_the_same_result_in_any_batch() {
    if kernel::lanes().is_none() {
        return;
    }
    let (model, _) = Case { outputs: 48, ..Case::PLAIN }.graph();
    let images = Case::PLAIN.images(4);
    let together = floats(&run(lowered(model.clone()), &images));
    let each = together.len() / 4;
    for (at, expected) in together.chunks_exact(each).enumerate() {
        let image = images.slice(0, at, at + 1).expect("an image");
        let alone = floats(&run(lowered(model.clone()), &image));
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&alone), bits(expected));
    }
}

#[test]
fn no_images_have_no_results() {
    let (model, _) = Case::PLAIN.graph();
    let found = run(lowered(model), &Case::PLAIN.images(0));
    assert_eq!(found.shape(), [0, 16, 7, 9]);
}

#[test]
fn a_relu_that_follows_goes_along_and_keeps_what_is_missing() {
    use crate::inference::onnx::relu_for_tests;

    if kernel::lanes().is_none() {
        return;
    }
    let (mut model, _) = Case::PLAIN.graph();
    let outlets = model.output_outlets().expect("outputs").to_vec();
    let output = model.wire_node("relu", relu_for_tests(), &outlets).expect("fits");
    model.select_output_outlets(&output).expect("an output");
    let mut input = Case::PLAIN.images(1);
    let mut plain = input.try_as_plain_ram_mut().expect("plain");
    plain.as_slice_mut::<f32>().expect("f32")[0] = f32::NAN;
    let ours = lowered(model.clone());
    assert_eq!(ours.nodes().len(), 2, "the input and one operator");
    let (found, expected) = (floats(&run(ours, &input)), floats(&run(model, &input)));
    assert!(found[0].is_nan() && expected[0].is_nan() && found.contains(&0.0));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5 || found.is_nan() && expected.is_nan());
    }
}

#[test]
fn what_others_see_too_is_not_clipped() {
    use crate::inference::onnx::relu_for_tests;

    let (mut model, _) = Case::PLAIN.graph();
    let conv = model.output_outlets().expect("outputs").to_vec();
    let relu = model.wire_node("relu", relu_for_tests(), &conv).expect("fits");
    let both = [conv, relu.to_vec()].concat();
    model.select_output_outlets(&both).expect("outputs");
    let found = floats(&run(lowered(model), &Case::PLAIN.images(1)));
    assert!(found.iter().any(|x| *x < 0.0));
}

#[test]
fn all_other_convolutions_stay_those_of_tract() {
    let (model, _) = Case { outputs: 2, ..Case::PLAIN }.graph();
    assert!(!is_ours(&lowered(model)), "too few outputs");
    let (mut model, _) = Case { channels: 16, ..Case::PLAIN }.graph();
    for node in model.nodes_mut() {
        if let Some(conv) = node.op_as_mut::<Conv>() {
            conv.group = 2;
        }
    }
    assert!(!is_ours(&lowered(model)), "groups");
    let (mut model, _) = Case::PLAIN.graph();
    let constant = model.node_by_name("weights").expect("there").id;
    if let Some(output) =
        model.nodes_mut().get_mut(constant).and_then(|node| node.outputs.first_mut())
    {
        output.fact.konst = None;
    }
    assert!(!is_ours(&lowered(model)), "weights that are computed");
}

/// A graph of one product, of as many rows as are asked for.
fn product(axes: &str, weights: &[usize], from_the_left: bool) -> TypedModel {
    let mut model = TypedModel::default();
    let rows = model.symbols.sym("N");
    let shape: TVec<TDim> = tvec!(rows.into(), 3.into(), 20.into());
    let input = model.add_source("input", f32::fact(shape)).expect("an input");
    let weights = model.add_const("weights", numbers(weights, 1)).expect("weights");
    let inputs = if from_the_left { [weights, input] } else { [input, weights] };
    let axes = axes.parse().expect("axes");
    let output = model.wire_node("product", EinSum::new(axes, DatumType::F32), &inputs);
    model.select_output_outlets(&output.expect("fits")).expect("an output");
    model
}

#[test]
fn products_with_weights_are_those_of_tract() {
    if kernel::lanes().is_none() {
        return;
    }
    let cases = [
        ("abk,kn->abn", &[20, 33][..], false),
        ("abk,nk->abn", &[48, 20], false),
        ("abk,ckn->abn", &[1, 20, 8], false),
        ("kn,abk->abn", &[20, 130], true),
        ("abk,bkn->an", &[3, 20, 33], false),
        ("abk,nkb->an", &[33, 20, 3], false),
    ];
    for (axes, weights, from_the_left) in cases {
        let model = product(axes, weights, from_the_left);
        let ours = lowered(model.clone());
        assert!(is_ours(&ours), "{axes}");
        for rows in [0, 1, 2, 90] {
            let input = numbers(&[rows, 3, 20], 7);
            let (found, expected) = (run(ours.clone(), &input), run(model.clone(), &input));
            assert_close(&found, &expected, axes);
        }
    }
    let others = [
        ("abk,kn->ban", &[20, 33][..]),
        ("akb,kn->abn", &[3, 33]),
        ("akb,kn->an", &[3, 33]),
        ("abk,bkn->abn", &[3, 20, 33]),
        ("abk,kn->abn", &[20, 3]),
    ];
    for (axes, weights) in others {
        assert!(!is_ours(&lowered(product(axes, weights, false))), "{axes}");
    }
}

#[test]
fn what_is_added_to_a_product_and_a_relu_go_along() {
    use crate::inference::onnx::relu_for_tests;

    if kernel::lanes().is_none() {
        return;
    }
    for (shape, along) in [([1, 1, 33], true), ([1, 3, 1], false)] {
        let mut model = product("abk,kn->abn", &[20, 33], false);
        let product = model.output_outlets().expect("outputs").to_vec();
        let added = model.add_const("added", numbers(&shape, 9)).expect("numbers");
        let inputs = [added, product[0]];
        let sum = model.wire_node("sum", math::add(), &inputs).expect("fits");
        let output = model.wire_node("relu", relu_for_tests(), &sum).expect("fits");
        model.select_output_outlets(&output).expect("an output");
        let ours = lowered(model.clone());
        assert_eq!(ours.nodes().len() == 2, along, "{shape:?}");
        let input = numbers(&[4, 3, 20], 7);
        let (found, expected) = (run(ours, &input), run(model, &input));
        assert_close(&found, &expected, "a product");
    }
}
