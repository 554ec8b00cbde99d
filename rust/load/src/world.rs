//! Receives what a scenario wants of its connections · hands out open ones, and those that ended · owns every socket of
//! a run, how many are opening, and the deadlines of openings and closings.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Interest, Poll, Token};
use streamconductor_core::codec::Kind;
use streamconductor_core::deflate::Inflater;

use crate::deflating::Deflating;
use crate::failure::Failure;
use crate::faults::{Fault, Faults, Sort};
use crate::frames::{KEY, frame};
use crate::link::Link;
use crate::opening::Answer;
use crate::pace::Schedule;
use crate::plan::{Check, Plan};
use crate::site::{Site, Way};
use crate::tally::histogram;

/// How long a server may take to end a connection on which Close was sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// What may wait for one socket; a server that takes less than it is sent is not measured any longer.
const MOST_UNSENT: usize = 64 << 20;
/// So many openings in a row that fail: the server is not there.
const HOPELESS: u32 = 1_000;

/// Where one connection after the other lives.
#[derive(Debug)]
struct Place {
    link: Option<Link>,
    way: Way,
    /// Which agreement on permessage-deflate it has.
    deflating: Option<usize>,
}

/// A connection that somebody waits for, and until when.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    number: usize,
    identity: u64,
}

/// All connections of a run, by number.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) poll: Poll,
    pub(crate) site: Site,
    places: Vec<Place>,
    free: Vec<usize>,
    /// Numbers that shall open.
    queue: VecDeque<usize>,
    openings_due: VecDeque<Deadline>,
    closings_due: VecDeque<Deadline>,
    /// What broke while it was sent on.
    broken: Vec<(usize, Fault)>,
    pub(crate) opening: usize,
    pub(crate) open: usize,
    pub(crate) closing: usize,
    identities: u64,
    schedule: Option<Schedule>,
    at_once: usize,
    open_timeout: Duration,
    failed_in_a_row: u32,
    pub(crate) faults: Faults,
    /// From the first packet to the 101, in nanoseconds.
    pub(crate) openings: Histogram<u64>,
    deflating: Vec<(String, Deflating)>,
    pub(crate) inflater: Option<Inflater>,
    kind: Kind,
    /// Paused connections that shall read so many bytes.
    pub(crate) sips: Vec<(usize, usize)>,
    /// Nobody new is opened any more.
    is_over: bool,
}

impl World {
    pub(crate) fn new(plan: &Plan, now: Instant) -> Result<Self, Failure> {
        Ok(Self {
            poll: Poll::new()?,
            site: Site::new(plan)?,
            places: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            openings_due: VecDeque::new(),
            closings_due: VecDeque::new(),
            broken: Vec::new(),
            opening: 0,
            open: 0,
            closing: 0,
            identities: 0,
            schedule: plan.connect_rate.map(|rate| Schedule::new(rate, now)),
            at_once: plan.connect_at_once(),
            open_timeout: Duration::from_secs_f64(plan.open_timeout),
            failed_in_a_row: 0,
            faults: Faults::default(),
            openings: histogram()?,
            deflating: Vec::new(),
            inflater: (plan.check != Check::Nothing).then(Inflater::new),
            kind: if plan.binary { Kind::Binary } else { Kind::Text },
            sips: Vec::new(),
            is_over: false,
        })
    }

    /// Asks for a connection; returns its number, which is free again when it has ended.
    pub(crate) fn want(&mut self, way: Way) -> usize {
        let place = Place { link: None, way, deflating: None };
        let number = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(number) {
            Some(free) => *free = place,
            None => self.places.push(place),
        }
        self.queue.push_back(number);
        number
    }

    /// Connections that are to open, or do.
    pub(crate) fn coming(&self) -> usize {
        self.queue.len() + self.opening
    }

