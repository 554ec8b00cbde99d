//! Receives nothing · hands out the workloads of the timing wheel · owns the deadlines of ten thousand connections.

use std::time::Duration;

use streamconductor_core::time::Timestamp;
use streamconductor_core::wheel::Wheel;

use crate::crowd::TICK;
use crate::workload::{Work, Workload, work};

const ENTRIES: u32 = 10_000;
/// Deadlines lie within so many microseconds: a ping interval.
const SPAN: u64 = 20_000_000;

/// The workloads of the wheel.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "wheel/arm", unit: "deadlines", units: ENTRIES as u64, prepare: arming },
    Workload { name: "wheel/rearm", unit: "deadlines", units: ENTRIES as u64, prepare: rearming },
    Workload { name: "wheel/expire", unit: "deadlines", units: ENTRIES as u64, prepare: expiring },
];

/// A wheel, and the time.
struct Clockwork {
    wheel: Wheel,
    now: Timestamp,
    due: Vec<u32>,
    turns: u64,
}

impl Clockwork {
    fn new() -> Self {
        let due = Vec::with_capacity(ENTRIES as usize);
        let mut clockwork = Self { wheel: Wheel::new(TICK), now: Timestamp::ZERO, due, turns: 0 };
        clockwork.arm();
        clockwork
    }

    /// Gives everybody a deadline, spread over the span, another one each time.
    fn arm(&mut self) -> u64 {
        self.turns += 1;
        for index in 0..ENTRIES {
            let micros = (u64::from(index) * 7_919_777 + self.turns * 1_234_567) % SPAN;
            self.wheel.arm(index, self.now + Duration::from_micros(micros));
        }
        ENTRIES.into()
    }

    fn disarm(&mut self) {
        for index in 0..ENTRIES {
            if self.wheel.armed_at(index).is_some() {
                self.wheel.disarm(index);
            }
        }
    }

    /// Lets the span pass, tick by tick.
    fn expire(&mut self) -> u64 {
        self.due.clear();
        let end = self.now + Duration::from_micros(SPAN) + TICK;
        while self.now < end {
            self.now = self.now + TICK;
            self.wheel.advance(self.now, &mut self.due);
        }
        self.due.len() as u64
    }
}

fn arming() -> Box<dyn Work> {
    work(Clockwork::new(), Clockwork::disarm, Clockwork::arm)
}

fn rearming() -> Box<dyn Work> {
    work(Clockwork::new(), |_| {}, Clockwork::arm)
}

fn expiring() -> Box<dyn Work> {
    let rewind = |clockwork: &mut Clockwork| {
        clockwork.disarm();
        clockwork.arm();
    };
    work(Clockwork::new(), rewind, Clockwork::expire)
}
