//! Which sizes of the open dimensions deserve a plan of their own.
//!
//! Owns the counts of the sizes that requests have, the plans made for the frequent ones, and which plan
//! gives way. Pure: time is the number of look-ups. Never compiles anything.

use smallvec::SmallVec;

/// The sizes of a model's open dimensions, by their numbers.
pub(super) type Sizes = SmallVec<[usize; 4]>;

/// Sizes that were seen so often get a plan.
const SEEN_MIN: u32 = 16;
/// The most sizes that are counted; the one that was seen longest ago is forgotten.
const COUNTED_MAX: usize = 64;
/// A plan that was used within so many look-ups does not give way to another.
const IDLE_MIN: u64 = 1000;

/// Sizes and their plans.
#[derive(Debug)]
pub(super) struct Shapes<P> {
    plans_max: usize,
    look_ups: u64,
    known: Vec<Known<P>>,
}

#[derive(Debug)]
struct Known<P> {
    sizes: Sizes,
    seen: u32,
    last: u64,
    plan: Slot<P>,
}

#[derive(Debug)]
enum Slot<P> {
    None,
    /// Somebody was told to make it.
    InTheMaking,
    /// It cannot be made.
    Failed,
    Ready(P),
}

/// What to do about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<P> {
    /// Run the plan that was made for its sizes.
    Own(P),
    /// Run the general plan.
    General,
    /// Run the general plan, and have one made for its sizes.
    Make,
}

impl<P: Clone> Shapes<P> {
    /// At most `plans_max` plans.
    pub(super) const fn new(plans_max: usize) -> Self {
        Self { plans_max, look_ups: 0, known: Vec::new() }
    }

    /// The plans that are ready.
    pub(super) fn plans(&self) -> usize {
        self.known.iter().filter(|known| matches!(known.plan, Slot::Ready(_))).count()
    }

    /// Counts a request with these sizes and says how to run it.
    pub(super) fn look_up(&mut self, sizes: &Sizes) -> Choice<P> {
        if self.plans_max == 0 {
            return Choice::General;
        }
        self.look_ups += 1;
        let now = self.look_ups;
        let at = match self.known.iter().position(|known| known.sizes == *sizes) {
            Some(at) => at,
            None => {
                if self.known.len() >= COUNTED_MAX {
                    self.forget_one();
                }
                let plan = Slot::None;
                self.known.push(Known { sizes: sizes.clone(), seen: 0, last: now, plan });
                self.known.len() - 1
            }
        };
        let Some(known) = self.known.get_mut(at) else { return Choice::General };
        known.seen = known.seen.saturating_add(1);
        known.last = now;
        match &known.plan {
            Slot::Ready(plan) => return Choice::Own(plan.clone()),
            Slot::InTheMaking | Slot::Failed => return Choice::General,
            Slot::None if known.seen < SEEN_MIN => return Choice::General,
            Slot::None => {}
        }
        if !self.make_room(now) {
            return Choice::General;
        }
        if let Some(known) = self.known.get_mut(at) {
            known.plan = Slot::InTheMaking;
        }
        Choice::Make
    }

    /// Keeps what [`Choice::Make`] led to.
    pub(super) fn made(&mut self, sizes: &Sizes, plan: Option<P>) {
        if let Some(known) = self.known.iter_mut().find(|known| known.sizes == *sizes) {
            known.plan = plan.map_or(Slot::Failed, Slot::Ready);
        }
    }

    /// Whether there is room for a plan; the one that was used longest ago may give way, none while
    /// another is in the making.
    fn make_room(&mut self, now: u64) -> bool {
        let is = |known: &&mut Known<P>| matches!(known.plan, Slot::Ready(_));
        if self.known.iter().any(|known| matches!(known.plan, Slot::InTheMaking)) {
            return false;
        }
        if self.plans() < self.plans_max {
            return true;
        }
        match self.known.iter_mut().filter(is).min_by_key(|known| known.last) {
            Some(oldest) if now - oldest.last > IDLE_MIN => {
                (oldest.plan, oldest.seen) = (Slot::None, 0);
                true
            }
            Some(_) | None => false,
        }
    }

    fn forget_one(&mut self) {
        let counted = self.known.iter().enumerate();
        let without = counted.filter(|(_, known)| matches!(known.plan, Slot::None | Slot::Failed));
        if let Some((at, _)) = without.min_by_key(|(_, known)| known.last) {
            self.known.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(size: usize) -> Sizes {
        Sizes::from_slice(&[size])
    }

    /// Looks `size` up until it is to be made, makes it, and says how many look-ups it took.
    fn make(shapes: &mut Shapes<usize>, size: usize, times_max: u32) -> Option<u32> {
        for times in 1..=times_max {
            if shapes.look_up(&sizes(size)) == Choice::Make {
                shapes.made(&sizes(size), Some(size));
                return Some(times);
            }
        }
        None
    }

    #[test]
    fn a_plan_is_made_once_after_its_sizes_were_seen_often_enough() {
        let mut shapes = Shapes::new(2);
        for _ in 1..SEEN_MIN {
            assert_eq!(shapes.look_up(&sizes(5)), Choice::General);
        }
        assert_eq!(shapes.look_up(&sizes(5)), Choice::Make);
        assert_eq!(shapes.look_up(&sizes(5)), Choice::General, "it is in the making");
        shapes.made(&sizes(5), Some(7));
        assert_eq!(shapes.look_up(&sizes(5)), Choice::Own(7));
        assert_eq!(make(&mut shapes, 6, SEEN_MIN), Some(SEEN_MIN));
        assert_eq!(shapes.plans(), 2);
    }

    #[test]
    fn a_plan_that_cannot_be_made_is_not_tried_again() {
        let mut shapes = Shapes::<()>::new(2);
        while shapes.look_up(&sizes(1)) != Choice::Make {}
        shapes.made(&sizes(1), None);
        assert!((0..1000).all(|_| shapes.look_up(&sizes(1)) == Choice::General));
    }

    #[test]
    fn only_a_plan_that_nobody_uses_gives_way() {
        let mut shapes = Shapes::new(2);
        make(&mut shapes, 1, SEEN_MIN);
        make(&mut shapes, 2, SEEN_MIN);
        assert_eq!(make(&mut shapes, 3, 100), None, "both are in use");
        for _ in 0..IDLE_MIN {
            assert_eq!(shapes.look_up(&sizes(2)), Choice::Own(2));
        }
        assert_eq!(make(&mut shapes, 3, 1), Some(1));
        assert_eq!(shapes.look_up(&sizes(1)), Choice::General);
        assert_eq!(shapes.plans(), 2);
        let mut none = Shapes::<usize>::new(0);
        assert_eq!(make(&mut none, 1, 100), None);
    }

    proptest! {
        #[test]
        fn plans_and_counts_stay_bounded_and_fit_their_sizes(
            requests in prop::collection::vec(0..200usize, 0..3000),
            plans_max in 0..5usize,
        ) {
            let mut shapes = Shapes::new(plans_max);
            for request in requests {
                // A few are frequent.
                let size = if request < 150 { request % 6 } else { request };
                match shapes.look_up(&sizes(size)) {
                    Choice::Own(plan) => prop_assert_eq!(plan, size),
                    Choice::Make => shapes.made(&sizes(size), (size != 3).then_some(size)),
                    Choice::General => {}
                }
                prop_assert!(shapes.plans() <= plans_max);
                prop_assert!(shapes.known.len() <= COUNTED_MAX);
            }
        }
    }
}
