//! The windows of one version that are kept: minutes, hours and days.
//!
//! Owns how far each reaches back, and that hours and days are the exact sum of their minutes, in
//! whatever order these come. Never decides what is closed: whoever reads knows up to which minute
//! everything was counted.

use std::collections::VecDeque;
use std::sync::Arc;

use super::window::{Minute, Window, WindowCounts, WindowLength};

/// The most windows of each length that are kept, in the order of [`WindowLength::ALL`]; the one that is
/// still being filled is among them.
pub const KEPT: [usize; WindowLength::ALL.len()] = [61, 25, 31];

/// The windows of one version.
#[derive(Debug, Clone, Default)]
pub struct Rings {
    /// Oldest first, by length in the order of [`WindowLength::ALL`].
    windows: [VecDeque<Arc<Window>>; WindowLength::ALL.len()],
}

impl Rings {
    /// Adds what was counted in a minute to the windows that it lies in. Windows that are too old to be
    /// kept are left out.
    pub fn add(&mut self, minute: Minute, counts: &WindowCounts) {
        for length in WindowLength::ALL {
            self.add_to(length, minute, counts);
        }
    }

    /// Adds counts to the window of one length that `minute` lies in.
    pub fn add_to(&mut self, length: WindowLength, minute: Minute, counts: &WindowCounts) {
        let start = length.start_of(minute);
        let kept = KEPT[length as usize];
        let ring = &mut self.windows[length as usize];
        let reach = u32::try_from(kept).unwrap_or(u32::MAX).saturating_mul(length.minutes());
        if ring.back().is_some_and(|newest| start.plus(reach) <= newest.start) {
            return;
        }
        // Nearly always the newest window or one after it.
        let behind = ring.iter().rev().take_while(|window| window.start > start).count();
        let at = ring.len() - behind;
        match at.checked_sub(1).and_then(|before| ring.get_mut(before)) {
            Some(window) if window.start == start => Arc::make_mut(window).counts.merge(counts),
            _ => ring.insert(at, Arc::new(Window { start, length, counts: counts.clone() })),
        }
        while ring.len() > kept {
            ring.pop_front();
        }
    }

    /// The windows of one length, oldest first.
    pub fn of(&self, length: WindowLength) -> impl DoubleEndedIterator<Item = &Arc<Window>> {
        self.windows[length as usize].iter()
    }

    /// Forgets windows that reach back too far at `now`.
    pub fn age(&mut self, now: Minute) {
        for length in WindowLength::ALL {
            let reach = u32::try_from(KEPT[length as usize]).unwrap_or(u32::MAX);
            let reach = reach.saturating_mul(length.minutes());
            let ring = &mut self.windows[length as usize];
            while ring.front().is_some_and(|oldest| oldest.start.plus(reach) <= now) {
                ring.pop_front();
            }
        }
    }

    /// Forgets windows that begin after `now`: the clock was ahead, and has been set right.
    pub fn set_back(&mut self, now: Minute) {
        for ring in &mut self.windows {
            ring.retain(|window| window.start <= now);
        }
    }

    /// The first minute of the oldest window of one length.
    pub fn oldest(&self, length: WindowLength) -> Option<Minute> {
        self.windows[length as usize].front().map(|window| window.start)
    }

    /// Forgets the oldest window of one length; returns the bytes that it took.
    pub fn forget_oldest(&mut self, length: WindowLength) -> usize {
        let oldest = self.windows[length as usize].pop_front();
        oldest.map_or(0, |window| window.counts.bytes())
    }

    /// Whether there is no window.
    pub fn is_empty(&self) -> bool {
        self.windows.iter().all(VecDeque::is_empty)
    }

    /// How many windows there are.
    pub fn len(&self) -> usize {
        self.windows.iter().map(VecDeque::len).sum()
    }

    /// The bytes that they take.
    pub fn bytes(&self) -> usize {
        self.windows.iter().flatten().map(|window| window.counts.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{Latency, Outcome};
    use crate::domain::stats::window::TrafficRecorder;
    use proptest::prelude::*;

    fn counts(exchanges: u32) -> WindowCounts {
        let mut recorder = TrafficRecorder::default();
        for us in 0..exchanges {
            let latency = Latency { t_total: us * 100, ..Latency::default() };
            recorder.record(Outcome::Ok, None, &latency);
        }
        let mut counts = WindowCounts::default();
        counts.traffic.add_recorded(&recorder);
        counts
    }

    proptest! {
        /// Hours and days are the sum of their minutes, whatever the order and however often one is
        /// added to.
        #[test]
        fn longer_windows_are_the_sum_of_their_minutes(
            minutes in prop::collection::vec((0u32..59, 1u32..6), 1..40),
        ) {
            let mut rings = Rings::default();
            let mut all = WindowCounts::default();
            for (minute, exchanges) in &minutes {
                let counts = counts(*exchanges);
                rings.add(Minute(60 * 24 * 10 + minute), &counts);
                all.merge(&counts);
            }
            for length in [WindowLength::Hour, WindowLength::Day] {
                let windows: Vec<_> = rings.of(length).collect();
                prop_assert_eq!(windows.len(), 1);
                prop_assert_eq!(&windows[0].counts.traffic, &all.traffic);
            }
            let mut sum = WindowCounts::default();
            let mut last = None;
            for window in rings.of(WindowLength::Minute) {
                prop_assert!(last < Some(window.start), "in order");
                last = Some(window.start);
                sum.merge(&window.counts);
            }
            prop_assert_eq!(sum.traffic, all.traffic);
        }
    }

    #[test]
    fn rings_keep_so_many_windows_and_no_more() {
        let mut rings = Rings::default();
        for minute in 0..60 * 24 * 40 {
            rings.add(Minute(minute), &counts(1));
        }
        for length in WindowLength::ALL {
            assert_eq!(rings.of(length).count(), KEPT[length as usize], "{}", length.as_str());
        }
        // What is older than all of them is left out.
        let (before, bytes) = (rings.len(), rings.bytes());
        rings.add_to(WindowLength::Minute, Minute(3), &counts(5));
        assert_eq!((rings.len(), rings.bytes()), (before, bytes));
        // Minute 40 * 24 * 60 - 1 is the newest.
        rings.age(Minute(60 * 24 * 40 + 30));
        assert_eq!(rings.of(WindowLength::Minute).count(), 30);
        rings.age(Minute(u32::MAX));
        assert!(rings.is_empty());
    }
}
