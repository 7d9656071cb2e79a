//! Which plans are to be made, and who waits for them.
//!
//! Owns the order of the making and its bounds: one plan at a time, as many sizes and callers as may wait, and what nobody wants
//! any more. Those that somebody waits for go before those that only make requests faster. Pure: the time is an
//! argument. Never makes anything.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::inference::shapes::Sizes;

/// The most sizes that are waited for, beside the ones that are being made.
const SIZES_MAX: usize = 16;
/// The most callers that wait.
const CALLERS_MAX: usize = 256;
/// The most plans that nobody waits for.
const SPARE_MAX: usize = 1;

/// A plan, or why none can be made.
pub(super) type Made<P> = Result<P, String>;

/// As many as may wait do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

/// Plans that are to be made.
#[derive(Debug)]
pub(super) struct Orders<P> {
    waiting: VecDeque<Order<P>>,
    /// The one that is being made.
    current: Option<Order<P>>,
    /// Whether a thread sees to them.
    attended: bool,
}

/// One without callers is wanted for later requests.
#[derive(Debug)]
struct Order<P> {
    sizes: Sizes,
    spare: bool,
    callers: Vec<Caller<P>>,
}

#[derive(Debug)]
struct Caller<P> {
    until: Instant,
    way: oneshot::Sender<Made<P>>,
}

impl<P: Clone> Orders<P> {
    pub(super) const fn new() -> Self {
        Self { waiting: VecDeque::new(), current: None, attended: false }
    }

    /// Orders the plan for `sizes`, for a caller that waits for it until then.
    ///
    /// # Errors
    /// When too many wait.
    pub(super) fn order(
        &mut self,
        sizes: &Sizes,
        until: Instant,
        now: Instant,
    ) -> Result<oneshot::Receiver<Made<P>>, Crowded> {
        self.forget(now);
        let orders = || self.current.iter().chain(&self.waiting);
        if orders().map(|order| order.callers.len()).sum::<usize>() >= CALLERS_MAX {
            return Err(Crowded);
        }
        let (way, made) = oneshot::channel();
        let caller = Caller { until, way };
        let mut orders = self.current.iter_mut().chain(&mut self.waiting);
        if let Some(order) = orders.find(|order| order.sizes == *sizes) {
            order.callers.push(caller);
            return Ok(made);
        }
        if self.waiting.iter().filter(|order| !order.callers.is_empty()).count() >= SIZES_MAX {
            return Err(Crowded);
        }
        let callers = vec![caller];
        self.waiting.push_back(Order { sizes: sizes.clone(), spare: false, callers });
        Ok(made)
    }

    /// Has the plan for `sizes` made when nothing else is to be, if there is room.
    pub(super) fn order_spare(&mut self, sizes: &Sizes) {
        let mut orders = self.current.iter().chain(&self.waiting);
        let is_ordered = orders.any(|order| order.sizes == *sizes);
        let spare = self.waiting.iter().filter(|order| order.spare).count();
        if !is_ordered && spare < SPARE_MAX {
            let sizes = sizes.clone();
            self.waiting.push_back(Order { sizes, spare: true, callers: Vec::new() });
        }
    }

    /// Whether whoever asks has to see to them from now on: there is something to do, and nobody does.
    pub(super) fn attend(&mut self) -> bool {
        let lacks = !self.attended && !self.waiting.is_empty();
        self.attended |= lacks;
        lacks
    }

    /// Whoever sees to them does so no more.
    pub(super) fn leave(&mut self) {
        self.attended = false;
    }

    /// The sizes of the plan to make now. Where there is none, whoever asks sees to them no more.
    pub(super) fn next(&mut self, now: Instant) -> Option<Sizes> {
        self.forget(now);
        let urgent = self.waiting.iter().position(|order| !order.callers.is_empty());
        self.current = self.waiting.remove(urgent.unwrap_or(0));
        self.attended = self.current.is_some();
        self.current.as_ref().map(|order| order.sizes.clone())
    }

    /// Gives up the one that is being made, if nobody wants it any more, or nobody waits for it and somebody for another;
    /// whether it has.
    pub(super) fn give_up(&mut self, now: Instant) -> bool {
        self.forget(now);
        let others = self.waiting.iter().any(|order| !order.callers.is_empty());
        let is_wanted =
            |order: &mut Order<P>| order.is_wanted(now) && !(others && order.callers.is_empty());
        let unwanted = !self.current.as_mut().is_some_and(is_wanted);
        if unwanted {
            self.current = None;
        }
        unwanted
    }

