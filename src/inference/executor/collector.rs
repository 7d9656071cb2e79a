//! Which waiting requests make up the next batch.
//!
//! Owns the groups of requests that may run together and when each is ripe: as soon as it fills a
//! batch, else when its oldest member has waited long enough. Requests of one group keep their order,
//! none is in two batches, and no batch exceeds the limit unless a single request does. Pure: the time
//! is an argument. Never knows what a request is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests that wait, by what they have in common.
#[derive(Debug)]
pub(super) struct Collector<K, T> {
    max_rows: usize,
    max_delay: Duration,
    /// In the order of the first arrival; none is empty. As many as there are requests at most, which
    /// the lane bounds.
    groups: Vec<Group<K, T>>,
}

#[derive(Debug)]
struct Group<K, T> {
    key: K,
    rows: usize,
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    since: Instant,
    rows: usize,
    item: T,
}

/// Requests to run together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch<T> {
    /// In the order of their arrival; at least one.
    pub(super) items: Vec<T>,
    /// Their rows.
    pub(super) rows: usize,
    /// Why they were not made to wait for more.
    pub(super) reason: Reason,
}

/// Why a batch was ripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// As many rows waited as may run together.
    Full,
    /// The oldest request had waited long enough.
    Delay,
}

impl<K: PartialEq, T> Collector<K, T> {
    /// Batches of at most `max_rows` rows, of requests that waited `max_delay` at most.
    pub(super) const fn new(max_rows: usize, max_delay: Duration) -> Self {
        Self { max_rows, max_delay, groups: Vec::new() }
    }

    /// Adds a request of `rows` rows that came at `now`.
    pub(super) fn push(&mut self, now: Instant, key: K, rows: usize, item: T) {
        let waiting = Waiting { since: now, rows, item };
        match self.groups.iter_mut().find(|group| group.key == key) {
            Some(group) => {
                group.rows = group.rows.saturating_add(rows);
                group.waiting.push_back(waiting);
            }
            None => self.groups.push(Group { key, rows, waiting: VecDeque::from([waiting]) }),
        }
    }

