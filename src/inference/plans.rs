//! The plans of one model: the general one, that for a single row, and those for frequent sizes.
//!
//! Owns which of them runs a request, and has further ones made on a thread of their own while the
//! general one goes on. Plans for sizes are bounded in number and bytes. Never knows what the values mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tract_onnx::prelude::{TValue, TVec, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::Symbol;

use super::footprint::{self, Footprint, Watch, longest_text};
use super::plan::Plan;
use super::shapes::{Choice, Shapes, Sizes};
use super::{contained, shortened, without_values};

/// The niceness of a thread that makes a plan: requests go first.
pub(super) const NICE: i32 = 10;
/// The most plans for sizes of one model.
pub(super) const PLANS_MAX: u64 = 8;
/// What plans for sizes may take together, with the graph that they are made from, in bytes. Of a model with
/// larger constants there is the general plan alone.
pub(super) const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The compiled forms of one model.
#[derive(Debug)]
pub(super) struct Plans {
    /// Takes inputs of any size.
    general: Plan,
    /// For 1 in every open dimension, which is what most requests have.
    single: Option<Plan>,
    /// What further plans are made from; none where they would take too much.
    source: Option<Source>,
    /// Taken for a moment by requests whose open dimensions are not all 1.
    shapes: Mutex<Shapes<Arc<Plan>>>,
    made: AtomicU64,
    /// What a run takes.
    footprint: Footprint,
    /// What the constants of one plan take.
    bytes: u64,
    /// What was constant while it was made.
    folded: u64,
}

#[derive(Debug)]
struct Source {
    model: TypedModel,
    symbols: Vec<Symbol>,
}

impl Plans {
    /// Compiles the plans that are there from the start. `bytes` is what the constants of `model` take.
    pub(super) fn new(model: TypedModel, symbols: Vec<Symbol>, bytes: u64) -> TractResult<Self> {
        let ones: Vec<_> = symbols.iter().map(|symbol| (symbol.clone(), 1)).collect();
        let single = match ones.as_slice() {
            [] => None,
            _ if bytes > BYTES_MAX => None,
            // Only an optimisation: a graph that cannot be specialised still runs as it is.
            ones => contained(|| Plan::specialise(&model, ones)).ok().and_then(Result::ok),
        };
        // The graph itself counts as one more.
        let affordable = (BYTES_MAX / bytes.max(1)).saturating_sub(1).min(PLANS_MAX);
        let further = !symbols.is_empty() && affordable > 0;
        let plans_max = if further { usize::try_from(affordable).unwrap_or(0) } else { 0 };
        let footprint = Footprint::of(&model, &symbols)?;
        let source = further.then(|| Source { model: model.clone(), symbols });
        Ok(Self {
            general: Plan::compile(model)?,
            single,
            source,
            shapes: Mutex::new(Shapes::new(plans_max)),
            made: AtomicU64::new(0),
            footprint,
            bytes,
            folded: bytes,
        })
    }

    /// Compiles the plan for what `model` leaves open, and never a further one. `folded` is what was constant while it
    /// was made.
    pub(super) fn alone(
        model: TypedModel,
        symbols: Vec<Symbol>,
        bytes: u64,
        folded: u64,
    ) -> TractResult<Self> {
        let footprint = Footprint::of(&model, &symbols)?;
        let general = Plan::compile(model)?;
        // What depends on the sizes is a constant of this plan alone.
        let bytes = general.constant_bytes().max(bytes);
        Ok(Self {
            general,
            single: None,
            source: None,
            shapes: Mutex::new(Shapes::new(0)),
            made: AtomicU64::new(0),
            footprint,
            bytes,
            folded,
        })
    }

    /// Whether values decide the size of a tensor, so that nothing tells what a run will take.
    pub(super) fn is_open(&self) -> bool {
        self.footprint.is_open()
    }

    /// Runs the plan that fits `sizes` best, if its tensors take at most `limit` bytes. The sizes and numbers
    /// of one row were tried when the model was loaded.
    pub(super) fn run(
        self: &Arc<Self>,
        sizes: &Sizes,
        values: TVec<TValue>,
        limit: u64,
    ) -> TractResult<TVec<TValue>> {
        let longest = values.iter().map(|value| longest_text(value)).max().unwrap_or(0);
        let single = sizes.iter().all(|size| *size == 1);
        if !single || longest > 0 {
            let what = if single { "lengths" } else { "sizes" };
            footprint::within(self.footprint.peak(sizes, longest), limit, what)?;
        }
        let watch = || self.watch(longest, limit);
        if single {
            return match self.single() {
                Some(plan) => self.run_made(plan, values, watch),
                None => self.general.run(values, watch()),
            };
        }
        let choice = self.shapes.lock().look_up(sizes);
        match choice {
            Choice::Own(plan) => {
                let outputs = self.run_made(&plan, values, watch);
                if plan.proof() == Some(false) {
                    self.shapes.lock().made(sizes, None);
                }
                return outputs;
            }
            Choice::General => {}
            Choice::Make => self.make(sizes.clone()),
        }
        self.general.run(values, watch())
    }