    /// Whether so many openings failed in a row that there is no point in more.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.failed_in_a_row >= HOPELESS
    }

    pub(crate) fn link(&mut self, number: usize) -> Option<&mut Link> {
        self.places.get_mut(number)?.link.as_mut()
    }

    /// A connection, and what it asks for.
    pub(crate) fn link_and_request(&mut self, number: usize) -> Option<(&mut Link, &[u8])> {
        let place = self.places.get_mut(number)?;
        Some((place.link.as_mut()?, self.site.request(place.way)))
    }

    pub(crate) fn is_open(&self, number: usize) -> bool {
        self.places.get(number).and_then(|place| place.link.as_ref()).is_some_and(Link::is_open)
    }

    /// Appends a message to `out` as a frame of that connection.
    pub(crate) fn encode(&mut self, number: usize, out: &mut Vec<u8>, payload: &[u8]) {
        let agreement = self.places.get(number).and_then(|place| place.deflating);
        match agreement.and_then(|index| self.deflating.get_mut(index)) {
            Some((_, deflating)) => deflating.encode(out, self.kind, payload, KEY),
            None => frame(out, self.kind, payload),
        }
    }

    /// Sends frames on an open connection.
    pub(crate) fn send(&mut self, number: usize, frames: &[u8]) {
        let Some(link) = self.link(number).filter(|link| link.is_open()) else { return };
        let mut sent = link.send(frames);
        let unsent = link.unsent();
        if unsent > MOST_UNSENT {
            let text = format!("{unsent} bytes wait for the server to read them, more than {MOST_UNSENT}");
            sent = Err(Fault::new(Sort::Ended, text));
        }
        if let Err(fault) = sent {
            self.broken.push((number, fault));
        }
    }

    /// Ends a connection in peace; the server has a moment to do its part.
    pub(crate) fn close(&mut self, number: usize, now: Instant) {
        let Some(link) = self.link(number).filter(|link| link.is_open()) else { return };
        let identity = link.identity;
        // Whoever cannot be told has ended already, which shows soon.
        let _ = link.close();
        self.open -= 1;
        self.closing += 1;
        self.closings_due.push_back(Deadline { at: now + CLOSE_TIMEOUT, number, identity });
    }

    /// Resets a connection, whatever it does.
    pub(crate) fn cut(&mut self, number: usize) {
        if let Some(link) = self.remove(number) {
            link.cut();
        }
    }

    /// Stops to read a connection.
    pub(crate) fn pause(&mut self, number: usize) {
        if let Some(link) = self.link(number) {
            link.is_paused = true;
        }
    }

    /// Ends all: open ones in peace, others at once.
    pub(crate) fn close_all(&mut self, now: Instant) {
        self.is_over = true;
        self.queue.clear();
        for number in 0..self.places.len() {
            let Some(link) = self.link(number) else { continue };
            // Who does not read would not see the server's Close.
            if link.is_opening() || link.is_paused {
                self.cut(number);
            } else {
                self.close(number, now);
            }
        }
    }

    /// The connection of a place, which is free from now on.
    pub(crate) fn remove(&mut self, number: usize) -> Option<Link> {
        let link = self.places.get_mut(number)?.link.take()?;
        match &link {
            link if link.is_opening() => self.opening -= 1,
            link if link.is_closing() => self.closing -= 1,
            _ => self.open -= 1,
        }
        self.free.push(number);
        Some(link)
    }

    /// One has opened, and was none of the open before; returns how long it took.
    pub(crate) fn has_opened(&mut self, number: usize, now: Instant) -> Duration {
        let took = self.link(number).map_or(Duration::ZERO, |link| now.saturating_duration_since(link.began));
        self.opening -= 1;
        self.open += 1;
        self.failed_in_a_row = 0;
        self.openings.saturating_record(took.as_nanos() as u64);
        took
    }

    /// What the server answered; `Err`: it is none to what was asked.
    pub(crate) fn agree(
        site: &Site,
        deflating: &mut Vec<(String, Deflating)>,
        answer: &Answer,
    ) -> Result<Option<usize>, Fault> {
        let refused = |text: String| Fault::new(Sort::Refused, text);
        site.check(answer).map_err(refused)?;
        let Some(extensions) = &answer.extensions else { return Ok(None) };
        if let Some(index) = deflating.iter().position(|(known, _)| known == extensions) {
            return Ok(Some(index));
        }
        let agreed = Deflating::agreed("", extensions).map_err(|error| refused(error.to_string()))?;
        deflating.push((extensions.clone(), agreed));
        Ok(Some(deflating.len() - 1))
    }

    /// A connection together with what is shared by all, for reading.
    pub(crate) fn parts(&mut self, number: usize) -> Option<Parts<'_>> {
        let place = self.places.get_mut(number)?;
        Some(Parts {
            link: place.link.as_mut()?,
            agreement: &mut place.deflating,
            site: &self.site,
            deflating: &mut self.deflating,
            inflater: self.inflater.as_mut(),
        })
    }

    /// Begins to open as many as may be opened now. Those that fail at once are in [`World::expired`] next.
    pub(crate) fn open_more(&mut self, now: Instant) {
        while !self.queue.is_empty() && self.opening < self.at_once && !self.is_over {
            if self.schedule.as_mut().is_some_and(|schedule| schedule.take(now).is_none()) {
                return;
            }
            let Some(number) = self.queue.pop_front() else { return };
            if let Err(error) = self.begin(number, now) {
                let text = format!("{error}");
                self.free.push(number);
                self.opening_failed();
                self.broken.push((number, Fault::new(Sort::Refused, text)));
                return;
            }
        }
    }

    fn begin(&mut self, number: usize, now: Instant) -> std::io::Result<()> {
        let mut link = Link::new(self.site.connect()?, self.identities, now);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(link.stream(), Token(number), interest)?;
        let deadline = Deadline { at: now + self.open_timeout, number, identity: self.identities };
        self.identities += 1;
        self.openings_due.push_back(deadline);
        self.opening += 1;
        if let Some(place) = self.places.get_mut(number) {
            place.link = Some(link);
        }
        Ok(())
    }

    pub(crate) fn opening_failed(&mut self) {
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
    }

    /// When something has to be done without an event.
    pub(crate) fn due(&self) -> Option<Instant> {
        let can_open = !self.queue.is_empty() && self.opening < self.at_once && !self.is_over;
        let next = self.schedule.as_ref().filter(|_| can_open).map(Schedule::next);
        let deadlines = [self.openings_due.front(), self.closings_due.front()];
        deadlines.into_iter().flatten().map(|deadline| deadline.at).chain(next).min()
    }

    /// The next connection that has ended without an event; `None` as fault: it was closing, which took too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<(usize, Option<Fault>)> {
        if let Some((number, fault)) = self.broken.pop() {
            return Some((number, Some(fault)));
        }
        while let Some(deadline) = self.openings_due.front().copied() {
            let is_opening = self.is(deadline, Link::is_opening);
            if is_opening && deadline.at > now {
                break;
            }
            self.openings_due.pop_front();
            if is_opening {
                let text = format!("no opening handshake within {:?}", self.open_timeout);
                return Some((deadline.number, Some(Fault::new(Sort::TimedOut, text))));
            }
        }
        while let Some(deadline) = self.closings_due.front().copied() {
            let is_closing = self.is(deadline, Link::is_closing);
            if is_closing && deadline.at > now {
                break;
            }
            self.closings_due.pop_front();
            if is_closing {
                return Some((deadline.number, None));
            }
        }
        None
    }

    fn is(&mut self, deadline: Deadline, state: fn(&Link) -> bool) -> bool {
        self.link(deadline.number).is_some_and(|link| link.identity == deadline.identity && state(link))
    }
}

/// What reading a connection needs of the world.
pub(crate) struct Parts<'w> {
    pub(crate) link: &'w mut Link,
    pub(crate) agreement: &'w mut Option<usize>,
    pub(crate) site: &'w Site,
    pub(crate) deflating: &'w mut Vec<(String, Deflating)>,
    pub(crate) inflater: Option<&'w mut Inflater>,
}
