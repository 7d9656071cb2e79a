//! A model that has plans for certain sizes only, because no plan for any size can be made of it.
//!
//! Owns the plans for one row and two rows, which show that it works and are never given up, and the making of
//! further ones when they are asked for: once for each sizes, within bounds on their number and on what they take, the one that was used
//! longest ago giving way. Where rows are independent of each other, a request runs in parts of 1, 2, 4, … rows, so that a few
//! plans serve all numbers of rows. Never decides whether they are.
//!
//! ```text
//! sizes ─► made at load? ─► run                     ┌─► made before ─► run
//!             └─► rows independent? parts : whole ──┴─► measure ─► make ─► keep ─► run
//! ```

mod growth;
mod kept;
mod maker;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tract_onnx::prelude::{TValue, TVec, Tensor, TractResult};
use tract_onnx::tract_hir::internal::bail;

use self::growth::{Growth, Step};
use self::kept::Kept;
use self::maker::Maker;
pub(super) use self::maker::compile;
use super::footprint;
use super::ml::Unacceptable;
use super::plans::Plans;
use super::rows::{self, Growing};
use super::shapes::Sizes;
use super::{shortened, without_values};
use tract_onnx::prelude::TypedModel;

/// The most rows that run together where rows are independent of each other; a power of two.
const PART_MAX: usize = 64;

/// The plans of a model for certain sizes.
#[derive(Debug)]
pub(super) struct BySize {
    maker: Maker,
    /// For one row, and for two where the batch is open.
    first: Vec<(Sizes, Arc<Plans>)>,
    /// All sizes of the first of them.
    ordinary: Sizes,
    /// Taken for a moment by requests that have no plan of the first ones, never while a plan is made.
    kept: Mutex<Kept<Arc<Plans>>>,
    /// Taken for moments by those who make plans.
    growth: Mutex<Growth>,
    /// Whether requests may run in parts.
    in_parts: OnceLock<()>,
    made: AtomicU64,
    waited: AtomicU64,
}

impl BySize {
    /// Runs a request of these sizes, whose tensors may take `limit` bytes. Makes the plan first, if it must: never to be called on
    /// a data-plane worker but for sizes that are [at hand](Self::is_at_hand).
    pub(super) fn run(
        &self,
        sizes: &Sizes,
        values: TVec<TValue>,
        limit: u64,
    ) -> TractResult<TVec<TValue>> {
        let key = self.maker.key(sizes);
        let rest = self.maker.rest(sizes);
        if let Some(plans) = self.first(&key) {
            return plans.run_untried(&rest, values, limit);
        }
        match self.maker.rows(sizes) {
            Some(rows) if rows > 0 && self.in_parts.get().is_some() => {
                self.run_parts(rows, &key, &rest, &values, limit)
            }
            _ => self.plan(&key)?.run_untried(&rest, values, limit),
        }
    }

    /// Runs as many rows at a time as there may be a plan for.
    fn run_parts(
        &self,
        rows: usize,
        key: &Sizes,
        rest: &Sizes,
        values: &TVec<TValue>,
        limit: u64,
    ) -> TractResult<TVec<TValue>> {
        let mut parts: Vec<TVec<TValue>> = Vec::new();
        let (mut start, mut most, mut held) = (0, PART_MAX, 0_u64);
        while start < rows {
            let (count, plans) = self.part(key, (rows - start).min(most))?;
            most = count;
            let end = start + count;
            let part = values.iter().map(|value| value.slice(0, start, end).map(Into::into));
            let outputs = plans.run_untried(rest, part.collect::<TractResult<_>>()?, limit)?;
            if let Some(odd) = outputs.iter().find(|output| output.shape().first() != Some(&count))
            {
                bail!("{count} rows gave an output of {:?}", odd.shape());
            }
            let bytes = outputs.iter().map(|output| output.len() * output.datum_type().size_of());
            held = held.saturating_add(bytes.sum::<usize>() as u64);
            footprint::within(held, limit, "sizes")?;
            parts.push(outputs);
            start = end;
        }
        let outputs = parts.first().map_or(0, |part| part.len());
        let whole = (0..outputs).map(|position| {
            let parts = parts.iter().filter_map(|part| part.get(position));
            let parts: Vec<&Tensor> = parts.map(|output| &**output).collect();
            Tensor::stack_tensors(0, &parts).map(Into::into)
        });
        whole.collect()
    }

    /// A plan for a power of two of rows, the largest up to `most` that there can be one for.
    fn part(&self, key: &Sizes, most: usize) -> TractResult<(usize, Arc<Plans>)> {
        let mut count = 1 << most.max(1).ilog2();
        loop {
            let key = self.maker.with_rows(key, count);
            let found = match self.first(&key) {
                Some(plans) => Ok(Arc::clone(plans)),
                None => self.plan(&key),
            };
            match found {
                Ok(plans) => return Ok((count, plans)),
                Err(error) if count == 1 => return Err(error),
                Err(_too_large) => count /= 2,
            }
        }
    }

