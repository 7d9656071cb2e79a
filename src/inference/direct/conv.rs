//! The convolution as an operator.
//!
//! Owns the border of the image, which is laid around a copy of it where there is one and bounded by what the image and
//! the output have, and where each number of a window lies. Never multiplies.

use std::sync::Arc;

use tract_onnx::prelude::{TValue, TVec, Tensor, TractResult, TypedFact, tvec};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::cnn::{PaddingSpec, PoolSpec};

use super::kernel::{Panels, Places};
use crate::inference::ml::Unacceptable;
use crate::inference::onnx::window_span;

/// A convolution with constant weights. Shared by the copies that the optimiser makes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DirectConv {
    pool: PoolSpec,
    panels: Arc<Panels>,
}

impl Eq for DirectConv {}

/// One axis of the image.
#[derive(Debug, Clone, Copy)]
struct Axis {
    /// Its length in the input and in the output.
    input: usize,
    output: usize,
    /// How many zeros are before it, and its length with those around it.
    before: usize,
    padded: usize,
    window: usize,
    stride: usize,
    dilation: usize,
}

impl Axis {
    /// Of an image that has only one.
    const NONE: Self =
        Self { input: 1, output: 1, before: 0, padded: 1, window: 1, stride: 1, dilation: 1 };
}

/// The longest step or window that is taken, from its first place to its last one: what is laid around an image is copied.
const SPAN_MAX: usize = 1024;
/// How many numbers an image may have with its border without a look at how many it has itself.
const FRAMED: usize = 1024 * 1024;
/// Beyond that, how many times as many as the image and what is computed of it.
const FRAMED_TIMES: usize = 4;

/// Whether windows like those of `pool` are close together, and the border is no wider than them on each side.
pub(super) fn is_compact(pool: &PoolSpec) -> bool {
    (0..pool.rank()).all(|axis| {
        let span = window_span(pool, axis);
        let border = match &pool.padding {
            PaddingSpec::Explicit(before, after)
            | PaddingSpec::ExplicitOnnxPool(before, after, _) => {
                before.get(axis).max(after.get(axis)).copied().unwrap_or(0)
            }
            PaddingSpec::Valid | PaddingSpec::SameUpper | PaddingSpec::SameLower => 0,
        };
        span.max(pool.stride(axis)) <= SPAN_MAX && border <= span
    })
}

impl DirectConv {
    /// A convolution with windows like `pool`, which [`is_compact`].
    pub(super) fn new(pool: PoolSpec, panels: Panels) -> Self {
        Self { pool, panels: Arc::new(panels) }
    }

    /// The axes of images whose last ones have these lengths.
    fn axes(&self, lengths: &[usize]) -> TractResult<[Axis; 2]> {
        let padding = self.pool.computed_padding(lengths);
        let axes = padding.iter().enumerate().zip(&self.pool.kernel_shape);
        let axes: Vec<Axis> = axes
            .map(|((axis, padded), window)| {
                let (stride, dilation) = (self.pool.stride(axis), self.pool.dilation(axis));
                // As far as the last window reaches, and all of the image.
                let reach = padded.convoluted.saturating_sub(1) * stride
                    + window.saturating_sub(1) * dilation
                    + 1;
                Axis {
                    input: padded.deconvoluted,
                    output: padded.convoluted,
                    before: padded.pad_before,
                    padded: reach.max(padded.deconvoluted + padded.pad_before),
                    window: *window,
                    stride,
                    dilation,
                }
            })
            .collect();
        match *axes {
            [columns] => Ok([Axis::NONE, columns]),
            [rows, columns] => Ok([rows, columns]),
            _ => bail!("a convolution along {} axes", axes.len()),
        }
    }

    fn convolve(&self, input: &Tensor) -> TractResult<Tensor> {
        let shape = self.pool.data_format.shape(TVec::from(input.shape()))?;
        let channels = self.pool.input_channels;
        let [rows, columns] = self.axes(shape.hw_dims())?;
        let output_shape = self.pool.output_shape(input.shape())?.shape;
        let mut output = Tensor::zero::<f32>(&output_shape)?;
        let (image, plane) = (channels * rows.input * columns.input, rows.output * columns.output);
        if output.len() == 0 || image == 0 {
            return Ok(output);
        }
        let padded = rows.padded * columns.padded;
        let framed = channels * padded;
        let used = image.saturating_add(self.pool.output_channels * plane);
        if framed > FRAMED.max(used.saturating_mul(FRAMED_TIMES)) {
            let reason = format!(
                "an image of {image} numbers would have {framed} with the border that the model looks at"
            );
            return Err(Unacceptable::new(reason).into());
        }
        let down = |row: usize, column: usize| row * columns.padded + column;
        let mut steps = Vec::with_capacity(channels * rows.window * columns.window);
        for channel in 0..channels {
            for row in 0..rows.window {
                let first = channel * padded + down(row * rows.dilation, 0);
                steps.extend((0..columns.window).map(|column| first + column * columns.dilation));
            }
        }
        let mut positions = Vec::with_capacity(plane);
        for row in 0..rows.output {
            let first = down(row * rows.stride, 0);
            positions.extend((0..columns.output).map(|column| first + column * columns.stride));
        }
        let places = Places { steps: &steps, positions: &positions, side_by_side: false };
        let numbers = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let bare = padded == rows.input * columns.input;
        let mut framed = if bare { Vec::new() } else { vec![0.0; framed] };
        let mut results = output.try_as_plain_ram_mut()?;
        let results = results.as_slice_mut::<f32>()?;
        let outputs = results.chunks_exact_mut(self.pool.output_channels * plane);
        for (image, output) in numbers.chunks_exact(image).zip(outputs) {
            if bare {
                self.panels.run(image, &places, output)?;
                continue;
            }
            let planes = image.chunks_exact(rows.input * columns.input);
            for (framed, plane) in framed.chunks_exact_mut(padded).zip(planes) {
                let lines = framed.chunks_exact_mut(columns.padded).skip(rows.before);
                for (line, numbers) in lines.zip(plane.chunks_exact(columns.input)) {
                    if let Some(line) = line.get_mut(columns.before..columns.before + columns.input)
                    {
                        line.copy_from_slice(numbers);
                    }
                }
            }
            self.panels.run(&framed, &places, output)?;
        }
        Ok(output)
    }
}

impl Op for DirectConv {
    fn name(&self) -> StaticName {
        "DirectConv".into()
    }

    op_as_typed_op!();
}

impl EvalOp for DirectConv {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("a convolution takes one image") };
        Ok(tvec!(self.convolve(input)?.into_tvalue()))
    }
}

impl TypedOp for DirectConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.pool.output_facts(inputs)
    }

    as_op!();
}
