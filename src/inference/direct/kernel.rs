//! Sums of products with constant weights, as many side by side as the registers of this processor hold.
//!
//! Owns how weights lie in memory ([`Panels`]) and the loop over them. One step of it multiplies one number of the
//! input with the weights that it has in many outputs, which lie side by side, and does so for several positions.
//! Each sum begins with the bias and adds its products in the order of the steps, whatever else is computed with
//! it, so that a row has the same result in any batch. The width is found at run time. Never knows what the numbers
//! mean, or where an image ends.

use pulp::{Arch, Simd, WithSimd};
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::bail;

/// Registers that are as wide as this or wider are worth it: the kernels of tract are made for the others.
const LANES_MIN: usize = 8;
/// The most numbers of one register that this module knows of.
const LANES_MAX: usize = 16;
/// How many registers hold the outputs of one position.
const SIDE_BY_SIDE: usize = 2;
/// How many positions go through all weights before the next ones do: what they read stays in the cache.
const POSITIONS: usize = 256;

/// The numbers in one register of this processor, where that is enough for this module.
pub(super) fn lanes() -> Option<usize> {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    Some(Arch::new().dispatch(Lanes)).filter(|lanes| (LANES_MIN..=LANES_MAX).contains(lanes))
}

/// Weights and what is added to and done with the sums: for each block of outputs, step by step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panels {
    weights: Vec<f32>,
    bias: Vec<f32>,
    outputs: usize,
    steps: usize,
    lanes: usize,
    /// What lies below the first or above the second becomes that.
    bounds: Option<(f32, f32)>,
}

/// Where the numbers of the input lie, and where those of the output go.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// For each step, how far from where a position begins its number lies.
    pub(super) steps: &'a [usize],
    /// Where each position begins.
    pub(super) positions: &'a [usize],
    /// Whether the outputs of a position lie side by side, else the positions of an output do.
    pub(super) side_by_side: bool,
}

impl Panels {
    /// Lays out weights that a file has output by output, for registers of `lanes`; nothing where they do not fit each
    /// other.
    pub(super) fn new(weights: &[f32], bias: &[f32], outputs: usize, lanes: usize) -> Option<Self> {
        let steps = weights.len().checked_div(outputs).filter(|steps| *steps > 0)?;
        if steps * outputs != weights.len() || ![1, outputs].contains(&bias.len()) {
            return None;
        }
        let rows: Vec<&[f32]> = weights.chunks_exact(steps).collect();
        let (mut laid, mut added) = (Vec::new(), Vec::new());
        for (block, width) in blocks(outputs, lanes) {
            let rows = rows.get(block.clone())?;
            for step in 0..steps {
                let start = laid.len();
                laid.extend(rows.iter().filter_map(|row| row.get(step)));
                laid.resize(start + width, 0.0);
            }
            let start = added.len();
            match bias {
                [bias] => added.resize(start + block.len(), *bias),
                bias => added.extend_from_slice(bias.get(block)?),
            }
            added.resize(start + width, 0.0);
        }
        Some(Self { weights: laid, bias: added, outputs, steps, lanes, bounds: None })
    }

    /// Keeps the outputs within these bounds too.
    pub(super) fn within(self, bounds: Option<(f32, f32)>) -> Self {
        Self { bounds, ..self }
    }

    /// How many outputs there are for each position, and of how many products each is the sum.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.outputs, self.steps)
    }

    /// Computes all outputs of all positions.
    ///
    /// # Errors
    /// When the input or the results have fewer numbers than the places say, or the registers are of another width.
    pub(super) fn run(
        &self,
        input: &[f32],
        places: &Places<'_>,
        results: &mut [f32],
    ) -> TractResult<()> {
        let reach = |places: &[usize]| places.iter().max().copied().unwrap_or(0);
        let fits = lanes() == Some(self.lanes)
            && places.steps.len() == self.steps
            && results.len() == self.outputs.saturating_mul(places.positions.len())
            && (places.positions.is_empty()
                || reach(places.steps).saturating_add(reach(places.positions)) < input.len());
        if !fits {
            bail!("{} sums of {} products do not lie in these tensors", self.outputs, self.steps);
        }
        Arch::new().dispatch(Run { panels: self, input, places, results });
        Ok(())
    }
}

