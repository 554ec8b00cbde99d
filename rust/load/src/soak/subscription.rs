//! Receives the numbers that came on one channel · hands out whether each was due · owns what is known of one
//! subscription: where it begins and ends, what came, what is missing.

use std::collections::VecDeque;

/// Gaps remembered, to tell what is late from what came twice.
const GAPS: usize = 64;

/// What a number was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// The one that was due.
    Due,
    /// So many before it are missing.
    Gap(u64),
    /// One that was missing, behind a later one: order is broken.
    Late,
    /// One that had come.
    Repeated,
    /// Published before the subscription began or after it ended.
    Outside,
}

/// What a channel promises to a reader who is too slow, apart from order and no duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Every number.
    Every,
    /// Gaps, counted by the server; of the numbers that leave the same rest when divided by so many, the newest
    /// comes in any case. 0: nothing comes in any case.
    Newest(u64),
}

/// One subscription, from its first publication to its last.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) channel: u8,
    pub(crate) promise: Promise,
    /// The first number that belongs to it, as the server said or, where it cannot, the first that came.
    first: Option<u64>,
    next: u64,
    received: u64,
    /// The first number that does not belong to it any more.
    end: Option<u64>,
    /// Ranges that did not come, the newest last.
    gaps: VecDeque<(u64, u64)>,
    /// By rest, the newest that came.
    newest: Vec<Option<u64>>,
    /// Nobody says where it begins: the first number that comes does.
    is_open: bool,
}

impl Subscription {
    /// `is_open`: the server does not say where it begins.
    pub(crate) fn new(channel: u8, promise: Promise, is_open: bool) -> Self {
        let rests = if let Promise::Newest(rests) = promise { rests as usize } else { 0 };
        Self {
            channel,
            promise,
            first: None,
            next: 0,
            received: 0,
            end: None,
            gaps: VecDeque::new(),
            newest: vec![None; rests],
            is_open,
        }
    }

    /// The server says where it begins; false: it had begun.
    pub(crate) fn joined(&mut self, number: u64) -> bool {
        let is_first = !self.is_open && self.first.is_none();
        if is_first {
            self.first = Some(number);
            self.next = number;
        }
        is_first
    }

    /// The server says where it ends; false: it had not begun, or had ended, or what came is behind that end.
    pub(crate) fn left(&mut self, number: u64) -> bool {
        let is_right = (self.first.is_some() || self.is_open) && self.end.is_none() && self.next <= number;
        self.end = Some(number);
        is_right
    }

    /// A publication came.
    #[inline]
    pub(crate) fn receive(&mut self, number: u64) -> Receipt {
        let is_before = match self.first {
            Some(first) => number < first,
            None if self.is_open => {
                self.first = Some(number);
                self.next = number;
                false
            }
            None => true,
        };
        if is_before || self.end.is_some_and(|end| number >= end) {
            return Receipt::Outside;
        }
        let due = self.next;
        if number >= due {
            self.received += 1;
            self.next = number + 1;
            if let Some(rest) = number.checked_rem(self.newest.len() as u64)
                && let Some(newest) = self.newest.get_mut(rest as usize)
            {
                *newest = Some(number);
            }
            if number == due {
                return Receipt::Due;
            }
            if self.gaps.len() == GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back((due, number));
            return Receipt::Gap(number - due);
        }
        self.behind(number)
    }

    /// A number came behind a later one.
    #[cold]
    fn behind(&mut self, number: u64) -> Receipt {
        let Some(place) = self.gaps.iter().position(|(from, to)| (*from..*to).contains(&number)) else {
            return Receipt::Repeated;
        };
        if let Some((from, to)) = self.gaps.remove(place) {
            self.gaps.extend([(from, number), (number + 1, to)].into_iter().filter(|(from, to)| from < to));
        }
        self.received += 1;
        Receipt::Late
    }

    /// Whether the server said that it began.
    pub(crate) fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    /// Whether the server said that it ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Numbers of the whole subscription that did not come; `None`: it has not ended.
    pub(crate) fn missing(&self) -> Option<u64> {
        let first = self.first.or(self.end)?;
        self.end.map(|end| end.saturating_sub(first).saturating_sub(self.received))
    }

