//! Which plans for certain sizes are kept.
//!
//! Owns their number, and which gives way: the one that was used longest ago. What cannot be made is remembered too, so that
//! it is not tried again and again. Pure: never makes anything.

use std::sync::{Arc, OnceLock};

use crate::inference::shapes::Sizes;

/// The most sizes that are remembered for that no plan can be made for them.
const FAILED_MAX: usize = 64;

/// A plan, once somebody has made it, or why it cannot be made. Whoever comes meanwhile waits.
pub(super) type Slot<P> = Arc<OnceLock<Result<P, String>>>;

/// Plans by their sizes.
#[derive(Debug)]
pub(super) struct Kept<P> {
    max: usize,
    uses: u64,
    entries: Vec<Entry<P>>,
}

#[derive(Debug)]
struct Entry<P> {
    sizes: Sizes,
    last: u64,
    slot: Slot<P>,
}

impl<P> Kept<P> {
    /// At most `max` plans, beside those in the making, of which there is one for each thread that waits for it.
    pub(super) const fn new(max: usize) -> Self {
        Self { max, uses: 0, entries: Vec::new() }
    }

    /// The place of the plan for `sizes`, which may have to be made.
    pub(super) fn slot(&mut self, sizes: &Sizes) -> Slot<P> {
        self.uses += 1;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.sizes == *sizes) {
            entry.last = self.uses;
            return Arc::clone(&entry.slot);
        }
        let slot = Slot::default();
        let entry = Entry { sizes: sizes.clone(), last: self.uses, slot: Arc::clone(&slot) };
        self.entries.push(entry);
        slot
    }

    /// The plans that are ready.
    pub(super) fn ready(&self) -> impl Iterator<Item = &P> {
        self.entries.iter().filter_map(|entry| entry.slot.get()?.as_ref().ok())
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Has others give way to what was made.
    pub(super) fn settle(&mut self) {
        self.bound(|made| made.is_ok(), self.max);
        self.bound(|made| made.is_err(), FAILED_MAX);
    }

    /// Sees to it that there are at most `max` of those that were made like that.
    fn bound(&mut self, like: impl Fn(&Result<P, String>) -> bool, max: usize) {
        let is = |entry: &Entry<P>| entry.slot.get().is_some_and(&like);
        while self.entries.iter().filter(|entry| is(entry)).count() > max {
            let alike = self.entries.iter().enumerate().filter(|(_, entry)| is(entry));
            let Some((oldest, _)) = alike.min_by_key(|(_, entry)| entry.last) else { return };
            self.entries.swap_remove(oldest);
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

    fn make(kept: &mut Kept<usize>, size: usize) -> bool {
        let slot = kept.slot(&sizes(size));
        let is_new = slot.get().is_none();
        assert_eq!(slot.get_or_init(|| Ok(size)), &Ok(size));
        kept.settle();
        is_new
    }

    #[test]
    fn the_plan_that_was_used_longest_ago_gives_way() {
        let mut kept = Kept::new(2);
        assert!(make(&mut kept, 1) && make(&mut kept, 2) && !make(&mut kept, 1));
        assert!(make(&mut kept, 3));
        assert!(!make(&mut kept, 1) && !make(&mut kept, 3) && make(&mut kept, 2));
        assert_eq!(kept.ready().count(), 2);
    }

    #[test]
    fn what_cannot_be_made_is_remembered_beside_the_plans() {
        let mut kept = Kept::<usize>::new(1);
        make(&mut kept, 1);
        for size in 2..200 {
            kept.slot(&sizes(size)).get_or_init(|| Err("no".to_owned()));
            kept.settle();
        }
        assert!(!make(&mut kept, 1), "none of them took its place");
        assert!(kept.slot(&sizes(199)).get().is_some_and(Result::is_err));
        assert!(kept.entries.len() <= FAILED_MAX + 1, "bounded");
    }

    proptest! {
        #[test]
        fn plans_stay_bounded_and_fit_their_sizes(
            requests in prop::collection::vec(0..40_usize, 0..500),
            max in 1..5_usize,
        ) {
            let mut kept = Kept::new(max);
            for size in requests {
                let slot = kept.slot(&sizes(size));
                let made = slot.get_or_init(|| if size % 3 == 0 { Err("no".to_owned()) } else { Ok(size) });
                prop_assert_eq!(made.as_ref().ok().copied(), (size % 3 != 0).then_some(size));
                kept.settle();
                prop_assert!(kept.ready().count() <= max);
                prop_assert!(kept.entries.len() <= max + FAILED_MAX);
            }
        }
    }
}
