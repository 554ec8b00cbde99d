//! Receives a template · hands out numbered messages as frames, and whether what comes is one of them · owns the
//! numbers and how closely is looked.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::label::{LABEL, digits, label, number_at};
use crate::plan::{Check, Plan};
use crate::template::{Stamp, Template, find_label};
use crate::world::World;

/// The messages of a run.
#[derive(Debug)]
pub(crate) struct Messages {
    template: Template,
    check: Check,
    next: u64,
    /// A point in time, and the microseconds since 1970 at it.
    epoch: (Instant, u64),
    has_time: bool,
    /// Where the label was found last.
    hint: usize,
    payload: Vec<u8>,
}

/// What was sent, and when it was due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) due: Instant,
    pub(crate) stamp: Stamp,
}

impl Messages {
    pub(crate) fn new(plan: &Plan, now: Instant) -> Self {
        let template = plan.template();
        Self {
            has_time: template.has_time(),
            hint: template.label_place().unwrap_or_default(),
            template,
            check: plan.check,
            // 0 is that of probes.
            next: 1,
            epoch: epoch(now),
            payload: Vec::new(),
        }
    }

    /// The next message.
    #[inline]
    pub(crate) fn next(&mut self, due: Instant) -> Flight {
        let number = self.next;
        self.next += 1;
        Flight { due, stamp: self.stamp(number, due) }
    }

    /// The message with which is asked who receives.
    pub(crate) fn probe(&self, now: Instant) -> Stamp {
        self.stamp(0, now)
    }

    fn stamp(&self, number: u64, due: Instant) -> Stamp {
        let time = if self.has_time { time_at(self.epoch, due) } else { [b'0'; LABEL] };
        Stamp { label: label(number), time }
    }

    /// Appends a message to `out`, as a frame of the connection that sends it.
    #[inline]
    pub(crate) fn frame(&mut self, world: &mut World, connection: usize, stamp: &Stamp, out: &mut Vec<u8>) {
        self.payload.clear();
        self.template.render(&mut self.payload, stamp, connection);
        world.encode(connection, out, &self.payload);
    }

    /// Whether what came is the message that `connection` sent.
    #[inline]
    pub(crate) fn is(&mut self, payload: &[u8], stamp: &Stamp, connection: usize) -> bool {
        match self.check {
            Check::Exact => self.template.is_exactly(payload, stamp, connection),
            Check::Label => find_label(payload, &stamp.label, &mut self.hint),
            Check::Nothing => true,
        }
    }

    /// Whether what came is what was sent to ask who receives.
    pub(crate) fn is_probe(&mut self, payload: &[u8]) -> bool {
        self.check != Check::Nothing && find_label(payload, &label(0), &mut self.hint)
    }

    /// The number that a message carries where the template has it; `None`: it is none of ours.
    pub(crate) fn number(&self, payload: &[u8]) -> Option<u64> {
        payload.get(self.hint..).and_then(number_at)
    }

    /// Whether anything is looked at.
    pub(crate) fn is_checked(&self) -> bool {
        self.check != Check::Nothing
    }
}

/// A point in time, and the microseconds since 1970 at it.
pub(crate) fn epoch(now: Instant) -> (Instant, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now, since.as_micros() as u64)
}

/// The digits of the microseconds since 1970 at `due`.
pub(crate) fn time_at((then, micros): (Instant, u64), due: Instant) -> [u8; LABEL] {
    digits(micros + due.saturating_duration_since(then).as_micros() as u64)
}

/// The start of what came, for people.
pub(crate) fn shown(payload: &[u8]) -> String {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(payload.get(..SHOWN).unwrap_or(payload));
    format!("{} bytes, {:?}", payload.len(), text)
}