/// The outputs in blocks that have registers of their own, and how many numbers those hold.
fn blocks(outputs: usize, lanes: usize) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> {
    let wide = lanes * SIDE_BY_SIDE;
    (0..outputs).step_by(wide).map(move |start| {
        let rest = outputs - start;
        (start..start + rest.min(wide), if rest <= lanes { lanes } else { wide })
    })
}

struct Run<'a> {
    panels: &'a Panels,
    input: &'a [f32],
    places: &'a Places<'a>,
    results: &'a mut [f32],
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panels, input, places, results } = self;
        // Made for registers of another width: not on this processor.
        if S::F32_LANES != panels.lanes {
            return;
        }
        let wide = S::F32_LANES * SIDE_BY_SIDE;
        let mut done = 0;
        for positions in places.positions.chunks(POSITIONS) {
            let blocks = panels.weights.chunks(panels.steps * wide).zip(panels.bias.chunks(wide));
            for (number, (weights, bias)) in blocks.enumerate() {
                let first = number * wide;
                let outputs = (panels.outputs - first).min(wide);
                let block = Block { weights, bias, first, outputs, panels, input, places };
                // 16 sums beside 2 weights fit into 32 registers, 12 beside 2 into 16.
                match (bias.len() == wide, S::F32_LANES == LANES_MAX) {
                    (true, true) => block.run::<S, 2, 8>(simd, positions, done, results),
                    (true, false) => block.run::<S, 2, 6>(simd, positions, done, results),
                    (false, true) => block.run::<S, 1, 16>(simd, positions, done, results),
                    (false, false) => block.run::<S, 1, 12>(simd, positions, done, results),
                }
            }
            done += positions.len();
        }
    }
}

/// The outputs that are computed side by side.
struct Block<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
    first: usize,
    outputs: usize,
    panels: &'a Panels,
    input: &'a [f32],
    places: &'a Places<'a>,
}

/// The outputs of one position.
type Column = [f32; LANES_MAX * SIDE_BY_SIDE];