    /// The plan for the sizes of `key`, which is made if there is none; whoever else needs it waits for that.
    ///
    /// # Errors
    /// [`Unacceptable`] where none can be made: others can.
    fn plan(&self, key: &Sizes) -> TractResult<Arc<Plans>> {
        let slot = self.kept.lock().slot(key);
        if slot.get().is_none() {
            self.waited.fetch_add(1, Relaxed);
        }
        let mut is_new = false;
        let made = slot.get_or_init(|| {
            is_new = true;
            self.make(key).map(Arc::new)
        });
        if is_new {
            self.made.fetch_add(u64::from(made.is_ok()), Relaxed);
            self.kept.lock().settle();
        }
        made.clone().map_err(|reason| Unacceptable::new(reason).into())
    }

    fn make(&self, key: &Sizes) -> Result<Plans, String> {
        const MIB: u64 = 1024 * 1024;
        let words = |error| shortened(&without_values(&format!("{error:#}")));
        loop {
            let step = self.growth.lock().next(key);
            match step {
                Step::Make => break,
                Step::Measure(rung, at_most) => {
                    let bytes = self.maker.measure(&rung).unwrap_or(at_most);
                    self.growth.lock().add(rung, bytes);
                }
                Step::TooMuch(bytes) => {
                    let (bytes, limit) = (bytes.div_ceil(MIB), self.maker.run_bytes() / MIB);
                    let why = format!(
                        "the tensors inside of it might take {bytes} MiB, and `inference.run_memory` allows {limit} MiB"
                    );
                    return Err(self.maker.refusal(key, &why));
                }
            }
        }
        let plans = self.maker.alone(key);
        let (plans, _) = plans.map_err(|error| self.maker.refusal(key, &words(error)))?;
        self.growth.lock().add(key.clone(), self.maker.takes(&plans));
        Ok(plans)
    }

    /// Measures the graph for ever larger sizes, as far as requests can have plans for them made. What only a process
    /// that may end should do first.
    pub(super) fn explore(&self) {
        let largest = |(key, _): &(Sizes, _)| key.iter().map(|size| size * PART_MAX).collect();
        let Some(largest) = self.first.first().map(largest) else { return };
        loop {
            let step = self.growth.lock().next(&largest);
            let Step::Measure(rung, at_most) = step else { return };
            let bytes = self.maker.measure(&rung).unwrap_or(at_most);
            self.growth.lock().add(rung, bytes);
        }
    }

    /// Ends the trial of rows, whose plans are given up: requests run in parts, if rows are independent of each other.
    pub(super) fn tried(&self, independent: bool) {
        self.kept.lock().clear();
        self.made.store(0, Relaxed);
        self.waited.store(0, Relaxed);
        if independent {
            self.in_parts.get_or_init(|| ());
        }
    }

    /// Whether requests run in parts.
    pub(super) fn runs_in_parts(&self) -> bool {
        self.in_parts.get().is_some()
    }

    /// Whether the plan for these sizes is one of those that are always there.
    pub(super) fn is_at_hand(&self, sizes: &Sizes) -> bool {
        self.first(&self.maker.key(sizes)).is_some()
    }

    fn first(&self, key: &Sizes) -> Option<&Arc<Plans>> {
        self.first.iter().find(|(known, _)| known == key).map(|(_, plans)| plans)
    }

    /// A size for each open dimension at which the model runs.
    pub(super) fn ordinary(&self) -> &Sizes {
        &self.ordinary
    }

    /// The graph for so many rows of ordinary sizes, and where its tensors grow with them.
    ///
    /// # Errors
    /// When it cannot be made, or is another for other numbers of rows.
    pub(super) fn graph(&self, rows: usize) -> TractResult<(TypedModel, Growing)> {
        let Some((key, _)) = self.first.first() else { bail!("it has no plan") };
        let [few, many] =
            [rows + 1, rows].map(|rows| self.maker.graphs(&self.maker.with_rows(key, rows)));
        let ([_, other], [_, graph]) = (few?, many?);
        match rows::growing(&other, &graph)? {
            Some(growing) => Ok((graph, growing)),
            None => bail!("its graph is not the same for other numbers of rows"),
        }
    }

    /// Whether values decide the size of a tensor.
    pub(super) fn is_open(&self) -> bool {
        self.first.iter().any(|(_, plans)| plans.is_open())
    }

    /// Plans that are held.
    pub(super) fn held(&self) -> usize {
        self.first.len() + self.kept.lock().ready().count()
    }

    /// Plans made since the model was loaded.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// Requests that waited for a plan.
    pub(super) fn waited(&self) -> u64 {
        self.waited.load(Relaxed)
    }

    /// An estimate of what the plans take: constants for each and for what they are made from, and the tables that they share.
    pub(super) fn memory(&self) -> u64 {
        let first = self.first.iter().map(|(_, plans)| plans.constant_bytes());
        let kept = self.kept.lock().ready().map(|plans| plans.constant_bytes()).sum::<u64>();
        let shared = self.first.first().map_or(0, |(_, plans)| plans.memory());
        // What is shared is counted with the constants of one, which stand for what plans are made from.
        first.sum::<u64>().saturating_add(kept).saturating_add(shared)
    }
}
