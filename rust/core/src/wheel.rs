//! Receives one deadline per connection from the shard · hands back the places that are due ·
//! owns the order of time: a hashed timing wheel with intrusive lists.

use std::time::Duration;

use crate::time::Timestamp;

/// Slots of one revolution; a power of two. At the usual tick of 50 ms it takes 51 s, so that nearly every
/// deadline but the idle one is met on the first visit.
const SLOTS: u64 = 1_024;

/// The end of a list, and the slot of an entry that is in none.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    at: Timestamp,
    slot: u32,
    previous: u32,
    next: u32,
}

impl Entry {
    const DISARMED: Self = Self { at: Timestamp::NEVER, slot: NONE, previous: NONE, next: NONE };
}

/// Deadlines of connections by their place, at most one each. Arming, re-arming and disarming are O(1) and
/// allocate only when a place is higher than any before.
///
/// A deadline is never reported early, and late by at most one tick.
pub struct Wheel {
    /// Microseconds of one tick.
    tick: u64,
    /// The last tick that [`Wheel::advance`] has looked at.
    current: u64,
    armed: usize,
    heads: Box<[u32]>,
    entries: Vec<Entry>,
}

impl Wheel {
    /// An empty wheel that looks at its deadlines once per `tick` (at least a microsecond).
    pub fn new(tick: Duration) -> Self {
        let tick = u64::try_from(tick.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { tick, current: 0, armed: 0, heads: vec![NONE; SLOTS as usize].into(), entries: Vec::new() }
    }

    /// Sets the deadline of `index`, in place of the one it had. One that has passed is due at the next
    /// tick; [`Timestamp::NEVER`] disarms. `u32::MAX` is no place and is ignored.
    pub fn arm(&mut self, index: u32, at: Timestamp) {
        if at == Timestamp::NEVER || index == NONE {
            return self.disarm(index);
        }
        // Rounded up, so that the slot is looked at after the deadline and never before it.
        let tick = at.as_micros().div_ceil(self.tick).max(self.current + 1);
        let slot = (tick % SLOTS) as u32;
        if let Some(entry) = self.entries.get_mut(index as usize)
            && entry.slot == slot
        {
            entry.at = at;
            return;
        }
        self.disarm(index);
        if self.entries.len() <= index as usize {
            self.entries.resize(index as usize + 1, Entry::DISARMED);
        }
        let Some(head) = self.heads.get_mut(slot as usize) else { return };
        let next = std::mem::replace(head, index);
        if let Some(follower) = self.entries.get_mut(next as usize) {
            follower.previous = index;
        }
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = Entry { at, slot, previous: NONE, next };
            self.armed += 1;
        }
    }

    /// Forgets the deadline of `index`, if it has one.
    pub fn disarm(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        let Entry { slot, previous, next, .. } = std::mem::replace(entry, Entry::DISARMED);
        let Some(head) = self.heads.get_mut(slot as usize) else { return };
        if previous == NONE {
            *head = next;
        } else if let Some(neighbour) = self.entries.get_mut(previous as usize) {
            neighbour.next = next;
        }
        if let Some(neighbour) = self.entries.get_mut(next as usize) {
            neighbour.previous = previous;
        }
        self.armed -= 1;
    }

    /// Appends to `due` every place whose deadline has passed by the last whole tick before `now`, and
    /// disarms it. Deadlines of later revolutions stay in their slots. However long the pause since the
    /// last call, no more than one revolution is walked.
    pub fn advance(&mut self, now: Timestamp, due: &mut Vec<u32>) {
        let target = now.as_micros() / self.tick;
        let ticks = target.saturating_sub(self.current).min(SLOTS);
        let horizon = Timestamp::from_micros(target * self.tick);
        for tick in 1..=ticks {
            if self.armed == 0 {
                break;
            }
            let slot = (self.current + tick) % SLOTS;
            let mut index = self.heads.get(slot as usize).copied().unwrap_or(NONE);
            while let Some(&Entry { at, next, .. }) = self.entries.get(index as usize) {
                if at <= horizon {
                    self.disarm(index);
                    due.push(index);
                }
                index = next;
            }
        }
        self.current = self.current.max(target);
    }

    /// Whether no deadline is set.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// When to call [`Wheel::advance`] next: `now` if a tick has been missed; `None` while nothing is armed.
    pub fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        let next = Timestamp::from_micros((self.current + 1).saturating_mul(self.tick));
        (self.armed > 0).then_some(next.max(now))
    }

    /// The deadline of `index`, if it has one.
    pub fn armed_at(&self, index: u32) -> Option<Timestamp> {
        self.entries.get(index as usize).filter(|entry| entry.slot != NONE).map(|entry| entry.at)
    }
}
