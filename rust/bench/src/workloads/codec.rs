//! Receives nothing · hands out the codec's workloads · owns what a read holds: messages as clients send them, masked.

use std::hint::black_box;

use streamconductor_core::codec::{
    Codec, CodecLimits, Item, Kind, Opcode, Role, encode_frame, encode_message,
};
use streamconductor_core::deflate::Inflater;

use super::text;
use crate::workload::{Work, Workload, work};

const LIMITS: CodecLimits =
    CodecLimits { max_message_size: 1 << 20, max_frame_size: 1 << 20, max_fragments: 1_024 };

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const ASCII: &str = "The quick brown fox jumps over the lazy dog. ";
/// Two, three and four bytes a character among single ones.
const MIXED: &str = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich: 東京から、100 € 🦊. ";

const SMALL: usize = 128;
const MEDIUM: usize = 4 * 1024;
const LARGE: usize = 64 * 1024;

/// Messages of one run: about what one read of 64 KiB brings.
const SMALL_ONES: u64 = 480;
const MEDIUM_ONES: u64 = 16;
const LARGE_ONES: u64 = 4;

/// The codec's workloads.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "codec/binary-128",
        unit: "messages",
        units: SMALL_ONES,
        prepare: || decoding(Kind::Binary, ASCII, SMALL, SMALL_ONES),
    },
    Workload {
        name: "codec/binary-4k",
        unit: "messages",
        units: MEDIUM_ONES,
        prepare: || decoding(Kind::Binary, ASCII, MEDIUM, MEDIUM_ONES),
    },
    Workload {
        name: "codec/binary-64k",
        unit: "messages",
        units: LARGE_ONES,
        prepare: || decoding(Kind::Binary, ASCII, LARGE, LARGE_ONES),
    },
    Workload {
        name: "codec/text-128",
        unit: "messages",
        units: SMALL_ONES,
        prepare: || decoding(Kind::Text, ASCII, SMALL, SMALL_ONES),
    },
    Workload {
        name: "codec/text-4k",
        unit: "messages",
        units: MEDIUM_ONES,
        prepare: || decoding(Kind::Text, ASCII, MEDIUM, MEDIUM_ONES),
    },
    Workload {
        name: "codec/text-64k",
        unit: "messages",
        units: LARGE_ONES,
        prepare: || decoding(Kind::Text, ASCII, LARGE, LARGE_ONES),
    },
    Workload {
        name: "codec/text-4k-mixed",
        unit: "messages",
        units: MEDIUM_ONES,
        prepare: || decoding(Kind::Text, MIXED, MEDIUM, MEDIUM_ONES),
    },
    Workload { name: "codec/text-4k-in-pieces", unit: "messages", units: MEDIUM_ONES, prepare: in_pieces },
    Workload {
        name: "codec/encode-128",
        unit: "messages",
        units: SMALL_ONES,
        prepare: || encoding(SMALL, SMALL_ONES),
    },
    Workload {
        name: "codec/encode-4k",
        unit: "messages",
        units: MEDIUM_ONES,
        prepare: || encoding(MEDIUM, MEDIUM_ONES),
    },
    Workload {
        name: "codec/encode-64k",
        unit: "messages",
        units: LARGE_ONES,
        prepare: || encoding(LARGE, LARGE_ONES),
    },
];

/// A connection's inbound half, and what its peer has sent.
struct Inbound {
    codec: Codec,
    inflater: Inflater,
    sent: Vec<u8>,
    /// What is decoded, which changes it.
    read: Vec<u8>,
}

impl Inbound {
    fn new(sent: Vec<u8>) -> Self {
        let (codec, inflater) = (Codec::new(Role::Server), Inflater::new());
        Self { codec, inflater, read: sent.clone(), sent }
    }

    fn rewind(&mut self) {
        self.read.copy_from_slice(&self.sent);
    }

    /// Decodes all of it in reads of that many bytes; how many messages there were.
    fn decode(&mut self, piece: usize) -> u64 {
        let mut messages = 0;
        for read in self.read.chunks_mut(piece) {
            let mut rest = read;
            while !rest.is_empty() {
                let Ok((item, after)) = self.codec.decode_with(&LIMITS, Some(&mut self.inflater), rest)
                else {
                    return messages;
                };
                rest = after;
                if let Some(Item::Message { payload, .. }) = item {
                    black_box(&*payload);
                    messages += 1;
                }
            }
        }
        messages
    }
}

fn decoding(kind: Kind, pattern: &str, size: usize, count: u64) -> Box<dyn Work> {
    let mut sent = Vec::new();
    let payload = text(pattern, size);
    for _ in 0..count {
        encode_frame(&mut sent, Opcode::Data(kind), true, payload.as_bytes(), Some(KEY));
    }
    work(Inbound::new(sent), Inbound::rewind, |inbound| inbound.decode(usize::MAX))
}

/// Each message in two frames, and neither they nor the reads end where the other does.
fn in_pieces() -> Box<dyn Work> {
    let mut sent = Vec::new();
    let payload = text(MIXED, MEDIUM);
    let (first, second) = payload.as_bytes().split_at(MEDIUM / 3);
    for _ in 0..MEDIUM_ONES {
        encode_frame(&mut sent, Opcode::Data(Kind::Text), false, first, Some(KEY));
        encode_frame(&mut sent, Opcode::Continuation, true, second, Some(KEY));
    }
    work(Inbound::new(sent), Inbound::rewind, |inbound| inbound.decode(1_448))
}

fn encoding(size: usize, count: u64) -> Box<dyn Work> {
    let payload = text(ASCII, size);
    let mut frame = Vec::new();
    encode_message(&mut frame, Kind::Text, payload.as_bytes());
    let room = Vec::with_capacity(frame.len() * count as usize);
    work(room, Vec::clear, move |out| {
        for _ in 0..count {
            encode_message(out, Kind::Text, black_box(payload.as_bytes()));
        }
        // Told by the bytes, so that encoding nothing is seen.
        (out.len() / frame.len()) as u64
    })
}
