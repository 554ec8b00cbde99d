//! Receives how many subscribers are slow · has them stop reading, or read a little every now and then · owns what
//! became of them.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::faults::{Fault, Sort};
use crate::messages::{Messages, shown};
use crate::plan::Plan;
use crate::world::World;

/// Between two reads of those that read a little.
const SIP: Duration = Duration::from_millis(100);
const SIPS_PER_SECOND: u64 = 10;

/// Slow subscribers.
#[derive(Debug)]
pub(crate) struct Slow {
    /// By subscriber; they are spread among the others, as servers go by order.
    is_one: Vec<bool>,
    /// The last number that each received.
    last: Vec<u64>,
    numbers: Vec<usize>,
    /// What each reads at once; 0: nothing.
    bytes: usize,
    next_sip: Option<Instant>,
    open: usize,
    report: SlowReport,
}

/// What became of the slow subscribers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SlowReport {
    /// How many there were.
    pub connections: u64,
    /// How many of them the server ended, which is its good right.
    pub ended: u64,
    /// Publications that those received which read a little.
    pub messages: u64,
}

impl Slow {
    pub(crate) fn new(plan: &Plan) -> Self {
        let (slow, all) = (plan.slow_connections(), plan.connections());
        let part = |number: usize| number * slow / all.max(1);
        Self {
            is_one: (0..all).map(|number| part(number) != part(number + 1)).collect(),
            last: vec![0; all],
            numbers: Vec::new(),
            bytes: plan.slow_rate.div_ceil(SIPS_PER_SECOND) as usize,
            next_sip: None,
            open: 0,
            report: SlowReport::default(),
        }
    }

    #[inline]
    pub(crate) fn is(&self, number: usize) -> bool {
        self.is_one.get(number).copied().unwrap_or(false)
    }

    /// Those that are still there.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// One becomes slow.
    pub(crate) fn begin(&mut self, number: usize, now: Instant, world: &mut World) {
        if !world.is_open(number) {
            return;
        }
        world.pause(number);
        self.numbers.push(number);
        self.open += 1;
        self.report.connections += 1;
        self.next_sip = (self.bytes > 0).then_some(now + SIP);
    }

    /// A slow one received something. It may miss some, but what comes is in order.
    pub(crate) fn message(
        &mut self,
        number: usize,
        payload: &[u8],
        messages: &Messages,
    ) -> Result<(), String> {
        self.report.messages += 1;
        let (Some(found), Some(last)) = (messages.number(payload), self.last.get_mut(number)) else {
            return Ok(());
        };
        if found <= *last && found > 0 && messages.is_checked() {
            return Err(format!("not in order, to a slow subscriber: {}", shown(payload)));
        }
        *last = found;
        Ok(())
    }

    /// One is gone, which is an error only if it did not do its part.
    pub(crate) fn ended(&mut self, fault: &Fault, world: &mut World) {
        self.open = self.open.saturating_sub(1);
        match fault.sort {
            Sort::Ended => self.report.ended += 1,
            _ => world.faults.add(fault),
        }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.next_sip
    }

    pub(crate) fn tick(&mut self, now: Instant, world: &mut World) {
        if self.next_sip.is_none_or(|due| due > now) {
            return;
        }
        self.next_sip = Some(now + SIP);
        world.sips.extend(self.numbers.iter().map(|number| (*number, self.bytes)));
    }

    pub(crate) fn stop(&mut self) {
        self.next_sip = None;
    }

    /// `None`: nobody was slow.
    pub(crate) fn report(&self) -> Option<SlowReport> {
        (self.report.connections > 0).then_some(self.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_ones_are_as_many_as_were_asked_for_and_spread() {
        let plan = |json: &str| Slow::new(&Plan::read(json).unwrap());
        let slow = plan(r#"{"scenario": "slow", "url": "ws://h/", "connections": 100, "slow": 7}"#);
        let places: Vec<_> = (0..100).filter(|number| slow.is(*number)).collect();
        assert_eq!(places.len(), 7);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 14));
        assert!(!plan(r#"{"scenario": "fanout", "url": "ws://h/"}"#).is_one.contains(&true));
    }
}
