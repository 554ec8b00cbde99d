//! Receives the same calls as the ring · hands out what it must do · owns a queue of single messages that knows nothing
//! of chunks, entries or indexes: one message at a time, one byte at a time, everything by search.

use std::collections::{BTreeMap, VecDeque};

use streamconductor_core::config::{Marks, Overflow};
use streamconductor_core::ring::{Tally, Totals};
use streamconductor_core::time::Timestamp;

/// Policy and own high water mark of each channel.
pub const CHANNELS: [(Overflow, Option<usize>); 9] = [
    (Overflow::Disconnect, None),
    (Overflow::DropOldest, None),
    (Overflow::DropNewest, None),
    (Overflow::Conflate, None),
    (Overflow::Conflate, None),
    (Overflow::Disconnect, Some(120)),
    (Overflow::DropOldest, Some(90)),
    (Overflow::DropNewest, Some(90)),
    (Overflow::Conflate, Some(100)),
];

#[derive(Clone, Debug)]
pub struct Message {
    pub frame: Vec<u8>,
    pub taken: usize,
    pub channel: Option<usize>,
    pub key: u64,
    pub awaited: bool,
    pub at: Timestamp,
}

impl Message {
    pub fn left(&self) -> usize {
        self.frame.len() - self.taken
    }

    pub fn is_droppable(&self) -> bool {
        self.taken == 0 && self.channel.is_some_and(|channel| CHANNELS[channel].0 != Overflow::Disconnect)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Closing {
    #[default]
    Open,
    Flush,
    Next,
    Sent,
}

#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub low: usize,
    pub conflating: bool,
    pub dwell: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub struct Model {
    pub queue: VecDeque<Message>,
    /// Kind (opcode), frame, bytes taken.
    pub begun: Option<(Vec<u8>, usize)>,
    pub pong: Option<Vec<u8>>,
    pub ping: Option<Vec<u8>>,
    pub close: Option<Vec<u8>>,
    pub closing: Closing,
    pub totals: Totals,
    pub progress: Timestamp,
    pub above: bool,
    /// `None` is the connection, else the channel with a mark of its own.
    pub scopes: BTreeMap<Option<usize>, Scope>,
}

pub fn count(tally: &mut Tally, bytes: usize) {
    tally.messages += 1;
    tally.bytes += bytes as u64;
}

impl Model {
    pub fn pending(&self, of: impl Fn(&Message) -> bool) -> usize {
        self.queue.iter().filter(|message| of(message)).map(Message::left).sum()
    }

    pub fn all(&self) -> usize {
        self.pending(|_| true)
    }

    pub fn unawaited(&self) -> usize {
        self.pending(|message| !message.awaited)
    }

    pub fn of(&self, channel: usize) -> usize {
        self.pending(|message| message.channel == Some(channel))
    }

    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.has_control()
    }

    pub fn has_control(&self) -> bool {
        self.begun.is_some() || self.pong.is_some() || self.ping.is_some() || self.close.is_some()
    }

    pub fn wait(&mut self, now: Timestamp) {
        if !self.wants_write() {
            self.progress = now;
        }
    }

    pub fn scope(&mut self, own: Option<usize>, marks: &Marks) -> &mut Scope {
        let low = own.map_or(marks.low_water, |channel| {
            CHANNELS[channel].1.unwrap() * marks.low_water / marks.high_water
        });
        self.scopes.entry(own).or_insert(Scope { low, conflating: false, dwell: None })
    }

    pub fn drop_at(&mut self, position: usize) {
        let message = self.queue.remove(position).unwrap();
        count(&mut self.totals.dropped, message.frame.len());
    }

    pub fn publish(&mut self, channel: usize, messages: Vec<(u64, Vec<u8>)>, now: Timestamp, marks: &Marks) {
        let (overflow, own) = CHANNELS[channel];
        let size: usize = messages.iter().map(|(_, frame)| frame.len()).sum();
        let too_slow = overflow == Overflow::Disconnect && self.all() + size > marks.max_buffered;
        for (_, frame) in &messages {
            count(&mut self.totals.accepted, frame.len());
            if too_slow || self.closing != Closing::Open {
                count(&mut self.totals.discarded, frame.len());
            }
        }
        if too_slow || self.closing != Closing::Open {
            return;
        }
        self.wait(now);
        for (key, frame) in messages {
            let channel = Some(channel);
            self.queue.push_back(Message { frame, taken: 0, channel, key, awaited: false, at: now });
        }
        let scope = own.map(|_| channel);
        match overflow {
            Overflow::Disconnect => {
                let (bytes, mark) =
                    own.map_or((self.unawaited(), marks.high_water), |own| (self.of(channel), own));
                if bytes > mark {
                    self.scope(scope, marks).dwell.get_or_insert(now);
                }
            }
            Overflow::Conflate => {
                let (bytes, mark) = own.map_or((self.all(), marks.high_water), |own| (self.of(channel), own));
                if bytes > mark {
                    self.scope(scope, marks).conflating = true;
                }
                self.conflate();
            }
            Overflow::DropOldest | Overflow::DropNewest => {}
        }
        if self.all() > marks.max_buffered {
            self.make_room(channel, marks);
        }
        self.settle(marks);
    }

    pub fn conflate(&mut self) {
        for position in (0..self.queue.len()).rev() {
            let message = &self.queue[position];
            let Some(channel) = message.channel else { continue };
            let (overflow, own) = CHANNELS[channel];
            let conflating = self.scopes.get(&own.map(|_| channel)).is_some_and(|scope| scope.conflating);
            let is_superseded = self
                .queue
                .iter()
                .skip(position + 1)
                .any(|later| later.channel == Some(channel) && later.key == message.key);
            if overflow == Overflow::Conflate && conflating && is_superseded && message.taken == 0 {
                self.drop_at(position);
            }
        }
    }

    pub fn make_room(&mut self, channel: usize, marks: &Marks) {
        let (overflow, own) = CHANNELS[channel];
        let newest_first = overflow == Overflow::DropNewest;
        let pick = |model: &Self, only: Option<usize>| {
            let fits = |message: &Message| {
                message.is_droppable() && only.is_none_or(|only| message.channel == Some(only))
            };
            if newest_first {
                model.queue.iter().rposition(fits)
            } else {
                model.queue.iter().take(model.queue.len() - 1).position(fits)
            }
        };
        while own.is_some_and(|own| self.of(channel) > own)
            && let Some(position) = pick(self, Some(channel))
        {
            self.drop_at(position);
        }
        while self.all() > marks.high_water
            && let Some(position) = pick(self, None)
        {
            self.drop_at(position);
        }
        while self.all() > marks.max_buffered
            && let Some(position) = self.queue.iter().rposition(Message::is_droppable)
        {
            self.drop_at(position);
        }
    }

    pub fn settle(&mut self, marks: &Marks) {
        let mark = if self.above { marks.low_water } else { marks.high_water };
        self.above = self.all() > mark && (self.above || self.closing == Closing::Open);
        let (all, unawaited) = (self.all(), self.unawaited());
        let channels: Vec<usize> = (0..CHANNELS.len()).map(|channel| self.of(channel)).collect();
        for (own, scope) in &mut self.scopes {
            if own.map_or(all, |channel| channels[channel]) <= scope.low {
                scope.conflating = false;
            }
            if own.map_or(unawaited, |channel| channels[channel]) <= scope.low {
                scope.dwell = None;
            }
        }
    }

    pub fn send(&mut self, frame: Vec<u8>, awaited: bool, now: Timestamp, marks: &Marks) {
        count(&mut self.totals.accepted, frame.len());
        if self.closing != Closing::Open {
            return count(&mut self.totals.discarded, frame.len());
        }
        self.wait(now);
        self.queue.push_back(Message { frame, taken: 0, channel: None, key: 0, awaited, at: now });
        if !awaited && self.unawaited() > marks.high_water {
            self.scope(None, marks).dwell.get_or_insert(now);
        }
        self.settle(marks);
    }

    pub fn may_control(&self) -> bool {
        let close_begun = self.begun.as_ref().is_some_and(|(frame, _)| frame[0] == 0x88);
        !close_begun && matches!(self.closing, Closing::Open | Closing::Flush)
    }

    pub fn discard(&mut self, all: bool) {
        for message in std::mem::take(&mut self.queue) {
            if message.taken > 0 && !all {
                self.queue.push_back(message);
            } else {
                count(&mut self.totals.discarded, message.left());
            }
        }
        self.above = false;
        self.scopes.clear();
    }

    pub fn end(&mut self, frame: Vec<u8>, flush: bool, now: Timestamp) {
        if self.closing == Closing::Sent {
            return;
        }
        self.wait(now);
        if self.closing == Closing::Open {
            self.close = Some(frame);
            self.closing = Closing::Flush;
        }
        if !flush {
            (self.pong, self.ping, self.closing) = (None, None, Closing::Next);
            self.discard(false);
        }
    }

    /// The next byte that goes out; the whole order of frames is here.
    pub fn take_byte(&mut self) -> u8 {
        if self.begun.is_none() && self.queue.front().is_none_or(|front| front.taken == 0) {
            let next = self.pong.take().or_else(|| self.ping.take());
            let next = next.or_else(|| if self.queue.is_empty() { self.close.take() } else { None });
            self.begun = next.map(|frame| (frame, 0));
        }
        if let Some((frame, taken)) = &mut self.begun {
            let byte = frame[*taken];
            *taken += 1;
            if *taken == frame.len() {
                if frame[0] == 0x88 {
                    self.closing = Closing::Sent;
                }
                self.begun = None;
            }
            return byte;
        }
        let front = self.queue.front_mut().unwrap();
        let byte = front.frame[front.taken];
        front.taken += 1;
        self.totals.written.bytes += 1;
        if front.left() == 0 {
            self.totals.written.messages += 1;
            self.queue.pop_front();
        }
        byte
    }

    pub fn dwell(&self) -> Option<Timestamp> {
        self.scopes.values().filter_map(|scope| scope.dwell).min()
    }
}
