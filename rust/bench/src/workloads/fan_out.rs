//! Receives nothing · hands out the workloads of a channel: publications on their way to every subscriber, through the
//! whole turn of a shard · owns what counts as delivered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamconductor_core::channel::Channel;
use streamconductor_core::config::Overflow;
use streamconductor_core::deflate::Encoding;

use super::{json, text};
use crate::crowd::{Crowd, Terms};
use crate::workload::{Work, Workload, work};

const SUBSCRIBERS: usize = 1_000;
/// Of them, those whose sockets take nothing where some are slow.
const SLOW: u32 = 100;
/// Publications that gather within one turn.
const IN_FLIGHT: u64 = 16;
/// Turns in which the ring of a slow reader goes through a whole cycle: from high water to the bound, and down again.
const CYCLE: u64 = 64;

/// The workloads of a channel.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "fan-out/sparse",
        unit: "deliveries",
        units: SUBSCRIBERS as u64,
        prepare: || publishing(&Terms::default(), 1),
    },
    Workload {
        name: "fan-out/saturated",
        unit: "deliveries",
        units: SUBSCRIBERS as u64 * IN_FLIGHT,
        prepare: || publishing(&Terms::default(), IN_FLIGHT),
    },
    Workload {
        name: "fan-out/sparse-held",
        unit: "deliveries",
        units: SUBSCRIBERS as u64,
        prepare: || publishing(&Terms { held: true, ..Terms::default() }, 1),
    },
    Workload {
        name: "fan-out/compressed",
        unit: "deliveries",
        units: SUBSCRIBERS as u64,
        prepare: compressed,
    },
    Workload {
        name: "fan-out/slow-readers",
        unit: "deliveries",
        units: (SUBSCRIBERS as u64 - SLOW as u64) * CYCLE,
        prepare: slow_readers,
    },
];

/// A shard, a channel that all of its connections follow, and what is published on it.
struct Stage {
    crowd: Crowd,
    channel: Option<Arc<Channel>>,
    payload: Bytes,
}

impl Stage {
    fn new(terms: &Terms, encoding: Encoding, payload: String) -> Self {
        let mut crowd = Crowd::new(SUBSCRIBERS, terms);
        let channel = crowd.channel("prices", encoding);
        Self { crowd, channel, payload: payload.into() }
    }

    /// One turn: so many publications come in, and the shard writes; how many writes there were.
    fn turn(&mut self, publications: u64) -> u64 {
        let before = self.crowd.shard.wire.writes;
        if let Some(channel) = &self.channel {
            for _ in 0..publications {
                self.crowd.publish(channel, &self.payload);
            }
        }
        self.crowd.work();
        self.crowd.shard.wire.writes - before
    }

    fn rewind(&mut self) {
        self.crowd.now = self.crowd.now + Duration::from_millis(1);
    }
}

fn publishing(terms: &Terms, publications: u64) -> Box<dyn Work> {
    let stage = Stage::new(terms, Encoding::Raw, text("0123456789", 128));
    work(stage, Stage::rewind, move |stage| {
        let before = stage.crowd.shard.wire.bytes;
        let writes = stage.turn(publications);
        // 128 bytes behind a header of four; in one write for each subscriber, whatever gathered.
        let messages = (stage.crowd.shard.wire.bytes - before) / 132;
        if writes == SUBSCRIBERS as u64 { messages } else { 0 }
    })
}

fn compressed() -> Box<dyn Work> {
    let terms = Terms { compressed: true, ..Terms::default() };
    let stage = Stage::new(&terms, Crowd::deflate(), json());
    work(stage, Stage::rewind, |stage| {
        let before = stage.crowd.shard.wire.bytes;
        let writes = stage.turn(1);
        let bytes = stage.crowd.shard.wire.bytes - before;
        let is_compressed = bytes < writes * stage.payload.len() as u64;
        if is_compressed { writes } else { 0 }
    })
}

/// A tenth of the subscribers take nothing, and lose their oldest publications for it.
fn slow_readers() -> Box<dyn Work> {
    let terms = Terms { overflow: Overflow::DropOldest, ..Terms::default() };
    let mut stage = Stage::new(&terms, Encoding::Raw, text("0123456789", 4_096));
    stage.crowd.shard.wire.stuck = SLOW;
    work(stage, |_| {}, |stage| (0..CYCLE).map(|_| stage.turn(1)).sum())
}
