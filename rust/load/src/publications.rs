//! Receives deliveries by subscriber · hands out which publication each must be and when all have one · owns the
//! publications in flight.

use std::collections::VecDeque;
use std::time::Instant;

/// Bytes at the start of a payload that number the publication.
pub(crate) const LABEL: usize = 16;

/// A publication that some subscriber has not received.
#[derive(Debug)]
struct Publication {
    label: [u8; LABEL],
    sent: Instant,
    /// Subscribers that have it.
    received: usize,
}

/// Publications in flight: sent, and not yet received by the last subscriber.
#[derive(Debug)]
pub(crate) struct Publications {
    /// By number, from `first` on. Subscribers receive in order, so the oldest is complete before the others.
    pending: VecDeque<Publication>,
    first: u64,
    /// By subscriber, the number that must come next.
    next: Vec<u64>,
}

/// What a subscriber received was not what came next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrder {
    pub(crate) due: u64,
}

impl Publications {
    pub(crate) fn new(subscribers: usize) -> Self {
        Self { pending: VecDeque::new(), first: 0, next: vec![0; subscribers] }
    }

    /// How many are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// A publication is sent; returns its label.
    pub(crate) fn send(&mut self, now: Instant) -> [u8; LABEL] {
        let label = label(self.first + self.pending.len() as u64);
        self.pending.push_back(Publication { label, sent: now, received: 0 });
        label
    }

    /// A subscriber received a payload; returns when that was sent.
    #[inline]
    pub(crate) fn receive(&mut self, subscriber: usize, payload: &[u8]) -> Result<Instant, OutOfOrder> {
        let Some(next) = self.next.get_mut(subscriber) else { return Err(OutOfOrder { due: 0 }) };
        let due = *next;
        // Never behind `first`, which moves only past what every subscriber has.
        let publication =
            self.pending.get_mut((due - self.first) as usize).filter(|due| payload.starts_with(&due.label));
        let Some(publication) = publication else { return Err(OutOfOrder { due }) };
        *next += 1;
        publication.received += 1;
        let sent = publication.sent;
        if publication.received == self.next.len() {
            self.pending.pop_front();
            self.first += 1;
        }
        Ok(sent)
    }
}

/// The number in hexadecimal digits: text, of one width.
fn label(number: u64) -> [u8; LABEL] {
    let mut label = [0; LABEL];
    for (place, shift) in label.iter_mut().zip((0..LABEL as u32).rev()) {
        let digit = (number >> (4 * shift)) as u8 & 0xF;
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_hexadecimal() {
        assert_eq!(&label(0x0123_4567_89ab_cdef), b"0123456789abcdef");
    }

    #[test]
    fn a_publication_is_in_flight_until_the_last_subscriber_has_it() {
        let mut publications = Publications::new(2);
        let now = Instant::now();
        let (zero, one) = (publications.send(now), publications.send(now));
        publications.receive(0, &zero).unwrap();
        publications.receive(0, &one).unwrap();
        assert_eq!(publications.in_flight(), 2, "the slower one has none");
        publications.receive(1, &zero).unwrap();
        assert_eq!(publications.in_flight(), 1);
        publications.receive(1, &one).unwrap();
        assert_eq!(publications.in_flight(), 0);
        let two = publications.send(now);
        assert_eq!(two, label(2));
        assert_eq!(publications.receive(1, &two), Ok(now));
    }

    #[test]
    fn a_gap_a_repetition_and_an_invention_are_noticed() {
        let mut publications = Publications::new(2);
        let now = Instant::now();
        let (zero, one) = (publications.send(now), publications.send(now));
        assert_eq!(publications.receive(0, &one), Err(OutOfOrder { due: 0 }));
        publications.receive(0, &zero).unwrap();
        assert_eq!(publications.receive(0, &zero), Err(OutOfOrder { due: 1 }));
        publications.receive(0, &one).unwrap();
        assert_eq!(publications.receive(0, &label(2)), Err(OutOfOrder { due: 2 }));
    }
}
