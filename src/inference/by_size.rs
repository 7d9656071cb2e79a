//! A model that has plans for certain sizes only, because no plan for any size can be made of it.
//!
//! Owns the plans for one row and two rows, which show that it works and are never given up, and the making of
//! further ones when they are asked for: on a thread of its own, one at a time, within bounds on their number, on what they take and on
//! who may wait for them; the one that was used longest ago gives way. Where rows are independent of each other, a request runs in parts of 1, 2, 4, … rows, so that a few
//! plans serve all numbers of rows. Never decides whether they are.
//!
//! ```text
//! sizes ─► made at load? ─► run                     ┌─► made before ─► run
//!             └─► rows independent? parts : whole ──┴─► order ─► measure ─► make ─► keep ─► run
//! ```
//!
//! A caller whose thread others need has what it lacks [ordered](BySize::secure) before it takes that thread, and waits elsewhere.

mod growth;
mod kept;
mod maker;
mod orders;
mod wait;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tract_onnx::prelude::{TValue, TVec, Tensor, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{TractError, bail};

use self::growth::{Growth, STEP_MAX, STEP_MIN, Step};
use self::kept::Kept;
use self::maker::Maker;
pub(super) use self::maker::compile;
use self::orders::{Crowded, Made, Orders};
pub(super) use self::wait::Secured;
pub use self::wait::{Held, PlanWait, Unplanned};
use super::footprint;
use super::ml::Unacceptable;
use super::plans::{BYTES_MAX, NICE, Plans};
use super::rows::{self, Growing};
use super::shapes::Sizes;
use super::{contained, shortened, without_values};

/// The most rows that run together where rows are independent of each other; a power of two.
const PART_MAX: usize = 64;
/// The most sizes that are measured before one plan is made.
const STEPS_MAX: usize = 64;
/// The most plans that gave way to others while requests hold them. What they take together is bounded as those that are kept.
const HELD_MAX: usize = 16;
/// How long a caller that has a thread of its own waits for a plan.
const WAIT_MAX: Duration = Duration::from_mins(2);

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
    /// The plans that were made and may be in use. Taken for moments by those who make plans, and by requests that have none.
    handed: Mutex<Vec<Weak<Plans>>>,
    /// Taken for moments by the same.
    growth: Mutex<Growth>,
    /// Taken for moments by the same.
    orders: Mutex<Orders<Arc<Plans>>>,
    /// Whether requests may run in parts.
    in_parts: OnceLock<()>,
    made: AtomicU64,
    waited: AtomicU64,
    crowded: AtomicU64,
}

/// What became of making a plan.
enum Making {
    Ended(Made<Arc<Plans>>),
    /// It might take too much, as far as is known now.
    TooMuch(String),
    /// Nobody wants it any more.
    Unwanted,
}

impl BySize {
    /// Runs a request of these sizes, whose tensors may take `limit` bytes. With what the request [holds](Self::secure) it never waits for a
    /// plan; without, it has the plans made that it lacks: to be called on threads that nobody else needs, or for sizes that are
    /// [at hand](Self::is_at_hand).
    pub(super) fn run(
        self: &Arc<Self>,
        sizes: &Sizes,
        values: TVec<TValue>,
        limit: u64,
        held: Option<&Held>,
    ) -> TractResult<TVec<TValue>> {
        let key = self.maker.key(sizes);
        let rest = self.maker.rest(sizes);
        if let Some(plans) = self.first(&key) {
            return plans.run_untried(&rest, values, limit);
        }
        match (self.parts(sizes), held) {
            (Some(rows), _) => self.run_parts(rows, &key, &rest, &values, limit, held),
            (None, None) => self.plan(&key)?.run_untried(&rest, values, limit),
            (None, Some(held)) => match held.of(&key) {
                Some(plans) => plans.run_untried(&rest, values, limit),
                None => bail!("there is no plan for its sizes"),
            },
        }
    }

    /// The rows of a request that runs in parts.
    fn parts(&self, sizes: &Sizes) -> Option<usize> {
        let rows = self.maker.rows(sizes).filter(|_| self.runs_in_parts())?;
        (rows > 0).then_some(rows)
    }

    /// Sees to it that a request of these sizes waits for no plan when it runs: has the one made that it cannot do without, which is
    /// waited for until then. Requests in parts make do with the plan for one row.
    ///
    /// # Errors
    /// When there can be none, or too many wait.
    pub(super) fn secure(
        self: &Arc<Self>,
        sizes: &Sizes,
        until: Instant,
    ) -> Result<Secured, Unplanned> {
        let key = self.maker.key(sizes);
        let needed = match self.parts(sizes) {
            Some(_) => self.maker.with_rows(&key, 1),
            None => key.clone(),
        };
        if self.first(&key).or_else(|| self.first(&needed)).is_some() {
            return Ok(Secured::Held(Held::default()));
        }
        match self.kept.lock().get(&needed) {
            Some(Ok(plans)) => return Ok(Secured::Held(Held::new(needed, plans))),
            Some(Err(reason)) => return Err(Unplanned::Refused { reason }),
            None => {}
        }
        if let Step::TooMuch(bytes) = self.growth.lock().next(&needed, STEP_MIN) {
            return Err(Unplanned::Refused { reason: self.too_much(&needed, bytes) });
        }
        let is_full = self.is_held_by_requests();
        let mut orders = self.orders.lock();
        let ordered = match is_full {
            true => Err(Crowded),
            false => orders.order(&needed, until, Instant::now()),
        };
        let unattended = orders.attend();
        drop(orders);
        let made = ordered.map_err(|Crowded| {
            self.crowded.fetch_add(1, Relaxed);
            Unplanned::Crowded
        })?;
        self.waited.fetch_add(1, Relaxed);
        if unattended {
            self.make_elsewhere();
        }
        Ok(Secured::Wait(PlanWait::new(needed, made)))
    }

