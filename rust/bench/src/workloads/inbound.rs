//! Receives nothing · hands out the workloads in which peers speak: messages that are answered, and the heartbeat ·
//! owns the part of an application that answers.

use std::time::Duration;

use bytes::Bytes;
use streamconductor_core::codec::{Control, Kind, MAX_HEADER, Opcode, encode_frame, encode_message};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;

use super::text;
use crate::crowd::{Crowd, TICK, Terms};
use crate::workload::{Work, Workload, work};

const ECHOES: usize = 100;
const PINGED: usize = 1_000;
/// Ticks of one ping interval.
const TICKS: u32 = 400;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The workloads in which peers speak.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "inbound/echo", unit: "round trips", units: ECHOES as u64, prepare: echoing },
    Workload { name: "inbound/heartbeat", unit: "pings", units: PINGED as u64, prepare: pinging },
];

/// One message of each connection comes in, and the answer to each goes out.
fn echoing() -> Box<dyn Work> {
    let crowd = Crowd::new(ECHOES, &Terms { held: true, ..Terms::default() });
    let mut sent = Vec::new();
    encode_frame(&mut sent, Opcode::Data(Kind::Text), true, text("0123456789", 128).as_bytes(), Some(KEY));
    let reads = vec![sent.clone(); ECHOES];
    work(
        (crowd, reads),
        move |(_, reads)| reads.iter_mut().for_each(|read| read.copy_from_slice(&sent)),
        |(crowd, reads)| {
            let before = crowd.shard.wire.writes;
            for (connection, read) in crowd.connections.iter().zip(reads) {
                crowd.shard.bytes(connection.index(), read, crowd.now);
            }
            answer(crowd);
            crowd.work();
            crowd.shard.wire.writes - before
        },
    )
}

/// The application takes each message and sends it back.
fn answer(crowd: &mut Crowd) {
    for event in std::mem::take(crowd.shard.events()) {
        let Event::Message { connection, kind, payload } = event else { continue };
        let Some(gauge) = crowd.gauges.get(connection.index() as usize) else { continue };
        let is_resumed = gauge.taken(Gauge::cost(payload.len()), crowd.shard.limits().max_inbound);
        debug_assert!(!is_resumed, "one message does not fill the bound");
        let mut frame = Vec::with_capacity(MAX_HEADER + payload.len());
        encode_message(&mut frame, kind, &payload);
        gauge.sent(frame.len());
        let command = Command::Send { connection, frame: Bytes::from(frame), awaited: true };
        crowd.shard.command(command, crowd.now);
    }
}

/// One ping interval: everybody is pinged once, and answers.
fn pinging() -> Box<dyn Work> {
    let crowd = Crowd::new(PINGED, &Terms::default());
    let mut pong = Vec::new();
    encode_frame(&mut pong, Opcode::Control(Control::Pong), true, b"", Some(KEY));
    let reads = vec![pong.clone(); PINGED];
    work(
        (crowd, reads),
        move |(_, reads)| reads.iter_mut().for_each(|read| read.copy_from_slice(&pong)),
        |(crowd, reads)| {
            let before = crowd.shard.wire.writes;
            for _ in 0..TICKS {
                crowd.now = crowd.now + TICK;
                crowd.shard.tick(crowd.now);
                crowd.work();
            }
            for (connection, read) in crowd.connections.iter().zip(reads) {
                crowd.shard.bytes(connection.index(), read, crowd.now);
            }
            // The last moment of an interval is the first of the next: nobody is pinged later than that.
            crowd.now = crowd.now + Duration::from_micros(1);
            crowd.shard.wire.writes - before
        },
    )
}