    /// Numbers at the end that did not come; `None`: it has not ended.
    pub(crate) fn missing_tail(&self) -> Option<u64> {
        self.end.map(|end| if self.first.is_some() { end.saturating_sub(self.next) } else { 0 })
    }

    /// Of a subscription that has ended and of which all has come that will: how many of those are missing that
    /// had to come in any case.
    pub(crate) fn missing_newest(&self) -> u64 {
        let (Some(first), Some(end)) = (self.first, self.end) else { return 0 };
        let rests = self.newest.len() as u64;
        let due = (end.saturating_sub(rests).max(first)..end)
            .filter(|number| self.newest.get((number % rests) as usize) != Some(&Some(*number)));
        due.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(promise: Promise) -> Subscription {
        let mut subscription = Subscription::new(1, promise, false);
        assert!(subscription.joined(10));
        subscription
    }

    #[test]
    fn every_number_from_join_to_leave_once_and_in_order() {
        let mut subscription = begun(Promise::Every);
        assert_eq!([10, 11].map(|number| subscription.receive(number)), [Receipt::Due; 2]);
        assert!(subscription.left(13));
        assert_eq!(subscription.missing(), Some(1));
        assert_eq!(subscription.receive(12), Receipt::Due);
        assert_eq!((subscription.missing(), subscription.missing_tail()), (Some(0), Some(0)));
        assert_eq!(subscription.receive(13), Receipt::Outside);
    }

    #[test]
    fn what_does_not_belong_is_outside() {
        let mut subscription = Subscription::new(1, Promise::Every, false);
        assert_eq!(subscription.receive(10), Receipt::Outside, "nobody said that it began");
        assert!(subscription.joined(10));
        assert!(!subscription.joined(10));
        assert_eq!(subscription.receive(9), Receipt::Outside);
        assert_eq!(subscription.receive(10), Receipt::Due);
        assert!(!subscription.left(10), "10 has come");
    }

    #[test]
    fn a_gap_what_is_late_and_what_came_twice_are_told_apart() {
        let mut subscription = begun(Promise::Every);
        assert_eq!(subscription.receive(14), Receipt::Gap(4));
        assert_eq!(subscription.receive(12), Receipt::Late);
        assert_eq!(subscription.receive(12), Receipt::Repeated);
        assert_eq!(subscription.receive(14), Receipt::Repeated);
        assert_eq!(subscription.receive(13), Receipt::Late);
        assert_eq!(subscription.receive(15), Receipt::Due);
        assert!(subscription.left(18));
        assert_eq!((subscription.missing(), subscription.missing_tail()), (Some(4), Some(2)));
    }

    #[test]
    fn where_nobody_says_it_begins_with_the_first_that_comes() {
        let mut subscription = Subscription::new(1, Promise::Every, true);
        assert_eq!([7, 8].map(|number| subscription.receive(number)), [Receipt::Due; 2]);
        assert!(subscription.left(9));
        assert_eq!(subscription.missing(), Some(0));
        let mut silent = Subscription::new(1, Promise::Every, true);
        assert!(silent.left(9));
        assert_eq!((silent.missing(), silent.missing_tail()), (Some(0), Some(0)), "it may have begun at 9");
    }

    #[test]
    fn the_newest_of_each_rest_must_come() {
        let mut subscription = begun(Promise::Newest(4));
        for number in [10, 15, 16, 18] {
            subscription.receive(number);
        }
        assert!(subscription.left(19));
        assert_eq!(subscription.missing_newest(), 1, "17 is missing");
        assert_eq!(subscription.missing(), Some(5));
        let mut short = begun(Promise::Newest(4));
        short.receive(10);
        assert!(short.left(11));
        assert_eq!(short.missing_newest(), 0);
        let mut nothing = begun(Promise::Newest(0));
        assert!(nothing.left(20));
        assert_eq!((nothing.missing_newest(), nothing.missing()), (0, Some(10)));
    }
}