    /// Runs a plan that was made for the sizes of these inputs. It is only an optimisation: one that fails at its first
    /// run, where the general plan does not, is given up.
    fn run_made<'a>(
        &self,
        plan: &Plan,
        values: TVec<TValue>,
        watch: impl Fn() -> Option<Watch<'a>>,
    ) -> TractResult<TVec<TValue>> {
        if plan.proof() == Some(true) {
            return plan.run(values, watch());
        }
        let failure = match contained(|| plan.run(values.clone(), watch())) {
            Ok(Ok(outputs)) => {
                plan.prove(true);
                return Ok(outputs);
            }
            Ok(Err(error)) => shortened(&without_values(&format!("{error:#}"))),
            Err(panic) => panic,
        };
        // What is wrong with the inputs is wrong here too.
        let outputs = self.general.run(values, watch())?;
        plan.prove(false);
        tracing::warn!(failure, "a plan for certain sizes is given up: the one for any size runs");
        Ok(outputs)
    }

    /// Runs the general plan, whether these sizes were tried before or not.
    pub(super) fn run_untried(
        &self,
        sizes: &[usize],
        values: TVec<TValue>,
        limit: u64,
    ) -> TractResult<TVec<TValue>> {
        let longest = values.iter().map(|value| longest_text(value)).max().unwrap_or(0);
        footprint::within(self.footprint.peak(sizes, longest), limit, "sizes")?;
        self.general.run(values, self.watch(longest, limit))
    }

    /// What a run takes at least, and the constants; or what those took while the plan was made.
    pub(super) fn takes(&self) -> u64 {
        let ones = vec![1; self.footprint.symbols()];
        self.footprint.peak(&ones, 0).saturating_add(self.bytes.max(self.folded))
    }

    /// What the constants of one plan take.
    pub(super) fn constant_bytes(&self) -> u64 {
        self.bytes
    }

    /// What keeps an eye on a run whose longest text is `longest`, where its inputs do not tell all sizes.
    pub(super) fn watch(&self, longest: usize, limit: u64) -> Option<Watch<'_>> {
        self.is_open().then(|| Watch::new(&self.footprint, longest, limit))
    }

    /// The graph that plans are made from, with its open dimensions by their numbers; none where it was too
    /// large to be kept.
    pub(super) fn source(&self) -> Option<(&TypedModel, &[Symbol])> {
        self.source.as_ref().map(|source| (&source.model, &*source.symbols))
    }

    /// The plan for any size.
    pub(super) fn general(&self) -> &Plan {
        &self.general
    }

    /// The plan for a single row, if there is one that runs.
    pub(super) fn single(&self) -> Option<&Plan> {
        self.single.as_ref().filter(|plan| plan.proof() != Some(false))
    }

    /// Plans that are held.
    pub(super) fn held(&self) -> usize {
        1 + usize::from(self.single().is_some()) + self.shapes.lock().plans()
    }

    /// Plans made for sizes since the model was loaded.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// An estimate of what the plans take: constants for each, and the tables that they share.
    pub(super) fn memory(&self) -> u64 {
        let graphs = self.held() as u64 + u64::from(self.source.is_some());
        self.bytes.saturating_mul(graphs).saturating_add(self.general.shared_bytes())
    }

    /// Has a plan made for `sizes`. The thread ends with it; the model may be unloaded meanwhile.
    fn make(self: &Arc<Self>, sizes: Sizes) {
        let plans = Arc::downgrade(self);
        let make = {
            let sizes = sizes.clone();
            move || {
                // On Linux this is the priority of this thread alone.
                if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                    tracing::debug!(%error, "a plan is made with the priority of the gateway");
                }
                let Some(plans) = plans.upgrade() else { return };
                let plan = plans.specialise(&sizes);
                plans.made.fetch_add(u64::from(plan.is_some()), Relaxed);
                plans.shapes.lock().made(&sizes, plan);
            }
        };
        let spawned = std::thread::Builder::new().name("plan-maker".to_owned()).spawn(make);
        if let Err(error) = spawned {
            tracing::debug!(%error, "no thread for a plan; the general one goes on");
            self.shapes.lock().made(&sizes, None);
        }
    }

    fn specialise(&self, sizes: &Sizes) -> Option<Arc<Plan>> {
        let Source { model, symbols } = self.source.as_ref()?;
        let sizes: Vec<_> = symbols.iter().cloned().zip(sizes.iter().copied()).collect();
        let plan = contained(|| Plan::specialise(model, &sizes)).ok()?;
        plan.map(Arc::new).ok()
    }
}