    /// When the next batch is ripe; in the past for one that is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.groups.iter().filter_map(|group| self.due_of(group)).min()
    }

    fn due_of(&self, group: &Group<K, T>) -> Option<Instant> {
        let oldest = group.waiting.front()?.since;
        let full = group.rows >= self.max_rows;
        Some(if full { oldest } else { oldest + self.max_delay })
    }

    /// Takes the ripe batch that was due first. `admit` gives back what is still to be run.
    pub(super) fn take(
        &mut self,
        now: Instant,
        mut admit: impl FnMut(T) -> Option<T>,
    ) -> Option<Batch<T>> {
        loop {
            let ripe = |(at, group): (usize, &Group<K, T>)| Some((self.due_of(group)?, at));
            let (due, at) = self.groups.iter().enumerate().filter_map(ripe).min()?;
            if due > now {
                return None;
            }
            let group = self.groups.get_mut(at)?;
            let reason = if group.rows >= self.max_rows { Reason::Full } else { Reason::Delay };
            let mut batch = Batch { items: Vec::new(), rows: 0, reason };
            while let Some(next) = group.waiting.pop_front() {
                let rows = batch.rows.saturating_add(next.rows);
                if !batch.items.is_empty() && rows > self.max_rows {
                    group.waiting.push_front(next);
                    break;
                }
                group.rows = group.rows.saturating_sub(next.rows);
                if let Some(item) = admit(next.item) {
                    batch.items.push(item);
                    batch.rows = rows;
                }
                if batch.rows >= self.max_rows {
                    break;
                }
            }
            if group.waiting.is_empty() {
                self.groups.remove(at);
            }
            if !batch.items.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Takes everything, in no particular order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        let groups = std::mem::take(&mut self.groups);
        groups.into_iter().flat_map(|group| group.waiting).map(|waiting| waiting.item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn all<T>(item: T) -> Option<T> {
        Some(item)
    }

    #[test]
    fn a_batch_is_ripe_when_full_or_when_its_oldest_has_waited_long_enough() {
        let start = Instant::now();
        let mut collector = Collector::new(4, 5 * MS);
        assert_eq!(collector.due(), None);
        collector.push(start, 'a', 1, 1);
        collector.push(start + MS, 'b', 1, 2);
        assert_eq!(collector.due(), Some(start + 5 * MS));
        assert_eq!(collector.take(start + 4 * MS, all), None);
        collector.push(start + 2 * MS, 'b', 3, 3);
        let batch = collector.take(start + 2 * MS, all);
        assert_eq!(batch, Some(Batch { items: vec![2, 3], rows: 4, reason: Reason::Full }));
        let batch = collector.take(start + 5 * MS, all);
        assert_eq!(batch, Some(Batch { items: vec![1], rows: 1, reason: Reason::Delay }));
        assert_eq!(collector.due(), None);
    }

    #[test]
    fn a_request_that_exceeds_the_limit_runs_by_itself_and_in_its_turn() {
        let now = Instant::now();
        let mut collector = Collector::new(4, Duration::ZERO);
        for (rows, item) in [(1, 1), (9, 2), (1, 3), (4, 4)] {
            collector.push(now, (), rows, item);
        }
        let taken = std::iter::from_fn(|| collector.take(now, all).map(|batch| batch.items));
        assert_eq!(taken.collect::<Vec<_>>(), [vec![1], vec![2], vec![3], vec![4]]);
    }

    #[test]
    fn what_is_not_admitted_takes_no_room() {
        let now = Instant::now();
        let mut collector = Collector::new(2, Duration::ZERO);
        (0..6).for_each(|item| collector.push(now, (), 1, item));
        let odd = |item: i32| (item % 2 == 1).then_some(item);
        assert_eq!(collector.take(now, odd).map(|batch| batch.items), Some(vec![1, 3]));
        assert_eq!(collector.take(now, odd).map(|batch| batch.items), Some(vec![5]));
        assert_eq!(collector.take(now, odd), None);
        assert_eq!(collector.due(), None);
    }

    /// What happens to a collector: time passes, a request comes, a thread is free.
    #[derive(Debug, Clone)]
    enum Event {
        Wait(u64),
        Push { key: u8, rows: usize },
        Take { refuse: u8 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..4u64).prop_map(Event::Wait),
            (0..3u8, 0..7usize).prop_map(|(key, rows)| Event::Push { key, rows }),
            (0..5u8).prop_map(|refuse| Event::Take { refuse }),
        ]
    }

    proptest! {
        #[test]
        fn every_request_is_in_one_batch_of_its_kind_in_order_and_in_time(
            events in prop::collection::vec(event(), 0..120),
            max_rows in 1..6usize,
            delay in 0..4u32,
        ) {
            let mut now = Instant::now();
            let mut collector = Collector::new(max_rows, delay * MS);
            let mut pushed: Vec<(usize, u8, usize, Instant)> = Vec::new();
            let mut left: Vec<bool> = Vec::new();
            let mut last = [None; 3];
            for event in events.into_iter().chain([Event::Wait(10)]) {
                match event {
                    Event::Wait(ms) => now += Duration::from_millis(ms),
                    Event::Push { key, rows } => {
                        let id = pushed.len();
                        pushed.push((id, key, rows, now));
                        left.push(true);
                        collector.push(now, key, rows, (id, key, rows));
                    }
                    Event::Take { refuse } => {
                        let due = collector.due();
                        let batch = collector.take(now, |item| {
                            assert!(std::mem::take(&mut left[item.0]), "taken twice");
                            (item.0 % 5 != usize::from(refuse)).then_some(item)
                        });
                        if due.is_none_or(|due| due > now) {
                            prop_assert_eq!(&batch, &None);
                        }
                        let Some(batch) = batch else { continue };
                        let rows: usize = batch.items.iter().map(|item| item.2).sum();
                        prop_assert_eq!(rows, batch.rows);
                        prop_assert!(rows <= max_rows || batch.items.len() == 1);
                        let key = batch.items[0].1;
                        for (id, other, ..) in batch.items {
                            prop_assert_eq!(key, other, "kinds are never mixed");
                            prop_assert!(last[usize::from(key)] < Some(id), "order is kept");
                            last[usize::from(key)] = Some(id);
                        }
                    }
                }
            }
            while let Some(batch) = collector.take(now, |item| {
                assert!(std::mem::take(&mut left[item.0]), "taken twice");
                Some(item)
            }) {
                let rows: usize = batch.items.iter().map(|item| item.2).sum();
                prop_assert!(rows <= max_rows || batch.items.len() == 1);
            }
            prop_assert!(left.iter().all(|left| !left), "everything is ripe after the delay");
            prop_assert_eq!(collector.due(), None);
        }
    }
}