    /// Whether requests hold as many plans that gave way as they may.
    fn is_held_by_requests(&self) -> bool {
        let mut handed = self.handed.lock();
        handed.retain(|plans| plans.strong_count() > 0);
        let handed: Vec<_> = handed.iter().filter_map(Weak::upgrade).collect();
        let kept = self.kept.lock();
        let is_kept = |plans: &&Arc<Plans>| kept.ready().any(|kept| Arc::ptr_eq(kept, plans));
        let held: Vec<_> = handed.iter().filter(|plans| !is_kept(plans)).collect();
        let bytes = held.iter().map(|plans| plans.constant_bytes()).fold(0, u64::saturating_add);
        held.len() >= HELD_MAX || bytes > BYTES_MAX
    }

    /// Runs as many rows at a time as there may be a plan for.
    fn run_parts(
        self: &Arc<Self>,
        rows: usize,
        key: &Sizes,
        rest: &Sizes,
        values: &TVec<TValue>,
        limit: u64,
        held: Option<&Held>,
    ) -> TractResult<TVec<TValue>> {
        let mut parts: Vec<TVec<TValue>> = Vec::new();
        let (mut start, mut most, mut taken) = (0, PART_MAX, 0_u64);
        while start < rows {
            let (count, plans) = self.part(key, (rows - start).min(most), held)?;
            most = count;
            let end = start + count;
            let part = values.iter().map(|value| value.slice(0, start, end).map(Into::into));
            let outputs = plans.run_untried(rest, part.collect::<TractResult<_>>()?, limit)?;
            if let Some(odd) = outputs.iter().find(|output| output.shape().first() != Some(&count))
            {
                bail!("{count} rows gave an output of {:?}", odd.shape());
            }
            let bytes = outputs.iter().map(|output| output.len() * output.datum_type().size_of());
            taken = taken.saturating_add(bytes.sum::<usize>() as u64);
            footprint::within(taken, limit, "sizes")?;
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

    /// A plan for a power of two of rows, the largest up to `most` that there can be one for; or that there is one for, where the
    /// request must not wait. Then the largest is made for later ones.
    fn part(
        self: &Arc<Self>,
        key: &Sizes,
        most: usize,
        held: Option<&Held>,
    ) -> TractResult<(usize, Arc<Plans>)> {
        let mut count = 1 << most.max(1).ilog2();
        loop {
            let key = self.maker.with_rows(key, count);
            let found = match (self.first(&key), held) {
                (Some(plans), _) => Ok(Arc::clone(plans)),
                (None, None) => self.plan(&key),
                (None, Some(held)) => match held.of(&key).cloned().or_else(|| self.ready(&key)) {
                    Some(plans) => Ok(plans),
                    None => Err(TractError::msg("there is no plan for its sizes")),
                },
            };
            match found {
                Ok(plans) => return Ok((count, plans)),
                Err(error) if count == 1 => return Err(error),
                Err(_too_large) => count /= 2,
            }
        }
    }

    /// The plan for the sizes of `key`, if it was made; if nobody has tried, it is made for later requests.
    fn ready(self: &Arc<Self>, key: &Sizes) -> Option<Arc<Plans>> {
        if let Some(made) = self.kept.lock().get(key) {
            return made.ok();
        }
        if matches!(self.growth.lock().next(key, STEP_MIN), Step::TooMuch(_)) {
            return None;
        }
        let mut orders = self.orders.lock();
        orders.order_spare(key);
        let unattended = orders.attend();
        drop(orders);
        if unattended {
            self.make_elsewhere();
        }
        None
    }

    /// The plan for the sizes of `key`, which is made on this thread, unless another makes plans already.
    ///
    /// # Errors
    /// [`Unacceptable`] where none can be made: others can.
    fn plan(self: &Arc<Self>, key: &Sizes) -> TractResult<Arc<Plans>> {
        if let Some(made) = self.kept.lock().get(key) {
            return made.map_err(|reason| Unacceptable::new(reason).into());
        }
        let now = Instant::now();
        let mut orders = self.orders.lock();
        let ordered = orders.order(key, now + WAIT_MAX, now);
        let attends = orders.attend();
        drop(orders);
        let Ok(mut ordered) = ordered else { bail!("too many requests wait for plans") };
        self.waited.fetch_add(1, Relaxed);
        let mut made = None;
        while attends && made.is_none() && self.make_next() {
            made = ordered.try_recv().ok();
        }
        if made.is_some() {
            // What others have ordered meanwhile.
            let mut orders = self.orders.lock();
            orders.leave();
            let unattended = orders.attend();
            drop(orders);
            if unattended {
                self.make_elsewhere();
            }
        }
        match made.or_else(|| wait::here(ordered, now + WAIT_MAX)) {
            Some(made) => made.map_err(|reason| Unacceptable::new(reason).into()),
            None => bail!("the plan for its sizes was not made"),
        }
    }

    /// Has what was ordered made on a thread that ends when all is. The model may be unloaded meanwhile.
    fn make_elsewhere(self: &Arc<Self>) {
        let plans = Arc::downgrade(self);
        let make = move || {
            // On Linux this is the priority of this thread alone.
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::debug!(%error, "plans are made with the priority of the gateway");
            }
            while plans.upgrade().is_some_and(|plans| plans.make_next()) {}
        };
        let spawned = std::thread::Builder::new().name("plan-maker".to_owned()).spawn(make);
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for the plans that requests wait for");
            self.orders.lock().clear();
        }
    }