    /// Hands over what was made.
    pub(super) fn hand_over(&mut self, made: &Made<P>) {
        for caller in self.current.take().into_iter().flat_map(|order| order.callers) {
            // It may have gone in the meantime.
            drop(caller.way.send(made.clone()));
        }
    }

    /// Tells all callers that nobody will make anything.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    fn forget(&mut self, now: Instant) {
        self.waiting.retain_mut(|order| order.is_wanted(now));
    }
}

impl<P> Order<P> {
    /// Whether it is wanted still; callers that are gone or too late are left out.
    fn is_wanted(&mut self, now: Instant) -> bool {
        self.callers.retain(|caller| !caller.way.is_closed() && now < caller.until);
        self.spare || !self.callers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sizes(size: usize) -> Sizes {
        Sizes::from_slice(&[size])
    }

    #[test]
    fn whoever_wants_the_same_waits_for_one_making() {
        let now = Instant::now();
        let mut orders = Orders::new();
        let mut first = orders.order(&sizes(7), now + SECOND, now).unwrap();
        assert!(orders.attend() && !orders.attend(), "one thread");
        assert_eq!(orders.next(now), Some(sizes(7)));
        let mut second = orders.order(&sizes(7), now + SECOND, now).unwrap();
        let mut third = orders.order(&sizes(8), now + SECOND, now).unwrap();
        assert!(!orders.give_up(now));
        orders.hand_over(&Ok(70));
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(Ok(70)), Ok(Ok(70))));
        assert_eq!(third.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(orders.next(now), Some(sizes(8)));
        orders.hand_over(&Err("no".to_owned()));
        assert_eq!(third.try_recv(), Ok(Err("no".to_owned())));
        assert_eq!(orders.next(now), None);
        assert!(!orders.attend(), "there is nothing to do");
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_made() {
        let now = Instant::now();
        let mut orders = Orders::<()>::new();
        let _late = orders.order(&sizes(1), now + SECOND, now).unwrap();
        drop(orders.order(&sizes(2), now + 9 * SECOND, now).unwrap());
        let mut third = orders.order(&sizes(3), now + 9 * SECOND, now).unwrap();
        assert_eq!(orders.next(now + SECOND), Some(sizes(3)));
        let fourth = orders.order(&sizes(3), now + 2 * SECOND, now).unwrap();
        assert!(!orders.give_up(now + 2 * SECOND), "one of them still waits");
        assert!(orders.give_up(now + 9 * SECOND));
        assert_eq!(third.try_recv(), Err(TryRecvError::Closed));
        drop(fourth);
        assert_eq!(orders.next(now), None);
    }

    #[test]
    fn as_many_wait_as_may() {
        let now = Instant::now();
        let mut orders = Orders::<()>::new();
        let order = |orders: &mut Orders<()>, size| orders.order(&sizes(size), now + SECOND, now);
        let mut callers: Vec<_> =
            (0..SIZES_MAX).map(|size| order(&mut orders, size).unwrap()).collect();
        assert_eq!(order(&mut orders, 100).map(drop), Err(Crowded));
        callers.pop();
        callers.push(order(&mut orders, 100).unwrap());
        while callers.len() < CALLERS_MAX {
            callers.push(order(&mut orders, 1).unwrap());
        }
        assert_eq!(order(&mut orders, 1).map(drop), Err(Crowded));
        drop(callers);
        assert!(order(&mut orders, 1).is_ok());
    }

    #[test]
    fn plans_that_somebody_waits_for_go_first() {
        let now = Instant::now();
        let mut orders = Orders::<()>::new();
        orders.order_spare(&sizes(64));
        orders.order_spare(&sizes(32));
        assert!(orders.attend());
        let _caller = orders.order(&sizes(1), now + SECOND, now).unwrap();
        assert_eq!(orders.next(now), Some(sizes(1)));
        orders.hand_over(&Ok(()));
        assert_eq!(orders.next(now + 9 * SECOND), Some(sizes(64)), "it has no deadline");
        orders.order_spare(&sizes(64));
        assert!(!orders.give_up(now + 9 * SECOND));
        orders.hand_over(&Ok(()));
        assert_eq!(orders.next(now), None, "there was no room for another");
        orders.order_spare(&sizes(32));
        assert_eq!(orders.next(now), Some(sizes(32)));
        let _caller = orders.order(&sizes(2), now + SECOND, now).unwrap();
        assert!(orders.give_up(now), "for one that somebody waits for");
    }
}