impl Block<'_> {
    /// Computes `positions`, of which `done` are before them, `TILE` at a time.
    #[inline(always)]
    fn run<S: Simd, const WIDE: usize, const TILE: usize>(
        &self,
        simd: S,
        positions: &[usize],
        done: usize,
        results: &mut [f32],
    ) {
        let mut from = done;
        for starts in positions.chunks(TILE) {
            // One sum waits for the product before it four times as long as for its turn.
            if starts.len() * 4 <= TILE {
                for start in starts {
                    let columns = self.columns::<S, WIDE, 1>(simd, &[*start]);
                    self.put(&columns, from, 1, results);
                    from += 1;
                }
                continue;
            }
            // What is left over is filled up with its first position.
            let mut places = [starts.first().copied().unwrap_or(0); TILE];
            places.iter_mut().zip(starts).for_each(|(place, start)| *place = *start);
            let columns = self.columns::<S, WIDE, TILE>(simd, &places);
            self.put(&columns, from, starts.len(), results);
            from += starts.len();
        }
    }

    /// Puts the first `count` columns where those of the positions from `from` on belong.
    #[inline(always)]
    fn put<const TILE: usize>(
        &self,
        columns: &[Column; TILE],
        from: usize,
        count: usize,
        results: &mut [f32],
    ) {
        if self.places.side_by_side {
            let rows = results.chunks_exact_mut(self.panels.outputs).skip(from).take(count);
            for (row, column) in rows.zip(columns) {
                let row = row.get_mut(self.first..self.first + self.outputs);
                if let (Some(row), Some(column)) = (row, column.get(..self.outputs)) {
                    row.copy_from_slice(column);
                }
            }
            return;
        }
        let plane = self.places.positions.len();
        for output in 0..self.outputs.min(LANES_MAX * SIDE_BY_SIDE) {
            let start = (self.first + output) * plane + from;
            let Some(places) = results.get_mut(start..start + count) else { return };
            if let Some(places) = places.first_chunk_mut::<TILE>() {
                for position in 0..TILE {
                    places[position] = columns[position][output];
                }
            } else {
                places.iter_mut().zip(columns).for_each(|(x, column)| *x = column[output]);
            }
        }
    }

    /// The sums of `TILE` positions, which stay in registers until they are complete.
    #[expect(clippy::needless_range_loop, reason = "what is iterated over stays in memory")]
    #[inline(always)]
    fn columns<S: Simd, const WIDE: usize, const TILE: usize>(
        &self,
        simd: S,
        places: &[usize; TILE],
    ) -> [Column; TILE] {
        let mut columns = [[0.0; LANES_MAX * SIDE_BY_SIDE]; TILE];
        let (weights, _) = S::as_simd_f32s(self.weights);
        let (weights, _) = weights.as_chunks::<WIDE>();
        let (bias, _) = S::as_simd_f32s(self.bias);
        let Some(bias) = bias.first_chunk::<WIDE>() else { return columns };
        let mut sums = [*bias; TILE];
        let span = places.iter().max().map_or(0, |last| last + 1);
        for (weights, step) in weights.iter().zip(self.places.steps) {
            let Some(numbers) = self.input.get(*step..step + span) else { return columns };
            for position in 0..TILE {
                let number = simd.splat_f32s(numbers[places[position]]);
                for block in 0..WIDE {
                    let sum = &mut sums[position][block];
                    *sum = simd.mul_add_f32s(weights[block], number, *sum);
                }
            }
        }
        if let Some((low, high)) = self.panels.bounds {
            let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
            for position in 0..TILE {
                for block in 0..WIDE {
                    let sum = sums[position][block];
                    // Neither is true of NaN.
                    let sum = simd.select_f32s(simd.less_than_f32s(sum, low), low, sum);
                    let sum = simd.select_f32s(simd.less_than_f32s(high, sum), high, sum);
                    sums[position][block] = sum;
                }
            }
        }
        for position in 0..TILE {
            let (column, _) = S::as_mut_simd_f32s(&mut columns[position]);
            if let Some(column) = column.first_chunk_mut::<WIDE>() {
                *column = sums[position];
            }
        }
        columns
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// What half as wide registers make of it is checked on processors with the widest too.
    #[test]
    fn narrower_registers_compute_the_same() {
        let (Some(narrow), Some(widest)) = (pulp::x86::V3::try_new(), lanes()) else { return };
        let mut draw = fastrand::Rng::with_seed(5);
        let mut numbers = |count| (0..count).map(|_| draw.f32() - 0.5).collect::<Vec<f32>>();
        for outputs in [4, 8, 13, 16, 20, 24, 32, 75] {
            let (weights, bias, input) = (numbers(outputs * 7), numbers(outputs), numbers(200));
            let steps = [0, 1, 2, 5, 9, 11, 30];
            let positions: Vec<usize> = (0..37).map(|at| at * 3).collect();
            let places = Places { steps: &steps, positions: &positions, side_by_side: false };
            let bounds = Some((-0.3, 0.4));
            let panels = |lanes| {
                let panels = Panels::new(&weights, &bias, outputs, lanes).expect("fits");
                panels.within(bounds)
            };
            let (mut found, mut expected) = (vec![9.0; outputs * 37], vec![9.0; outputs * 37]);
            panels(widest).run(&input, &places, &mut expected).expect("fits");
            let narrower = panels(8);
            let results = &mut *found;
            Simd::vectorize(
                narrow,
                Run { panels: &narrower, input: &input, places: &places, results },
            );
            assert_eq!(found, expected, "{outputs} outputs");
            let places = Places { side_by_side: true, ..places };
            let mut rows = vec![9.0; outputs * 37];
            panels(widest).run(&input, &places, &mut rows).expect("fits");
            for (at, expected) in expected.iter().enumerate() {
                let (output, position) = (at / 37, at % 37);
                assert_eq!(rows[position * outputs + output], *expected, "{outputs} outputs");
            }
            let short = panels(widest).run(&input[..100], &places, &mut rows);
            assert!(short.is_err(), "places beyond the input");
            let by_hand = |at: usize| {
                let (output, position) = (at / 37, at % 37);
                let products = steps.iter().enumerate().map(|(step, place)| {
                    weights[output * 7 + step] * input[positions[position] + place]
                });
                (bias[output] + products.sum::<f32>()).clamp(-0.3, 0.4)
            };
            for (at, found) in found.iter().enumerate() {
                assert!((found - by_hand(at)).abs() < 1e-5, "{outputs} outputs, {at}");
            }
        }
    }
}