    /// Makes the plan that is next; whether there was one to make.
    fn make_next(&self) -> bool {
        let next = self.orders.lock().next(Instant::now());
        let Some(key) = next else { return false };
        let known = self.kept.lock().get(&key);
        let made = match known {
            Some(made) => made,
            None => {
                let making = contained(|| self.make(&key));
                match making.unwrap_or_else(|panic| Making::Ended(Err(panic))) {
                    Making::Ended(made) => {
                        self.made.fetch_add(u64::from(made.is_ok()), Relaxed);
                        let bytes = made.as_ref().map_or(0, |plans| plans.constant_bytes());
                        if let Ok(plans) = &made {
                            let mut handed = self.handed.lock();
                            handed.retain(|plans| plans.strong_count() > 0);
                            handed.push(Arc::downgrade(plans));
                        }
                        self.kept.lock().add(&key, made.clone(), bytes);
                        made
                    }
                    Making::TooMuch(reason) => Err(reason),
                    Making::Unwanted => return true,
                }
            }
        };
        self.orders.lock().hand_over(&made);
        true
    }

    /// Makes the plan for the sizes of `key`, as long as somebody wants it.
    fn make(&self, key: &Sizes) -> Making {
        for _ in 0..STEPS_MAX {
            let step = self.growth.lock().next(key, STEP_MIN);
            match step {
                Step::Make => {
                    let words = |error| shortened(&without_values(&format!("{error:#}")));
                    let made = self.maker.alone(key);
                    let made = made.map_err(|error| self.maker.refusal(key, &words(error)));
                    return Making::Ended(made.map(|(plans, _)| {
                        self.growth.lock().add(key.clone(), self.maker.takes(&plans));
                        Arc::new(plans)
                    }));
                }
                Step::Measure(rung, at_most) => self.measure(rung, at_most),
                Step::TooMuch(bytes) => return Making::TooMuch(self.too_much(key, bytes)),
            }
            if self.orders.lock().give_up(Instant::now()) {
                return Making::Unwanted;
            }
        }
        Making::TooMuch(self.maker.refusal(key, "it is too far from all sizes that were measured"))
    }

    fn measure(&self, rung: Sizes, at_most: u64) {
        let bytes = self.maker.measure(&rung).unwrap_or(at_most);
        self.growth.lock().add(rung, bytes);
    }

    /// Why there is no plan for the sizes of `key`, which might take so many bytes.
    fn too_much(&self, key: &Sizes, bytes: u64) -> String {
        const MIB: u64 = 1024 * 1024;
        let (bytes, limit) = (bytes.div_ceil(MIB), self.maker.run_bytes() / MIB);
        let why = format!(
            "the tensors inside of it might take {bytes} MiB, and `inference.run_memory` allows {limit} MiB"
        );
        self.maker.refusal(key, &why)
    }

    /// Measures the graph for ever larger sizes, as far as requests can have plans for them made. What only a process
    /// that may end should do first.
    pub(super) fn explore(&self) {
        let largest = |(key, _): &(Sizes, _)| key.iter().map(|size| size * PART_MAX).collect();
        let Some(largest) = self.first.first().map(largest) else { return };
        loop {
            let step = self.growth.lock().next(&largest, STEP_MAX);
            let Step::Measure(rung, at_most) = step else { return };
            self.measure(rung, at_most);
        }
    }

    /// Ends the trial of rows, whose plans are given up.
    pub(super) fn tried(&self) {
        self.kept.lock().clear();
        self.made.store(0, Relaxed);
        self.waited.store(0, Relaxed);
    }

    /// Has requests run in parts: rows are independent of each other.
    pub(super) fn run_in_parts(&self) {
        self.in_parts.get_or_init(|| ());
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

    /// Requests that were turned away because too many waited for plans.
    pub(super) fn crowded(&self) -> u64 {
        self.crowded.load(Relaxed)
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
