//! Which plans for certain sizes are kept.
//!
//! Owns how many there are and what they take together, and which gives way: the one that was used longest ago. What cannot be made is remembered too, so that
//! it is not tried again and again. Pure: never makes anything.

use crate::inference::shapes::Sizes;

/// The most sizes that are remembered for that no plan can be made for them.
const FAILED_MAX: usize = 64;

/// Plans by their sizes.
#[derive(Debug)]
pub(super) struct Kept<P> {
    max: usize,
    bytes_max: u64,
    uses: u64,
    entries: Vec<Entry<P>>,
}

#[derive(Debug)]
struct Entry<P> {
    sizes: Sizes,
    last: u64,
    bytes: u64,
    made: Result<P, String>,
}

impl<P: Clone> Kept<P> {
    /// At most `max` plans, which take so many bytes at most, or one that takes more.
    pub(super) const fn new(max: usize, bytes_max: u64) -> Self {
        Self { max, bytes_max, uses: 0, entries: Vec::new() }
    }

    /// The plan for `sizes`, or why there is none; `None` where nobody has tried to make it.
    pub(super) fn get(&mut self, sizes: &Sizes) -> Option<Result<P, String>> {
        self.uses += 1;
        let entry = self.entries.iter_mut().find(|entry| entry.sizes == *sizes)?;
        entry.last = self.uses;
        Some(entry.made.clone())
    }

    /// Keeps what was made for `sizes` and takes so many bytes; others give way to it.
    pub(super) fn add(&mut self, sizes: &Sizes, made: Result<P, String>, bytes: u64) {
        self.uses += 1;
        self.entries.retain(|entry| entry.sizes != *sizes);
        self.entries.push(Entry { sizes: sizes.clone(), last: self.uses, bytes, made });
        self.bound(Result::is_ok, self.max);
        while self.ready().count() > 1 && self.bytes() > self.bytes_max {
            self.bound(Result::is_ok, self.ready().count() - 1);
        }
        self.bound(Result::is_err, FAILED_MAX);
    }

    /// The plans that are ready.
    pub(super) fn ready(&self) -> impl Iterator<Item = &P> {
        self.entries.iter().filter_map(|entry| entry.made.as_ref().ok())
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).fold(0, u64::saturating_add)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Sees to it that there are at most `max` of those that were made like that.
    fn bound(&mut self, like: impl Fn(&Result<P, String>) -> bool, max: usize) {
        let is = |entry: &Entry<P>| like(&entry.made);
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

    /// Whether it had to be made.
    fn make(kept: &mut Kept<usize>, size: usize) -> bool {
        if let Some(made) = kept.get(&sizes(size)) {
            assert_eq!(made, Ok(size));
            return false;
        }
        kept.add(&sizes(size), Ok(size), 1);
        true
    }

    #[test]
    fn the_plan_that_was_used_longest_ago_gives_way() {
        let mut kept = Kept::new(2, 100);
        assert!(make(&mut kept, 1) && make(&mut kept, 2) && !make(&mut kept, 1));
        assert!(make(&mut kept, 3));
        assert!(!make(&mut kept, 1) && !make(&mut kept, 3) && make(&mut kept, 2));
        assert_eq!(kept.ready().count(), 2);
    }

    #[test]
    fn plans_that_take_much_make_others_give_way() {
        let mut kept = Kept::new(4, 100);
        for (size, bytes, left) in [(1, 40, 1), (2, 60, 2), (3, 30, 2), (4, 200, 1), (5, 1, 1)] {
            kept.add(&sizes(size), Ok(size), bytes);
            assert_eq!(kept.ready().count(), left, "{size}");
            assert_eq!(kept.get(&sizes(size)), Some(Ok(size)));
        }
    }

    #[test]
    fn what_cannot_be_made_is_remembered_beside_the_plans() {
        let mut kept = Kept::<usize>::new(1, 100);
        make(&mut kept, 1);
        for size in 2..200 {
            kept.add(&sizes(size), Err("no".to_owned()), 0);
        }
        assert!(!make(&mut kept, 1), "none of them took its place");
        assert_eq!(kept.get(&sizes(199)), Some(Err("no".to_owned())));
        assert_eq!(kept.entries.len(), FAILED_MAX + 1, "bounded");
    }

    proptest! {
        #[test]
        fn plans_stay_bounded_and_fit_their_sizes(
            requests in prop::collection::vec(0..40_usize, 0..500),
            max in 1..5_usize,
        ) {
            let mut kept = Kept::new(max, 100);
            for size in requests {
                let made = kept.get(&sizes(size));
                let fits = |made: &Result<usize, String>| made.as_ref().ok().copied() == (size % 3 != 0).then_some(size);
                prop_assert!(made.iter().all(fits));
                if made.is_none() {
                    let no = || Err("no".to_owned());
                    kept.add(&sizes(size), if size % 3 == 0 { no() } else { Ok(size) }, 1);
                }
                prop_assert!(kept.get(&sizes(size)).iter().all(fits));
                prop_assert!(kept.ready().count() <= max);
                prop_assert!(kept.entries.len() <= max + FAILED_MAX);
            }
        }
    }
}
