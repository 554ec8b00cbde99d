//! Receives nothing · hands out the workloads of permessage-deflate · owns the message that is compressed.

use std::hint::black_box;

use streamconductor_core::codec::Kind;
use streamconductor_core::deflate::{Compressor, Inflater, WindowBits};

use super::json;
use crate::workload::{Work, Workload, work};

const MESSAGES: u64 = 16;

/// The workloads of permessage-deflate.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "deflate/compress-1k", unit: "messages", units: MESSAGES, prepare: compressing },
    Workload { name: "deflate/inflate-1k", unit: "messages", units: MESSAGES, prepare: inflating },
];

fn compressing() -> Box<dyn Work> {
    let payload = json();
    let state = (Compressor::new(WindowBits::MAX), Vec::with_capacity(2 * payload.len()));
    work(
        state,
        |_| {},
        move |(compressor, out)| {
            let compress = |_: &u64| {
                out.clear();
                compressor.encode_message(out, Kind::Text, black_box(payload.as_bytes()))
            };
            (0..MESSAGES).filter(compress).count() as u64
        },
    )
}

fn inflating() -> Box<dyn Work> {
    let plain = json();
    let mut frame = Vec::new();
    Compressor::new(WindowBits::MAX).encode_message(&mut frame, Kind::Text, plain.as_bytes());
    // Behind the header of a frame of 126 to 65,535 bytes.
    let compressed = frame.split_off(4);
    work(
        Inflater::new(),
        |_| {},
        move |inflater| {
            let inflate = |_: &u64| {
                let message = inflater.inflate(black_box(&compressed), 1 << 20);
                message.is_ok_and(|message| message.len() == plain.len())
            };
            (0..MESSAGES).filter(inflate).count() as u64
        },
    )
}
