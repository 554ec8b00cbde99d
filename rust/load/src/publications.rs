//! Receives deliveries by subscriber · hands out which publication each must be and when all have one · owns the
//! publications in flight.

use std::collections::VecDeque;

use crate::messages::Flight;

/// A publication that some subscriber has not received.
#[derive(Debug)]
struct Publication {
    flight: Flight,
    /// Subscribers that do not have it.
    missing: usize,
}

/// Publications in flight: sent, and not yet received by the last subscriber.
#[derive(Debug)]
pub(crate) struct Publications {
    /// By number, from `first` on. Subscribers receive in order, so the oldest is complete before the others.
    pending: VecDeque<Publication>,
    first: u64,
    /// By subscriber, the number that must come next.
    next: Vec<u64>,
    subscribers: usize,
}

/// The next number of whoever is no subscriber.
const NOBODY: u64 = u64::MAX;

impl Publications {
    /// Without subscribers, of at most `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { pending: VecDeque::new(), first: 0, next: vec![NOBODY; most], subscribers: 0 }
    }

    /// A subscriber is there: gets what is sent from now on.
    pub(crate) fn join(&mut self, subscriber: usize) {
        let next = self.first + self.pending.len() as u64;
        if let Some(place) = self.next.get_mut(subscriber).filter(|place| **place == NOBODY) {
            *place = next;
            self.subscribers += 1;
        }
    }

    /// A subscriber is gone, and nobody waits for what it does not have; returns how much that is.
    pub(crate) fn leave(&mut self, subscriber: usize) -> usize {
        let Some(place) = self.next.get_mut(subscriber).filter(|place| **place != NOBODY) else { return 0 };
        let due = std::mem::replace(place, NOBODY);
        self.subscribers -= 1;
        let behind = due.saturating_sub(self.first) as usize;
        self.pending.iter_mut().skip(behind).for_each(|publication| publication.missing -= 1);
        let lost = self.pending.len().saturating_sub(behind);
        self.complete();
        lost
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers
    }

    pub(crate) fn is_subscriber(&self, subscriber: usize) -> bool {
        self.next.get(subscriber).is_some_and(|next| *next != NOBODY)
    }

    /// How many are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Deliveries that have not come.
    pub(crate) fn missing(&self) -> usize {
        self.pending.iter().map(|publication| publication.missing).sum()
    }

    /// A publication is sent; without subscribers nobody waits for it.
    pub(crate) fn send(&mut self, flight: Flight) {
        if self.subscribers > 0 {
            self.pending.push_back(Publication { flight, missing: self.subscribers });
        }
    }

    /// Something came to a subscriber: the publication that is due there, if `is_due` says that it is that.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        subscriber: usize,
        is_due: impl FnOnce(&Flight) -> bool,
    ) -> Option<Flight> {
        let next = self.next.get_mut(subscriber)?;
        // Never behind `first`, which moves only past what every subscriber has.
        let publication = self.pending.get_mut(next.wrapping_sub(self.first) as usize)?;
        if !is_due(&publication.flight) {
            return None;
        }
        *next += 1;
        publication.missing -= 1;
        let flight = publication.flight;
        if publication.missing == 0 {
            self.complete();
        }
        Some(flight)
    }

    fn complete(&mut self) {
        while self.pending.front().is_some_and(|publication| publication.missing == 0) {
            self.pending.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::label::{digits, label};
    use crate::template::Stamp;

    fn flight(number: u64) -> Flight {
        Flight { due: Instant::now(), stamp: Stamp { label: label(number), time: digits(0) } }
    }

    fn with_two() -> Publications {
        let mut publications = Publications::new(3);
        publications.join(0);
        publications.join(2);
        publications
    }

    /// Whether that number is due to that subscriber, who then has it.
    fn receive(publications: &mut Publications, subscriber: usize, number: u64) -> bool {
        publications.receive(subscriber, |due| due.stamp.label == label(number)).is_some()
    }

    #[test]
    fn a_publication_is_in_flight_until_the_last_subscriber_has_it() {
        let mut publications = with_two();
        publications.send(flight(1));
        publications.send(flight(2));
        assert!(receive(&mut publications, 0, 1) && receive(&mut publications, 0, 2));
        assert_eq!((publications.in_flight(), publications.missing()), (2, 2), "the slower one has none");
        assert!(receive(&mut publications, 2, 1));
        assert_eq!(publications.in_flight(), 1);
        assert!(receive(&mut publications, 2, 2));
        assert_eq!(publications.in_flight(), 0);
        publications.send(flight(3));
        assert!(receive(&mut publications, 2, 3));
    }

    #[test]
    fn a_gap_a_repetition_and_an_invention_are_noticed() {
        let mut publications = with_two();
        publications.send(flight(1));
        publications.send(flight(2));
        assert!(!receive(&mut publications, 0, 2), "a gap");
        assert!(receive(&mut publications, 0, 1));
        assert!(!receive(&mut publications, 0, 1), "a repetition");
        assert!(receive(&mut publications, 0, 2));
        assert!(!receive(&mut publications, 0, 3), "an invention");
        assert!(!receive(&mut publications, 1, 1), "nobody");
    }

    #[test]
    fn who_leaves_is_not_waited_for_and_who_joins_begins_with_the_next() {
        let mut publications = with_two();
        publications.send(flight(1));
        publications.send(flight(2));
        assert!(receive(&mut publications, 0, 1));
        publications.join(1);
        assert_eq!(publications.leave(2), 2);
        assert_eq!(publications.in_flight(), 1, "the first is complete now");
        publications.send(flight(3));
        assert!(receive(&mut publications, 1, 3));
        assert_eq!(publications.leave(0), 2);
        assert_eq!((publications.in_flight(), publications.subscribers()), (0, 1));
        assert_eq!(publications.leave(0), 0);
    }
}
